"""Extended resources that a device class stands for: a claim made for the pod asks for the devices.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/dynamicresources/extendeddynamicresources.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, quantity

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState
    from kubernel.store.records import Obj

__all__ = ["claim_for", "find"]

_ANNOTATION = "resource.kubernetes.io/extended-resource-claim"
_UNNAMED = "<extended-resources>"
"""No name that a claim can have."""


def find(pod: PodState, owned: Iterable[Obj]) -> Obj | None:
    """The claim that was made for the pod before, of those that it owns."""
    return next((each for each in owned if meta.annotations(each).get(_ANNOTATION) == "true"), None)


def claim_for(
    pod: PodState, resources: Iterable[str], class_of: Callable[[str], Obj | None]
) -> tuple[Obj, list[Obj]]:
    """A claim, yet to be created, for what the pod asks of these resources, and which request of it is for which
    resource of which container (``requestMappings``)."""
    requests: list[Obj] = []
    mappings: list[Obj] = []
    for resource in sorted(resources):
        if (found := class_of(resource)) is not None:
            its, told = _ask(pod.pod["spec"], resource, meta.name(found))
            requests += its
            mappings += told
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid, "controller": True}
    claim = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {
            "name": _UNNAMED,
            "namespace": pod.namespace,
            "uid": f"{_UNNAMED} of {pod.uid}",
            "generateName": f"{pod.name}-extended-resources-",
            "ownerReferences": [owner],
            "annotations": {_ANNOTATION: "true"},
        },
        "spec": {"devices": {"requests": sorted(requests, key=lambda each: str(each["name"]))}},
    }
    return claim, mappings


def _ask(spec: Obj, resource: str, device_class: str) -> tuple[list[Obj], list[Obj]]:
    """The requests for one resource. A container that ends before others start uses what those ask for, and one request
    for what is missing is shared by all such containers."""
    first = spec.get("initContainers") or []
    containers = [*first, *(spec.get("containers") or [])]
    lasting: list[Obj | None] = [None] * len(containers)
    passing: list[int] = []
    told: list[Obj] = []
    for index, container in enumerate(containers):
        if index < len(first) and container.get("restartPolicy") != "Always":
            passing.append(index)
        else:
            lasting[index], its = _of_container(index, container, resource, device_class, ())
            told += its
    extra: list[Obj] = []
    of_passing: list[Obj] = []
    for index in passing:
        made, its = _of_container(index, containers[index], resource, device_class, lasting[index:])
        of_passing += its
        if made is not None:
            extra.append(made)
    kept = [each for each in lasting if each is not None]
    if extra:
        largest = max(extra, key=lambda each: int(each["exactly"]["count"]))
        names = {each["name"] for each in extra}
        of_passing = [
            {**each, "requestName": largest["name"]} if each["requestName"] in names else each
            for each in of_passing
        ]
        kept.append(largest)
    return kept, told + of_passing


def _of_container(
    index: int, container: Obj, resource: str, device_class: str, others: Sequence[Obj | None]
) -> tuple[Obj | None, list[Obj]]:
    """What one container asks for beyond what it can use of ``others``, and what it uses."""
    asked: dict[str, Any] = (container.get("resources") or {}).get("requests") or {}
    amount = quantity.to_int(asked.get(resource, 0))
    if not amount:
        return None, []
    told: list[Obj] = []

    def use(request: str) -> None:
        told.append({"containerName": container["name"], "resourceName": resource, "requestName": request})

    for other in others:
        if other is not None:
            use(other["name"])
            amount -= other["exactly"]["count"]
            if amount <= 0:
                return None, told
    name = f"container-{index}-request-{sorted(asked).index(resource)}"
    use(name)
    exactly = {"deviceClassName": device_class, "allocationMode": "ExactCount", "count": amount}
    return {"name": name, "exactly": exactly}, told
