"""PodGroupProtection: a PodGroup stays as long as pods belong to it.

Source: k8s.io/kubernetes/plugin/pkg/admission/scheduling/podgroupprotection (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_FINALIZER = "scheduling.k8s.io/podgroup-protection"


class Plugin(Base):
    """The ``pod_group_protection`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        type, obj = request.type, request.obj
        if type.plural != "podgroups" or type.group != "scheduling.k8s.io" or request.subresource:
            return
        if request.operation != "CREATE" or obj is None:
            return
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if _FINALIZER not in finalizers:
            finalizers.append(_FINALIZER)
