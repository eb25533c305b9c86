"""SchedulingGates.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/schedulinggates (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import Policy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Change, PodState

__all__ = ["SchedulingGates"]


class SchedulingGates(Policy):
    name = "SchedulingGates"
    scope = "node object"

    def sign(self, pod: PodState) -> Any:
        return ()

    def pre_enqueue(self, pod: PodState) -> str:
        gates = pod.pod["spec"].get("schedulingGates") or ()
        return f"waiting for scheduling gates: [{' '.join(gate['name'] for gate in gates)}]" if gates else ""

    def helps(self, pod: PodState, change: Change) -> bool:
        """Only the pod itself loses its gates, and the queue hears of that."""
        return False
