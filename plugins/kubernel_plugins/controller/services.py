"""What the two endpoint controllers ask of services and their pods.

Source: k8s.io/endpointslice and k8s.io/kubernetes/pkg/controller/endpoint (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta
from kubernel_plugins.controller import pods

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = [
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
    """Keys of the services whose endpoints this change may touch."""
    if type == "MODIFIED" and old is not None and _signature(pod) == _signature(old):
        return ()
    keys = set()
    for version in (pod, old):
        if version is None:
            continue
        labels = meta.labels(version)
        for pair in _pod_pairs(version):
            for service in services.by(_SERVICES, pair):
                selector = service["spec"].get("selector") or {}
                if all(labels.get(key) == value for key, value in selector.items()):
                    keys.add(meta.key(service))
    return keys


def _signature(pod: Obj) -> tuple[Any, ...]:
    """All of a pod that endpoints are made of."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    return (
        status.get("podIP"),
        status.get("phase"),
        pods.is_ready(pod),
        meta.is_deleting(pod),
        spec.get("nodeName"),
        meta.labels(pod),
        host_name(pod, None),
    )


def host_name(pod: Obj, service: Obj | None) -> str:
    """The pod's name in the service's DNS subdomain; empty when it has none there."""
    spec = pod.get("spec") or {}
    if service is not None and spec.get("subdomain") != meta.name(service):
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


def is_serving(pod: Obj) -> bool:
    return conditions.is_true(pod, "Ready")
