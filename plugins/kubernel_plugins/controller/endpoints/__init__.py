"""Endpoints controller: the older form of where a service's pods are.

Source: k8s.io/kubernetes/pkg/controller/endpoint/endpoints_controller.go (v1.37).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import ApiError, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller import pods, services
from kubernel_plugins.controller.ownership import namespace_is_terminating
from kubernel_plugins.controller.subsets import Subset, repack
from kubernel_plugins.controller.triggertimes import TriggerTimes, noted

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
_LEADER = "control-plane.alpha.kubernetes.io/leader"


def _services_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return services.services_of_pod(self.primary, type, pod, old)


def _taken_away(self: Plugin, type: EventType, obj: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Somebody deleted what we wrote. What somebody changed is left until there is a reason to write again."""
    return (meta.key(obj),) if type == "DELETED" else ()


class Plugin(Reconciler):
    """The ``endpoints`` controller."""

    resource = "services"
    watches = {"pods": _services_of_pod, "endpoints": _taken_away}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:endpoint-controller"

    async def start(self) -> None:
        await super().start()
        self._times = TriggerTimes()
        self._pods = self.informer("pods")
        self._endpoints = self.informer("endpoints")
        services.index_pods(self._pods)
        services.index_services(self.primary)

    async def setup(self) -> None:
        # Services that went while nobody looked.
        for endpoints in self._endpoints.list():
            if _LEADER not in meta.annotations(endpoints):
                self.queue.add(meta.key(endpoints))

    async def reconcile(self, namespace: str, name: str) -> None:
        service = self.primary.get(name, namespace)
        if service is None:
            self._times.forget((namespace, name))
            with contextlib.suppress(NotFound):
                await self.client.delete("endpoints", name, namespace)
            return
        if service["spec"].get("type") == "ExternalName" or not service["spec"].get("selector"):
            return
        selected = services.selected_pods(self._pods, service)
        since = self._times.due_since(service, selected)
        subsets = _subsets(service, selected)
        existing = self._endpoints.get(name, namespace)
        labels = _labels(service)
        if existing is not None and _is_as_it_should_be(existing, subsets, labels):
            return
        annotations = noted(dict(meta.annotations(existing)) if existing else {}, since)
        annotations.pop(_OVER_CAPACITY, None)
        if truncate(subsets):
            annotations[_OVER_CAPACITY] = "truncated"
        if not services.has_address(service):
            labels[_HEADLESS_LABEL] = ""
        await self._write(service, existing, labels, annotations, subsets)

    async def _write(
        self,
        service: Obj,
        existing: Obj | None,
        labels: dict[str, str],
        annotations: dict[str, Any],
        subsets: list[Subset],
    ) -> None:
        namespace, name = meta.key(service)
        wanted: Obj = {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                **(existing["metadata"] if existing else {"name": name, "namespace": namespace}),
                "labels": labels,
                "annotations": annotations,
            },
            "subsets": subsets,
        }
        try:
            if existing is None:
                await self.client.create("endpoints", wanted, namespace)
            else:
                await self.client.update("endpoints", wanted)
        except ApiError as error:
            if existing is None and namespace_is_terminating(error):
                return
            if existing is None:
                reason, what = "FailedToCreateEndpoint", "create endpoint for service"
            else:
                reason, what = "FailedToUpdateEndpoint", "update endpoint"
            message = f"Failed to {what} {namespace}/{name}: {error.message}"
            await self.recorder.event(wanted, "Warning", reason, message)
            raise


def _labels(service: Obj) -> dict[str, str]:
    labels = {key: value for key, value in meta.labels(service).items() if key != _HEADLESS_LABEL}
    return {**labels, _MANAGED_LABEL: _MANAGER}


def _is_as_it_should_be(existing: Obj, subsets: list[Subset], labels: dict[str, str]) -> bool:
    held = existing.get("subsets") or []
    kept = {key: value for key, value in meta.labels(existing).items() if key != _HEADLESS_LABEL}
    count = sum(len(addresses) for subset in held for addresses in _addresses(subset))
    within = count <= _CAPACITY and _OVER_CAPACITY not in meta.annotations(existing)
    return repack(held) == subsets and kept == labels and within


def _addresses(subset: Subset) -> tuple[list[Any], list[Any]]:
    return subset.get("addresses") or [], subset.get("notReadyAddresses") or []


def _subsets(service: Obj, selected: Iterable[Obj]) -> list[Subset]:
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    family = _family(service)
    found: list[Subset] = []
    for pod in selected:
        if not services.belongs(pod, leaving=publish):
            continue
        addresses = services.addresses(pod, family or _own_family(pod))
        ports = services.ports_of(pod, service)
        if not addresses or (service["spec"].get("ports") and not ports):
            continue
        if not ports and services.has_address(service):
            continue
        entry: dict[str, Any] = {
            "ip": addresses[0],
            "nodeName": pod["spec"].get("nodeName", ""),
            "targetRef": services.target(pod),
        }
        if host := services.host_name(pod, service):
            entry["hostname"] = host
        field = "addresses" if publish or pods.is_ready(pod) else "notReadyAddresses"
        found.append({field: [entry], "ports": ports})
    return repack(found)


def _family(service: Obj) -> str:
    """The service's first; empty where each pod's own counts."""
    if service["spec"].get("ipFamilies") or services.has_address(service):
        return services.families(service)[0]
    return ""


def _own_family(pod: Obj) -> str:
    return "IPv6" if ":" in meta.get(pod, "status", "podIP", default="") else "IPv4"


def truncate(subsets: list[Subset]) -> bool:
    """Cut down to the capacity, ready addresses first and each subset in proportion; whether that was needed."""
    ready = sum(len(_addresses(subset)[0]) for subset in subsets)
    unready = sum(len(_addresses(subset)[1]) for subset in subsets)
    if ready + unready <= _CAPACITY:
        return False
    field, total, room = "notReadyAddresses", unready, _CAPACITY - ready
    if ready > _CAPACITY:
        field, total, room = "addresses", ready, _CAPACITY
    left = room
    for subset in subsets:
        held = subset.get(field) or []
        kept = held[: min(math.ceil(len(held) / total * room), left)]
        left -= len(kept)
        subset.pop(field, None)
        if ready > _CAPACITY:
            subset.pop("notReadyAddresses", None)
        if kept:
            subset[field] = kept
    return True
