"""What every cluster has from its first moment: system namespaces, priority classes, the ``kubernetes`` service.

Source: k8s.io/kubernetes/pkg/controlplane/controller/{systemnamespaces,kubernetesservice} and
pkg/apis/scheduling/helpers.go (v1.37).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import AlreadyExists, NotFound
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_CLASSES = "priorityclasses.v1.scheduling.k8s.io"
_SLICES = "endpointslices.v1.discovery.k8s.io"
_CIDRS = "servicecidrs.v1.networking.k8s.io"


def _ours(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Somebody changed or deleted the service of the API or its endpoints."""
    return (("", "default"),) if meta.key(obj) == ("default", "kubernetes") else ()


class Plugin(Reconciler):
    """The ``bootstrap`` controller; keys are the system namespaces, ``default`` stands for the rest too."""

    resource = "namespaces"
    watches = {"services": _ours, "endpoints": _ours, _SLICES: _ours}  # noqa: RUF012 - typed in the base
    user = "system:apiserver"
    workers = 1

    async def start(self) -> None:
        # Before anything else: admission refuses whatever is created in a namespace that is not there.
        self._admin = self.handle.client(self.user, ("system:masters",))
        for name in _NAMESPACES:
            await self._ensure_namespace(name)
        await super().start()
        self.queue.add(("", "default"))

    async def reconcile(self, namespace: str, name: str) -> None:
        if name not in _NAMESPACES:
            return
        if self.primary.get(name) is None:
            await self._ensure_namespace(name)
        if name == "default":
            await self._ensure_classes()
            await self._ensure_service()

    async def _ensure(self, resource: str, wanted: Obj, *, kept: Iterable[str] = ()) -> None:
        """Create ``wanted`` where it is missing; bring back its fields ``kept`` where they differ."""
        name, namespace = meta.name(wanted), meta.namespace(wanted)
        try:
            found = await self._admin.get(resource, name, namespace)
        except NotFound:
            try:
                await self._admin.create(resource, wanted, namespace)
            except AlreadyExists:
                return
            return
        changed = {key: wanted[key] for key in kept if found.get(key) != wanted[key]}
        if changed:
            await self._admin.update(resource, {**found, **changed})

    async def _ensure_namespace(self, name: str) -> None:
        await self._ensure(
            "namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )

    async def _ensure_classes(self) -> None:
        may_move = "must run in the cluster, but can be moved to another node if necessary"
        for name, value, which in (
            ("system-cluster-critical", 2000000000, may_move),
            ("system-node-critical", 2000001000, "must not be moved from their current node"),
        ):
            await self._ensure(
                _CLASSES,
                {
                    "apiVersion": "scheduling.k8s.io/v1",
                    "kind": "PriorityClass",
                    "metadata": {"name": name},
                    "value": value,
                    "description": f"Used for system critical pods that {which}.",
                },
            )

    async def _ensure_service(self) -> None:
        cluster = self.handle.cluster
        network = ipaddress.ip_network(cluster.service_cidr)
        family = f"IPv{network.version}"
        await self._ensure(
            _CIDRS,
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "ServiceCIDR",
                "metadata": {"name": "kubernetes"},
                "spec": {"cidrs": [cluster.service_cidr]},
            },
        )
        metadata: dict[str, Any] = {"name": "kubernetes", "namespace": "default"}
        await self._ensure(
            "services",
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {**metadata, "labels": {"component": "apiserver", "provider": "kubernetes"}},
                "spec": {
                    "clusterIP": str(network[1]),
                    "ports": [{"name": "https", "port": 443, "targetPort": cluster.port}],
                },
            },
        )
        if not cluster.port:
            return  # nobody can reach the server from outside its process
        address = _reachable(cluster.bind_address)
        await self._ensure(
            "endpoints",
            {
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {
                    **metadata,
                    "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
                },
                "subsets": [
                    {
                        "addresses": [{"ip": address}],
                        "ports": [{"name": "https", "port": cluster.port, "protocol": "TCP"}],
                    }
                ],
            },
            kept=("subsets",),
        )
        await self._ensure(
            _SLICES,
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": family,
                "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
                "ports": [{"name": "https", "port": cluster.port, "protocol": "TCP"}],
            },
            kept=("endpoints", "ports"),
        )


def _reachable(address: str) -> str:
    """Where a server that listens on ``address`` answers: one that listens everywhere does so on this machine."""
    parsed = ipaddress.ip_address(address)
    if not parsed.is_unspecified:
        return address
    return "127.0.0.1" if parsed.version == 4 else "::1"
