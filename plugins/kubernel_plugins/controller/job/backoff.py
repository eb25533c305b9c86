"""How long a failed pod delays the next one.

Source: k8s.io/kubernetes/pkg/controller/job/backoff_utils.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Row", "finished_at", "remaining"]

_FIRST = 10.0
_LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Row:
    """Failures since the last success."""

    count: int = 0
    last: float = 0.0

    def after(self, successes: Sequence[Obj], failures: Sequence[Obj]) -> Row:
        """The row once these pods, which ended since, are known. A success ends it; failures after that
        success begin a new one."""
        ends = sorted(map(finished_at, failures))
        count = self.count
        if successes:
            success = max(map(finished_at, successes))
            ends = [end for end in ends if end > success]
            count = 0
        if not ends:
            return Row(count, self.last) if count else Row()
        return Row(count + len(ends), ends[-1])

    def remaining(self, now: float) -> float:
        return remaining(self.count, self.last, now)


def remaining(failures: int, last: float, now: float) -> float:
    """Seconds until the next pod may be made, after so many failures in a row."""
    if failures == 0:
        return 0.0
    # The exponent is bounded: 2.0 ** 1024 is an error.
    pause: float = min(_FIRST * 2 ** min(failures - 1, 10), _LONGEST)
    return max(last + pause - now, 0.0)


def finished_at(pod: Obj) -> float:
    """Epoch seconds: when its last container ended, else when it ceased to be ready, else when its deletion
    was asked for, else when it was made."""
    ended = _containers_ended(pod)
    if ended is not None:
        return ended
    ready = conditions.find(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return times.parse(ready["lastTransitionTime"])
    metadata = pod["metadata"]
    if meta.is_deleting(pod):
        grace: int = metadata.get("deletionGracePeriodSeconds") or 0
        return times.parse(metadata["deletionTimestamp"]) - grace
    return times.parse(metadata["creationTimestamp"])


def _containers_ended(pod: Obj) -> float | None:
    """When the last container ended; sidecars, which end after the others, among them."""
    status = pod.get("status") or {}
    sidecars = {
        entry.get("name")
        for entry in (pod.get("spec") or {}).get("initContainers") or ()
        if entry.get("restartPolicy") == "Always"
    }
    watched = list(status.get("containerStatuses") or ())
    watched += [entry for entry in status.get("initContainerStatuses") or () if entry.get("name") in sidecars]
    last: float | None = None
    for entry in watched:
        ended = meta.get(entry, "state", "terminated", "finishedAt")
        if not ended:
            return None
        last = max(last or 0.0, times.parse(ended))
    return last
