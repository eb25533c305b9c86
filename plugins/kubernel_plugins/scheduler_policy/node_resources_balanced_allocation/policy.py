"""NodeResourcesBalancedAllocation.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import MAX_SCORE, SKIP, Policy
from kubernel_plugins.scheduler_policy.arguments import Problems

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Context, Nodes, PodState, Rows

__all__ = ["BalancedAllocation"]

_TWO = 2


class BalancedAllocation(Policy):
    """Argument ``resources``: which to compare; their weights are not looked at."""

    name = "NodeResourcesBalancedAllocation"
    scope = "node"
    arguments = frozenset(("resources",))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        given = args.get("resources") or ({"name": "cpu"}, {"name": "memory"})
        wrong = Problems()
        self._resources: tuple[str, ...] = ()
        for position, entry in enumerate(given):
            if entry["name"] in self._resources:
                wrong.duplicate(f"resources[{position}].name", entry["name"])
            if (entry.get("weight") or 1) != 1:
                wrong.invalid(f"resources[{position}].weight", entry["weight"], "must be 1")
            self._resources += (entry["name"],)
        wrong.check()

    def sign(self, pod: PodState) -> Any:
        return [pod.requests.get(resource, 0) for resource in self._resources]

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        """Pods that request nothing would otherwise all go to the same node."""
        resources = [
            resource
            for resource in self._resources
            if resource in ("cpu", "memory", "ephemeral-storage") or resource in pod.requests
        ]
        return resources if any(pod.requests.get(resource) for resource in resources) else SKIP

    def score(self, pod: PodState, state: list[str], nodes: Nodes, rows: Rows) -> Amounts:
        """By how much the pod would even the use of the node out: 75 when it changes nothing."""
        there = [nodes.allocatable(resource)[rows] for resource in state]
        before = [nodes.requested(resource)[rows] for resource in state]
        after = [used + pod.requests.get(resource, 0) for used, resource in zip(before, state, strict=True)]
        half = MAX_SCORE // 2
        scores: Amounts = half + (half + _balance(after, there) - _balance(before, there)) // 2
        return scores


def _balance(used: Sequence[Amounts], there: Sequence[Amounts]) -> Amounts:
    """50 to 100, the more alike the shares of what is there are that are used."""
    if len(used) == 1:
        return numpy.full_like(used[0], MAX_SCORE)
    shares = [
        numpy.minimum(amount / numpy.maximum(of, 1), 1.0) for amount, of in zip(used, there, strict=True)
    ]
    if len(used) == _TWO:
        # A resource that the node does not have leaves one share, which deviates from nothing.
        deviation: Any = abs((shares[0] - shares[1]) / 2) * ((there[0] > 0) & (there[1] > 0))
    else:
        deviation = _deviation(numpy.stack(shares), numpy.stack(there) > 0)
    scores: Amounts = ((1 - deviation) * MAX_SCORE).astype(numpy.int64)
    return scores


def _deviation(shares: Any, there: Any) -> Any:
    """Standard deviation over the shares of what is there."""
    count = numpy.maximum(there.sum(axis=0), 1)
    mean = (shares * there).sum(axis=0) / count
    squares = ((shares - mean) ** 2 * there).sum(axis=0)
    # Of two it is half of what lies between them: computed so, no rounding comes in.
    most = numpy.where(there, shares, 0.0).max(axis=0)
    least = numpy.where(there, shares, 1.0).min(axis=0)
    return numpy.where(count > _TWO, numpy.sqrt(squares / count), numpy.maximum(most - least, 0.0) / 2)
