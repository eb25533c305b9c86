"""NodeUnschedulable: cordoned nodes take only pods that tolerate it.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import FITS, Refusal
from kubernel_plugins.scheduler_policy.tolerations import tolerates

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import NodeState, PodState, SchedulerPolicy, Verdict

__all__ = ["Plugin"]

_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
_REFUSED: Verdict = (Refusal("node(s) were unschedulable", lasting=True),)


class Plugin(Base):
    """The ``node_unschedulable`` policy."""

    name = "NodeUnschedulable"
    weight = 0.0

    @hookimpl
    def kubernel_scheduler_policy(self) -> SchedulerPolicy:
        return self

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        if not any(node.unschedulable for node in nodes):
            return [FITS] * len(nodes)
        tolerated = any(tolerates(entry, _TAINT) for entry in pod.pod["spec"].get("tolerations") or ())
        return [_REFUSED if node.unschedulable and not tolerated else FITS for node in nodes]

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        return [0.0] * len(nodes)
