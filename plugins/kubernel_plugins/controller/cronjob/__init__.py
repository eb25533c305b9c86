"""CronJob controller: Jobs on a schedule.

Source: k8s.io/kubernetes/pkg/controller/cronjob (v1.37). ``timing`` says when.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import AlreadyExists, ApiError, NotFound
from kubernel.objects import conditions, meta, times
from kubernel_plugins.controller.ownership import namespace_is_terminating

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_JOBS = "jobs.v1.batch"
_SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class _Status:
    """A CronJob's status while it is worked on."""

    def __init__(self, cronjob: Obj) -> None:
        self.before: Obj = cronjob.get("status") or {}
        self.active: list[dict[str, Any]] = list(self.before.get("active") or ())
        self.scheduled: str | None = self.before.get("lastScheduleTime")
        self.successful: str | None = self.before.get("lastSuccessfulTime")
        self.news: list[tuple[Literal["Normal", "Warning"], str, str]] = []
        """Events, (type, reason, message), for when the status says it too: a refused write is tried again."""

    def is_active(self, uid: str) -> bool:
        return any(reference.get("uid") == uid for reference in self.active)

    def drop(self, uid: str) -> None:
        self.active = [reference for reference in self.active if reference.get("uid") != uid]

    def as_dict(self) -> dict[str, Any]:
        fields = {
            "active": self.active,
            "lastScheduleTime": self.scheduled,
            "lastSuccessfulTime": self.successful,
        }
        return {key: value for key, value in fields.items() if value}


class Plugin(Reconciler):
    """The ``cronjob`` controller."""

    resource = "cronjobs.v1.batch"
    owns = (_JOBS,)
    user = "system:serviceaccount:kube-system:cronjob-controller"

    async def start(self) -> None:
        await super().start()
        self._jobs = self.informer(_JOBS)

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        """A new schedule begins with its next time: what it would have named before is not made up for."""
        if type == "MODIFIED" and old is not None and _timing(obj) != _timing(old):
            from kubernel_plugins.controller.cronjob.timing import schedule_of, wait

            try:
                delay = wait(obj, self.clock.time(), schedule_of(obj))
            except ValueError:
                delay = 0.0
            if delay is not None:
                self.queue.add(meta.key(obj), delay)
            return
        super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        cronjob = self.primary.get(name, namespace)
        if cronjob is None:
            return None
        jobs = [
            job
            for job in self._jobs.by("owner", meta.uid(cronjob))
            if (owner := meta.controller_of(job)) is not None and owner["kind"] == "CronJob"
        ]
        status = _Status(cronjob)
        try:
            await self._clean_up(cronjob, jobs, status)
            await self._note_ends(cronjob, jobs, status)
            again = None if meta.is_deleting(cronjob) else await self._start_due(cronjob, status)
        finally:
            # A Job that was made has to be in the status, whatever fails after it.
            if status.as_dict() != status.before:
                changed = {**cronjob, "status": status.as_dict()}
                await self.client.update(self.resource, changed, subresource="status")
            for event in status.news:
                await self.recorder.event(cronjob, *event)
        return again

    # --- what has become of its Jobs

    async def _note_ends(self, cronjob: Obj, jobs: Sequence[Obj], status: _Status) -> None:
        for job in jobs:
            uid, ended = meta.uid(job), _ended(job)
            if not ended:
                if not status.is_active(uid):
                    fresh = await self.client.get(self.resource, *reversed(meta.key(cronjob)))
                    if _Status(fresh).is_active(uid):
                        status.active = _Status(fresh).active
                        continue
                    text = f"Saw a job that the controller did not create or forgot: {meta.name(job)}"
                    status.news.append(("Warning", "UnexpectedJob", text))
                continue
            if status.is_active(uid):
                status.drop(uid)
                text = f"Saw completed job: {meta.name(job)}, condition: {ended}"
                status.news.append(("Normal", "SawCompletedJob", text))
            completed = (job.get("status") or {}).get("completionTime")
            if ended == "Complete" and completed and _later(completed, status.successful):
                status.successful = completed
        known = {meta.uid(job) for job in jobs}
        for reference in list(status.active):
            if reference.get("uid") in known:
                continue
            try:
                await self.client.get(_JOBS, reference["name"], meta.namespace(cronjob))
            except NotFound:
                status.drop(reference.get("uid", ""))
                text = f"Active job went missing: {reference['name']}"
                status.news.append(("Normal", "MissingJob", text))

    # --- the next Job

    async def _start_due(self, cronjob: Obj, status: _Status) -> float | None:
        """Make the Job whose time has come; seconds until the next time."""
        from kubernel_plugins import cron
        from kubernel_plugins.controller.cronjob import timing

        spec = cronjob["spec"]
        zone = spec.get("timeZone")
        try:
            cron.zone(zone or "")
        except ValueError as error:
            text = f'invalid timeZone: "{zone}": {error}'
            await self.recorder.event(cronjob, "Warning", "UnknownTimeZone", text)
            return None
        if spec.get("suspend"):
            return None
        try:
            schedule = timing.schedule_of(cronjob)
        except ValueError as error:
            text = f'unparseable schedule: "{spec["schedule"]}" : {error}'
            await self.recorder.event(cronjob, "Warning", "UnparseableSchedule", text)
            return None
        if "TZ" in spec["schedule"]:
            text = (
                f'CRON_TZ or TZ used in schedule "{spec["schedule"]}" is not officially supported, see '
                "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
            )
            await self.recorder.event(cronjob, "Warning", "UnsupportedSchedule", text)
        now = self.clock.time()
        try:
            due = timing.due(cronjob, now, schedule, deadline=True)
        except ValueError as error:
            text = f"invalid schedule: {spec['schedule']} : {error}"
            await self.recorder.event(cronjob, "Warning", "InvalidSchedule", text)
            return None
        if due.at is not None:
            if due.many:
                text = (
                    "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or "
                    "check clock skew"
                )
                await self.recorder.event(cronjob, "Warning", "TooManyMissedTimes", text)
            cronjob = await self._serve(cronjob, status, due.at, now)
        return timing.wait(cronjob, now, schedule)

    async def _serve(self, cronjob: Obj, status: _Status, at: float, now: float) -> Obj:
        """Start the Job of the time ``at`` unless something speaks against it; the CronJob as it is then."""
        spec = cronjob["spec"]
        deadline = spec.get("startingDeadlineSeconds")
        if deadline is not None and at + deadline < now:
            stamp = _rfc1123(at)
            text = f"Missed scheduled time to start a job: {stamp}"
            await self.recorder.event(cronjob, "Warning", "MissSchedule", text)
            return cronjob
        name = f"{meta.name(cronjob)}-{math.floor(at) // 60}"
        served = status.scheduled is not None and times.parse(status.scheduled) == at
        if served or any(reference.get("name") == name for reference in status.active):
            return cronjob
        policy = spec.get("concurrencyPolicy", "Allow")
        if policy == "Forbid" and status.active:
            text = "Not starting job because prior execution is running and concurrency policy is Forbid"
            await self.recorder.event(cronjob, "Normal", "JobAlreadyActive", text)
            return cronjob
        if policy == "Replace":
            for reference in list(status.active):
                await self._delete(cronjob, status, reference["name"], reference["uid"])
        job = await self._create(cronjob, status, name, at)
        if job is None:
            return cronjob
        status.active.append(
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "namespace": meta.namespace(job),
                "name": meta.name(job),
                "uid": meta.uid(job),
                "resourceVersion": meta.resource_version(job),
            }
        )
        status.scheduled = rfc3339(at)
        return meta.replace(cronjob, ("status", "lastScheduleTime"), status.scheduled)

    async def _create(self, cronjob: Obj, status: _Status, name: str, at: float) -> Obj | None:
        """The Job of the time ``at``; None when it is not this controller's to note."""
        try:
            job = await self.client.create(_JOBS, _job(cronjob, name, at), meta.namespace(cronjob))
        except AlreadyExists:
            # The name is the lock: an earlier attempt made it and did not get to the status.
            job = await self.client.get(_JOBS, name, meta.namespace(cronjob))
            owner = meta.controller_of(job)
            ours = owner is not None and owner["uid"] == meta.uid(cronjob)
            return job if ours and not status.is_active(meta.uid(job)) else None
        except ApiError as error:
            if not namespace_is_terminating(error):
                text = f"Error creating job: {error.message}"
                await self.recorder.event(cronjob, "Warning", "FailedCreate", text)
            raise
        await self.recorder.event(cronjob, "Normal", "SuccessfulCreate", f"Created job {name}")
        return job

    async def _delete(self, cronjob: Obj, status: _Status, name: str, uid: str) -> None:
        try:
            await self.client.delete(_JOBS, name, meta.namespace(cronjob), propagation="Background", uid=uid)
        except NotFound:
            status.drop(uid)
            return
        except ApiError as error:
            await self.recorder.event(cronjob, "Warning", "FailedDelete", f"Deleted job: {error.message}")
            raise
        status.drop(uid)
        await self.recorder.event(cronjob, "Normal", "SuccessfulDelete", f"Deleted job {name}")

    # --- history

    async def _clean_up(self, cronjob: Obj, jobs: Sequence[Obj], status: _Status) -> None:
        spec = cronjob["spec"]
        for condition, limit in (
            ("Complete", spec.get("successfulJobsHistoryLimit")),
            ("Failed", spec.get("failedJobsHistoryLimit")),
        ):
            if limit is None:
                continue
            ended = sorted((job for job in jobs if _ended(job) == condition), key=_age)
            for job in ended[: max(len(ended) - limit, 0)]:
                if not meta.is_deleting(job):
                    # A refusal is told and left at that: the next Job's end comes here again.
                    with suppress(ApiError):
                        await self._delete(cronjob, status, meta.name(job), meta.uid(job))


