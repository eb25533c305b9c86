"""DefaultIngressClass: an Ingress that names no class gets the default one.

Source: k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
_OLD = "kubernetes.io/ingress.class"


class Plugin(Base):
    """The ``default_ingress_class`` admission plugin."""

    async def start(self) -> None:
        client = self.handle.client("system:apiserver", ("system:masters",))
        self._classes = client.informer("ingressclasses.v1.networking.k8s.io")

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        type, obj = request.type, request.obj
        if type.plural != "ingresses" or type.group != "networking.k8s.io" or request.subresource:
            return
        if request.operation != "CREATE" or obj is None:
            return
        if obj["spec"].get("ingressClassName") is not None or _OLD in meta.annotations(obj):
            return
        defaults = [one for one in self._classes.list() if meta.annotations(one).get(_DEFAULT) == "true"]
        if not defaults:
            return
        newest = max(one["metadata"].get("creationTimestamp") or "" for one in defaults)
        obj["spec"]["ingressClassName"] = min(
            meta.name(one) for one in defaults if (one["metadata"].get("creationTimestamp") or "") == newest
        )
