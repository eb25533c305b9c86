"""NodeDeclaredFeatures.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodedeclaredfeatures and
k8s.io/component-helpers/nodedeclaredfeatures (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import SKIP, Change, Policy, Refusal

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, PodState, Rows

__all__ = ["NodeDeclaredFeatures"]


class NodeDeclaredFeatures(Policy):
    name = "NodeDeclaredFeatures"
    scope = "node object"
    refusal = Refusal("node(s) didn't match Pod's required features", lasting=True)

    def sign(self, pod: PodState) -> Any:
        return sorted(set(_needed(pod.pod["spec"])))

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        return frozenset(_needed(pod.pod["spec"])) or SKIP

    def filter(self, pod: PodState, state: frozenset[str], nodes: Nodes, rows: Rows) -> Mask:
        fits = numpy.zeros(len(nodes), dtype=bool)
        wanted = numpy.zeros(len(nodes), dtype=bool)
        wanted[rows] = nodes.live[rows]
        for row in numpy.flatnonzero(wanted):
            declared = (nodes.node(int(row)).get("status") or {}).get("declaredFeatures") or ()
            fits[row] = state.issubset(declared)
        return fits[rows]

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource != "nodes" or change.type == "DELETED":
            return False
        return change.old is None or _declared(change.old) != _declared(change.obj)


def _declared(node: Mapping[str, Any]) -> Any:
    return (node.get("status") or {}).get("declaredFeatures") or []


def _needed(spec: Mapping[str, Any]) -> Iterator[str]:
    """Features that the pod uses and that a node may lack."""
    for part in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            for rule in container.get("restartPolicyRules") or ():
                if rule.get("action") == "RestartAllContainers":
                    yield "RestartAllContainersOnContainerExits"
            for mount in container.get("volumeMounts") or ():
                if mount.get("bindMountOptions"):
                    yield "VolumeBindMountOptions"
    if spec.get("hostNetwork") and spec.get("hostUsers") is False:
        yield "UserNamespacesHostNetworkSupport"
