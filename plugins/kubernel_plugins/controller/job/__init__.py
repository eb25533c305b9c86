"""Job controller: runs pods until enough of them have succeeded.

Source: k8s.io/kubernetes/pkg/controller/job (v1.37). ``account`` counts ended pods, ``indexes`` is for
Indexed Jobs, ``policy`` has the rules of failure and success, ``backoff`` the pauses between attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.expectations import Expectations
from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import NotFound
from kubernel.objects import conditions, meta, times
from kubernel.objects.selectors import from_object
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.job import backoff
from kubernel_plugins.controller.job.account import FINALIZER, Account, indexed, replaces_late, tracked
from kubernel_plugins.controller.job.indexes import failures_of_index, with_failures, with_index
from kubernel_plugins.controller.job.policy import match_success
from kubernel_plugins.controller.ownership import ORPHANS, Claims, adopters, index_orphans
from kubernel_plugins.controller.podcontrol import PodControl

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_MANAGER = "kubernetes.io/job-controller"
_KIND = "Job"
_BURST = 500
"""Most pods created or deleted in one reconcile (upstream's MaxPodCreateDeletePerSync)."""
_ABANDONED = "/"


def _jobs_of_orphan(self: Plugin, type: EventType, pod: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return adopters(self.primary, type, pod)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The Job's fate: a condition while its pods end, ``final`` when they have."""

    interim: str
    final: str
    reason: str
    message: str

    @property
    def failed(self) -> bool:
        return self.final == "Failed"


def _failed(reason: str, message: str) -> _Verdict:
    return _Verdict("FailureTarget", "Failed", reason, message)


def _succeeded(reason: str, message: str) -> _Verdict:
    return _Verdict("SuccessCriteriaMet", "Complete", reason, message)


class _Pass:
    """One look at a Job: what is known of it, what it comes to."""

    def __init__(self, job: Obj, account: Account, row: backoff.Row, now: float) -> None:
        self.job = job
        self.account = account
        self.row = row
        self.now = now
        self.status: dict[str, Any] = dict(job.get("status") or {})
        self.active = len(account.active)
        self.ready = sum(map(pods.is_ready, account.active))
        self.terminating = len(account.leaving)
        self.again: float | None = None
        self.error: Exception | None = None
        self.news: tuple[str, str] | None = None
        """(reason, message) of an event, for when the status says it too: a refused write is tried again."""

    @property
    def suspended(self) -> bool:
        return bool(self.job["spec"].get("suspend"))

    def leave(self, chosen: Sequence[Obj]) -> None:
        """These were active and have been deleted."""
        self.active -= len(chosen)
        self.ready -= sum(map(pods.is_ready, chosen))
        self.terminating += len(chosen)

    def look_again(self, wait: float | None) -> None:
        if wait:
            self.again = wait if self.again is None else min(self.again, wait)

    def write_counts(self) -> None:
        if self.active:
            self.status["active"] = self.active
        else:
            self.status.pop("active", None)
        self.status["ready"] = self.ready
        self.status["terminating"] = self.terminating
        self.account.write(self.status)

    def condition(self, type: str, truth: str, reason: str, message: str) -> bool:
        now = rfc3339(self.now)
        found, changed = conditions.set(self.status.get("conditions"), type, truth, reason, message, now)
        if changed:
            self.status["conditions"] = [
                {**entry, "lastProbeTime": now} if entry["type"] == type else entry for entry in found
            ]
        return changed


class Plugin(Reconciler):
    """The ``job`` controller."""

    resource = "jobs.v1.batch"
    owns = ("pods",)
    watches = {"pods": _jobs_of_orphan}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:job-controller"
    gather = 1.0
    retry_first = 1.0
    retry_longest = 60.0

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._rows: dict[str, backoff.Row] = {}
        self._released: set[str] = set()
        """Pods whose finalizer is off, until the informer says so: their ends are counted already."""

    async def start(self) -> None:
        await super().start()
        self._expected = Expectations(self.clock)
        self._pods = self.informer("pods")
        index_orphans(self._pods)
        self._claims = Claims(self.client, self.resource, "pods", self._pods, FINALIZER)
        self._control = PodControl(self.client, self.recorder, self._expected)
        self._unlisten.append(self._pods.add_listener(self._control.observe))
        self._unlisten.append(self._pods.add_listener(self._observe))
        self._unlisten.append(self.primary.add_listener(self._observe_job))

    def _observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if type == "DELETED" or not tracked(pod):
            self._released.discard(meta.uid(pod))
        elif self._is_abandoned(pod):
            controller = meta.controller_of(pod)
            self.queue.add(_abandoned(meta.namespace(pod), controller["uid"] if controller else ""))

    def _observe_job(self, type: EventType, job: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self._expected.forget(meta.uid(job))
            self._rows.pop(meta.uid(job), None)
            self.queue.add(_abandoned(meta.namespace(job), meta.uid(job)))

    def _job_of(self, pod: Obj) -> Obj | None:
        controller = meta.controller_of(pod)
        if controller is None:
            return None
        job = self.primary.get(controller["name"], meta.namespace(pod))
        return job if job is not None and meta.uid(job) == controller["uid"] else None

    def _is_abandoned(self, pod: Obj) -> bool:
        """Whether it waits for a Job that is not there; what another kind controls is that kind's to release."""
        controller = meta.controller_of(pod)
        if controller is None:
            return True
        of_a_job = controller["kind"] == _KIND and controller["apiVersion"] == "batch/v1"
        return of_a_job and self._job_of(pod) is None

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        same = old is not None and meta.get(obj, "metadata", "generation") == meta.get(
            old, "metadata", "generation"
        )
        # Changes of the status come with those of the pods.
        self.queue.add(meta.key(obj), self.gather if type == "MODIFIED" and same else 0.0)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if name.startswith(_ABANDONED):
            await self._free(namespace, name.removeprefix(_ABANDONED))
            return None
        job = self.primary.get(name, namespace)
        if job is None or job["spec"].get("managedBy", _MANAGER) != _MANAGER:
            return None
        uid = meta.uid(job)
        if conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed"):
            self._rows.pop(uid, None)
            _, error = await self._release([pod for pod in self._pods.by("owner", uid) if tracked(pod)])
            _raise(error)
            return None
        # Before the pods are looked at: an event in between would make an old count look like a new one.
        wait = self._expected.give_up_in(uid)
        owned = await self._claims.of(job, from_object(job["spec"].get("selector") or {}))
        account = Account(job, owned, self._released)
        row = self._rows.get(uid, backoff.Row()).after(account.new_successes, account.new_failures)
        now = _Pass(job, account, row, self.clock.time())
        verdict = await self._decide(now, wait)
        await self._track(now, verdict)
        _raise(now.error)
        return now.again

    # --- what the Job is

    async def _decide(self, now: _Pass, wait: float) -> _Verdict | None:
        """Settle the Job's fate and bring its pods in line. ``wait``: seconds for which what was asked for may
        still be on its way; a fate that is clear waits for it too."""
        now.look_again(wait)
        if not now.status.get("startTime") and not now.suspended:
            now.status["startTime"] = rfc3339(now.now)
        verdict = self._verdict(now)
        if verdict is not None:
            gone, now.error = await self._control.delete(now.job, now.account.active)
            now.leave(gone)
            return None if wait or now.error is not None else verdict
        now.look_again(_deadline_in(now))
        managed = not wait and not meta.is_deleting(now.job)
        if managed:
            await self._manage(now)
        completions = now.job["spec"].get("completions")
        enough = now.account.succeeded >= (1 if completions is None else completions)
        if enough and not now.active:
            return _succeeded("CompletionsReached", "Reached expected number of succeeded pods")
        if managed:
            self._note_suspension(now)
        return None

    def _verdict(self, now: _Pass) -> _Verdict | None:
        """What is decided already, then what limits and policies say."""
        job, account, spec = now.job, now.account, now.job["spec"]
        for made in (_succeeded, _failed):
            known = conditions.find(job, made("", "").interim)
            if known is not None and known["status"] == "True":
                return made(known.get("reason", ""), known.get("message", ""))
        if message := account.failing_message:
            return _failed("PodFailurePolicy", message)
        if account.failed > spec.get("backoffLimit", 6) or self._restarts(account):
            return _failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        left = _deadline_in(now)
        if left is not None and left <= 0:
            return _failed("DeadlineExceeded", "Job was active longer than specified deadline")
        if not indexed(job):
            return None
        gone = len(account.failed_indexes or ())
        if gone > spec.get("maxFailedIndexes", gone):
            text = "Job has exceeded the specified maximal number of failed indexes"
            return _failed("MaxFailedIndexesExceeded", text)
        if gone and gone + len(account.completed) >= spec["completions"]:
            return _failed("FailedIndexes", "Job has failed indexes")
        if message := match_success(spec.get("successPolicy"), spec["completions"], account.completed):
            return _succeeded("SuccessPolicy", message)
        return None

    @staticmethod
    def _restarts(account: Account) -> bool:
        """With restartPolicy OnFailure the restarts of running pods count against the limit."""
        spec = account.job["spec"]
        if meta.get(spec, "template", "spec", "restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            entry.get("restartCount", 0)
            for pod in account.owned
            if pods.phase(pod) in ("Pending", "Running")
            for key in ("initContainerStatuses", "containerStatuses")
            for entry in (pod.get("status") or {}).get(key) or ()
        )
        limit: int = spec.get("backoffLimit", 6)
        return bool(restarts > 0 if limit == 0 else restarts >= limit)

    @staticmethod
    def _note_suspension(now: _Pass) -> None:
        if now.suspended:
            if now.condition("Suspended", "True", "JobSuspended", "Job suspended"):
                now.news = ("Suspended", "Job suspended")
            now.status.pop("startTime", None)
        elif conditions.is_true(now.job, "Suspended"):
            now.condition("Suspended", "False", "JobResumed", "Job resumed")
            now.status["startTime"] = rfc3339(now.now)
            now.news = ("Resumed", "Job resumed")

    # --- its pods

    async def _manage(self, now: _Pass) -> None:
        job, account = now.job, now.account
        wanted = 0 if now.suspended else self._wanted(now)
        surplus = list(account.misplaced)
        excess = now.active - wanted - len(surplus)
        if excess > 0:
            misplaced = set(map(meta.uid, surplus))
            keep = [pod for pod in account.active if meta.uid(pod) not in misplaced]
            surplus += sorted(keep, key=pods.deletion_rank)[:excess]
        if surplus:
            # Never both in one pass: what goes may make room for what comes.
            await self._withdraw(now, surplus if now.suspended else surplus[:_BURST])
            return
        missing = wanted - now.active - (now.terminating if replaces_late(job) else 0)
        if missing <= 0:
            return
        if "backoffLimitPerIndex" not in job["spec"] and (wait := now.row.remaining(now.now)):
            now.look_again(wait)
            return
        wanted_pods = self._new_pods(now, min(missing, _BURST))
        if wanted_pods:
            made, now.error = await self._control.create(job, wanted_pods)
            now.active += made

    @staticmethod
    def _wanted(now: _Pass) -> int:
        spec = now.job["spec"]
        parallelism, completions = spec.get("parallelism", 1), spec.get("completions")
        if completions is None:
            # After the first success those that still run are left to end.
            return now.active if now.account.succeeded else int(parallelism)
        return int(min(parallelism, max(completions - now.account.succeeded, 0)))

    @staticmethod
    def _new_pods(now: _Pass, count: int) -> list[Obj]:
        job, account = now.job, now.account
        base = pods.from_template(job["spec"]["template"], job)
        finalizers = base["metadata"].get("finalizers") or ()
        base["metadata"]["finalizers"] = list(dict.fromkeys([*finalizers, FINALIZER]))
        if not indexed(job):
            return [base] * count
        found: list[Obj] = []
        waits: list[float] = []
        for index in account.pending_indexes(count):
            pod = with_index(base, job, index)
            if account.failed_indexes is not None:
                replaced = account.delayed.get(index)
                if replaced is not None:
                    failures = sum(failures_of_index(replaced)) + 1
                    wait = backoff.remaining(failures, backoff.finished_at(replaced), now.now)
                    if wait:
                        waits.append(wait)
                        continue
                counts = replaced is None or account.failure(replaced).counts
                pod = with_failures(pod, replaced, counts=counts)
            found.append(pod)
        now.look_again(min(waits, default=None))
        return found

    async def _withdraw(self, now: _Pass, chosen: Sequence[Obj]) -> None:
        """Delete pods that nothing is wrong with: without their finalizer they are no failures."""
        held = [pod for pod in chosen if tracked(pod)]
        freed, now.error = await self._release(held)
        free = [pod for pod in chosen if not tracked(pod) or meta.uid(pod) in freed]
        gone, error = await self._control.delete(now.job, free)
        now.leave(gone)
        now.error = now.error or error

    # --- tracking

    async def _track(self, now: _Pass, verdict: _Verdict | None) -> None:
        """Note ended pods, release them, count them; then, when nothing is left, say that it is over."""
        job, account = now.job, now.account
        chosen, complete = account.note(
            failing=verdict is not None and verdict.failed,
            ending=verdict is not None or meta.is_deleting(job),
        )
        if verdict is not None:
            now.condition(verdict.interim, "True", verdict.reason, verdict.message)
        now.write_counts()
        job = await self._put_status(job, now.status)
        if now.news is not None:
            await self.recorder.event(job, "Normal", *now.news)
        self._rows[meta.uid(job)] = now.row
        freed, error = await self._release(chosen)
        account.count(freed.__contains__)
        now.write_counts()
        over = complete and error is None and account.all_counted and not now.terminating
        if verdict is not None and over:
            now.condition(verdict.final, "True", verdict.reason, verdict.message)
            if not verdict.failed:
                now.status["completionTime"] = rfc3339(now.now)
            await self._put_status(job, now.status)
            await self._tell_end(job, verdict, now.status.get("succeeded", 0))
        else:
            await self._put_status(job, now.status)
        now.error = error or now.error

    async def _tell_end(self, job: Obj, verdict: _Verdict, succeeded: int) -> None:
        if verdict.failed:
            await self.recorder.event(job, "Warning", verdict.reason, verdict.message)
            return
        completions = job["spec"].get("completions")
        if completions is not None and succeeded > completions:
            text = "Too many succeeded pods running after completion count reached"
            await self.recorder.event(job, "Warning", "TooManySucceededPods", text)
        await self.recorder.event(job, "Normal", "Completed", "Job completed")

    async def _release(self, chosen: Sequence[Obj]) -> tuple[set[str], Exception | None]:
        """Take the tracking finalizer off pods; ``(uids of those without it, what failed first)``."""
        results = await asyncio.gather(*map(self._release_one, chosen), return_exceptions=True)
        freed = {
            meta.uid(pod)
            for pod, result in zip(chosen, results, strict=True)
            if not isinstance(result, BaseException)
        }
        failed = [result for result in results if isinstance(result, BaseException)]
        for error in failed:
            if not isinstance(error, Exception):
                raise error
        return freed, next((error for error in failed if isinstance(error, Exception)), None)

    async def _release_one(self, pod: Obj) -> None:
        metadata = {"uid": meta.uid(pod), "$deleteFromPrimitiveList/finalizers": [FINALIZER]}
        name, namespace = meta.name(pod), meta.namespace(pod)
        try:
            await self.client.patch("pods", name, {"metadata": metadata}, namespace, type="strategic")
        except NotFound:
            return
        current = self._pods.get(name, namespace)
        if current is not None and meta.uid(current) == meta.uid(pod) and tracked(current):
            self._released.add(meta.uid(pod))

    async def _free(self, namespace: str, uid: str) -> None:
        """Release the pods of a Job that is gone, or of none (``uid`` empty): nobody will count them."""
        found = self._pods.by("owner", uid) if uid else self._pods.by(ORPHANS, namespace)
        _, error = await self._release([pod for pod in found if tracked(pod) and self._is_abandoned(pod)])
        _raise(error)

    async def _put_status(self, job: Obj, status: dict[str, Any]) -> Obj:
        if status == (job.get("status") or {}):
            return job
        return await self.client.update(self.resource, {**job, "status": dict(status)}, subresource="status")


def _abandoned(namespace: str, uid: str) -> ObjectKey:
    """The queue's key for pods whose Job is not there; no Job has such a name."""
    return namespace, _ABANDONED + uid


def _deadline_in(now: _Pass) -> float | None:
    deadline = now.job["spec"].get("activeDeadlineSeconds")
    if deadline is None or not now.status.get("startTime") or now.suspended:
        return None
    return float(times.parse(now.status["startTime"]) + deadline - now.now)


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error
