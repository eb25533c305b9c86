"""EndpointSlice controller: where each service's pods are.

Source: k8s.io/endpointslice/reconciler.go and k8s.io/kubernetes/pkg/controller/endpointslice (v1.37).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import Reconciler
from kubernel.errors import ApiError
from kubernel.objects import meta
from kubernel_plugins.controller import pods, services
from kubernel_plugins.controller.ownership import namespace_is_terminating

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_SLICES = "endpointslices.v1.discovery.k8s.io"
_NAME_LABEL = "kubernetes.io/service-name"
_MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
_MANAGER = "endpointslice-controller.k8s.io"
_HEADLESS_LABEL = "service.kubernetes.io/headless"
_ZONE_LABEL = "topology.kubernetes.io/zone"

Ports = tuple[tuple[tuple[str, Any], ...], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """``max_endpoints``: most endpoints in one slice."""

    max_endpoints: int = 100


def _services_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return services.services_of_pod(self.primary, type, pod, old)


class Plugin(Reconciler):
    """The ``endpointslice`` controller."""

    Settings = Settings
    resource = "services"
    owns = (_SLICES,)
    watches = {"pods": _services_of_pod}  # noqa: RUF012 - typed in the base
    reads = ("nodes",)
    user = "system:serviceaccount:kube-system:endpointslice-controller"
    component = "endpoint-slice-controller"

    async def start(self) -> None:
        await super().start()
        self._expected = Expectations(self.clock)
        self._nodes = self.informer("nodes")
        self._pods = self.informer("pods")
        self._slices = self.informer(_SLICES)
        services.index_pods(self._pods)
        services.index_services(self.primary)
        self._unlisten.append(self._slices.add_listener(self._observe))

    def _observe(self, type: EventType, entry: Obj, old: Obj | None) -> None:
        controller = meta.controller_of(entry)
        if controller is None:
            return
        if type == "ADDED":
            self._expected.creation_observed(controller["uid"])
        if type == "DELETED" or meta.is_deleting(entry):
            self._expected.deletion_observed(controller["uid"], meta.uid(entry))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        service = self.primary.get(name, namespace)
        if service is None or meta.is_deleting(service):
            return None
        spec = service["spec"]
        if not spec.get("selector") or spec.get("type") == "ExternalName":
            return None
        if wait := self._expected.give_up_in(meta.uid(service)):
            return wait
        mine = [
            entry
            for entry in self._slices.by("owner", meta.uid(service))
            if meta.labels(entry).get(_MANAGED_LABEL) == _MANAGER and not meta.is_deleting(entry)
        ]
        wanted = self._endpoints(service)
        await self._bring_about(service, wanted, mine)
        return None

    def _endpoints(self, service: Obj) -> dict[Ports, list[dict[str, Any]]]:
        """Endpoints by the ports they serve."""
        groups: dict[Ports, list[dict[str, Any]]] = defaultdict(list)
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        for pod in services.selected_pods(self._pods, service):
            address = meta.get(pod, "status", "podIP")
            if not address or pods.is_finished(pod):
                continue
            serving = services.is_serving(pod)
            leaving = meta.is_deleting(pod)
            endpoint: dict[str, Any] = {
                "addresses": [address],
                "conditions": {
                    "ready": publish or (serving and not leaving),
                    "serving": serving,
                    "terminating": leaving,
                },
                "nodeName": pod["spec"].get("nodeName", ""),
                "targetRef": services.target(pod),
            }
            if host := services.host_name(pod, service):
                endpoint["hostname"] = host
            node = self._nodes.get(endpoint["nodeName"])
            if node is not None and (zone := meta.labels(node).get(_ZONE_LABEL)):
                endpoint["zone"] = zone
            ports = tuple(tuple(sorted(port.items())) for port in services.ports_of(pod, service))
            groups[ports].append(endpoint)
        return groups or {(): []}

    async def _bring_about(
        self, service: Obj, wanted: dict[Ports, list[dict[str, Any]]], mine: list[Obj]
    ) -> None:
        labels = self._labels(service)
        by_ports: dict[Ports, list[Obj]] = defaultdict(list)
        for entry in sorted(mine, key=meta.name):
            by_ports[_ports(entry)].append(entry)
        work = []
        spare = [entry for ports, entries in by_ports.items() if ports not in wanted for entry in entries]
        for ports, endpoints in wanted.items():
            for existing, content in self._distribute(endpoints, by_ports.get(ports, [])):
                if existing is None and spare:
                    existing = spare.pop()
                if existing is None:
                    work.append(self._create(service, labels, ports, content))
                elif (
                    content != (existing.get("endpoints") or [])
                    or _ports(existing) != ports
                    or meta.labels(existing) != labels
                ):
                    work.append(self._update(existing, labels, ports, content))
            used = len(by_ports.get(ports, []))
            keep = max(-(-len(endpoints) // self.settings.max_endpoints), 1)
            spare += by_ports.get(ports, [])[keep:used]
        work += [self._delete(service, entry) for entry in spare]
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def _distribute(
        self, endpoints: list[dict[str, Any]], existing: list[Obj]
    ) -> Iterable[tuple[Obj | None, list[dict[str, Any]]]]:
        """Which slice gets which endpoints: those that stay keep their slice, as far as it is kept."""
        limit = self.settings.max_endpoints
        count = max(-(-len(endpoints) // limit), 1)
        kept: list[Obj | None] = list(existing[:count])
        kept += [None] * (count - len(kept))
        by_target = {entry["targetRef"]["uid"]: entry for entry in endpoints}
        contents: list[list[dict[str, Any]]] = []
        for entry in kept:
            content: list[dict[str, Any]] = []
            for old in (entry.get("endpoints") or []) if entry else []:
                found = by_target.pop((old.get("targetRef") or {}).get("uid"), None)
                if found is not None and len(content) < limit:
                    content.append(found)
            contents.append(content)
        rest = iter(list(by_target.values()))
        for content in contents:
            while len(content) < limit and (following := next(rest, None)) is not None:
                content.append(following)
        return zip(kept, contents, strict=True)

    @staticmethod
    def _labels(service: Obj) -> dict[str, str]:
        labels = {
            key: value
            for key, value in meta.labels(service).items()
            if key not in (_NAME_LABEL, _MANAGED_LABEL, _HEADLESS_LABEL)
        }
        labels[_NAME_LABEL] = meta.name(service)
        labels[_MANAGED_LABEL] = _MANAGER
        if service["spec"].get("clusterIP") == "None":
            labels[_HEADLESS_LABEL] = ""
        return labels

    async def _create(
        self, service: Obj, labels: dict[str, str], ports: Ports, content: list[dict[str, Any]]
    ) -> None:
        entry: Obj = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "generateName": f"{meta.name(service)}-",
                "namespace": meta.namespace(service),
                "labels": labels,
                "ownerReferences": [meta.owner_reference(service)],
            },
            "addressType": (service["spec"].get("ipFamilies") or ["IPv4"])[0],
            "endpoints": content,
            "ports": [dict(port) for port in ports],
        }
        uid = meta.uid(service)
        self._expected.expect_creations(uid, 1)
        try:
            await self.client.create(_SLICES, entry, meta.namespace(service))
        except ApiError as error:
            self._expected.creation_observed(uid)
            if not namespace_is_terminating(error):
                raise

    async def _update(
        self, entry: Obj, labels: dict[str, str], ports: Ports, content: list[dict[str, Any]]
    ) -> None:
        changed = meta.replace(entry, ("metadata", "labels"), labels)
        changed["endpoints"] = content
        changed["ports"] = [dict(port) for port in ports]
        await self.client.update(_SLICES, changed)

    async def _delete(self, service: Obj, entry: Obj) -> None:
        self._expected.expect_deletions(meta.uid(service), meta.uid(entry))
        try:
            await self.client.delete(_SLICES, meta.name(entry), meta.namespace(entry), uid=meta.uid(entry))
        except ApiError:
            self._expected.deletion_observed(meta.uid(service), meta.uid(entry))
            raise


def _ports(entry: Obj) -> Ports:
    return tuple(tuple(sorted(port.items())) for port in entry.get("ports") or ())
