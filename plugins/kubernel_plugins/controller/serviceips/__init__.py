"""An IPAddress for each cluster IP, and none for what no service has.

The API server gives the addresses (``api/builtin``); these objects say who has which. Source:
k8s.io/kubernetes/pkg/registry/core/service/ipallocator (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ADDRESSES = "ipaddresses.v1.networking.k8s.io"
_FAMILY = "ipaddress.kubernetes.io/ip-family"
_MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
_ALLOCATOR = "ipallocator.k8s.io"


def _of_address(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return ((meta.get(obj, "spec", "parentRef", "namespace", default=""), _parent(obj)),)


def _parent(address: Obj) -> str:
    name: str = meta.get(address, "spec", "parentRef", "name", default="")
    return name


class Plugin(Reconciler):
    """The ``serviceips`` controller."""

    resource = "services"
    watches = {_ADDRESSES: _of_address}  # noqa: RUF012 - typed in the base
    user = "system:apiserver"

    async def start(self) -> None:
        await super().start()
        # The API server's own right: nobody else may give addresses.
        self._admin = self.handle.client(self.user, ("system:masters",))
        self._addresses = self.informer(_ADDRESSES)
        self._addresses.add_index(
            "service",
            lambda one: (f"{meta.get(one, 'spec', 'parentRef', 'namespace', default='')}/{_parent(one)}",),
        )

    async def setup(self) -> None:
        for address in self._addresses.list():
            self.queue.add(
                (meta.get(address, "spec", "parentRef", "namespace", default=""), _parent(address))
            )

    async def reconcile(self, namespace: str, name: str) -> None:
        service = self.primary.get(name, namespace)
        wanted = [] if service is None else _cluster_ips(service)
        there = {meta.name(one): one for one in self._addresses.by("service", f"{namespace}/{name}")}
        for ip in wanted:
            if ip not in there:
                await self._make(ip, namespace, name)
        for ip, address in there.items():
            if ip not in wanted and meta.labels(address).get(_MANAGED_BY) == _ALLOCATOR:
                await self._admin.delete(_ADDRESSES, ip, uid=meta.uid(address))

    async def _make(self, ip: str, namespace: str, name: str) -> None:
        labels = {_FAMILY: "IPv6" if ":" in ip else "IPv4", _MANAGED_BY: _ALLOCATOR}
        reference = {"group": "", "resource": "services", "namespace": namespace, "name": name}
        wanted = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IPAddress",
            "metadata": {"name": ip, "labels": labels},
            "spec": {"parentRef": reference},
        }
        try:
            await self._admin.create(_ADDRESSES, wanted)
        except AlreadyExists:
            # Of a service that is gone and whose turn has not come, or somebody's own: looked at again then.
            return


def _cluster_ips(service: Obj) -> list[str]:
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return []
    return [ip for ip in spec.get("clusterIPs") or () if ip and ip != "None"]
