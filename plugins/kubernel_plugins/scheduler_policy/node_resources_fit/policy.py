"""NodeResourcesFit.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import Change, Policy, Refusal
from kubernel_plugins.scheduler_policy.node_resources_fit.strategies import strategy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows

__all__ = ["NodeResourcesFit"]


class NodeResourcesFit(Policy):
    """Arguments: ``scoringStrategy``, ``ignoredResources``, ``ignoredResourceGroups`` (extended resources that
    are not looked at)."""

    name = "NodeResourcesFit"
    scope = "node"
    arguments = frozenset(("scoringStrategy", "ignoredResources", "ignoredResourceGroups"))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._strategy = strategy(args.get("scoringStrategy") or {})
        self._ignored = frozenset(args.get("ignoredResources") or ())
        self._ignored_groups = frozenset(args.get("ignoredResourceGroups") or ())

    def sign(self, pod: PodState) -> Any:
        return sorted(pod.requests.items()), pod.nonzero

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return tuple(
            (resource, amount)
            for resource, amount in pod.requests.items()
            if resource not in self._ignored and resource.partition("/")[0] not in self._ignored_groups
        )

    def filter(self, pod: PodState, state: tuple[tuple[str, int], ...], nodes: Nodes, rows: Rows) -> Mask:
        fits: Mask = nodes.pods[rows] < nodes.allocatable("pods")[rows]
        for resource, amount in state:
            fits = fits & (nodes.requested(resource)[rows] + amount <= nodes.allocatable(resource)[rows])
        return fits

    def reasons(
        self, pod: PodState, state: tuple[tuple[str, int], ...], nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        yield nodes.pods[rows] >= nodes.allocatable("pods")[rows], Refusal("Too many pods")
        for resource, amount in state:
            allocatable = nodes.allocatable(resource)[rows]
            short = nodes.requested(resource)[rows] + amount > allocatable
            never = amount > allocatable
            yield short & never, Refusal(f"Insufficient {resource}", lasting=True)
            yield short & ~never, Refusal(f"Insufficient {resource}")

    def score(self, pod: PodState, state: None, nodes: Nodes, rows: Rows) -> Amounts:
        return self._strategy(pod, nodes, rows)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == "pods":
            # A pod that went, or one that was made smaller.
            return change.type == "DELETED" or (
                change.old is not None and change.old["spec"] != change.obj["spec"]
            )
        if change.resource != "nodes" or change.type == "DELETED":
            return False
        nodes = self.context.nodes
        row = nodes.row(change.obj["metadata"]["name"])
        if row is None:
            return True
        rows = slice(row, row + 1)
        return bool(numpy.all(self.filter(pod, self.pre_filter(pod, nodes), nodes, rows)))
