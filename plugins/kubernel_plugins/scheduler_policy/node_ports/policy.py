"""NodePorts.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeports (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows

__all__ = ["NodePorts"]


class NodePorts(Policy):
    name = "NodePorts"
    scope = "node"
    refusal = Refusal("node(s) didn't have free ports for the requested pod ports")

    def sign(self, pod: PodState) -> Any:
        return pod.ports

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return None if pod.ports else SKIP

    def filter(self, pod: PodState, state: None, nodes: Nodes, rows: Rows) -> Mask:
        return ~nodes.ports_in_use(pod.ports)[rows]

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource == "pods":
            ports = {
                port.get("hostPort")
                for container in change.obj["spec"].get("containers") or ()
                for port in container.get("ports") or ()
            }
            return change.type == "DELETED" and any(port in ports for _, _, port in pod.ports)
        return change.resource == "nodes" and change.type == "ADDED"
