"""Load balancer controller: services of type LoadBalancer get an address of a pool.

The proxy listens there as it does on cluster IPs. Source: k8s.io/cloud-provider/controllers/service (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address, ip_network
from typing import TYPE_CHECKING, Any, Literal

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
_LOCAL = IPv4Network("127.0.0.0/8")
_LOCAL_POOL = "127.112.0.0/24"
_RETRY = 30.0
_LARGEST = 65_536


@dataclass(frozen=True, slots=True)
class Settings:
    """``addresses``: CIDRs, ranges (``10.0.0.5-10.0.0.9``) and single addresses. Empty is
    ``127.112.0.0/24`` where services live in 127.0.0.0/8, else none. ``load_balancer_class``: services of this
    class are served, too; those of another never. ``ip_mode``: whether traffic reaches the nodes still addressed to
    the load balancer (``VIP``: a proxy may answer for it itself) or to the node (``Proxy``). Source: KEP-1860."""

    addresses: tuple[str, ...] = ()
    load_balancer_class: str = ""
    ip_mode: Literal["VIP", "Proxy"] = "VIP"

    def __post_init__(self) -> None:
        for text in self.addresses:
            _check(text)


def _check(text: str) -> None:
    """ValueError for what is no address, range or network, or too large a one."""
    first, dash, last = text.partition("-")
    if dash:
        low, high = ip_address(first), ip_address(last)
        if low.version != high.version or int(high) < int(low):
            raise ValueError(f'"{text}" is not a range of addresses')
        size = int(high) - int(low) + 1
    else:
        size = ip_network(text, strict=False).num_addresses
    if size > _LARGEST:
        raise ValueError(f'"{text}" has more than {_LARGEST} addresses')


def _addresses(text: str) -> Iterator[str]:
    first, dash, last = text.partition("-")
    if dash:
        low = ip_address(first)
        for offset in range(int(ip_address(last)) - int(low) + 1):
            yield str(low + offset)
    else:
        network = ip_network(text, strict=False)
        yield from map(str, network.hosts() if network.num_addresses > 1 else network)


class Plugin(Reconciler):
    """The ``loadbalancer`` controller. Idle without addresses: services wait for somebody else then."""

    Settings = Settings
    resource = "services"
    user = "system:serviceaccount:kube-system:service-controller"
    # Two services must not get one address.
    workers = 1

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        given: tuple[str, ...] = settings.addresses
        services = ip_network(str(handle.cluster.service_cidr).split(",")[0])
        if not given and isinstance(services, IPv4Network) and services.subnet_of(_LOCAL):
            given = (_LOCAL_POOL,)
        self._pool = {address: None for text in given for address in _addresses(text)}
        self._taken: dict[str, str] = {}
        """Address -> uid of the service."""

    async def setup(self) -> None:
        self._taken.clear()
        for service in self.primary.list():
            for address in _ingress(service):
                if address in self._pool:
                    self._taken.setdefault(address, meta.uid(service))

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self._release(meta.uid(obj))
        if self._pool and any(
            one is not None and (one["spec"].get("type") == "LoadBalancer" or _FINALIZER in _finalizers(one))
            for one in (obj, old)
        ):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        service = self.primary.get(name, namespace)
        if service is None or not self._pool:
            return None
        spec = service["spec"]
        wanted = spec.get("type") == "LoadBalancer" and not meta.is_deleting(service)
        of_class = spec.get("loadBalancerClass") or ""
        if wanted and of_class not in ("", self.settings.load_balancer_class):
            return None
        if wanted:
            return await self._ensure(service)
        if _FINALIZER in _finalizers(service):
            await self._remove(service)
        return None

    async def _ensure(self, service: Obj) -> float | None:
        uid = meta.uid(service)
        mine = [address for address in _ingress(service) if self._taken.get(address) == uid]
        asked = service["spec"].get("loadBalancerIP") or ""
        mode: str = self.settings.ip_mode
        if mine and asked in ("", *mine):
            points = service["status"]["loadBalancer"]["ingress"]
            if any(point.get("ipMode", "VIP") != mode for point in points if point.get("ip") in mine):
                # It was configured otherwise.
                await self._put(service, {"ingress": [{**point, "ipMode": mode} for point in points]})
            return None
        await self.recorder.event(service, "Normal", "EnsuringLoadBalancer", "Ensuring load balancer")
        address = self._choose(asked, uid)
        if not address:
            what = f"{asked} is not free" if asked else "no address is left in the pool"
            text = f"Error syncing load balancer: failed to ensure load balancer: {what}"
            await self.recorder.event(service, "Warning", "SyncLoadBalancerFailed", text)
            return _RETRY
        for other in mine:
            self._taken.pop(other, None)
        self._taken[address] = uid
        finalizers = _finalizers(service)
        if _FINALIZER not in finalizers:
            change = {"metadata": {"finalizers": [*finalizers, _FINALIZER]}}
            service = await self.client.patch(
                self.resource, meta.name(service), change, meta.namespace(service)
            )
        await self._put(service, {"ingress": [{"ip": address, "ipMode": mode}]})
        await self.recorder.event(service, "Normal", "EnsuredLoadBalancer", "Ensured load balancer")
        return None

    def _choose(self, asked: str, uid: str) -> str:
        if asked:
            free = asked in self._pool and self._taken.get(asked, uid) == uid
            return asked if free else ""
        return next((address for address in self._pool if address not in self._taken), "")

    async def _remove(self, service: Obj) -> None:
        await self.recorder.event(service, "Normal", "DeletingLoadBalancer", "Deleting load balancer")
        if not meta.is_deleting(service):
            service = await self._put(service, {})
        left = [one for one in _finalizers(service) if one != _FINALIZER]
        change = {"metadata": {"finalizers": left or None}}
        await self.client.patch(self.resource, meta.name(service), change, meta.namespace(service))
        self._release(meta.uid(service))
        await self.recorder.event(service, "Normal", "DeletedLoadBalancer", "Deleted load balancer")

    def _release(self, uid: str) -> None:
        for address in [one for one, owner in self._taken.items() if owner == uid]:
            del self._taken[address]
        for service in self.primary.list():
            # Who found none may have it.
            if service["spec"].get("type") == "LoadBalancer" and not _ingress(service):
                self.queue.add(meta.key(service))

    async def _put(self, service: Obj, balancer: dict[str, Any]) -> Obj:
        status = {**(service.get("status") or {}), "loadBalancer": balancer}
        return await self.client.update(self.resource, {**service, "status": status}, subresource="status")


def _finalizers(service: Obj) -> list[str]:
    found: list[str] = service["metadata"].get("finalizers") or []
    return found


def _ingress(service: Obj) -> list[str]:
    points = meta.get(service, "status", "loadBalancer", "ingress", default=())
    return [point["ip"] for point in points if point.get("ip")]
