"""Node ports and the records of who has them, put right.

Source: k8s.io/kubernetes/pkg/registry/core/service/portallocator/controller/repair.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from kubernel.clock import rfc3339
from kubernel.objects import meta, times
from kubernel.store import AlreadyExistsInStore, MissingKey, StaleRevision
from kubernel_plugins.nodeports import NODE_PORTS, RESOURCE, key_of, of_service, owner, port_of, service_ports

if TYPE_CHECKING:
    from kubernel.client.recorder import EventRecorder
    from kubernel.clock import Clock
    from kubernel.store import ObjectStore
    from kubernel.store.records import Obj

__all__ = ["PERIOD", "PortRepair"]

PERIOD = 180.0
"""Seconds from one look to the next."""
_GRACE = 3 * PERIOD
"""Seconds after which a record of which no service knows is no write under way."""


class PortRepair:
    def __init__(self, store: ObjectStore, clock: Clock, recorder: EventRecorder) -> None:
        self._store = store
        self._clock = clock
        self._recorder = recorder

    async def run(self, services: Iterable[Obj]) -> None:
        """Look at all services and all records once."""
        holders: dict[int, tuple[str, str]] = {}
        having: set[tuple[int, tuple[str, str]]] = set()
        for service in services:
            for port in service_ports(service):
                having.add((port, meta.key(service)))
                if port in NODE_PORTS:
                    await self._check(service, port, holders)
                else:
                    shown = f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
                    text = f"Port {port} is not within the port range {shown}; please recreate service"
                    await self._recorder.event(service, "Warning", "PortOutOfRange", text)
        for record in self._store.list(RESOURCE).records:
            port, entry = port_of(record.obj), record.obj
            if (port, owner(entry)) in having:
                continue
            with suppress(MissingKey, StaleRevision):
                if (holder := holders.get(port)) is not None:
                    metadata = {"namespace": holder[0], "name": holder[1]}
                    made = entry["metadata"]["creationTimestamp"]
                    theirs = of_service(port, {"metadata": metadata}, made)
                    await self._store.update(record.key, theirs, expect=record.revision)
                elif self._clock.time() - times.parse(entry["metadata"]["creationTimestamp"]) >= _GRACE:
                    await self._store.delete(record.key, entry, expect=record.revision)

    async def _check(self, service: Obj, port: int, holders: dict[int, tuple[str, str]]) -> None:
        if holders.setdefault(port, meta.key(service)) != meta.key(service):
            text = f"Port {port} was assigned to multiple services; please recreate service"
            await self._recorder.event(service, "Warning", "PortAlreadyAllocated", text)
        elif self._store.get(key_of(port)) is None:
            text = f"Port {port} is not allocated; repairing"
            await self._recorder.event(service, "Warning", "PortNotAllocated", text)
            with suppress(AlreadyExistsInStore):
                entry = of_service(port, service, rfc3339(self._clock.time()))
                await self._store.create(key_of(port), entry)
