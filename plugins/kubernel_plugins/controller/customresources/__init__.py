"""CustomResourceDefinitions on their way: names accepted, established, and at the end their objects deleted.

Source: k8s.io/apiextensions-apiserver/pkg/controller/{status,establish,apiapproval,finalizer} (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError
from kubernel.objects import conditions, meta
from kubernel_plugins.controller.customresources.approval import approval
from kubernel_plugins.controller.customresources.naming import accept_names

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_DEFINITIONS = "customresourcedefinitions.v1.apiextensions.k8s.io"
_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_LOOK_AGAIN = 1.0
"""Seconds until objects that finalizers hold are looked for again."""


class Plugin(Reconciler):
    """The ``customresources`` controller; one worker, since names are given out one after the other."""

    resource = _DEFINITIONS
    user = "system:apiserver"
    workers = 1

    async def setup(self) -> None:
        self._admin = self.handle.client(self.user, ("system:masters",))

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        super().primary_changed(type, obj, old)
        if type == "DELETED" or (old is not None and _accepted(old) != _accepted(obj)):
            # Names became free: who waits for one may have it now.
            group = obj["spec"]["group"]
            for other in self.primary.list():
                if other["spec"]["group"] == group:
                    self.queue.add(("", other["metadata"]["name"]))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        found = self.primary.get(name)
        if found is None:
            return None
        definition = await self._admin.get(_DEFINITIONS, name)
        if meta.is_deleting(definition):
            return await self._finalize(definition)
        status = await self._established(definition)
        if status != definition.get("status"):
            await self._write({**definition, "status": status})
        return None

    async def _established(self, definition: Obj) -> Obj:
        status = dict(definition.get("status") or {})
        now = rfc3339(self.clock.time())
        listed = list(status.get("conditions") or ())
        if definition["spec"]["names"] != status.get("acceptedNames") or not listed:
            others = [
                _accepted(other)
                for other in (await self._admin.list(_DEFINITIONS)).items
                if other["spec"]["group"] == definition["spec"]["group"]
            ]
            names, reason, message = accept_names(definition["spec"]["names"], _accepted(definition), others)
            status["acceptedNames"] = names
            accepted = not reason
            listed, _ = conditions.set(
                listed,
                "NamesAccepted",
                "True" if accepted else "False",
                reason or "NoConflicts",
                message or "no conflicts found",
                now,
            )
            if not conditions.is_true(definition, "Established"):
                told = (
                    ("True", "InitialNamesAccepted", "the initial names have been accepted")
                    if accepted
                    else ("False", "NotAccepted", "not all names are accepted")
                )
                listed, _ = conditions.set(listed, "Established", *told, now)
        verdict = approval(definition)
        if verdict is not None:
            listed, _ = conditions.set(listed, "KubernetesAPIApprovalPolicyConformant", *verdict, now)
        elif conditions.find(definition, "KubernetesAPIApprovalPolicyConformant") is not None:
            listed = [one for one in listed if one["type"] != "KubernetesAPIApprovalPolicyConformant"]
        status["conditions"] = listed
        return status

    async def _finalize(self, definition: Obj) -> float | None:
        finalizers = definition["metadata"].get("finalizers") or []
        if _FINALIZER not in finalizers:
            return None
        definition = await self._terminating(
            definition, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress"
        )
        done = ("False", "NeverEstablished", "resource was never established")
        if conditions.is_true(definition, "Established"):
            try:
                left = await self._delete_instances(definition)
            except ApiError as error:
                why = f"could not issue all deletes: {error}"
                await self._terminating(definition, "True", "InstanceDeletionFailed", why)
                raise
            if left:
                return _LOOK_AGAIN
            done = ("False", "InstanceDeletionCompleted", "removed all instances")
        changed = self._with_condition(definition, *done)
        kept = [one for one in finalizers if one != _FINALIZER]
        metadata = {**definition["metadata"], "finalizers": kept}
        await self._write({**changed, "metadata": metadata})
        return None

    async def _delete_instances(self, definition: Obj) -> int:
        """How many are left."""
        spec = definition["spec"]
        version = next(one["name"] for one in spec["versions"] if one.get("storage"))
        resource = f"{spec['names']['plural']}.{version}.{spec['group']}"
        found = (await self._admin.list(resource)).items
        for namespace in sorted({obj["metadata"].get("namespace", "") for obj in found}):
            await self._admin.delete_collection(resource, namespace)
        return len((await self._admin.list(resource)).items) if found else 0

    async def _terminating(self, definition: Obj, status: str, reason: str, message: str) -> Obj:
        changed = self._with_condition(definition, status, reason, message)
        return definition if changed == definition else await self._write(changed)

    def _with_condition(self, definition: Obj, status: str, reason: str, message: str) -> Obj:
        old: dict[str, Any] = definition.get("status") or {}
        listed, _ = conditions.set(
            old.get("conditions"), "Terminating", status, reason, message, rfc3339(self.clock.time())
        )
        return {**definition, "status": {**old, "conditions": listed}}

    async def _write(self, definition: Obj) -> Obj:
        return await self._admin.update(_DEFINITIONS, definition, subresource="status")


def _accepted(definition: Obj) -> dict[str, Any]:
    names: dict[str, Any] = (definition.get("status") or {}).get("acceptedNames") or {}
    return names
