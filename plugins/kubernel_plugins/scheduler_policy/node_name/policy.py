"""NodeName.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodename (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows

__all__ = ["NodeName"]


class NodeName(Policy):
    name = "NodeName"
    scope = "node object"
    refusal = Refusal("node(s) didn't match the requested node name", lasting=True)

    def sign(self, pod: PodState) -> Any:
        return pod.pod["spec"].get("nodeName") or ""

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return pod.pod["spec"].get("nodeName") or SKIP

    def filter(self, pod: PodState, state: str, nodes: Nodes, rows: Rows) -> Mask:
        fits = numpy.zeros(len(nodes), dtype=bool)
        if (row := nodes.row(state)) is not None:
            fits[row] = True
        return fits[rows]

    def helps(self, pod: PodState, change: Change) -> bool:
        return change.resource == "nodes" and change.type == "ADDED"
