"""What the server does to a pod before it is looked at (pkg/registry/core/pod/strategy.go)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kubernel.objects import quantity
from kubernel.registry.metadata import keep_reset
from kubernel_plugins.usage import pod_totals

__all__ = [
    "complete_resources",
    "keep_all_but_resources",
    "keep_observations",
    "merge_label_keys",
]

Obj = dict[str, Any]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_CLAIMS = ("resourceClaimStatuses", "extendedResourceClaimStatus")


def merge_label_keys(pod: Obj) -> None:
    """``matchLabelKeys`` and ``mismatchLabelKeys`` become part of the selector (KEPs 3633, 3243)."""
    spec = pod["spec"]
    if not spec.get("affinity") and not spec.get("topologySpreadConstraints"):
        return
    labels = pod["metadata"].get("labels") or {}
    for term in _terms(spec):
        selector = term.get("labelSelector")
        if selector is None:
            continue
        for key, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            added = [
                {"key": name, "operator": operator, "values": [labels[name]]}
                for name in term.get(key) or ()
                if name in labels
            ]
            if added:
                selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), *added]


def _terms(spec: Obj) -> Iterator[Obj]:
    affinity = spec.get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind) or {}
        yield from (term.get("podAffinityTerm") or {} for term in pods.get(_PREFERRED) or ())
        yield from pods.get(_REQUIRED) or ()
    yield from spec.get("topologySpreadConstraints") or ()


def complete_resources(spec: Obj) -> None:
    """What the pod as a whole asks for follows from its containers where it does not say (KEP-2837)."""
    resources = spec.get("resources")
    if not resources or not (resources.get("requests") or resources.get("limits")):
        return
    bare = {key: spec.get(key) for key in ("containers", "initContainers")}
    requests, limits = dict(resources.get("requests") or {}), dict(resources.get("limits") or {})
    needed, most = pod_totals(bare, "requests"), pod_totals(bare, "limits")
    for name, amount in most.items():
        if name.startswith("hugepages-") and name not in requests:
            limits.setdefault(name, amount)
    for name, amount in needed.items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, amount)
    for name, amount in limits.items():
        if _pod_level(name):
            requests.setdefault(name, amount)
    open_ended = [name for name in requests if _pod_level(name) and name not in limits]
    for name in open_ended:
        if name in most and all(name in _limits(container) for container in _containers(spec)):
            larger = quantity.parse(requests[name]) > quantity.parse(most[name])
            limits[name] = requests[name] if larger else most[name]
    for key, amounts in (("requests", requests), ("limits", limits)):
        if amounts:
            resources[key] = amounts


def _pod_level(name: str) -> bool:
    return name in ("cpu", "memory") or name.startswith("hugepages-")


def _containers(spec: Obj) -> Iterable[Obj]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _limits(container: Obj) -> Mapping[str, Any]:
    return (container.get("resources") or {}).get("limits") or {}


def keep_all_but_resources(obj: Obj, old: Obj) -> None:
    """``resize`` writes the resources and resize policies of the same containers, and nothing else. Other
    containers are left for validation to complain about."""
    spec, before = obj["spec"], old["spec"]
    kinds = ("containers", "initContainers")
    if any(len(spec.get(kind) or ()) != len(before.get(kind) or ()) for kind in kinds):
        return
    kept = {**before}
    if spec.get("resources") is not None:
        kept["resources"] = spec["resources"]
    else:
        kept.pop("resources", None)
    for kind in kinds:
        if spec.get(kind):
            kept[kind] = _resized(spec[kind], before[kind])
    obj["spec"] = kept
    keep_reset(obj["metadata"], old["metadata"], ("metadata",))


def _resized(new: list[Obj], old: list[Obj]) -> list[Obj]:
    made = []
    for container, was in zip(new, old, strict=True):
        if container.get("name") != was.get("name"):
            return new
        one = {**was}
        for key in ("resources", "resizePolicy"):
            if container.get(key) is not None:
                one[key] = container[key]
            else:
                one.pop(key, None)
        made.append(one)
    return made


def keep_observations(status: Obj, before: Obj) -> None:
    """What older clients leave out of a status: claims, and the generation that something was seen at."""
    for key in _CLAIMS:
        if status.get(key) is None and before.get(key) is not None:
            status[key] = before[key]
    if not status.get("observedGeneration") and before.get("observedGeneration"):
        status["observedGeneration"] = before["observedGeneration"]
    seen: dict[str, list[int]] = {}
    for condition in before.get("conditions") or ():
        seen.setdefault(condition.get("type") or "", []).append(condition.get("observedGeneration") or 0)
    if not any(map(any, seen.values())):
        return
    made = []
    for condition in status.get("conditions") or ():
        known = seen.get(condition.get("type") or "")
        generation = known.pop(0) if known else 0
        if not condition.get("observedGeneration") and generation:
            condition = {**condition, "observedGeneration": generation}
        made.append(condition)
    if made:
        status["conditions"] = made
