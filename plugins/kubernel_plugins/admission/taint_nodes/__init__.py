"""TaintNodesByCondition: a new node takes no pods before somebody has seen that it is ready.

Source: k8s.io/kubernetes/plugin/pkg/admission/nodetaint (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


class Plugin(Base):
    """The ``taint_nodes`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if request.type.plural != "nodes" or request.type.group or request.subresource:
            return
        if request.operation != "CREATE" or request.obj is None:
            return
        spec = request.obj.setdefault("spec", {})
        taints = spec.get("taints") or []
        if not any(
            one.get("key") == _TAINT["key"] and one.get("effect") == _TAINT["effect"] for one in taints
        ):
            spec["taints"] = [*taints, dict(_TAINT)]
