"""Counting a Job's ended pods exactly once.

Each pod carries a finalizer. An ended one is first noted by uid in ``status.uncountedTerminatedPods``, then
loses its finalizer, then is added to the counters: at whatever point the controller stops, no pod is
forgotten or counted twice (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.job.indexes import format_ranges, index_of, parse_ranges

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["FINALIZER", "Account", "indexed"]

FINALIZER = "batch.kubernetes.io/job-tracking"


def indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def tracked(pod: Obj) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


class Account:
    """The state of a Job's pods at one moment.

    ``succeeded`` and ``failed`` are the totals with the not yet counted; ``to_release`` the ended pods that
    still carry the finalizer; those whose uid is in ``released`` have lost it already, though the view they
    come from does not show it yet.
    """

    def __init__(self, job: Obj, owned: Sequence[Obj], released: Collection[str] = ()) -> None:
        def counts(pod: Obj) -> bool:
            return tracked(pod) and meta.uid(pod) not in released

        self.job = job
        self.owned = owned
        status = job.get("status") or {}
        uncounted = status.get("uncountedTerminatedPods") or {}
        self.active = [pod for pod in owned if pods.is_active(pod)]
        self.terminating = sum(meta.is_deleting(pod) and not pods.is_finished(pod) for pod in owned)
        self.ready = sum(pods.is_ready(pod) for pod in self.active)
        replace_late = (
            job["spec"].get("podReplacementPolicy") == "Failed" or "podFailurePolicy" in job["spec"]
        )
        ended_well = [pod for pod in owned if pods.phase(pod) == "Succeeded"]
        ended_badly = [
            pod
            for pod in owned
            if pods.phase(pod) == "Failed"
            or (meta.is_deleting(pod) and not replace_late and pods.phase(pod) != "Succeeded")
        ]
        self.completed: set[int] = set()
        self.occupied: set[int] = set()
        self.misplaced: list[Obj] = []
        """Active pods that an Indexed Job has no use for: of no index of its own, done, or a second one."""
        limit = job["spec"].get("completions") or 0
        if indexed(job):
            self.completed = parse_ranges(status.get("completedIndexes", ""), limit)
            fresh = {index_of(pod) for pod in ended_well if counts(pod)}
            self.completed |= {index for index in fresh if index is not None and index < limit}
            self._place(limit)
            if replace_late:
                leaving = (pod for pod in owned if meta.is_deleting(pod) and not pods.is_finished(pod))
                self.occupied |= {index for pod in leaving if (index := index_of(pod)) is not None}
        self._counted = {"succeeded": status.get("succeeded", 0), "failed": status.get("failed", 0)}
        self.noted: dict[str, list[str]] = {}
        for key, ended in (("succeeded", ended_well), ("failed", ended_badly)):
            before = list(uncounted.get(key) or ())
            fresh_uids = [meta.uid(pod) for pod in ended if counts(pod) and self._is_of_an_index(pod, limit)]
            if key == "succeeded" and indexed(job):
                # Their indexes say it already.
                fresh_uids = []
            self.noted[key] = before + [uid for uid in fresh_uids if uid not in before]
        self.to_release = [pod for pod in (*ended_well, *ended_badly) if counts(pod)]
        self.new_failures = [pod for pod in ended_badly if counts(pod)]
        self.new_successes = [pod for pod in ended_well if counts(pod)]

    def _place(self, limit: int) -> None:
        for pod in sorted(self.active, key=pods.is_ready, reverse=True):
            index = index_of(pod)
            if index is None or index >= limit or index in self.completed or index in self.occupied:
                self.misplaced.append(pod)
            else:
                self.occupied.add(index)

    def _is_of_an_index(self, pod: Obj, limit: int) -> bool:
        if not indexed(self.job):
            return True
        index = index_of(pod)
        return index is not None and index < limit

    @property
    def succeeded(self) -> int:
        if indexed(self.job):
            return len(self.completed)
        return int(self._counted["succeeded"]) + len(self.noted["succeeded"])

    @property
    def failed(self) -> int:
        return int(self._counted["failed"]) + len(self.noted["failed"])

    def noted_status(self) -> dict[str, Any]:
        """The status with every ended pod noted, before finalizers go."""
        status = dict(self.job.get("status") or {})
        status["uncountedTerminatedPods"] = {key: uids for key, uids in self.noted.items() if uids}
        if indexed(self.job):
            status["completedIndexes"] = format_ranges(self.completed)
        return status

    def counted_status(self) -> dict[str, Any]:
        """The status once the finalizers are gone: everything counted."""
        status = {
            key: value
            for key, value in (self.job.get("status") or {}).items()
            if key not in ("active", "ready", "terminating", "succeeded", "failed")
        }
        counts = {"active": len(self.active), "succeeded": self.succeeded, "failed": self.failed}
        status |= {key: value for key, value in counts.items() if value}
        status["ready"] = self.ready
        status["terminating"] = self.terminating
        status["uncountedTerminatedPods"] = {}
        if indexed(self.job) and self.completed:
            status["completedIndexes"] = format_ranges(self.completed)
        return status
