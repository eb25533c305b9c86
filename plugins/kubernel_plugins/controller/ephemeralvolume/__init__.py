"""Ephemeral volume controller: a claim for each generic ephemeral volume of a pod, owned by the pod.

Source: k8s.io/kubernetes/pkg/controller/volume/ephemeral (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import ApiError, Conflict
from kubernel.objects import meta
from kubernel_plugins import volumes as v

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_BY_CLAIM = "ephemeral claim"


def _claims_of(pod: Obj) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name, _ in v.ephemeral_claims(pod)]


def _pods_of_gone(self: Plugin, type: EventType, claim: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if type != "DELETED":
        return ()
    return [meta.key(pod) for pod in self.primary.by(_BY_CLAIM, "/".join(meta.key(claim)))]


class Plugin(Reconciler):
    """The ``ephemeralvolume`` controller."""

    resource = "pods"
    watches = {v.CLAIMS: _pods_of_gone}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:ephemeral-volume-controller"
    component = "ephemeral_volume"

    async def start(self) -> None:
        await super().start()
        self._claims = self.informer(v.CLAIMS)
        self.primary.add_index(_BY_CLAIM, _claims_of)

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type != "DELETED" and old is None and any(True for _ in v.ephemeral_claims(obj)):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        pod = self.primary.get(name, namespace)
        if pod is None or meta.is_deleting(pod):
            return
        for claim_name, template in v.ephemeral_claims(pod):
            found = self._claims.get(claim_name, namespace)
            if found is None:
                await self._make(pod, claim_name, template)
            elif (meta.controller_of(found) or {}).get("uid") != meta.uid(pod):
                raise Conflict(
                    f"PVC {namespace}/{claim_name} was not created for pod {namespace}/{name} (pod is not owner)"
                )

    async def _make(self, pod: Obj, name: str, template: dict[str, Any]) -> None:
        given = template.get("metadata") or {}
        metadata = {
            "name": name,
            "namespace": meta.namespace(pod),
            "ownerReferences": [meta.owner_reference(pod)],
            **{key: given[key] for key in ("labels", "annotations") if given.get(key)},
        }
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": template.get("spec") or {},
        }
        try:
            await self.client.create(v.CLAIMS, claim, meta.namespace(pod))
        except ApiError as error:
            text = f"ephemeral volume: create PVC {name} for pod: {error.message}"
            await self.recorder.event(pod, "Warning", "FailedCreate", text)
            raise
