"""What the two endpoint controllers ask of services and their pods.

Source: k8s.io/endpointslice and k8s.io/kubernetes/pkg/controller/endpoint (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.addresses import parse_ip
from kubernel_plugins.controller import pods

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = [
    "addresses",
    "belongs",
    "families",
    "has_address",
    "host_name",
    "index_pods",
    "index_services",
    "ports_of",
    "selected_pods",
    "services_of_pod",
    "target",
]

_PODS = "label"
_SERVICES = "selector"


def index_pods(informer: Informer) -> None:
    """So that a service finds its pods by one of its selector's pairs."""
    informer.add_index(_PODS, _pod_pairs)


def index_services(informer: Informer) -> None:
    """So that a pod finds the services that may select it."""
    informer.add_index(_SERVICES, _selector_pair)


def _pod_pairs(pod: Obj) -> Iterable[str]:
    namespace = meta.namespace(pod)
    return [f"{namespace}/{key}={value}" for key, value in meta.labels(pod).items()]


def _selector_pair(service: Obj) -> Iterable[str]:
    selector = meta.get(service, "spec", "selector", default={})
    return [f"{meta.namespace(service)}/{key}={selector[key]}" for key in sorted(selector)[:1]]


def selected_pods(informer: Informer, service: Obj) -> list[Obj]:
    """Pods that the service selects, by name."""
    selector = service["spec"]["selector"]
    pair = next(iter(_selector_pair(service)))
    found = [
        pod
        for pod in informer.by(_PODS, pair)
        if all(meta.labels(pod).get(key) == value for key, value in selector.items())
    ]
    return sorted(found, key=meta.name)


def services_of_pod(services: Informer, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Keys of the services whose endpoints this change may touch (GetPodUpdateProjectionKey)."""
    if type != "MODIFIED" or old is None:
        return _selecting(services, pod)
    moved = meta.labels(pod) != meta.labels(old)
    changed = (
        meta.is_deleting(pod) or pods.is_ready(pod) != pods.is_ready(old) or _listed(pod) != _listed(old)
    )
    if not moved:
        return _selecting(services, pod) if changed else ()
    now, before = _selecting(services, pod), _selecting(services, old)
    return now | before if changed else now ^ before


def _selecting(services: Informer, pod: Obj) -> set[ObjectKey]:
    labels = meta.labels(pod)
    found = set()
    for pair in _pod_pairs(pod):
        for service in services.by(_SERVICES, pair):
            selector = service["spec"].get("selector") or {}
            if all(labels.get(key) == value for key, value in selector.items()):
                found.add(meta.key(service))
    return found


def _listed(pod: Obj) -> list[str]:
    return [entry["ip"] for entry in meta.get(pod, "status", "podIPs", default=())]


def addresses(pod: Obj, family: str) -> list[str]:
    """The pod's addresses of one family, in their usual form."""
    return [
        str(address)
        for address in map(parse_ip, _listed(pod))
        if address is not None and f"IPv{address.version}" == family
    ]


def belongs(pod: Obj, *, leaving: bool) -> bool:
    """Whether the pod is an endpoint at all; one on its way out only where it counts."""
    return bool(_listed(pod)) and not pods.is_finished(pod) and (leaving or not meta.is_deleting(pod))


def families(service: Obj) -> list[str]:
    """IPv4 and IPv6, as the service has them."""
    found: list[str] = service["spec"].get("ipFamilies") or []
    if found:
        return found
    address = service["spec"].get("clusterIP") or "None"
    return ["IPv4", "IPv6"] if address == "None" else ["IPv6" if ":" in address else "IPv4"]


def has_address(service: Obj) -> bool:
    return service["spec"].get("clusterIP") not in (None, "", "None")


def host_name(pod: Obj, service: Obj) -> str:
    """The pod's name in the service's DNS subdomain; empty when it has none there."""
    spec = pod["spec"]
    if spec.get("subdomain") != meta.name(service):
        return ""
    name: str = spec.get("hostname") or ""
    return name


def ports_of(pod: Obj, service: Obj) -> list[dict[str, Any]]:
    """The service's ports as this pod serves them; a named port that it lacks is left out."""
    result = []
    for port in service["spec"].get("ports") or ():
        number = _port_number(pod, port)
        if number is None:
            continue
        entry: dict[str, Any] = {
            "name": port.get("name", ""),
            "port": number,
            "protocol": port.get("protocol", "TCP"),
        }
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        result.append(entry)
    return result


def _port_number(pod: Obj, port: dict[str, Any]) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    containers = [
        *(pod["spec"].get("containers") or ()),
        *(
            entry
            for entry in pod["spec"].get("initContainers") or ()
            if entry.get("restartPolicy") == "Always"
        ),
    ]
    for container in containers:
        for declared in container.get("ports") or ():
            same = declared.get("protocol", "TCP") == port.get("protocol", "TCP")
            if declared.get("name") == target and same:
                return int(declared["containerPort"])
    return None


def target(pod: Obj) -> dict[str, Any]:
    """``targetRef`` of the pod's endpoint."""
    return {
        "kind": "Pod",
        "namespace": meta.namespace(pod),
        "name": meta.name(pod),
        "uid": meta.uid(pod),
    }
