"""TaintToleration.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/tainttoleration (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import Change, Policy, Refusal
from kubernel_plugins.scheduler_policy.scores import by_largest
from kubernel_plugins.scheduler_policy.tolerations import tolerates, untolerated

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Mask, Nodes, PodState, Rows

__all__ = ["TaintToleration"]

_HARD = ("NoSchedule", "NoExecute")


class TaintToleration(Policy):
    name = "TaintToleration"
    scope = "node object"
    refusal = Refusal("node(s) had untolerated taint(s)", lasting=True)

    def sign(self, pod: PodState) -> Any:
        return pod.pod["spec"].get("tolerations")

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return pod.pod["spec"].get("tolerations") or ()

    def filter(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Mask:
        """There are few different sets of taints: decide for each set."""
        ids, sets = nodes.taint_sets()
        tolerated = [untolerated(taints, state, _HARD) is None for taints in sets]
        return numpy.array(tolerated, dtype=bool)[ids[rows]]

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        return [
            entry
            for entry in pod.pod["spec"].get("tolerations") or ()
            if entry.get("effect", "") in ("", "PreferNoSchedule")
        ]

    def score(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Amounts:
        """How many taints it would rather not have there."""
        ids, sets = nodes.taint_sets()
        counts = [
            sum(
                taint.get("effect") == "PreferNoSchedule"
                and not any(tolerates(entry, taint) for entry in state)
                for taint in taints
            )
            for taints in sets
        ]
        return numpy.array(counts, dtype=numpy.int64)[ids[rows]]

    def normalize(self, pod: PodState, state: Any, nodes: Nodes, scores: Amounts, fits: Mask) -> Amounts:
        return by_largest(scores, fits, reverse=True)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource != "nodes":
            return False
        taints = (change.obj.get("spec") or {}).get("taints") or ()
        return untolerated(taints, pod.pod["spec"].get("tolerations") or (), _HARD) is None
