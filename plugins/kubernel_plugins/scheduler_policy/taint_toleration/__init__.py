"""TaintToleration: nodes keep pods away that do not tolerate their taints.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/tainttoleration (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import FITS, Refusal
from kubernel_plugins.scheduler_policy.tolerations import tolerates, untolerated

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import NodeState, PodState, SchedulerPolicy, Verdict

__all__ = ["Plugin"]

_REFUSED: Verdict = (Refusal("node(s) had untolerated taint(s)", lasting=True),)


class Plugin(Base):
    """The ``taint_toleration`` policy."""

    name = "TaintToleration"
    weight = 3.0

    @hookimpl
    def kubernel_scheduler_policy(self) -> SchedulerPolicy:
        return self

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        tolerations = pod.pod["spec"].get("tolerations") or ()
        verdicts: list[Verdict] = []
        for node in nodes:
            taint = (
                untolerated(node.taints, tolerations, ("NoSchedule", "NoExecute")) if node.taints else None
            )
            verdicts.append(FITS if taint is None else _REFUSED)
        return verdicts

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        """The fewer ``PreferNoSchedule`` taints it does not tolerate, the better."""
        tolerations = [
            entry
            for entry in pod.pod["spec"].get("tolerations") or ()
            if entry.get("effect", "") in ("", "PreferNoSchedule")
        ]
        counts = [
            sum(
                taint.get("effect") == "PreferNoSchedule"
                and not any(tolerates(entry, taint) for entry in tolerations)
                for taint in node.taints
            )
            for node in nodes
        ]
        most = max(counts)
        return [100.0 - 100.0 * count / most if most else 100.0 for count in counts]
