"""PVC protection controller: a claim stays until no pod uses it.

Source: k8s.io/kubernetes/pkg/controller/volume/pvcprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_FINALIZER = "kubernetes.io/pvc-protection"
_CLAIM = "claims"


def _claims_of(pod: Obj) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in v.claim_names(pod)]


def _claims_of_gone(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Only a pod that goes frees a claim, or one that takes a node: its own may be new."""
    if type != "DELETED" and old is not None:
        return ()
    return [(meta.namespace(pod), name) for name in v.claim_names(pod)]


class Plugin(Reconciler):
    """The ``pvcprotection`` controller."""

    resource = v.CLAIMS
    watches = {"pods": _claims_of_gone}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:pvc-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_CLAIM, _claims_of)

    async def reconcile(self, namespace: str, name: str) -> None:
        claim = self.primary.get(name, namespace)
        if claim is None:
            return
        finalizers = claim["metadata"].get("finalizers") or []
        if meta.is_deleting(claim):
            if _FINALIZER in finalizers and not self._in_use(claim):
                left = [one for one in finalizers if one != _FINALIZER]
                await self._write(claim, left)
        elif _FINALIZER not in finalizers:
            await self._write(claim, [*finalizers, _FINALIZER])

    def _in_use(self, claim: Obj) -> bool:
        """A pod without a node does not count: no kubelet lets it start with a claim that goes."""
        return any(pod["spec"].get("nodeName") for pod in self._pods.by(_CLAIM, "/".join(meta.key(claim))))

    async def _write(self, claim: Obj, finalizers: list[str]) -> None:
        await self.client.update(self.resource, meta.replace(claim, ("metadata", "finalizers"), finalizers))
