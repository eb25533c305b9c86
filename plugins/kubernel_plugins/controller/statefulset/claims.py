"""The PersistentVolumeClaims of a StatefulSet's pods: made before the pod, kept or not after it.

Whether a claim goes with its pod or with the set is said by its owner references; the garbage collector does the
rest (KEP-1847). Source: k8s.io/kubernetes/pkg/controller/statefulset/stateful_pod_control.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller.statefulset import identity

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.client.recorder import EventRecorder
    from kubernel.store.records import Obj

__all__ = ["RESOURCE", "Claims"]

RESOURCE = "persistentvolumeclaims"


class Claims:
    def __init__(self, client: Client, recorder: EventRecorder, informer: Informer) -> None:
        self._client = client
        self._recorder = recorder
        self._informer = informer

    async def ensure(self, owner: Obj, number: int) -> None:
        """Create what is missing for the pod of an ordinal. Raises Conflict while one is being deleted."""
        namespace = meta.namespace(owner)
        pod = f"{meta.name(owner)}-{number}"
        named = identity.claim_names(owner, number)
        for template in owner["spec"].get("volumeClaimTemplates") or ():
            name = named[meta.name(template)]
            found = self._informer.get(name, namespace)
            if found is not None:
                if meta.is_deleting(found):
                    raise Conflict(f"pvc {name} is being deleted")
                continue
            try:
                await self._client.create(RESOURCE, _claim(owner, template, name), namespace)
            except AlreadyExists:
                continue
            except ApiError as error:
                text = f"Create Claim {name} for Pod {pod} in StatefulSet {meta.name(owner)} failed error: "
                await self._recorder.event(owner, "Warning", "FailedCreate", text + error.message)
                raise
            text = f"Create Claim {name} Pod {pod} in StatefulSet {meta.name(owner)} success"
            await self._recorder.event(owner, "Normal", "SuccessfulCreate", text)

    def is_stale(self, owner: Obj, number: int) -> bool:
        """Whether a claim is about to go with an earlier pod of that name: wait for it."""
        if _policy(owner)[0] != "Delete":
            return False
        pod = f"{meta.name(owner)}-{number}"
        return any(
            reference.get("kind") == "Pod" and reference.get("name") == pod
            for claim in self._of(owner, number)
            for reference in meta.owners(claim)
        )

    async def retain(self, owner: Obj, pod: Obj, *, condemned: bool) -> None:
        """Bring the owner references of the pod's claims in line with the retention policy."""
        scaled, deleted = _policy(owner)
        goes_with_pod = scaled == "Delete" and condemned
        goes_with_set = deleted == "Delete" and not goes_with_pod
        for claim in self._of(owner, identity.ordinal(pod)):
            before = meta.owners(claim)
            ours = (meta.uid(owner), meta.uid(pod))
            controller = meta.controller_of(claim)
            if controller is not None and controller["uid"] not in ours:
                continue
            after = [reference for reference in before if reference.get("uid") not in ours]
            if goes_with_set:
                after.append(_kept(before, owner))
            if goes_with_pod:
                after.append(_kept(before, {"apiVersion": "v1", "kind": "Pod", **pod}))
            if after == before:
                continue
            try:
                await self._client.update(
                    RESOURCE, meta.replace(claim, ("metadata", "ownerReferences"), after)
                )
            except NotFound:
                continue

    def _of(self, owner: Obj, number: int) -> list[Obj]:
        namespace = meta.namespace(owner)
        found = (self._informer.get(name, namespace) for name in identity.claim_names(owner, number).values())
        return [claim for claim in found if claim is not None]


def _policy(owner: Obj) -> tuple[str, str]:
    """(whenScaled, whenDeleted)."""
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return policy.get("whenScaled") or "Retain", policy.get("whenDeleted") or "Retain"


def _kept(before: list[dict[str, Any]], owner: Obj) -> dict[str, Any]:
    """The reference as it is, when it is there already."""
    found = next((one for one in before if one.get("uid") == meta.uid(owner)), None)
    return found or meta.owner_reference(owner)


def _claim(owner: Obj, template: Obj, name: str) -> Obj:
    metadata = {
        **(template.get("metadata") or {}),
        "name": name,
        "namespace": meta.namespace(owner),
        "labels": {
            **meta.labels(template),
            **(meta.get(owner, "spec", "selector", "matchLabels", default={})),
        },
    }
    claim = {key: value for key, value in template.items() if key != "status"}
    return {**claim, "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
