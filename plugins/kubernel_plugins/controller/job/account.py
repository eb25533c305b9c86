"""Counting a Job's ended pods exactly once.

Each pod carries a finalizer. An ended one is first noted by uid in ``status.uncountedTerminatedPods``, then
loses its finalizer, then is added to the counters: at whatever point the controller stops, no pod is
forgotten or counted twice (KEP-2307).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.job.backoff import finished_at
from kubernel_plugins.controller.job.indexes import failures_of_index, format_ranges, index_of, parse_ranges
from kubernel_plugins.controller.job.policy import Failure, match_failure

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["FINALIZER", "Account", "indexed", "replaces_late", "tracked"]

FINALIZER = "batch.kubernetes.io/job-tracking"
_MOST_UNCOUNTED = 500
"""Most uids noted at once: the status has to stay small (upstream's MaxUncountedPods)."""


def indexed(job: Obj) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def replaces_late(job: Obj) -> bool:
    """Whether a pod on its way out is replaced, and counted, only when it has ended. With a failure policy that is
    the default."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def tracked(pod: Obj) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


class Account:
    """The state of a Job's pods at one moment.

    ``succeeded`` and ``failed`` are the totals with the not yet counted. Pods whose uid is in ``released`` have
    lost their finalizer already, though the view they come from does not show it yet.
    """

    def __init__(self, job: Obj, owned: Sequence[Obj], released: Collection[str] = ()) -> None:
        self.job = job
        self.owned = owned
        self._late = replaces_late(job)
        self._policy: dict[str, Any] | None = job["spec"].get("podFailurePolicy")
        self._tracked = [pod for pod in owned if tracked(pod) and meta.uid(pod) not in released]
        self._limit: int = job["spec"].get("completions") or 0
        self.active = [pod for pod in owned if pods.is_active(pod)]
        self.leaving = [pod for pod in owned if meta.is_deleting(pod) and not pods.is_finished(pod)]
        status = job.get("status") or {}
        uncounted = status.get("uncountedTerminatedPods") or {}
        held = {meta.uid(pod) for pod in self._tracked}
        self.counted: dict[str, int] = {}
        self.noted: dict[str, list[str]] = {}
        for key in ("succeeded", "failed"):
            uids = list(uncounted.get(key) or ())
            # Released before the controller could say so.
            self.noted[key] = [uid for uid in uids if uid in held]
            self.counted[key] = status.get(key, 0) + len(uids) - len(self.noted[key])
        known = {*self.noted["succeeded"], *self.noted["failed"]}
        fresh = [pod for pod in self._tracked if meta.uid(pod) not in known and self._is_of_an_index(pod)]
        self.new_successes = [pod for pod in fresh if pods.phase(pod) == "Succeeded"]
        self.new_failures = [pod for pod in fresh if self.is_failed(pod)]
        self.completed: set[int] = set()
        self.failed_indexes: set[int] | None = None
        self.misplaced: list[Obj] = []
        """Active pods that an Indexed Job has no use for: of no index of its own, done, or a second one."""
        self._occupied: set[int] = set()
        self.delayed: dict[int, Obj] = {}
        """By index, the failed pod whose replacement has to take over its failure count: it is kept until
        then."""
        if indexed(job):
            self._look_at_indexes(status)

    # --- indexes

    def _look_at_indexes(self, status: dict[str, Any]) -> None:
        self.completed = parse_ranges(status.get("completedIndexes", ""), self._limit)
        self.completed |= self._indexes(pod for pod in self._tracked if pods.phase(pod) == "Succeeded")
        for pod in sorted(self.active, key=pods.deletion_rank, reverse=True):
            index = index_of(pod)
            if index is None or index >= self._limit or index in self._occupied:
                self.misplaced.append(pod)
            else:
                self._occupied.add(index)
        per_index = self.job["spec"].get("backoffLimitPerIndex")
        if per_index is not None:
            failed = parse_ranges(status.get("failedIndexes") or "", self._limit)
            failed |= self._indexes(pod for pod in self._tracked if self._fails_its_index(pod, per_index))
            self.failed_indexes = failed
            self._delay(self.completed | failed | self._occupied)
        if self._late:
            self._occupied |= self._indexes(self.leaving)

    def _indexes(self, chosen: Iterable[Obj]) -> set[int]:
        found = {index_of(pod) for pod in chosen}
        return {index for index in found if index is not None and index < self._limit}

    def _is_of_an_index(self, pod: Obj) -> bool:
        if not indexed(self.job):
            return True
        index = index_of(pod)
        return index is not None and index < self._limit

    def _fails_its_index(self, pod: Obj, limit: int) -> bool:
        if not self.is_failed(pod):
            return False
        how = self.failure(pod)
        return how.action == "FailIndex" or (how.counts and failures_of_index(pod)[0] >= limit)

    def _delay(self, settled: Collection[int]) -> None:
        for pod in self._tracked:
            index = index_of(pod)
            if index is None or index >= self._limit or index in settled or not self.is_failed(pod):
                continue
            other = self.delayed.get(index)
            if other is None or (
                sum(failures_of_index(other)) <= sum(failures_of_index(pod))
                and finished_at(other) <= finished_at(pod)
            ):
                self.delayed[index] = pod

    def pending_indexes(self, count: int) -> list[int]:
        """The first ``count`` indexes without a pod that are neither done nor given up."""
        taken = self.completed | self._occupied | (self.failed_indexes or set())
        found: list[int] = []
        for index in range(self._limit):
            if len(found) == count:
                break
            if index not in taken:
                found.append(index)
        return found

    # --- what failed

    def is_failed(self, pod: Obj) -> bool:
        """Failed, or, unless replacements wait for the end, deleted: an orphan may never reach an end."""
        phase = pods.phase(pod)
        return phase == "Failed" or (not self._late and meta.is_deleting(pod) and phase != "Succeeded")

    def failure(self, pod: Obj) -> Failure:
        return match_failure(self._policy, pod)

    @property
    def failing_message(self) -> str:
        """Of the first failed pod that a rule ``FailJob`` matches."""
        if self._policy is None:
            return ""
        messages = (self.failure(pod).message for pod in self.owned if self.is_failed(pod))
        return next(filter(None, messages), "")

    # --- totals

    @property
    def succeeded(self) -> int:
        if indexed(self.job):
            return len(self.completed)
        return self.counted["succeeded"] + len(self.noted["succeeded"]) + len(self.new_successes)

    @property
    def failed(self) -> int:
        fresh = sum(self.failure(pod).counts for pod in self.new_failures)
        return self.counted["failed"] + len(self.noted["failed"]) + fresh

    # --- tracking

    def note(self, *, failing: bool, ending: bool) -> tuple[list[Obj], bool]:
        """Note the ended pods; ``(those that may lose their finalizer, whether these are all)``.

        ``ending``: the Job's fate is clear or it is being deleted, and every pod may go. ``failing``: it
        failed, and so did every pod that has not succeeded.
        """
        chosen: list[Obj] = []
        of_index = indexed(self.job)
        known = {*self.noted["succeeded"], *self.noted["failed"]}
        held = len(known)
        for pod in self._tracked:
            uid, done = meta.uid(pod), pods.phase(pod) == "Succeeded"
            failed = self.is_failed(pod)
            if not (ending or done or (failed and not self._is_delayed(pod))):
                continue
            chosen.append(pod)
            if uid in known:
                continue
            if done:
                # The index of an Indexed Job's pod says it already.
                if not of_index:
                    self.noted["succeeded"].append(uid)
                held += 1
            elif (failed or failing) and self._is_of_an_index(pod) and self.failure(pod).counts:
                self.noted["failed"].append(uid)
                held += 1
            if held >= _MOST_UNCOUNTED:
                return chosen, False
        return chosen, True

    def _is_delayed(self, pod: Obj) -> bool:
        index = index_of(pod)
        kept = None if index is None else self.delayed.get(index)
        return kept is not None and meta.uid(kept) == meta.uid(pod)

    def count(self, released: Callable[[str], bool]) -> None:
        """Add to the counters what was noted of pods that lost their finalizer."""
        for key, uids in self.noted.items():
            left = [uid for uid in uids if not released(uid)]
            self.counted[key] += len(uids) - len(left)
            self.noted[key] = left

    @property
    def all_counted(self) -> bool:
        return not any(self.noted.values())

    def write(self, status: dict[str, Any]) -> None:
        """Put the counts into ``status``, and the uids that wait for theirs."""
        succeeded = len(self.completed) if indexed(self.job) else self.counted["succeeded"]
        for key, value in (("succeeded", succeeded), ("failed", self.counted["failed"])):
            if value:
                status[key] = value
            else:
                status.pop(key, None)
        status["uncountedTerminatedPods"] = {key: list(uids) for key, uids in self.noted.items() if uids}
        if indexed(self.job):
            if self.completed:
                status["completedIndexes"] = format_ranges(self.completed)
            else:
                status.pop("completedIndexes", None)
            if self.failed_indexes is not None:
                status["failedIndexes"] = format_ranges(self.failed_indexes)
