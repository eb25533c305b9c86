"""Repairs what services, their IPAddresses and the records of their node ports say of each other.

The API server writes both within the service's request (``api/builtin``); what a crash, an operator or older data left
behind is put right here. Source: k8s.io/kubernetes/pkg/registry/core/service/ipallocator/controller (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.client.recorder import EventRecorder
from kubernel.errors import NotFound
from kubernel.objects import meta, times
from kubernel_plugins.controller.serviceips.ports import PERIOD, PortRepair
from kubernel_plugins.ipaddresses import (
    ADDRESSES,
    family,
    is_allocated,
    is_labelled,
    of_service,
    service_addresses,
)

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_CIDRS = "servicecidrs.v1.networking.k8s.io"
_GRACE = 60.0
"""Seconds in which the request that made an IPAddress may still be making its service."""
_PORTS = ("/", "ports")
"""The key of all node ports together."""


def _parent(entry: Obj) -> ObjectKey:
    parent = meta.get(entry, "spec", "parentRef", default={})
    return parent.get("namespace", ""), parent.get("name", "")


def _is_of_service(entry: Obj) -> bool:
    parent = meta.get(entry, "spec", "parentRef", default={})
    return (parent.get("group") or "", parent.get("resource")) == ("", "services")


def _show(parent: dict[str, str]) -> str:
    """As Go prints a ParentReference."""
    fields = (f"{key.title()}:{parent.get(key, '')}," for key in ("group", "resource", "namespace", "name"))
    return f"&ParentReference{{{''.join(fields)}}}"


def _of_entry(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """The address itself and the services that say they have it."""
    return [("", meta.name(obj)), *(meta.key(one) for one in self.holders(meta.name(obj)))]


class Plugin(Reconciler):
    """The ``serviceips`` controller; keys are services, and addresses without a namespace."""

    resource = "services"
    watches = {ADDRESSES: _of_entry}  # noqa: RUF012 - typed in the base
    reads = (_CIDRS,)
    user = "system:apiserver"

    async def start(self) -> None:
        self._indexed = False
        await super().start()
        # The API server's own right: nobody else may give addresses.
        self._admin = self.handle.client(self.user, ("system:masters",))
        self.recorder = EventRecorder(self._admin, self.clock, "ipallocator-repair-controller", log=self.log)
        self.primary.add_index("address", service_addresses)
        self._indexed = True
        teller = EventRecorder(self._admin, self.clock, "portallocator-repair-controller", log=self.log)
        self._port_recorder = teller
        self._ports = PortRepair(self.handle.registry.store, self.clock, teller)

    async def stop(self) -> None:
        await super().stop()
        if hasattr(self, "_port_recorder"):
            await self._port_recorder.close()

    async def setup(self) -> None:
        self.queue.add(_PORTS)
        for entry in self.informer(ADDRESSES).list():
            self.queue.add(("", meta.name(entry)))

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        # Of a service that went the request itself takes the address away.
        if type != "DELETED" and (old is None or service_addresses(old) != service_addresses(obj)):
            super().primary_changed(type, obj, old)

    def holders(self, address: str) -> list[Obj]:
        return list(self.primary.by("address", address)) if self._indexed else []

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if (namespace, name) == _PORTS:
            await self._ports.run(self.primary.list())
            return PERIOD
        # Both are read as they are stored: an informer may know one before the other.
        if not namespace:
            entry = await self._get(ADDRESSES, name)
            return None if entry is None else await self._check_entry(entry)
        service = await self._get(self.resource, name, namespace)
        if service is not None:
            for address in service_addresses(service):
                await self._check(service, address)
        return None

    async def _get(self, resource: str, name: str, namespace: str = "") -> Obj | None:
        try:
            return await self._admin.get(resource, name, namespace)
        except NotFound:
            return None

    async def _check(self, service: Obj, address: str) -> None:
        shown = f"[{family(address)}]"
        if self._is_out_of_range(address):
            text = (
                f"Cluster IP {shown}: {address} is not within any configured Service CIDR; "
                "please recreate service"
            )
            await self.recorder.event(service, "Warning", "ClusterIPOutOfRange", text)
            return
        entry = await self._get(ADDRESSES, address)
        if entry is None:
            text = f"Cluster IP {shown}: {address} is not allocated; repairing"
            await self.recorder.event(service, "Warning", "ClusterIPNotAllocated", text)
            await self._admin.create(ADDRESSES, of_service(address, service))
            return
        parent = await self._get(self.resource, *reversed(_parent(entry)))
        if not _is_of_service(entry) or parent is None:
            where = "/".join(meta.key(service))
            text = f"the ClusterIP {shown}: {address} for Service {where} has a wrong reference; repairing"
            await self.recorder.event(service, "Warning", "ClusterIPNotAllocated", text)
            await self._recreate(entry, service)
            return
        if _parent(entry) != meta.key(service) and address in service_addresses(parent):
            text = f"Cluster IP {shown}:{address} was assigned to multiple services; please recreate service"
            await self.recorder.event(service, "Warning", "ClusterIPAlreadyAllocated", text)
            return
        if not is_labelled(entry):
            await self._recreate(entry, service)

    async def _recreate(self, entry: Obj, service: Obj) -> None:
        await self._remove(entry)
        await self._admin.create(ADDRESSES, of_service(meta.name(entry), service))

    async def _check_entry(self, entry: Obj) -> float | None:
        """Remove an address that the allocator gave and nobody has; seconds until that may be said of it."""
        address = meta.name(entry)
        if not is_allocated(entry):
            return None
        if not _is_of_service(entry):
            shown = _show(meta.get(entry, "spec", "parentRef", default={}))
            text = (
                f"IPAddress {address} appears to have been modified, not referencing a Service {shown}: "
                "cleaning up"
            )
            await self.recorder.event(entry, "Warning", "IPAddressNotAllocated", text)
            await self._remove(entry)
            return None
        service = await self._get(self.resource, *reversed(_parent(entry)))
        if service is not None and address in service_addresses(service):
            return None
        left = times.parse(entry["metadata"]["creationTimestamp"]) + _GRACE - self.clock.time()
        if left >= 0:
            return left + 1
        where = "/".join(_parent(entry))
        if service is None:
            text = f"IPAddress: {address} for Service {where} appears to have leaked: cleaning up"
            await self.recorder.event(entry, "Warning", "IPAddressNotAllocated", text)
        else:
            text = f"IPAddress: {address} for Service {where} has a wrong reference; cleaning up"
            await self.recorder.event(entry, "Warning", "IPAddressWrongReference", text)
        await self._remove(entry)
        return None

    async def _remove(self, entry: Obj) -> None:
        try:
            await self._admin.delete(ADDRESSES, meta.name(entry), uid=meta.uid(entry))
        except NotFound:
            return

    def _is_out_of_range(self, address: str) -> bool:
        ip = ip_address(address)
        ranges = [
            ip_network(cidr)
            for one in self.informer(_CIDRS).list()
            for cidr in one["spec"].get("cidrs") or ()
        ]
        # Before the first range is there nothing is out of it.
        return bool(ranges) and not any(ip in network for network in ranges)
