"""ServiceCIDR controller: a range is ready, and stays until no service has an address of it alone.

Source: k8s.io/kubernetes/pkg/controller/servicecidrs (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ADDRESSES = "ipaddresses.v1.networking.k8s.io"
_FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
_ALLOCATOR = "ipallocator.k8s.io"
_GRACE = 10.0
"""Seconds in which every allocator hears that the range goes."""
_BLOCKED = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)

_Network = IPv4Network | IPv6Network


def _leaving(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Only ranges on their way out wait for addresses to go."""
    if type != "DELETED":
        return ()
    return [meta.key(one) for one in self.primary.list() if meta.is_deleting(one)]


class Plugin(Reconciler):
    """The ``servicecidrs`` controller."""

    resource = "servicecidrs.v1.networking.k8s.io"
    watches = {_ADDRESSES: _leaving}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:service-cidrs-controller"
    component = "service-cidr-controller"
    workers = 1

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        super().primary_changed(type, obj, old)
        if old is None or type == "DELETED":
            # Another range may hold what kept one that is to go.
            for other in self.primary.list():
                if meta.is_deleting(other):
                    self.queue.add(meta.key(other))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        found = self.primary.get(name)
        if found is None:
            return None
        finalizers = found["metadata"].get("finalizers") or []
        if not meta.is_deleting(found):
            if _FINALIZER not in finalizers:
                change = {"metadata": {"finalizers": [*finalizers, _FINALIZER]}}
                found = await self.client.patch(self.resource, name, change)
            await self._tell(found, "True", "", "Kubernetes Service CIDR is ready")
            return None
        if not self._may_go(found):
            await self._tell(found, "False", "Terminating", _BLOCKED)
            return None
        left = times.parse(found["metadata"]["deletionTimestamp"]) + _GRACE - self.clock.time()
        if left > 0:
            return left
        if _FINALIZER in finalizers:
            rest = [one for one in finalizers if one != _FINALIZER]
            await self.client.patch(self.resource, name, {"metadata": {"finalizers": rest or None}})
        return None

    async def _tell(self, found: Obj, status: str, reason: str, message: str) -> None:
        before = (found.get("status") or {}).get("conditions")
        wanted, changed = conditions.set(before, "Ready", status, reason, message, rfc3339(self.clock.time()))
        if changed:
            # ``reason`` is required in Go's metav1.Condition, and empty here.
            wanted = [{"reason": "", **one} for one in wanted]
            change = {"status": {"conditions": wanted}}
            await self.client.patch(self.resource, meta.name(found), change, subresource="status")

    def _may_go(self, leaving: Obj) -> bool:
        others = [one for one in self.primary.list() if meta.uid(one) != meta.uid(leaving)]
        mine = list(_networks(leaving))
        rest = [network for one in others for network in _networks(one)]
        if all(any(_contains(other, network) for other in rest) for network in mine):
            return True
        for entry in self.informer(_ADDRESSES).list():
            if meta.labels(entry).get(_MANAGED_BY) != _ALLOCATOR:
                continue
            address = ip_address(meta.name(entry))
            if any(address in network for network in mine) and not any(
                address in network for network in rest
            ):
                return False
        return True


def _networks(obj: Obj) -> Iterator[_Network]:
    for text in obj["spec"].get("cidrs") or ():
        yield ip_network(text)


def _contains(outer: _Network, inner: _Network) -> bool:
    if isinstance(outer, IPv4Network) and isinstance(inner, IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(outer, IPv6Network) and isinstance(inner, IPv6Network):
        return inner.subnet_of(outer)
    return False
