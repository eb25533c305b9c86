"""PrioritySort.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/queuesort (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import Policy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState

__all__ = ["PrioritySort"]


class PrioritySort(Policy):
    name = "PrioritySort"
    scope = "node object"

    def sign(self, pod: PodState) -> Any:
        return ()

    def sort_key(self, pod: PodState) -> tuple[Any, ...]:
        """The queue itself keeps those with equal keys in the order in which they came."""
        return (-pod.priority,)
