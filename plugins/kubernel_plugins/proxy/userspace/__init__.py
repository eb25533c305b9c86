"""Userspace proxy: listens on every service's address and forwards connections to its endpoints.

Needs no rights beyond listening: service addresses lie in 127.0.0.0/8 by default, all of which is this
host. TCP only. ``forwarder`` forwards the connections of one address and port; here is which of them there
are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.recorder import EventRecorder
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel_plugins.proxy.userspace.forwarder import Backend, Forwarder, Gate, Rules

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_SLICES = "endpointslices.v1.discovery.k8s.io"
_SERVICE_LABEL = "kubernetes.io/service-name"
_RETRY = 30.0
"""Seconds until an address that could not be listened on is tried again."""

ObjectKey = tuple[str, str]
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Settings:
    """``max_connections``: forwarded at the same time, all services together; more are closed at once.
    ``node_port_address``: where node ports are listened on; empty is the cluster's bind address."""

    max_connections: int = 4096
    node_port_address: str = ""


class Plugin(Base):
    """The ``userspace`` service proxy."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._gate = Gate(settings.max_connections)
        self._forwarders: dict[Address, tuple[ObjectKey, Forwarder]] = {}
        self._dirty: dict[ObjectKey, None] = {}
        self._wakeup = asyncio.Event()
        self._refused: set[ObjectKey] = set()
        self._unlisten: list[Callable[[], None]] = []
        self._recorder: EventRecorder | None = None

    async def start(self) -> None:
        handle = self.handle
        client = handle.client("system:kube-proxy")
        self._recorder = EventRecorder(client, handle.clock, "kube-proxy", log=handle.log)
        self._services = client.informer("services")
        self._slices = client.informer(_SLICES)
        self._slices.add_index("service", _service_of)
        self._unlisten = [
            self._services.add_listener(self._on_service),
            self._slices.add_listener(self._on_slice),
        ]
        handle.spawn(self._run(), "userspace proxy")
        handle.spawn(self._retry(), "userspace proxy retry")

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()
        for _, forwarder in self._forwarders.values():
            await forwarder.close()
        self._forwarders.clear()
        if self._recorder is not None:
            await self._recorder.close()

    # --- from changes to work

    def _on_service(self, type: EventType, service: Obj, old: Obj | None) -> None:
        self._mark(meta.key(service))

    def _on_slice(self, type: EventType, entry: Obj, old: Obj | None) -> None:
        if name := meta.labels(entry).get(_SERVICE_LABEL):
            self._mark((meta.namespace(entry), name))

    def _mark(self, key: ObjectKey) -> None:
        self._dirty[key] = None
        self._wakeup.set()

    async def _run(self) -> None:
        await self._services.synced()
        await self._slices.synced()
        while True:
            while self._dirty:
                key = next(iter(self._dirty))
                del self._dirty[key]
                await self._reconcile(key)
            self._wakeup.clear()
            await self._wakeup.wait()

    async def _retry(self) -> None:
        while True:
            await self.handle.clock.sleep(_RETRY)
            for key in self._refused:
                self._mark(key)

    # --- one service

    async def _reconcile(self, key: ObjectKey) -> None:
        namespace, name = key
        service = self._services.get(name, namespace)
        wanted = self._wanted(service) if service is not None else {}
        for address, (owner, forwarder) in list(self._forwarders.items()):
            if owner == key and address not in wanted:
                del self._forwarders[address]
                await forwarder.close()
        refused = False
        for address, rules in wanted.items():
            existing = self._forwarders.get(address)
            if existing is not None:
                if existing[0] == key:
                    existing[1].rules = rules
                continue
            forwarder = Forwarder(self.handle.clock, self._gate, rules)
            try:
                await forwarder.listen(*address)
            except OSError as error:
                refused = True
                await self._tell(key, service, address, error)
            else:
                self._forwarders[address] = (key, forwarder)
        (self._refused.add if refused else self._refused.discard)(key)

    async def _tell(self, key: ObjectKey, service: Obj | None, address: Address, error: OSError) -> None:
        if service is None or key in self._refused or self._recorder is None:
            return
        text = f"cannot listen on {address[0]}:{address[1]}: {error.strerror or error}"
        if isinstance(error, PermissionError):
            text += "; ports below 1024 need root, or net.ipv4.ip_unprivileged_port_start lowered"
        await self._recorder.event(service, "Warning", "FailedToListen", text)

    def _wanted(self, service: Obj) -> dict[Address, Rules]:
        """What to listen on for ``service``, and where to forward."""
        spec = service["spec"]
        address = spec.get("clusterIP", "None")
        if spec.get("type") == "ExternalName" or meta.is_deleting(service):
            return {}
        affinity = 0
        if spec.get("sessionAffinity") == "ClientIP":
            affinity = meta.get(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds", default=10800)
        wanted: dict[Address, Rules] = {}
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                continue
            rules = Rules(tuple(self._backends(service, port.get("name", ""))), affinity)
            if address not in ("", "None"):
                wanted[address, port["port"]] = rules
            for point in meta.get(service, "status", "loadBalancer", "ingress", default=()):
                if point.get("ip") and point.get("ipMode", "VIP") == "VIP":
                    wanted[point["ip"], port["port"]] = rules
            if port.get("nodePort"):
                node = self.settings.node_port_address or self.handle.cluster.bind_address
                wanted[node, port["nodePort"]] = rules
        return wanted

    def _backends(self, service: Obj, port_name: str) -> Iterable[Backend]:
        """Ready endpoints; while there are none, those that still serve though they are terminating."""
        ready: list[Backend] = []
        leaving: list[Backend] = []
        for entry in self._slices.by("service", "/".join(meta.key(service))):
            number = next(
                (port.get("port") for port in entry.get("ports") or () if port.get("name", "") == port_name),
                None,
            )
            if number is None or entry.get("addressType") == "FQDN":
                continue
            for endpoint in entry.get("endpoints") or ():
                state = endpoint.get("conditions") or {}
                backend = Backend(endpoint["addresses"][0], number)
                if state.get("ready", True):
                    ready.append(backend)
                elif state.get("serving") and state.get("terminating"):
                    leaving.append(backend)
        return sorted(set(ready or leaving))


def _service_of(entry: Obj) -> Iterable[str]:
    name = meta.labels(entry).get(_SERVICE_LABEL)
    return (f"{meta.namespace(entry)}/{name}",) if name else ()
