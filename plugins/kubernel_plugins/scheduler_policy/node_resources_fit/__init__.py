"""NodeResourcesFit: a pod goes only where what it requests is left; emptier nodes are better.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/noderesources (v1.37), LeastAllocated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import FITS, UNREQUESTED, Refusal

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import NodeState, PodState, SchedulerPolicy, Verdict

__all__ = ["Plugin"]

_SCORED = ("cpu", "memory")


class Plugin(Base):
    """The ``node_resources_fit`` policy."""

    name = "NodeResourcesFit"
    weight = 1.0

    @hookimpl
    def kubernel_scheduler_policy(self) -> SchedulerPolicy:
        return self

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        requests = tuple(pod.requests.items())
        verdicts: list[Verdict] = []
        for node in nodes:
            refusals = []
            if node.pods + 1 > node.allocatable.get("pods", 0):
                refusals.append(Refusal("Too many pods"))
            for resource, amount in requests:
                allocatable = node.allocatable.get(resource, 0)
                if amount > allocatable - node.requested.get(resource, 0):
                    refusals.append(Refusal(f"Insufficient {resource}", lasting=amount > allocatable))
            verdicts.append(tuple(refusals) if refusals else FITS)
        return verdicts

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        scores = []
        wanted = {resource: pod.requests.get(resource, UNREQUESTED[resource]) for resource in _SCORED}
        for node in nodes:
            free = 0.0
            for resource in _SCORED:
                allocatable = node.allocatable.get(resource, 0)
                used = node.nonzero.get(resource, 0) + wanted[resource]
                free += max(allocatable - used, 0) / allocatable if allocatable else 0.0
            scores.append(100.0 * free / len(_SCORED))
        return scores
