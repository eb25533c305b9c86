"""Namespace controller: empties namespaces that are being deleted, pods first, then lets them go.

Source: k8s.io/kubernetes/pkg/controller/namespace/deletion/namespaced_resources_deleter.go (v1.37) and
KEP-5080 (ordered namespace deletion).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.client.naming import parse_resource
from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, InternalError, MethodNotSupported, NotFound
from kubernel.objects import conditions, meta, times
from kubernel_plugins.controller.namespace.content import Outcome

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_FINALIZER = "kubernetes"
_PODS = ("", "pods")
_API_SERVICES = "apiservices.v1.apiregistration.k8s.io"
_FINALIZERS_TAKE = 15
"""Seconds that finalizers are thought to need."""


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
        outcome = await self._empty(name, times.parse(owner["metadata"]["deletionTimestamp"]))
        owner = await self._report(owner, outcome)
        if outcome.errors:
            # Tried again with growing pauses, and in the log.
            raise outcome.errors[0]
        if outcome.discovery_failure:
            raise InternalError(outcome.discovery_failure)
        if outcome.remaining:
            # Half of what it may take, as upstream; the end of the last pod queues the key at once.
            return float(outcome.estimate // 2 + 1)
        await self._finalize(owner)
        return None

    async def _empty(self, namespace: str, since: float) -> Outcome:
        """Delete what there is, pods first; other content stays untouched while a pod is left. ``since`` is when
        the namespace was deleted, in epoch seconds."""
        outcome = Outcome()
        try:
            resources = await self._resources()
            if stale := await self._stale_groups():
                told = ", ".join(f"{name}: stale GroupVersion discovery: {name}" for name in stale)
                outcome.discovery_failure = (
                    f"Discovery failed for some groups, {len(stale)} failing: "
                    f"unable to retrieve the complete list of server APIs: {told}"
                )
        except ApiError as error:
            outcome.discovery_failure = str(error)
            return outcome
        pods = resources.pop(_PODS, None)
        if pods is not None:
            await self._delete_all(_PODS, pods, namespace, outcome, self.clock.time() - since)
            if outcome.remaining:
                outcome.waits_for_pods = True
                return outcome
        for identity, resource in resources.items():
            await self._delete_all(identity, resource, namespace, outcome)
        return outcome

    async def _stale_groups(self) -> list[str]:
        """``group/version`` of what other servers serve and cannot be asked about: it may have content here."""
        try:
            found = (await self.client.list(_API_SERVICES)).items
        except NotFound:
            return []
        return sorted(
            f"{one['spec'].get('group', '')}/{one['spec']['version']}"
            for one in found
            if one["spec"].get("service") and not conditions.is_true(one, "Available")
        )

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
        self,
        identity: tuple[str, str],
        resource: str,
        namespace: str,
        outcome: Outcome,
        passed: float = math.inf,
    ) -> None:
        """``passed``: seconds for which the objects may have been ending already."""
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
        held = Counter(finalizer for obj in left for finalizer in obj["metadata"].get("finalizers") or ())
        outcome.finalizers += held
        grace = _longest_grace(left)
        if grace > passed:
            outcome.estimate = max(outcome.estimate, grace)
        elif held:
            outcome.estimate = max(outcome.estimate, _FINALIZERS_TAKE)
        else:
            plural, version, group = parse_resource(resource)
            which = f"{group}/{version}, Resource={plural}"
            told = f"unexpected items still remain in namespace: {namespace} for gvr: {which}"
            outcome.errors.append(InternalError(told))

    async def _report(self, owner: Obj, outcome: Outcome) -> Obj:
        old = owner.get("status") or {}
        told = outcome.conditions(old.get("conditions"), rfc3339(self.clock.time()))
        status: dict[str, Any] = {**old, "phase": "Terminating", "conditions": told}
        if status == old:
            return owner
        return await self.client.update("namespaces", {**owner, "status": status}, subresource="status")

    async def _finalize(self, owner: Obj) -> None:
        kept = [entry for entry in meta.get(owner, "spec", "finalizers", default=()) if entry != _FINALIZER]
        released = meta.replace(owner, ("spec", "finalizers"), kept)
        await self.client.update("namespaces", released, subresource="finalize")


def _longest_grace(pods: Iterable[Obj]) -> int:
    """Seconds that the slowest of these pods may take to end."""
    running = (pod for pod in pods if meta.get(pod, "status", "phase") not in ("Succeeded", "Failed"))
    return max((meta.get(pod, "spec", "terminationGracePeriodSeconds") or 0 for pod in running), default=0)
