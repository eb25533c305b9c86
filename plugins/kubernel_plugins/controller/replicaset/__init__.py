"""ReplicaSet controller: keeps as many pods of a template alive as asked for.

Source: k8s.io/kubernetes/pkg/controller/replicaset/{replica_set,replica_set_utils}.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.ownership import Claims, index_orphans, namespace_is_terminating

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_BURST = 500
"""Most pods created or deleted in one reconcile (upstream's BurstReplicas)."""


def _sets_of_orphan(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    """ReplicaSets that might adopt a pod nobody controls."""
    if type == "DELETED" or meta.controller_of(pod) is not None:
        return ()
    labels = meta.labels(pod)
    if not labels:
        return ()
    return [
        meta.key(rs)
        for rs in self.primary.list(meta.namespace(pod))
        if from_object(rs["spec"].get("selector") or {}).matches(labels)
    ]


class Plugin(Reconciler):
    """The ``replicaset`` controller."""

    resource = "replicasets.v1.apps"
    owns = ("pods",)
    watches = {"pods": _sets_of_orphan}  # noqa: RUF012 - typed ClassVar in the base
    user = "system:serviceaccount:kube-system:replicaset-controller"

    async def start(self) -> None:
        await super().start()
        self._expected = Expectations(self.clock)
        self._pods = self.informer("pods")
        index_orphans(self._pods)
        self._claims = Claims(self.client, self.resource, "pods", self._pods)
        self._unlisten.append(self._pods.add_listener(self._observe))

    def _observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        controller = meta.controller_of(pod)
        if controller is None:
            return
        if type == "ADDED":
            self._expected.creation_observed(controller["uid"])
        if type == "DELETED" or meta.is_deleting(pod):
            self._expected.deletion_observed(controller["uid"], meta.uid(pod))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        rs = self.primary.get(name, namespace)
        if rs is None:
            return None
        uid = meta.uid(rs)
        selector = from_object(rs["spec"].get("selector") or {})
        # Before the pods are looked at: an event in between would make an old count look like a new one.
        wait = self._expected.give_up_in(uid)
        owned = await self._claims.of(rs, selector, wanted=pods.is_active)
        active = [pod for pod in owned if pods.is_active(pod)]
        failure: ApiError | None = None
        if meta.is_deleting(rs):
            self._expected.forget(uid)
        elif not wait:
            failure = await self._manage(rs, active)
        again = await self._update_status(rs, active, owned, failure)
        return min(filter(None, (wait, again)), default=None)

    # --- pods

    async def _manage(self, rs: Obj, active: Sequence[Obj]) -> ApiError | None:
        wanted = rs["spec"].get("replicas", 1)
        missing = wanted - len(active)
        if missing > 0:
            return await self._create(rs, min(missing, _BURST))
        if missing < 0:
            return await self._delete(rs, active, min(-missing, _BURST))
        return None

    async def _create(self, rs: Obj, count: int) -> ApiError | None:
        """Create in batches of 1, 2, 4, …: when the first is refused, the others need not be tried."""
        uid = meta.uid(rs)
        pod = pods.from_template(rs["spec"]["template"], rs)
        self._expected.expect_creations(uid, count)
        done, batch = 0, 1
        while done < count:
            batch = min(batch, count - done)
            results = await asyncio.gather(
                *(self._create_one(rs, pod) for _ in range(batch)), return_exceptions=True
            )
            done += batch
            failed = [result for result in results if isinstance(result, BaseException)]
            for _ in failed:
                self._expected.creation_observed(uid)
            if failed:
                for _ in range(count - done):
                    self._expected.creation_observed(uid)
                return None if namespace_is_terminating(failed[0]) else _as_api_error(failed[0])
            batch *= 2
        return None

    async def _create_one(self, rs: Obj, pod: Obj) -> None:
        try:
            created = await self.client.create("pods", pod, meta.namespace(rs))
        except ApiError as error:
            if not namespace_is_terminating(error):
                await self.recorder.event(rs, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        await self.recorder.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def _delete(self, rs: Obj, active: Sequence[Obj], count: int) -> ApiError | None:
        same_node = self._pods_by_node(rs)
        chosen = sorted(active, key=lambda pod: pods.deletion_rank(pod, same_node))[:count]
        uid = meta.uid(rs)
        self._expected.expect_deletions(uid, *(meta.uid(pod) for pod in chosen))
        results = await asyncio.gather(*(self._delete_one(rs, pod) for pod in chosen), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        return _as_api_error(failed[0]) if failed else None

    async def _delete_one(self, rs: Obj, pod: Obj) -> None:
        try:
            await self.client.delete("pods", meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
        except ApiError as error:
            self._expected.deletion_observed(meta.uid(rs), meta.uid(pod))
            if isinstance(error, NotFound):
                return
            await self.recorder.event(rs, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        await self.recorder.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")

    def _pods_by_node(self, rs: Obj) -> Counter[str]:
        """Active pods by node of all ReplicaSets that the same Deployment controls."""
        controller = meta.controller_of(rs)
        family = [rs] if controller is None else self.primary.by("owner", controller["uid"])
        counts: Counter[str] = Counter()
        for member in family:
            for pod in self._pods.by("owner", meta.uid(member)):
                if pods.is_active(pod):
                    counts[(pod.get("spec") or {}).get("nodeName", "")] += 1
        return counts

    # --- status

    async def _update_status(
        self, rs: Obj, active: Sequence[Obj], owned: Sequence[Obj], failure: ApiError | None
    ) -> float | None:
        now = self.clock.time()
        min_ready = rs["spec"].get("minReadySeconds", 0)
        template_labels = meta.get(rs, "spec", "template", "metadata", "labels", default={})
        labelled = ready = available = 0
        soonest: float | None = None
        for pod in active:
            labels = meta.labels(pod)
            labelled += all(labels.get(key) == value for key, value in template_labels.items())
            since = pods.ready_since(pod)
            if since is None:
                continue
            ready += 1
            if pods.is_available(pod, min_ready, now):
                available += 1
            else:
                wait = since + min_ready - now
                soonest = wait if soonest is None else min(soonest, wait)
        old = rs.get("status") or {}
        status: dict[str, Any] = {
            "replicas": len(active),
            "fullyLabeledReplicas": labelled,
            "readyReplicas": ready,
            "availableReplicas": available,
            "terminatingReplicas": sum(meta.is_deleting(pod) and not pods.is_finished(pod) for pod in owned),
            "observedGeneration": meta.get(rs, "metadata", "generation", default=0),
        }
        status = {
            key: value for key, value in status.items() if value or key in ("replicas", "terminatingReplicas")
        }
        found = old.get("conditions") or []
        if failure is not None:
            wanted = rs["spec"].get("replicas", 1)
            reason = "FailedCreate" if wanted > len(active) else "FailedDelete"
            if conditions.find(rs, "ReplicaFailure") is None:
                found, _ = conditions.set(
                    found, "ReplicaFailure", "True", reason, failure.message, rfc3339(now)
                )
        else:
            found, _ = conditions.remove(found, "ReplicaFailure")
        if found:
            status["conditions"] = found
        if status != old:
            await self.client.update(self.resource, {**rs, "status": status}, subresource="status")
        if failure is not None:
            raise failure
        return soonest


def _as_api_error(error: BaseException) -> ApiError:
    if isinstance(error, ApiError):
        return error
    raise error
