"""Which of a CronJob's times is due, and when to look again.

Source: k8s.io/kubernetes/pkg/controller/cronjob/utils.go (v1.37). Times are epoch seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.objects import times
from kubernel_plugins import cron

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Due", "due", "schedule_of", "wait"]

_MANY = 100
"""More missed times than this are told to the user."""
_DELTA = 0.1
"""Seconds after the time itself at which the controller looks, so as to be surely past it."""


@dataclass(frozen=True, slots=True)
class Due:
    """``at``: the last time that has passed and is not served yet, None when there is none. ``since``: from
    where it was looked for. ``missed``: about how many have passed."""

    since: float
    at: float | None
    missed: int = 0

    @property
    def many(self) -> bool:
        return self.missed > _MANY


def schedule_of(cronjob: Obj) -> cron.Schedule:
    """ValueError when the schedule cannot be read."""
    spec = cronjob["spec"]
    return cron.parse(spec["schedule"], cron.zone(spec.get("timeZone") or ""))


def due(cronjob: Obj, now: float, schedule: cron.Schedule, *, deadline: bool) -> Due:
    """``deadline``: leave out what ``startingDeadlineSeconds`` has made too late. ValueError when the schedule names
    no time that ever comes."""
    last = (cronjob.get("status") or {}).get("lastScheduleTime")
    since = times.parse(last or cronjob["metadata"]["creationTimestamp"])
    seconds = cronjob["spec"].get("startingDeadlineSeconds")
    if deadline and seconds is not None:
        since = max(since, now - seconds)
    first = schedule.next(since)
    second = None if first is None else schedule.next(first)
    if first is None:
        raise ValueError("time difference between two schedules is less than 1 second")
    if now < first:
        return Due(since, None)
    if second is None or now < second:
        return Due(since, first)
    # Roughly how many: no schedule is walked through month by month after a long stop.
    interval = max(round(second - first), 1)
    missed = math.floor(now - first) // interval + 1
    recent: float | None = None
    found = schedule.next(first + (missed - 2) * interval)
    while found is not None and found <= now:
        recent = found
        found = schedule.next(found)
    return Due(since, recent, missed)


def wait(cronjob: Obj, now: float, schedule: cron.Schedule) -> float | None:
    """Seconds until just after the next time; None when there is none."""
    try:
        last = due(cronjob, now, schedule, deadline=False)
    except ValueError:
        return None
    start = last.at
    if start is None:
        start = now if last.missed else last.since
    following = schedule.next(start)
    return None if following is None else max(following + _DELTA - now, 0.0)
