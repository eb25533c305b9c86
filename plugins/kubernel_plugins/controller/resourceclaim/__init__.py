"""ResourceClaim controller: claims that pods ask for by a template, and what becomes of claims after their pods.

Source: k8s.io/kubernetes/pkg/controller/resourceclaim, k8s.io/dynamic-resource-allocation/resourceclaim (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.errors import KubernelError, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller import pods
from kubernel_plugins.podclaims import claim_name, claim_names, entries

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_CLAIMS = "resourceclaims.v1.resource.k8s.io"
_TEMPLATES = "resourceclaimtemplates.v1.resource.k8s.io"
_POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
_FINALIZER = "resource.kubernetes.io/delete-protection"
_MANAGER = "ResourceClaimController"
_MOST_CONSUMERS = 256
_LONGEST_BASE = 57
_BY_CLAIM, _BY_OWNER = "claim", "owner"
_CLAIM_KEY = "claim:"
"""Before the name in keys of claims; names have no colon."""


def _is_done(pod: Obj) -> bool:
    """Whether none of its containers runs or ever will."""
    return pods.is_finished(pod) or (meta.is_deleting(pod) and not pod["spec"].get("nodeName"))


def _facts(pod: Obj) -> tuple[Any, ...]:
    statuses = meta.get(pod, "status", "resourceClaimStatuses")
    return statuses, pod["spec"].get("nodeName"), _is_done(pod), meta.is_deleting(pod)


def _owner(claim: Obj) -> dict[str, Any] | None:
    """The pod that the claim was made for."""
    controller = meta.controller_of(claim)
    of_pod = controller is not None and (controller.get("apiVersion"), controller.get("kind")) == (
        "v1",
        "Pod",
    )
    return controller if of_pod else None


def _of_claim(self: Plugin, type: EventType, claim: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    namespace, name = meta.key(claim)
    keys = [] if type == "DELETED" else [(namespace, f"{_CLAIM_KEY}{name}")]
    if self.ready:
        keys += [meta.key(pod) for pod in self.primary.by(_BY_CLAIM, f"{namespace}/{name}")]
    return keys


class Plugin(Reconciler):
    """The ``resourceclaim`` controller; keys are pods and claims."""

    resource = "pods"
    watches = {_CLAIMS: _of_claim}  # noqa: RUF012 - typed in the base
    reads = (_TEMPLATES,)
    user = "system:serviceaccount:kube-system:resource-claim-controller"
    component = "resource_claim"

    async def start(self) -> None:
        self.ready = False
        await super().start()
        self._claims = self.informer(_CLAIMS)
        self._claims.add_index(_BY_OWNER, lambda claim: ((_owner(claim) or {}).get("uid", ""),))
        self.primary.add_index(
            _BY_CLAIM, lambda pod: [f"{meta.namespace(pod)}/{name}" for name in claim_names(pod)]
        )
        self.ready = True

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if not entries(obj) or (type == "MODIFIED" and old is not None and _facts(obj) == _facts(old)):
            return
        if type == "DELETED" or _is_done(obj):
            mine = [meta.name(one) for one in self._claims.by(_BY_OWNER, meta.uid(obj))] if self.ready else []
            for name in {*claim_names(obj), *mine}:
                self.queue.add((meta.namespace(obj), f"{_CLAIM_KEY}{name}"))
        else:
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        if name.startswith(_CLAIM_KEY):
            claim = self._claims.get(name.removeprefix(_CLAIM_KEY), namespace)
            if claim is not None:
                await self._sync_claim(claim)
            return
        pod = self.primary.get(name, namespace)
        if pod is not None and not meta.is_deleting(pod) and not _is_done(pod):
            await self._sync_pod(pod)

    # --- pods

    async def _sync_pod(self, pod: Obj) -> None:
        made: list[dict[str, Any]] = []
        for entry in entries(pod):
            try:
                name = await self._ensure(pod, entry)
            except KubernelError as error:
                text = f"PodResourceClaim {entry['name']}: {error}"
                await self.recorder.event(pod, "Warning", "FailedResourceClaimCreation", text)
                raise
            if name:
                made.append({"name": entry["name"], "resourceClaimName": name})
        if made:
            known = {status["name"]: status for status in made}
            for status in meta.get(pod, "status", "resourceClaimStatuses", default=()):
                known.setdefault(status["name"], status)
            change = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": meta.name(pod), "namespace": meta.namespace(pod)},
                "status": {"resourceClaimStatuses": list(known.values())},
            }
            await self.client.patch(
                "pods",
                meta.name(pod),
                change,
                meta.namespace(pod),
                type="apply",
                subresource="status",
                field_manager=_MANAGER,
                force=True,
            )
        elif pod["spec"].get("nodeName"):
            # One that the scheduler placed has its claims reserved already.
            await self._reserve(pod)

    async def _ensure(self, pod: Obj, entry: dict[str, Any]) -> str:
        """The name of a claim that is to be told in the pod's status; empty when there is nothing to tell."""
        namespace = meta.namespace(pod)
        name = claim_name(pod, entry)
        template_name = entry.get("resourceClaimTemplateName")
        if name is None or not template_name:
            return ""
        if name:
            found = self._claims.get(name, namespace)
            if found is not None and (_owner(found) or {}).get("uid") == meta.uid(pod):
                return ""
        for claim in self._claims.by(_BY_OWNER, meta.uid(pod)):
            # Made before, and the pod's status could not be written.
            if meta.annotations(claim).get(_POD_CLAIM) == entry["name"]:
                return meta.name(claim)
        template = self.informer(_TEMPLATES).get(template_name, namespace)
        if template is None:
            raise KubernelError(
                f'resource claim template "{template_name}": '
                f'resourceclaimtemplate.resource.k8s.io "{template_name}" not found'
            )
        claim = await self.client.create(_CLAIMS, _made_of(template, pod, entry["name"]), namespace)
        return meta.name(claim)

    async def _reserve(self, pod: Obj) -> None:
        for name in claim_names(pod):
            claim = self._claims.get(name, meta.namespace(pod))
            if claim is None:
                return
            status = claim.get("status") or {}
            consumers = status.get("reservedFor") or []
            if not status.get("allocation") or len(consumers) >= _MOST_CONSUMERS:
                continue
            if any(one.get("uid") == meta.uid(pod) for one in consumers):
                continue
            consumer = {"resource": "pods", "name": meta.name(pod), "uid": meta.uid(pod)}
            changed = {**claim, "status": {**status, "reservedFor": [*consumers, consumer]}}
            await self.client.update(_CLAIMS, changed, subresource="status")

    # --- claims

    async def _sync_claim(self, claim: Obj) -> None:
        status: dict[str, Any] = claim.get("status") or {}
        consumers = status.get("reservedFor") or []
        valid = [one for one in consumers if await self._consumes(meta.namespace(claim), one)]
        protected = _FINALIZER in (claim["metadata"].get("finalizers") or ())
        if len(valid) < len(consumers):
            status = {key: value for key, value in status.items() if key != "reservedFor"}
            if valid:
                status["reservedFor"] = valid
            elif protected:
                # Nobody uses it: whoever comes next may have it elsewhere.
                status.pop("allocation", None)
            claim = await self.client.update(_CLAIMS, {**claim, "status": status}, subresource="status")
            if protected and "allocation" not in status:
                claim = await self._unprotect(claim)
        elif protected and meta.is_deleting(claim) and not valid:
            if status.get("allocation"):
                status = {key: value for key, value in status.items() if key != "allocation"}
                claim = await self.client.update(_CLAIMS, {**claim, "status": status}, subresource="status")
            claim = await self._unprotect(claim)
        if not valid:
            await self._remove_unused(claim)

    async def _consumes(self, namespace: str, consumer: dict[str, Any]) -> bool:
        if consumer.get("apiGroup") or consumer.get("resource") != "pods":
            raise KubernelError(f"unsupported ReservedFor entry: {consumer}")
        pod = self.primary.get(consumer["name"], namespace)
        if pod is None:
            # The informer may not know it yet, while the scheduler does.
            try:
                pod = await self.client.get("pods", consumer["name"], namespace)
            except NotFound:
                return False
            return meta.uid(pod) == consumer.get("uid")
        return meta.uid(pod) == consumer.get("uid") and not _is_done(pod)

    async def _unprotect(self, claim: Obj) -> Obj:
        left = [one for one in claim["metadata"].get("finalizers") or () if one != _FINALIZER]
        return await self.client.update(_CLAIMS, meta.replace(claim, ("metadata", "finalizers"), left))

    async def _remove_unused(self, claim: Obj) -> None:
        """A claim made for a pod that will not run any more; of a pod that is gone it is the garbage collector's."""
        owner = _owner(claim)
        pod = self.primary.get(owner["name"], meta.namespace(claim)) if owner else None
        if owner is None or pod is None or meta.is_deleting(claim):
            return
        if meta.uid(pod) != owner.get("uid") or _is_done(pod):
            try:
                await self.client.delete(
                    _CLAIMS, meta.name(claim), meta.namespace(claim), uid=meta.uid(claim)
                )
            except NotFound:
                return


def _made_of(template: Obj, pod: Obj, entry: str) -> Obj:
    given = template["spec"].get("metadata") or {}
    base = f"{meta.name(pod)}-{entry}-"
    if len(base) > _LONGEST_BASE:
        # Of both names something has to be left to read.
        size = len(base)
        base = f"{meta.name(pod)[: len(meta.name(pod)) * _LONGEST_BASE // size]}-"
        base += entry[: len(entry) * _LONGEST_BASE // size]
    metadata: dict[str, Any] = {
        "generateName": base,
        "namespace": meta.namespace(pod),
        "annotations": {**(given.get("annotations") or {}), _POD_CLAIM: entry},
        "ownerReferences": [meta.owner_reference({"apiVersion": "v1", "kind": "Pod", **pod})],
    }
    if given.get("labels"):
        metadata["labels"] = given["labels"]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": metadata,
        "spec": template["spec"].get("spec") or {},
    }
