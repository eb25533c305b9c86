"""ReplicationController controller: as ``replicaset``, with a plain map of labels as the selector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects.selectors import from_labels
from kubernel_plugins.controller.replicas import ReplicasController

if TYPE_CHECKING:
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(ReplicasController):
    """The ``replicationcontroller`` controller."""

    resource = "replicationcontrollers"
    kind = "ReplicationController"
    user = "system:serviceaccount:kube-system:replication-controller"

    @staticmethod
    def selector(owner: Obj) -> Selector:
        return from_labels(owner["spec"].get("selector") or {})
