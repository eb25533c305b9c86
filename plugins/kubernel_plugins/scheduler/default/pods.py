"""A pod as the scheduler sees it: amounts, ports and affinity terms, computed once.

Source: k8s.io/component-helpers/resource/helpers.go and k8s.io/kubernetes/pkg/scheduler/framework/types.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta, quantity
from kubernel.plugin.scheduling import UNREQUESTED, PodState, Term

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import TermKind
    from kubernel.store.records import Obj

__all__ = ["amount", "pod_requests", "pod_state", "refreshed", "resizing"]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_NOTHING: Mapping[str, Any] = {}


# There are few different amounts among thousands of pods and nodes.
@lru_cache(maxsize=4096)
def amount(resource: str, value: Any) -> int:
    """Millicores of CPU, units of everything else."""
    return quantity.to_int_milli(value) if resource == "cpu" else quantity.to_int(value)


def _add(into: dict[str, int], requests: Mapping[str, Any], missing: Mapping[str, int]) -> None:
    for resource, value in requests.items():
        into[resource] = into.get(resource, 0) + amount(resource, value)
    for resource, default in missing.items():
        if resource not in requests:
            into[resource] = into.get(resource, 0) + default


def pod_requests(pod: Obj, missing: Mapping[str, int] = _NOTHING) -> dict[str, int]:
    """What the pod asks of a node: its containers and sidecars together, or its largest moment of
    initialisation, and the overhead. A container that does not request one of ``missing`` counts with that. While it is
    being resized the pod counts with the most of what it asks for, was granted and has. Only what is greater than
    zero."""
    spec, told = pod["spec"], resizing(pod)
    total = _together(spec, missing, _asked)
    own: Mapping[str, Any] = (spec.get("resources") or {}).get("requests") or _NOTHING
    pod_level = {resource: amount(resource, text) for resource, text in own.items()}
    if told is not None:
        infeasible, statuses, granted, has = told
        if granted is not None and has is not None:
            total = _most({} if infeasible else total, _amounts(granted), _amounts(has))
        else:

            def allocated(container: Mapping[str, Any]) -> Mapping[str, Any]:
                found: Mapping[str, Any] | None = statuses.get(container["name"], (None, None))[0]
                return found if found is not None else _NOTHING if infeasible else _asked(container)

            def actual(container: Mapping[str, Any]) -> Mapping[str, Any]:
                found: Mapping[str, Any] | None = statuses.get(container["name"], (None, None))[1]
                return found if found is not None else allocated(container)

            total = _most(
                {} if infeasible else total,
                _together(spec, missing, allocated),
                _together(spec, missing, actual),
            )
        if pod_level and has is not None:
            pod_level = _most({} if infeasible else pod_level, _amounts(granted or _NOTHING), _amounts(has))
    total.update(pod_level)
    _add(total, spec.get("overhead") or _NOTHING, _NOTHING)
    return {resource: value for resource, value in total.items() if value > 0}


def resizing(pod: Obj) -> tuple[bool, Mapping[str, tuple[Any, Any]], Any, Any] | None:
    """What the status says of the pod's resources: whether what the spec asks for cannot be, (granted, actual) requests
    by container, and those of the whole pod. None when it says nothing."""
    status = pod.get("status") or _NOTHING
    statuses: dict[str, tuple[Any, Any]] = {}
    for part in ("containerStatuses", "initContainerStatuses"):
        for each in status.get(part) or ():
            granted, has = each.get("allocatedResources"), (each.get("resources") or _NOTHING).get("requests")
            if granted is not None or has is not None:
                statuses[each["name"]] = granted, has
    granted, has = status.get("allocatedResources"), (status.get("resources") or _NOTHING).get("requests")
    if not statuses and granted is None and has is None:
        return None
    pending = conditions.find(pod, "PodResizePending")
    return pending is not None and pending.get("reason") == "Infeasible", statuses, granted, has


def _asked(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return (container.get("resources") or _NOTHING).get("requests") or _NOTHING


def _amounts(requests: Mapping[str, Any]) -> dict[str, int]:
    return {resource: amount(resource, value) for resource, value in requests.items()}


def _most(*several: Mapping[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in several:
        for resource, value in each.items():
            found[resource] = max(found.get(resource, value), value)
    return found


def _together(
    spec: Mapping[str, Any],
    missing: Mapping[str, int],
    of: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, int]:
    """The containers' amounts added up, or the largest moment of initialisation."""
    total: dict[str, int] = {}
    for container in spec.get("containers") or ():
        _add(total, of(container), missing)
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        requests = of(container)
        if container.get("restartPolicy") == "Always":
            _add(sidecars, requests, missing)
            _add(total, requests, missing)
            moment = sidecars
        else:
            moment = dict(sidecars)
            _add(moment, requests, missing)
        for resource, value in moment.items():
            peak[resource] = max(peak.get(resource, 0), value)
    for resource, value in peak.items():
        total[resource] = max(total.get(resource, 0), value)
    return total


def pod_state(pod: Obj) -> PodState:
    metadata, spec = pod["metadata"], pod["spec"]
    requests = pod_requests(pod)
    nonzero = (
        requests
        if all(resource in requests for resource in UNREQUESTED) and len(spec.get("containers") or ()) == 1
        else pod_requests(pod, UNREQUESTED)
    )
    affinity = spec.get("affinity")
    return PodState(
        pod=pod,
        uid=metadata.get("uid", ""),
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        labels=metadata.get("labels") or {},
        requests=requests,
        nonzero=(nonzero.get("cpu", 0), nonzero.get("memory", 0)),
        priority=spec.get("priority") or 0,
        ports=tuple(_host_ports(spec)),
        terms=tuple(_terms(metadata.get("namespace", ""), affinity)) if affinity else (),
        leaving=meta.is_deleting(pod),
        claims=tuple(_claims(metadata["name"], spec)) if spec.get("volumes") else (),
    )


def refreshed(state: PodState, pod: Obj) -> PodState:
    """``pod_state(pod)``, from that of an earlier version."""
    before, metadata = state.pod, pod["metadata"]
    if (
        state.leaving != meta.is_deleting(pod)
        or before["metadata"].get("labels") != metadata.get("labels")
        or resizing(before) != resizing(pod)
        or {**before["spec"], "nodeName": None} != {**pod["spec"], "nodeName": None}
    ):
        return pod_state(pod)
    return replace(state, pod=pod)


def _claims(pod: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    for volume in spec["volumes"]:
        if claim := volume.get("persistentVolumeClaim"):
            yield claim.get("claimName", ""), False
        elif volume.get("ephemeral"):
            yield f"{pod}-{volume['name']}", True


def _host_ports(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, int]]:
    sidecars = (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")
    for container in (*(spec.get("containers") or ()), *sidecars):
        for port in container.get("ports") or ():
            if number := port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", number  # noqa: S104


def _terms(namespace: str, affinity: Mapping[str, Any]) -> Iterator[tuple[TermKind, Term, int]]:
    kinds: Sequence[tuple[str, TermKind, TermKind]] = (
        ("podAffinity", "affinity", "preferred-affinity"),
        ("podAntiAffinity", "anti-affinity", "preferred-anti-affinity"),
    )
    for part, required, preferred in kinds:
        found = affinity.get(part) or {}
        for term in found.get(_REQUIRED) or ():
            yield required, Term.of(namespace, term), 0
        for entry in found.get(_PREFERRED) or ():
            yield preferred, Term.of(namespace, entry["podAffinityTerm"]), entry["weight"]
