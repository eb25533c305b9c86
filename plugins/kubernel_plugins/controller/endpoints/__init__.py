"""Endpoints controller: the older form of where a service's pods are.

Source: k8s.io/kubernetes/pkg/controller/endpoint/endpoints_controller.go (v1.37).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import Forbidden
from kubernel.objects import meta
from kubernel_plugins.controller import pods, services
from kubernel_plugins.controller.ownership import namespace_is_terminating

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_CAPACITY = 1000
"""Most addresses in one Endpoints object; more are cut off and the object is annotated."""
_OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MANAGED_LABEL = "endpoints.kubernetes.io/managed-by"
_MANAGER = "endpoint-controller"
_HEADLESS_LABEL = "service.kubernetes.io/headless"


def _services_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return services.services_of_pod(self.primary, type, pod, old)


def _namesake(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Somebody changed or deleted what we wrote."""
    return (meta.key(obj),)


class Plugin(Reconciler):
    """The ``endpoints`` controller."""

    resource = "services"
    watches = {"pods": _services_of_pod, "endpoints": _namesake}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:endpoint-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._endpoints = self.informer("endpoints")
        services.index_pods(self._pods)
        services.index_services(self.primary)

    async def reconcile(self, namespace: str, name: str) -> None:
        service = self.primary.get(name, namespace)
        existing = self._endpoints.get(name, namespace)
        if service is None:
            if existing is not None and meta.labels(existing).get(_MANAGED_LABEL) == _MANAGER:
                await self.client.delete("endpoints", name, namespace, uid=meta.uid(existing))
            return
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return
        subsets, cut = self._subsets(service)
        labels = {**meta.labels(service), _MANAGED_LABEL: _MANAGER}
        labels.pop(_HEADLESS_LABEL, None)
        if spec.get("clusterIP") == "None":
            labels[_HEADLESS_LABEL] = ""
        annotations = dict(meta.annotations(existing)) if existing else {}
        annotations.pop(_OVER_CAPACITY, None)
        if cut:
            annotations[_OVER_CAPACITY] = "truncated"
        if existing is None:
            metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": labels}
            if annotations:
                metadata["annotations"] = annotations
            obj = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
            try:
                await self.client.create("endpoints", obj, namespace)
            except Forbidden as error:
                if not namespace_is_terminating(error):
                    raise
            return
        same = (existing.get("subsets") or []) == subsets
        if same and meta.labels(existing) == labels and meta.annotations(existing) == annotations:
            return
        changed = meta.replace(existing, ("metadata", "labels"), labels)
        changed["metadata"]["annotations"] = annotations
        changed["subsets"] = subsets
        await self.client.update("endpoints", changed)

    def _subsets(self, service: Obj) -> tuple[list[dict[str, Any]], bool]:
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        groups: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = defaultdict(
            lambda: {"addresses": [], "notReadyAddresses": []}
        )
        count = 0
        cut = False
        for pod in services.selected_pods(self._pods, service):
            address = meta.get(pod, "status", "podIP")
            if not address or not (publish or not meta.is_deleting(pod)) or pods.is_finished(pod):
                continue
            ports = tuple(tuple(sorted(port.items())) for port in services.ports_of(pod, service))
            if not ports and service["spec"].get("ports"):
                continue
            if count >= _CAPACITY:
                cut = True
                break
            count += 1
            entry: dict[str, Any] = {
                "ip": address,
                "nodeName": pod["spec"].get("nodeName", ""),
                "targetRef": services.target(pod),
            }
            if host := services.host_name(pod, service):
                entry["hostname"] = host
            ready = publish or services.is_serving(pod)
            groups[ports]["addresses" if ready else "notReadyAddresses"].append(entry)
        subsets = []
        for ports in sorted(groups):
            subset: dict[str, Any] = {
                key: sorted(entries, key=lambda entry: str(entry["ip"]))
                for key, entries in groups[ports].items()
                if entries
            }
            if ports:
                subset["ports"] = [_port(dict(port)) for port in ports]
            subsets.append(subset)
        return subsets, cut


def _port(port: dict[str, Any]) -> dict[str, Any]:
    """Endpoints leave an unnamed port's name out."""
    if not port.get("name"):
        port.pop("name", None)
    return port
