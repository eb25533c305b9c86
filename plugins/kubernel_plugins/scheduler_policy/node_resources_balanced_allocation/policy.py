"""NodeResourcesBalancedAllocation.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources/balanced_allocation.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import MAX_SCORE, SKIP, Policy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Context, Nodes, PodState, Rows

__all__ = ["BalancedAllocation"]


class BalancedAllocation(Policy):
    """Argument ``resources``: which to compare; their weights are not looked at."""

    name = "NodeResourcesBalancedAllocation"
    scope = "node"
    arguments = frozenset(("resources",))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        given = args.get("resources") or ({"name": "cpu"}, {"name": "memory"})
        self._resources = tuple(entry["name"] for entry in given)

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
        shares, there = [], []
        for resource in state:
            allocatable = nodes.allocatable(resource)[rows]
            used = nodes.requested(resource)[rows] + pod.requests.get(resource, 0)
            there.append(allocatable > 0)
            shares.append(numpy.minimum(used / numpy.maximum(allocatable, 1), 1.0))
        if len(shares) == 2:
            # A resource that the node does not have leaves one share, which deviates from nothing.
            deviation: Any = abs(shares[0] - shares[1]) / 2 * (there[0] & there[1])
        else:
            deviation = _deviation(numpy.stack(shares), numpy.stack(there))
        scores: Amounts = ((1 - deviation) * MAX_SCORE).astype(numpy.int64)
        return scores


def _deviation(shares: Any, there: Any) -> Any:
    """Standard deviation over the shares of what is there."""
    count = numpy.maximum(there.sum(axis=0), 1)
    mean = (shares * there).sum(axis=0) / count
    squares = ((shares - mean) ** 2 * there).sum(axis=0)
    return numpy.sqrt(squares / count)
