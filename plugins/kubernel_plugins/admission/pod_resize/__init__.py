"""PodResizeValidator: a pod is not resized beyond what its node can offer at all.

Source: k8s.io/kubernetes/plugin/pkg/admission/podresize (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta, quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.bound_pods import changed_spec, node_of, refused
from kubernel_plugins.usage import pod_totals

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``pod_resize`` admission plugin."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        change = changed_spec(request, ("resize",))
        if change is None:
            return
        obj, _ = change
        name, node = obj["spec"]["nodeName"], node_of(self.handle.registry, request, obj)
        system = meta.labels(node).get("kubernetes.io/os", "linux")
        if system != "linux":
            why = f'pod resize is only supported on linux nodes, node "{name}" is "{system}"'
            raise refused(request, why, "UnsupportedPlatform")
        if missing := _missing(obj, node):
            why = f"node didn't have enough allocatable resources: {'; '.join(missing)}"
            raise refused(request, why, "NodeCapacity")


def _missing(pod: Obj, node: Obj) -> list[str]:
    """What the pod asks for beyond the node's allocatable: millis of CPU, bytes of memory."""
    wanted = pod_totals(pod["spec"], "requests")
    offered = (node.get("status") or {}).get("allocatable") or {}
    found = []
    for name, whole in (("cpu", quantity.to_int_milli), ("memory", quantity.to_int)):
        asked, there = wanted.get(name, "0"), offered.get(name, "0")
        if quantity.parse(asked) > quantity.parse(there):
            found.append(f"{name}, requested: {whole(asked)}, allocatable: {whole(there)}")
    return found
