"""Disruption controller: the status of PodDisruptionBudgets.

Source: k8s.io/kubernetes/pkg/controller/disruption/disruption.go (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import conditions, meta, times
from kubernel.objects.selectors import from_object, go_text
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.scales import NoSuchKind, Scales

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_DELETION_TIMEOUT = 120.0
"""Seconds within which an evicted pod must have been deleted, or it counts again."""
_STALE = 120.0
"""Seconds after which a DisruptionTarget condition is taken back."""
_POD = "pod/"
"""Begins the names of keys that are pods' and not budgets'."""
_OWNERS = {
    "Deployment": "deployments.v1.apps",
    "ReplicaSet": "replicasets.v1.apps",
    "ReplicationController": "replicationcontrollers",
    "StatefulSet": "statefulsets.v1.apps",
}


class _Uncountable(Exception):
    """The number of expected pods cannot be told."""


def _keys_of_pod(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    namespace = meta.namespace(pod)
    versions = [meta.labels(one) for one in (pod, old) if one is not None]
    for budget in self.primary.list(namespace):
        selector = budget["spec"].get("selector")
        if selector is not None and any(from_object(selector).matches(labels) for labels in versions):
            yield meta.key(budget)
    if type != "DELETED" and _marked(pod) is not None:
        yield namespace, _POD + meta.name(pod)


class Plugin(Reconciler):
    """The ``disruption`` controller."""

    resource = "poddisruptionbudgets.v1.policy"
    watches = {"pods": _keys_of_pod}  # noqa: RUF012 - typed in the base
    reads = tuple(_OWNERS.values())
    user = "system:serviceaccount:kube-system:disruption-controller"
    component = "controllermanager"

    async def start(self) -> None:
        await super().start()
        self._pods = self.informer("pods")
        self._scales = Scales(self.client)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if name.startswith(_POD):
            return await self._take_back(namespace, name.removeprefix(_POD))
        budget = self.primary.get(name, namespace)
        if budget is None:
            return None
        try:
            return await self._sync(budget)
        except Conflict:
            raise
        except _Uncountable as error:
            # Better no eviction than one too many.
            status = dict(budget.get("status") or {})
            status["disruptionsAllowed"] = 0
            generation = status.get("observedGeneration", 0)
            self._judge(status, "False", "SyncFailed", str(error), generation)
            await self._put(budget, status)
            return None

    async def _sync(self, budget: Obj) -> float | None:
        selector = budget["spec"].get("selector")
        found: list[Obj] = []
        if selector is not None:
            matches = from_object(selector).matches
            found = [pod for pod in self._pods.list(meta.namespace(budget)) if matches(meta.labels(pod))]
        if not found:
            await self.recorder.event(budget, "Normal", "NoPods", "No matching pods found")
        try:
            expected, desired = await self._expected(budget, found)
        except _Uncountable as error:
            text = f"Failed to calculate the number of expected pods: {error}"
            await self.recorder.event(budget, "Warning", "CalculateExpectedPodCountFailed", text)
            raise
        now = self.clock.time()
        disrupted, recheck = await self._disrupted(budget, found, now)
        healthy = sum(
            pods.is_ready(pod) and not meta.is_deleting(pod) and meta.name(pod) not in disrupted
            for pod in found
        )
        allowed = max(healthy - desired, 0) if expected > 0 else 0
        generation = meta.get(budget, "metadata", "generation", default=0)
        old = budget.get("status") or {}
        status: dict[str, Any] = {
            **({"conditions": old["conditions"]} if old.get("conditions") else {}),
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "expectedPods": expected,
            "disruptionsAllowed": allowed,
            "observedGeneration": generation,
        }
        if disrupted:
            status["disruptedPods"] = disrupted
        enough = allowed > 0
        reason = "SufficientPods" if enough else "InsufficientPods"
        self._judge(status, "True" if enough else "False", reason, "", generation)
        await self._put(budget, status)
        return recheck

    def _judge(self, status: dict[str, Any], truth: str, reason: str, message: str, generation: int) -> None:
        found, _ = conditions.set(
            status.get("conditions"),
            "DisruptionAllowed",
            truth,
            reason,
            message,
            rfc3339(self.clock.time()),
            observedGeneration=generation,
        )
        # A metav1.Condition has a message even when there is nothing to say.
        status["conditions"] = [{"message": "", **condition} for condition in found]

    async def _put(self, budget: Obj, status: dict[str, Any]) -> None:
        if status != (budget.get("status") or {}):
            await self.client.update(self.resource, {**budget, "status": status}, subresource="status")

    # --- how many there should be

    async def _expected(self, budget: Obj, found: Sequence[Obj]) -> tuple[int, int]:
        """(expected pods, desired healthy ones)."""
        spec = budget["spec"]
        if (most := spec.get("maxUnavailable")) is not None:
            expected = await self._scale(budget, found)
            return expected, max(expected - _share(most, expected), 0)
        least = spec.get("minAvailable")
        if isinstance(least, str):
            expected = await self._scale(budget, found)
            return expected, _share(least, expected)
        return len(found), least or 0

    async def _scale(self, budget: Obj, found: Sequence[Obj]) -> int:
        """The sum of the scales of all that control these pods."""
        scales: dict[str, int] = {}
        unmanaged = False
        for pod in found:
            reference = meta.controller_of(pod)
            if reference is None:
                unmanaged = True
                continue
            if reference["uid"] in scales:
                continue
            owner = self._owner(reference, meta.namespace(pod))
            if owner is None:
                owner = await self._scale_of(reference, meta.namespace(pod))
            if owner is None:
                raise _Uncountable(f'found no controllers for pod "{meta.name(pod)}"')
            count = owner["spec"].get("replicas", 0)
            scales[meta.uid(owner)] = count
        if unmanaged:
            selector = go_text(budget["spec"].get("selector") or {})
            text = (
                f"Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. "
                "As a result, the status of the PDB cannot be calculated correctly, which may result in undefined "
                'behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an '
                "integer value."
            )
            await self.recorder.event(budget, "Warning", "UnmanagedPods", text)
        return sum(scales.values())

    def _owner(self, reference: dict[str, Any], namespace: str) -> Obj | None:
        """What has the scale: a ReplicaSet's Deployment rather than the ReplicaSet."""
        resource = _OWNERS.get(reference["kind"])
        group = "" if reference["kind"] == "ReplicationController" else "apps"
        if resource is None or reference["apiVersion"].rpartition("/")[0] != group:
            return None
        found = self.informer(resource).get(reference["name"], namespace)
        if found is None or meta.uid(found) != reference["uid"]:
            return None
        above = meta.controller_of(found)
        if reference["kind"] == "ReplicaSet" and above is not None and above["kind"] == "Deployment":
            return self._owner(above, namespace)
        return found

    async def _scale_of(self, reference: dict[str, Any], namespace: str) -> Obj | None:
        """The scale of an owner of any other kind."""
        try:
            resource = await self._scales.resource(reference["apiVersion"], reference["kind"])
        except NoSuchKind as error:
            raise _Uncountable(str(error)) from error
        try:
            found = await self._scales.get(resource, reference["name"], namespace)
        except NotFound as error:
            if error.name:
                return None
            name = ".".join(part for part in (resource.partition(".")[0], *resource.split(".")[2:]) if part)
            raise _Uncountable(f"{name} does not implement the scale subresource") from error
        except ApiError as error:
            raise _Uncountable(error.message) from error
        return found if meta.uid(found) == reference["uid"] else None

    async def _disrupted(
        self, budget: Obj, found: Sequence[Obj], now: float
    ) -> tuple[dict[str, str], float | None]:
        """Pods whose eviction was granted and whose deletion is still to be seen; when to look again."""
        noted = (budget.get("status") or {}).get("disruptedPods") or {}
        kept: dict[str, str] = {}
        recheck: float | None = None
        for pod in found:
            since = noted.get(meta.name(pod))
            if since is None or meta.is_deleting(pod):
                continue
            left = times.parse(since) + _DELETION_TIMEOUT - now
            if left < 0:
                # Upstream's text names the namespace twice and the budget not at all.
                namespace = meta.namespace(budget)
                text = f"Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't"
                await self.recorder.event(pod, "Warning", "NotDeleted", text)
                continue
            kept[meta.name(pod)] = since
            recheck = left + 1 if recheck is None else min(recheck, left + 1)
        return kept, recheck

    # --- pods that were to be disrupted and were not

    async def _take_back(self, namespace: str, name: str) -> float | None:
        pod = self._pods.get(name, namespace)
        marked = None if pod is None else _marked(pod)
        if pod is None or marked is None:
            return None
        left = times.parse(marked["lastTransitionTime"]) + _STALE - self.clock.time()
        if left > 0:
            return left
        found, _ = conditions.set(
            meta.get(pod, "status", "conditions"),
            "DisruptionTarget",
            "False",
            now=rfc3339(self.clock.time()),
            observedGeneration=pod["metadata"].get("generation", 0),
        )
        changed = meta.replace(pod, ("status", "conditions"), found)
        try:
            await self.client.update("pods", changed, subresource="status")
        except NotFound:
            return None
        return None


def _marked(pod: Obj) -> dict[str, Any] | None:
    """The condition that says the pod is about to go, where that does not come from its kubelet."""
    if meta.is_deleting(pod) or pods.is_finished(pod):
        return None
    found = conditions.find(pod, "DisruptionTarget")
    if found is None or found.get("status") != "True" or found.get("reason") == "TerminationByKubelet":
        return None
    return found


def _share(value: int | str, of: int) -> int:
    return value if isinstance(value, int) else math.ceil(int(value.rstrip("%")) * of / 100)
