"""PodTopologyLabels: a pod on a node has the node's zone and region as labels of its own.

Source: k8s.io/kubernetes/plugin/pkg/admission/podtopologylabels (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_LABELS = ("topology.kubernetes.io/zone", "topology.kubernetes.io/region")


class Plugin(Base):
    """The ``pod_topology_labels`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        obj = request.obj
        if (
            request.type.plural != "pods"
            or request.type.group
            or request.operation != "CREATE"
            or obj is None
        ):
            return
        if not request.subresource:
            node = obj["spec"].get("nodeName")
        elif request.subresource == "binding":
            target = obj.get("target") or {}
            node = target.get("name") if target.get("kind") == "Node" else None
        else:
            return
        # What a binding is labelled with, the pod is labelled with when it is bound.
        if node and (found := self._of(node)):
            obj["metadata"]["labels"] = {**meta.labels(obj), **found}

    def _of(self, node: str) -> dict[str, str]:
        type = self.handle.registry.lookup("", "v1", "nodes")
        if type is None:
            return {}
        try:
            labels = meta.labels(self.handle.registry.get(type, "", node).obj)
        except NotFound:
            return {}
        return {key: labels[key] for key in _LABELS if key in labels}
