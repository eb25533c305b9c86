"""PVC protection controller: a claim stays until no pod uses it.

Source: k8s.io/kubernetes/pkg/controller/volume/pvcprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel_plugins import volumes as v
from kubernel_plugins.controller.protection import Protection

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_CLAIM = "claims"


def _claims_of(pod: Obj) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in v.claim_names(pod)]


def _claims_of_gone(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Only a pod that goes frees a claim, or one that takes a node: its own may be new."""
    if type != "DELETED" and old is not None:
        return ()
    return [(meta.namespace(pod), name) for name in v.claim_names(pod)]


class Plugin(Protection):
    """The ``pvcprotection`` controller."""

    resource = v.CLAIMS
    finalizer = "kubernetes.io/pvc-protection"
    watches = {"pods": _claims_of_gone}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:pvc-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_CLAIM, _claims_of)

    def in_use(self, obj: Obj) -> bool:
        """A pod without a node does not count: no kubelet lets it start with a claim that goes."""
        return any(pod["spec"].get("nodeName") for pod in self._pods.by(_CLAIM, "/".join(meta.key(obj))))
