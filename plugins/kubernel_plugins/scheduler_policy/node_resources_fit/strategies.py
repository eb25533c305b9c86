"""Scoring strategies of NodeResourcesFit.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources, least_allocated.go, most_allocated.go and
requested_to_capacity_ratio.go (v1.37). All arithmetic is on integers, as there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import MAX_SCORE
from kubernel_plugins.scheduler_policy.scores import shaped

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Mask, Nodes, PodState, Rows
    from kubernel_plugins.scheduler_policy.arguments import Problems

    Strategy = Callable[[PodState, Nodes, Rows], Amounts]

__all__ = ["strategy"]

_COMPARED = ("cpu", "memory")
_NO_SHAPE = ({"utilization": 0, "score": 0},)
_BUILT_IN = ("cpu", "memory", "ephemeral-storage", "pods")


def strategy(args: Mapping[str, Any], wrong: Problems) -> Strategy:
    """The strategy that ``scoringStrategy`` describes; what is wrong with it is added to ``wrong``."""
    path, kind = "scoringStrategy", args.get("type") or "LeastAllocated"
    wrong.one_of(f"{path}.type", kind, "LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    weights = _weights(args.get("resources"), f"{path}.resources", wrong)
    ratio = args.get("requestedToCapacityRatio")
    path = f"{path}.requestedToCapacityRatio"
    if kind != "RequestedToCapacityRatio":
        if ratio is not None:
            wrong.forbidden(path, "must be nil when type is not RequestedToCapacityRatio")
        return _weighted_mean(weights, _most if kind == "MostAllocated" else _least)
    if ratio is None:
        wrong.required(path, "must be specified when type is RequestedToCapacityRatio")
    shape = (ratio or {}).get("shape") or ()
    if ratio is not None:
        wrong.shape(f"{path}.shape", shape)
    return _weighted_mean(weights, _by_shape(shape or _NO_SHAPE), ratio=True)


def _weights(
    resources: Sequence[Mapping[str, Any]] | None, path: str, wrong: Problems
) -> tuple[tuple[str, int], ...]:
    if not resources:
        return tuple((resource, 1) for resource in _COMPARED)
    found = []
    for position, entry in enumerate(resources):
        weight = entry.get("weight") or 1
        if not 1 <= weight <= 100:
            why = f"resource weight of {entry['name']} not in valid range (0, 100]"
            wrong.invalid(f"{path}[{position}].weight", weight, why)
        found.append((entry["name"], weight))
    return tuple(found)


def _weighted_mean(
    weights: tuple[tuple[str, int], ...],
    one: Callable[[Amounts, Amounts, Mask], Amounts],
    *,
    ratio: bool = False,
) -> Strategy:
    """``ratio``: rounded, and without the resources that score 0."""

    def score(pod: PodState, nodes: Nodes, rows: Rows) -> Amounts:
        total: Amounts = numpy.zeros_like(nodes.pods[rows])
        weighed: Amounts = numpy.zeros_like(total)
        for resource, weight in weights:
            if resource not in _BUILT_IN and resource not in pod.requests:
                continue
            allocatable = nodes.allocatable(resource)[rows]
            there = allocatable > 0
            capacity = numpy.maximum(allocatable, 1)
            scores = one(_used(pod, nodes, resource, rows), capacity, there)
            counted = there & (scores > 0) if ratio else there
            total = total + weight * numpy.where(there, scores, 0)
            weighed = weighed + weight * counted
        divisor = numpy.maximum(weighed, 1)
        # Half away from zero, as Go rounds; nothing here is negative.
        found: Amounts = (2 * total + divisor) // (2 * divisor) if ratio else total // divisor
        return found

    return score


def _used(pod: PodState, nodes: Nodes, resource: str, rows: Rows) -> Amounts:
    """What would be in use with the pod there."""
    if resource in _COMPARED:
        position = _COMPARED.index(resource)
        compared: Amounts = nodes.nonzero[position][rows] + pod.nonzero[position]
        return compared
    return nodes.requested(resource)[rows] + pod.requests.get(resource, 0)


def _least(used: Amounts, capacity: Amounts, there: Mask) -> Amounts:
    found: Amounts = numpy.maximum(capacity - used, 0) * MAX_SCORE // capacity
    return found


def _most(used: Amounts, capacity: Amounts, there: Mask) -> Amounts:
    found: Amounts = numpy.minimum(used, capacity) * MAX_SCORE // capacity
    return found


def _by_shape(shape: Sequence[Mapping[str, Any]]) -> Callable[[Amounts, Amounts, Mask], Amounts]:
    by_percent = shaped(shape)

    def score(used: Amounts, capacity: Amounts, there: Mask) -> Amounts:
        percent = numpy.minimum(used * 100 // capacity, 100)
        found: Amounts = by_percent[numpy.where(used > capacity, 100, percent)]
        return found

    return score
