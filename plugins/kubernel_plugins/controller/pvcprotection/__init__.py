"""PVC protection controller: a claim stays until no pod uses it, and says since when none does.

Source: k8s.io/kubernetes/pkg/controller/volume/pvcprotection (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta
from kubernel_plugins import volumes as v
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.protection import Protection

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_CLAIM = "claims"
_UNUSED = {
    True: ("NoPodsUsingPVC", "No pods are currently referencing this PVC"),
    False: ("PodUsingPVC", "A pod is currently referencing this PVC"),
}


def _claims_of(pod: Obj) -> list[str]:
    return [f"{meta.namespace(pod)}/{name}" for name in v.claim_names(pod)]


def _claims_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """Those that a pod begins or ceases to use."""
    names = v.claim_names(pod)
    if not names or (type == "MODIFIED" and old is not None and _use(pod) == _use(old)):
        return ()
    return [(meta.namespace(pod), name) for name in names]


def _use(pod: Obj) -> tuple[object, ...]:
    return _is_over(pod), _is_shut_down(pod), pod["spec"].get("nodeName"), meta.uid(pod)


def _is_over(pod: Obj) -> bool:
    """Nothing of it runs any more (``IsPodTerminated``)."""
    if pods.is_finished(pod):
        return True
    status = pod.get("status") or {}
    statuses = (
        each
        for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for each in status.get(part) or ()
    )
    return meta.is_deleting(pod) and all(
        {"terminated", "waiting"} & (each.get("state") or {}).keys() for each in statuses
    )


def _is_shut_down(pod: Obj) -> bool:
    """Its kubelet is done with it, or it was deleted by force."""
    return meta.is_deleting(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0


class Plugin(Protection):
    """The ``pvcprotection`` controller."""

    resource = v.CLAIMS
    finalizer = "kubernetes.io/pvc-protection"
    watches = {"pods": _claims_of_pod}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:pvc-protection-controller"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._pods.add_index(_CLAIM, _claims_of)

    async def reconcile(self, namespace: str, name: str) -> None:
        claim = self.primary.get(name, namespace)
        if claim is not None and not meta.is_deleting(claim) and _phase(claim) == "Bound":
            await self._tell_use(claim)
        await super().reconcile(namespace, name)

    def in_use(self, obj: Obj) -> bool:
        """A pod without a node does not count: no kubelet lets it start with a claim that goes."""
        return any(
            pod["spec"].get("nodeName")
            for pod in self._users(obj)
            if not _is_shut_down(pod) or meta.name(obj) in v.claim_names(pod, ephemeral=False)
        )

    def _users(self, claim: Obj) -> list[Obj]:
        """Pods that name the claim, or that it was made for."""
        name = meta.name(claim)
        owner = (meta.controller_of(claim) or {}).get("uid")
        return [
            pod
            for pod in self._pods.by(_CLAIM, "/".join(meta.key(claim)))
            if name in v.claim_names(pod, ephemeral=False) or owner == meta.uid(pod)
        ]

    async def _tell_use(self, claim: Obj) -> None:
        """The condition Unused says since when no pod has used the claim (KEP-5541)."""
        unused = all(_is_over(pod) for pod in self._users(claim))
        told = conditions.find(claim, "Unused")
        if told is not None and (told.get("status") == "True") == unused:
            return
        reason, message = _UNUSED[unused]
        status = claim.get("status") or {}
        found, _ = conditions.set(
            status.get("conditions"),
            "Unused",
            "True" if unused else "False",
            reason,
            message,
            rfc3339(self.clock.time()),
        )
        changed = {**claim, "status": {**status, "conditions": found}}
        await self.client.update(self.resource, changed, subresource="status")


def _phase(claim: Obj) -> object:
    return (claim.get("status") or {}).get("phase")