def _timing(cronjob: Obj) -> tuple[Any, Any]:
    return cronjob["spec"].get("schedule"), cronjob["spec"].get("timeZone")


def _later(stamp: str, other: str | None) -> bool:
    return not other or times.parse(stamp) > times.parse(other)


def _ended(job: Obj) -> str:
    """``Complete`` or ``Failed``; empty while it runs."""
    return next((type for type in ("Complete", "Failed") if conditions.is_true(job, type)), "")


def _age(job: Obj) -> tuple[bool, float, str]:
    """Sort key by start time; those that never started come last."""
    started = (job.get("status") or {}).get("startTime")
    return not started, times.parse(started) if started else 0.0, meta.name(job)


def _job(cronjob: Obj, name: str, at: float) -> Obj:
    from kubernel_plugins import cron

    template = cronjob["spec"]["jobTemplate"]
    local = datetime.fromtimestamp(at, cron.zone(cronjob["spec"].get("timeZone") or ""))
    stamp = local.isoformat(timespec="seconds").replace("+00:00", "Z")
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": meta.namespace(cronjob),
        "annotations": {**meta.annotations(template), _SCHEDULED: stamp},
        "ownerReferences": [meta.owner_reference(cronjob)],
    }
    if meta.labels(template):
        metadata["labels"] = dict(meta.labels(template))
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template.get("spec") or {}}


def _rfc1123(at: float) -> str:
    from email.utils import format_datetime

    from kubernel_plugins import cron

    return format_datetime(datetime.fromtimestamp(at, cron.zone("")))
