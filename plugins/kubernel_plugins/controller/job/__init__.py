"""Job controller: runs pods until enough of them have succeeded.

Source: k8s.io/kubernetes/pkg/controller/job (v1.37). ``account`` counts ended pods, ``indexes`` is for
Indexed Jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta, times
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.job.account import FINALIZER, Account, indexed, tracked
from kubernel_plugins.controller.job.indexes import index_of, with_index
from kubernel_plugins.controller.ownership import claim, index_orphans

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_BURST = 500
_BACKOFF = 10.0
_BACKOFF_LIMIT = 600.0


def _jobs_of_orphan(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if type == "DELETED" or meta.controller_of(pod) is not None or not meta.labels(pod):
        return ()
    return [
        meta.key(job)
        for job in self.primary.list(meta.namespace(pod))
        if from_object(job["spec"].get("selector") or {}).matches(meta.labels(pod))
    ]


class Plugin(Reconciler):
    """The ``job`` controller."""

    resource = "jobs.v1.batch"
    owns = ("pods",)
    watches = {"pods": _jobs_of_orphan}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:job-controller"

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._expected = Expectations(handle.clock)
        self._failures: dict[str, tuple[int, float]] = {}
        self._released: set[str] = set()
        """Pods whose finalizer is off, until the informer says so: their ends are counted already."""

    async def start(self) -> None:
        await super().start()
        # What an earlier run was interrupted in will not arrive.
        self._expected = Expectations(self.clock)
        self._pods = self.informer("pods")
        index_orphans(self._pods)
        self._unlisten.append(self._pods.add_listener(self._observe))

    def _observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if type == "DELETED" or not tracked(pod):
            self._released.discard(meta.uid(pod))
        controller = meta.controller_of(pod)
        if controller is None:
            return
        if type == "ADDED":
            self._expected.creation_observed(controller["uid"])
        if type == "DELETED" or meta.is_deleting(pod):
            self._expected.deletion_observed(controller["uid"], meta.uid(pod))
            if tracked(pod) and controller["kind"] == "Job":
                self.queue.add((meta.namespace(pod), controller["name"]))

    async def reconcile(self, namespace: str, name: str) -> float | None:
        job = self.primary.get(name, namespace)
        if job is None:
            await self._free_orphans(namespace, name)
            return None
        selector = from_object(job["spec"].get("selector") or {})
        owned = await claim(self.client, "pods", self._pods, job, selector)
        if conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed"):
            self._failures.pop(meta.uid(job), None)
            await self._release([pod for pod in owned if tracked(pod) and not pods.is_active(pod)])
            return None
        if meta.is_deleting(job):
            await self._release([pod for pod in owned if tracked(pod) and meta.is_deleting(pod)])
            return None
        account = Account(job, owned, self._released)
        if account.to_release:
            self._note_failures(job, account)
            noted = account.noted_status()
            if noted != (job.get("status") or {}):
                job = await self._put_status(job, noted)
            await self._release(account.to_release)
        return await self._advance(job, account)

    async def _advance(self, job: Obj, account: Account) -> float | None:
        """Decide what the Job is now, manage its pods and write its status."""
        now = self.clock.time()
        status = account.counted_status()
        suspended = bool(job["spec"].get("suspend"))
        if not status.get("startTime") and not suspended:
            status["startTime"] = rfc3339(now)
        again: float | None = None
        verdict = self._verdict(job, account, status, now)
        if verdict is not None:
            interim, final, reason, message = verdict
            self._condition(status, interim, "True", reason, message)
            await self._delete(job, account.active)
            gone = not account.active and not account.terminating
            if gone:
                self._condition(status, final, "True", reason, message)
                if final == "Complete":
                    status["completionTime"] = rfc3339(now)
                told = "Completed" if final == "Complete" else reason
                text = "Job completed" if final == "Complete" else message
                await self.recorder.event(job, "Normal" if final == "Complete" else "Warning", told, text)
        elif suspended:
            await self._suspend(job, account, status)
        else:
            if conditions.is_true(job, "Suspended"):
                self._condition(status, "Suspended", "False", "JobResumed", "Job resumed")
                status["startTime"] = rfc3339(now)
                await self.recorder.event(job, "Normal", "Resumed", "Job resumed")
            if self._expected.satisfied(meta.uid(job)):
                again = await self._manage(job, account, now)
            again = _sooner(again, self._deadline_in(job, status, now))
        if status != (job.get("status") or {}):
            await self._put_status(job, status)
        return again

    # --- what the Job is

    def _verdict(
        self, job: Obj, account: Account, status: dict[str, Any], now: float
    ) -> tuple[str, str, str, str] | None:
        """(interim condition, final condition, reason, message) once the Job's fate is clear."""
        for interim, final in (("FailureTarget", "Failed"), ("SuccessCriteriaMet", "Complete")):
            known = conditions.find(job, interim)
            if known is not None and known["status"] == "True":
                return interim, final, known.get("reason", ""), known.get("message", "")
        spec = job["spec"]
        if account.failed > spec.get("backoffLimit", 6) or self._restarts(job, account):
            return (
                "FailureTarget",
                "Failed",
                "BackoffLimitExceeded",
                "Job has reached the specified backoff limit",
            )
        left = self._deadline_in(job, status, now)
        if left is not None and left <= 0:
            return (
                "FailureTarget",
                "Failed",
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            )
        completions = spec.get("completions")
        enough = (
            account.succeeded >= completions
            if completions is not None
            else (account.succeeded > 0 and not account.active)
        )
        if enough:
            return (
                "SuccessCriteriaMet",
                "Complete",
                "CompletionsReached",
                "Reached expected number of succeeded pods",
            )
        return None

    @staticmethod
    def _restarts(job: Obj, account: Account) -> bool:
        """With restartPolicy OnFailure the restarts of running pods count against the limit."""
        if meta.get(job, "spec", "template", "spec", "restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            entry.get("restartCount", 0)
            for pod in account.active
            for key in ("initContainerStatuses", "containerStatuses")
            for entry in (pod.get("status") or {}).get(key) or ()
        )
        limit: int = job["spec"].get("backoffLimit", 6)
        return bool(restarts > 0 if limit == 0 else restarts >= limit)

    @staticmethod
    def _deadline_in(job: Obj, status: dict[str, Any], now: float) -> float | None:
        deadline = job["spec"].get("activeDeadlineSeconds")
        if deadline is None or not status.get("startTime") or job["spec"].get("suspend"):
            return None
        return float(times.parse(status["startTime"]) + deadline - now)

    async def _suspend(self, job: Obj, account: Account, status: dict[str, Any]) -> None:
        await self._delete(job, account.active)
        if not conditions.is_true(job, "Suspended"):
            self._condition(status, "Suspended", "True", "JobSuspended", "Job suspended")
            await self.recorder.event(job, "Normal", "Suspended", "Job suspended")
        status.pop("startTime", None)

    def _condition(self, status: dict[str, Any], type: str, truth: str, reason: str, message: str) -> None:
        now = rfc3339(self.clock.time())
        status["conditions"], changed = conditions.set(
            status.get("conditions"), type, truth, reason, message, now
        )
        if changed:
            status["conditions"] = [
                {**entry, "lastProbeTime": now} if entry["type"] == type else entry
                for entry in status["conditions"]
            ]

    # --- its pods

    async def _manage(self, job: Obj, account: Account, now: float) -> float | None:
        parallelism = job["spec"].get("parallelism", 1)
        completions = job["spec"].get("completions")
        active = len(account.active)
        if completions is None:
            wanted = active if account.succeeded else parallelism
        else:
            wanted = min(parallelism, max(completions - account.succeeded, 0))
        if active > wanted:
            ranked = sorted(account.active, key=lambda pod: pods.deletion_rank(pod, {}))
            await self._delete(job, ranked[: active - wanted])
            return None
        late = job["spec"].get("podReplacementPolicy") == "Failed" or "podFailurePolicy" in job["spec"]
        missing = wanted - active - (account.terminating if late else 0)
        if missing <= 0:
            return None
        failures, last = self._failures.get(meta.uid(job), (0, 0.0))
        if failures:
            wait: float = last + min(_BACKOFF * 2 ** (failures - 1), _BACKOFF_LIMIT) - now
            if wait > 0:
                return wait
        await self._create(job, account, min(missing, _BURST))
        return None

    async def _create(self, job: Obj, account: Account, count: int) -> None:
        base = pods.from_template(job["spec"]["template"], job)
        base["metadata"]["finalizers"] = [*(base["metadata"].get("finalizers") or ()), FINALIZER]
        if indexed(job):
            taken = account.completed | {index_of(pod) for pod in account.active}
            free = [index for index in range(job["spec"]["completions"]) if index not in taken]
            wanted = [with_index(base, job, index) for index in free[:count]]
        else:
            wanted = [base] * count
        uid = meta.uid(job)
        self._expected.expect_creations(uid, len(wanted))
        done, batch = 0, 1
        while done < len(wanted):
            part = wanted[done : done + batch]
            results = await asyncio.gather(
                *(self._create_one(job, pod) for pod in part), return_exceptions=True
            )
            done += len(part)
            failed = [result for result in results if isinstance(result, BaseException)]
            if failed:
                for _ in range(len(failed) + len(wanted) - done):
                    self._expected.creation_observed(uid)
                raise failed[0]
            batch *= 2

    async def _create_one(self, job: Obj, pod: Obj) -> None:
        try:
            created = await self.client.create("pods", pod, meta.namespace(job))
        except ApiError as error:
            await self.recorder.event(job, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        await self.recorder.event(job, "Normal", "SuccessfulCreate", f"Created pod: {meta.name(created)}")

    async def _delete(self, job: Obj, chosen: Sequence[Obj]) -> None:
        async def one(pod: Obj) -> None:
            try:
                await self.client.delete("pods", meta.name(pod), meta.namespace(pod), uid=meta.uid(pod))
            except NotFound:
                return
            await self.recorder.event(job, "Normal", "SuccessfulDelete", f"Deleted pod: {meta.name(pod)}")

        await asyncio.gather(*(one(pod) for pod in chosen))

    async def _release(self, chosen: Sequence[Obj]) -> None:
        """Take the tracking finalizer off ended pods."""

        async def one(pod: Obj) -> None:
            left = [entry for entry in pod["metadata"].get("finalizers") or () if entry != FINALIZER]
            patch = {"metadata": {"uid": meta.uid(pod), "finalizers": left or None}}
            try:
                await self.client.patch("pods", meta.name(pod), patch, meta.namespace(pod), type="merge")
            except NotFound:
                return
            current = self._pods.get(meta.name(pod), meta.namespace(pod))
            if current is not None and meta.uid(current) == meta.uid(pod) and tracked(current):
                self._released.add(meta.uid(pod))

        await asyncio.gather(*(one(pod) for pod in chosen))

    async def _free_orphans(self, namespace: str, name: str) -> None:
        """The Job is gone: nobody will count its pods any more."""
        left = [
            pod
            for pod in self._pods.list(namespace)
            if tracked(pod)
            and (owner := meta.controller_of(pod)) is not None
            and owner["kind"] == "Job"
            and owner["name"] == name
        ]
        await self._release(left)

    def _note_failures(self, job: Obj, account: Account) -> None:
        """Failures in a row delay the next pod; a success ends the row."""
        uid = meta.uid(job)
        if account.new_successes:
            self._failures.pop(uid, None)
        if account.new_failures:
            count, _ = self._failures.get(uid, (0, 0.0))
            self._failures[uid] = (count + len(account.new_failures), self.clock.time())

    async def _put_status(self, job: Obj, status: dict[str, Any]) -> Obj:
        return await self.client.update(self.resource, {**job, "status": status}, subresource="status")


def _sooner(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return min(known) if known else None
