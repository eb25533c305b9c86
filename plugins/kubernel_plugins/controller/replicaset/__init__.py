"""ReplicaSet controller: keeps as many pods of a template alive as asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects.selectors import from_object
from kubernel_plugins.controller.replicas import ReplicasController

if TYPE_CHECKING:
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(ReplicasController):
    """The ``replicaset`` controller."""

    resource = "replicasets.v1.apps"
    kind = "ReplicaSet"
    user = "system:serviceaccount:kube-system:replicaset-controller"

    @staticmethod
    def selector(owner: Obj) -> Selector:
        return from_object(owner["spec"].get("selector") or {})
