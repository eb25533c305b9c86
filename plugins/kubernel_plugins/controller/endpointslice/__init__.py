"""EndpointSlice controller: where each service's pods are.

Source: k8s.io/endpointslice/reconciler.go and k8s.io/kubernetes/pkg/controller/endpointslice (v1.37).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.errors import NotFound
from kubernel.objects import meta
from kubernel_plugins.controller import pods, portorder, services
from kubernel_plugins.controller.endpointslice import topology, trafficdistribution
from kubernel_plugins.controller.endpointslice.packing import Endpoint, Endpoints, endpoint_key, pack
from kubernel_plugins.controller.slicewriter import MANAGED_LABEL, SERVICE_LABEL, Changes, SliceWriter
from kubernel_plugins.controller.triggertimes import TriggerTimes, noted

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_HEADLESS_LABEL = "service.kubernetes.io/headless"
_RESERVED = (SERVICE_LABEL, MANAGED_LABEL, _HEADLESS_LABEL)


@dataclass(frozen=True, slots=True)
class Settings:
    """``max_endpoints``: most endpoints in one slice."""

    max_endpoints: int = 100


def _services_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return services.services_of_pod(self.primary, type, pod, old)


def _overloaded_services(self: Plugin, type: EventType, node: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    gone = type == "DELETED"
    changed = self.topology.node_changed(meta.name(node), None if gone else node)
    return self.topology.overloaded() if changed else ()


class Plugin(SliceWriter):
    """The ``endpointslice`` controller."""

    Settings = Settings
    resource = "services"
    watches = {"pods": _services_of_pod, "nodes": _overloaded_services}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:endpointslice-controller"
    component = "endpoint-slice-controller"
    retry_first = 1.0
    manager = "endpointslice-controller.k8s.io"
    after_others = 1.0

    async def start(self) -> None:
        self.topology = topology.TopologyCache()
        await super().start()
        self._times = TriggerTimes()
        self._nodes = self.informer("nodes")
        self._pods = self.informer("pods")
        services.index_pods(self._pods)
        services.index_services(self.primary)

    async def bring_about(self, namespace: str, name: str) -> float | None:
        key = namespace, name
        service = self.primary.get(name, namespace)
        if service is None:
            self._times.forget(key)
            self.topology.forget(key)
            self.forget(key)
            return None
        if service["spec"].get("type") == "ExternalName" or not service["spec"].get("selector"):
            return None
        existing = [entry for entry in self.slices_of(key) if not meta.is_deleting(entry)]
        if (wait := self.wait_for(key, existing)) is not None:
            return wait
        selected = services.selected_pods(self._pods, service)
        since = self._times.due_since(service, selected)
        try:
            await self._reconcile_families(service, selected, existing, since)
        except Exception as error:
            told = ": ".join((*getattr(error, "__notes__", ()), str(error)))
            message = f"Error updating Endpoint Slices for Service {namespace}/{name}: {told}"
            await self.recorder.event(service, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        return None

    async def _reconcile_families(
        self, service: Obj, selected: list[Obj], existing: list[Obj], since: str
    ) -> None:
        families = services.families(service)
        problems: list[str] = []
        for family in families:
            of_family = [entry for entry in existing if entry["addressType"] == family]
            problems += await self._reconcile_family(service, selected, of_family, since, family)
        for entry in existing:
            if entry["addressType"] not in families:
                self.topology.forget(meta.key(service), entry["addressType"])
                await self.delete(meta.key(service), entry)
        if problems:
            unique = list(dict.fromkeys(problems))
            raise NotFound(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")

    async def _reconcile_family(
        self, service: Obj, selected: list[Obj], existing: list[Obj], since: str, family: str
    ) -> list[str]:
        """What stood in the way, after all that could be done has been."""
        key = meta.key(service)
        wanted, problems = self._endpoints(service, selected, family)
        by_ports: dict[portorder.Ports, list[Obj]] = defaultdict(list)
        changes = Changes()
        for entry in existing:
            if _is_owned(entry, service):
                by_ports[_ports(entry)].append(entry)
            else:
                changes.delete.append(entry)
        for ports, (listed, endpoints) in wanted.items():
            changes.add(
                pack(
                    by_ports.get(ports, ()),
                    endpoints,
                    self.settings.max_endpoints,
                    lambda entry: _labels(service, entry),
                    lambda listed=listed: _fresh(service, family, listed),  # type: ignore[misc]
                )
            )
        changes.delete += [
            entry for ports, found in by_ports.items() if ports not in wanted for entry in found
        ]
        if len(existing) == len(changes.delete) and not changes.create:
            placeholder = _fresh(service, family, [])
            if len(changes.delete) == 1 and _is_same_placeholder(changes.delete[0], placeholder):
                changes.delete.clear()
            else:
                changes.create.append(placeholder)
        touched = {meta.name(entry) for entry in (*changes.update, *changes.delete)}
        unchanged = [entry for entry in existing if meta.name(entry) not in touched]
        events = self._add_hints(service, family, changes, unchanged)
        changes.recycle(lambda entry: _is_owned(entry, service))
        for entries in (changes.create, changes.update):
            entries[:] = [_stamped(entry, since) for entry in entries]
        # While the service goes, the garbage collector takes its slices.
        await self.write(key, f"Service {'/'.join(key)}", changes, create=not meta.is_deleting(service))
        for type, reason, message in events:
            await self.recorder.event(service, type, reason, message)
        return problems

    def _endpoints(
        self, service: Obj, selected: list[Obj], family: str
    ) -> tuple[dict[portorder.Ports, tuple[list[portorder.Port], Endpoints]], list[str]]:
        """Endpoints by the ports they serve, and what is wrong with the pods that are left out."""
        found: dict[portorder.Ports, tuple[list[portorder.Port], Endpoints]] = {}
        in_order: dict[portorder.Ports, list[portorder.Port]] = {}
        problems = []
        publish = bool(service["spec"].get("publishNotReadyAddresses"))
        for pod in selected:
            if not services.belongs(pod, leaving=True):
                continue
            served = services.ports_of(pod, service)
            as_served = portorder.key(served)
            if as_served not in in_order:
                in_order[as_served] = portorder.of_slices(served)
            listed = in_order[as_served]
            _, endpoints = found.setdefault(portorder.key(listed), (listed, {}))
            node_name = pod["spec"].get("nodeName", "")
            node = self._nodes.get(node_name)
            if node is None and not publish:
                problems.append(
                    f"skipping Pod {meta.name(pod)} for Service {'/'.join(meta.key(service))}: "
                    f"Node {node_name} Not Found"
                )
                continue
            if addresses := services.addresses(pod, family):
                endpoint = _endpoint(pod, node, service, addresses, publish)
                endpoints[endpoint_key(endpoint)] = endpoint
        return found, problems

    def _add_hints(
        self, service: Obj, family: str, changes: Changes, unchanged: list[Obj]
    ) -> list[topology.Event]:
        key = meta.key(service)
        if topology.is_asked_for(service):
            return self.topology.add_hints(key, family, changes, unchanged)
        events = self.topology.give_up(key, family)
        preference = service["spec"].get("trafficDistribution")
        if preference in trafficdistribution.PREFERENCES:
            trafficdistribution.add_hints(preference, changes, unchanged)
        else:
            topology.remove_hints(changes, unchanged)
        return events


def _is_owned(entry: Obj, service: Obj) -> bool:
    return any(
        owner.get("uid") == meta.uid(service) and owner.get("kind") == "Service"
        for owner in meta.owners(entry)
    )


def _ports(entry: Obj) -> portorder.Ports:
    return portorder.key(portorder.of_slices(entry.get("ports") or ()))


def _plain(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in _RESERVED}


def _labels(service: Obj, entry: Obj | None = None) -> tuple[dict[str, str], bool]:
    """The labels of the service's slices; whether ``entry`` lacks some that the service has, or the reverse."""
    own = _plain(meta.labels(service))
    labels = {**own, SERVICE_LABEL: meta.name(service), MANAGED_LABEL: Plugin.manager}
    if not services.has_address(service):
        labels[_HEADLESS_LABEL] = ""
    return labels, entry is not None and _plain(meta.labels(entry)) != own


