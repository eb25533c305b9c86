"""NodeUnschedulable.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeunschedulable (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal
from kubernel_plugins.scheduler_policy.tolerations import tolerates

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows

__all__ = ["NodeUnschedulable"]

_TAINT = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


class NodeUnschedulable(Policy):
    name = "NodeUnschedulable"
    scope = "node object"
    refusal = Refusal("node(s) were unschedulable", lasting=True)

    def sign(self, pod: PodState) -> Any:
        return pod.pod["spec"].get("tolerations")

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        tolerations = pod.pod["spec"].get("tolerations") or ()
        return SKIP if any(tolerates(each, _TAINT) for each in tolerations) else None

    def filter(self, pod: PodState, state: None, nodes: Nodes, rows: Rows) -> Mask:
        return ~nodes.unschedulable[rows]

    def helps(self, pod: PodState, change: Change) -> bool:
        return change.resource == "nodes" and not (change.obj.get("spec") or {}).get("unschedulable")
