"""NodeName: a pod that names its node goes nowhere else.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodename (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import FITS, Refusal

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import NodeState, PodState, SchedulerPolicy, Verdict

__all__ = ["Plugin"]

_REFUSED: Verdict = (Refusal("node(s) didn't match the requested node name", lasting=True),)


class Plugin(Base):
    """The ``node_name`` policy."""

    name = "NodeName"
    weight = 0.0

    @hookimpl
    def kubernel_scheduler_policy(self) -> SchedulerPolicy:
        return self

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        wanted = pod.pod["spec"].get("nodeName")
        if not wanted:
            return [FITS] * len(nodes)
        return [FITS if node.name == wanted else _REFUSED for node in nodes]

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        return [0.0] * len(nodes)