def _fresh(service: Obj, family: str, ports: list[portorder.Port]) -> Obj:
    labels, _ = _labels(service)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{meta.name(service)}-",
            "namespace": meta.namespace(service),
            "labels": labels,
            "ownerReferences": [meta.owner_reference(service)],
        },
        "addressType": family,
        "endpoints": [],
        "ports": ports,
    }


def _is_same_placeholder(entry: Obj, placeholder: Obj) -> bool:
    labels, wanted = meta.labels(entry), meta.labels(placeholder)
    return not entry.get("endpoints") and not entry.get("ports") and labels == wanted


def _endpoint(pod: Obj, node: Obj | None, service: Obj, addresses: list[str], publish: bool) -> Endpoint:
    serving = pods.is_ready(pod)
    leaving = meta.is_deleting(pod)
    endpoint: Endpoint = {
        "addresses": addresses,
        "conditions": {
            "ready": publish or (serving and not leaving),
            "serving": serving,
            "terminating": leaving,
        },
        "targetRef": services.target(pod),
    }
    if node_name := pod["spec"].get("nodeName"):
        endpoint["nodeName"] = node_name
    if zone := topology.zone_of(node):
        endpoint["zone"] = zone
    if host := services.host_name(pod, service):
        endpoint["hostname"] = host
    return endpoint


def _stamped(entry: Obj, since: str) -> dict[str, Any]:
    annotations = noted(dict(meta.annotations(entry)), since)
    return {**entry, "metadata": {**entry["metadata"], "annotations": annotations}}
