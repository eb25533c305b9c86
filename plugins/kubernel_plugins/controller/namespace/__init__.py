"""Namespace controller: empties namespaces that are being deleted, pods first, then lets them go.

Source: k8s.io/kubernetes/pkg/controller/namespace/deletion/namespaced_resources_deleter.go (v1.37) and
KEP-5080 (ordered namespace deletion).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, MethodNotSupported, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller.namespace.content import Outcome

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_FINALIZER = "kubernetes"
_PODS = ("", "pods")
_PAUSE = 5.0


def _namespace_of(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """The last pod of a namespace that waits for it is gone."""
    namespace = meta.namespace(pod)
    if type == "DELETED" and not self.informer("pods").count("namespace", namespace):
        owner = self.primary.get(namespace)
        if owner is not None and meta.is_deleting(owner):
            yield "", namespace


class Plugin(Reconciler):
    """The ``namespace`` controller."""

    resource = "namespaces"
    watches = {"pods": _namespace_of}  # noqa: RUF012 - typed ClassVar in the base
    user = "system:serviceaccount:kube-system:namespace-controller"
    workers = 10

    async def reconcile(self, namespace: str, name: str) -> float | None:
        found = self.primary.get(name)
        if found is None or not meta.is_deleting(found):
            return None
        try:
            owner = await self.client.get("namespaces", name)
        except NotFound:
            return None
        if meta.uid(owner) != meta.uid(found):
            return None
        if _FINALIZER not in meta.get(owner, "spec", "finalizers", default=()):
            return None
        outcome = await self._empty(name)
        owner = await self._report(owner, outcome)
        if outcome.errors:
            # Tried again with growing pauses, and in the log.
            raise outcome.errors[0]
        if outcome.remaining:
            # Half of the longest grace that was given, as upstream; a pod's end queues the key at once.
            return outcome.grace / 2 + 1 if outcome.grace else _PAUSE
        await self._finalize(owner)
        return None

    async def _empty(self, namespace: str) -> Outcome:
        """Delete what there is, pods first; other content stays untouched while a pod is left."""
        outcome = Outcome()
        try:
            resources = await self._resources()
        except ApiError as error:
            outcome.discovery_failure = str(error)
            outcome.errors.append(error)
            return outcome
        pods = resources.pop(_PODS, None)
        if pods is not None:
            await self._delete_all(_PODS, pods, namespace, outcome)
            if outcome.remaining or outcome.errors:
                return outcome
        for identity, resource in resources.items():
            await self._delete_all(identity, resource, namespace, outcome)
        return outcome

    async def _resources(self) -> dict[tuple[str, str], str]:
        """(group, plural) of everything that lives in namespaces -> its name for the client."""
        found: dict[tuple[str, str], str] = {}
        for type in await self.client.discover():
            if type["namespaced"] and {"delete", "list"} <= set(type["verbs"]):
                name = f"{type['resource']}.{type['version']}"
                group = type["group"]
                found.setdefault((group, type["resource"]), f"{name}.{group}" if group else name)
        return found

    async def _delete_all(
        self, identity: tuple[str, str], resource: str, namespace: str, outcome: Outcome
    ) -> None:
        try:
            if not (await self.client.list(resource, namespace, limit=1)).items:
                return
            await self.client.delete_collection(resource, namespace, propagation="Background")
            left = (await self.client.list(resource, namespace)).items
        except (NotFound, MethodNotSupported):
            # The type went away meanwhile, and its objects with it.
            return
        except ApiError as error:
            outcome.errors.append(error)
            return
        if not left:
            return
        outcome.remaining[identity] = len(left)
        outcome.finalizers += Counter(
            finalizer for obj in left for finalizer in obj["metadata"].get("finalizers") or ()
        )
        grace = max(obj["metadata"].get("deletionGracePeriodSeconds") or 0 for obj in left)
        outcome.grace = max(outcome.grace, float(grace))

    async def _report(self, owner: Obj, outcome: Outcome) -> Obj:
        old = owner.get("status") or {}
        conditions = outcome.conditions(old.get("conditions"), rfc3339(self.clock.time()))
        status: dict[str, Any] = {**old, "phase": "Terminating", "conditions": conditions}
        if status == old:
            return owner
        return await self.client.update("namespaces", {**owner, "status": status}, subresource="status")

    async def _finalize(self, owner: Obj) -> None:
        kept = [entry for entry in meta.get(owner, "spec", "finalizers", default=()) if entry != _FINALIZER]
        released = meta.replace(owner, ("spec", "finalizers"), kept)
        await self.client.update("namespaces", released, subresource="finalize")
