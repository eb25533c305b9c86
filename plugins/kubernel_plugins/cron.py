"""Cron expressions, as github.com/robfig/cron/v3's ``ParseStandard`` reads them.

Five fields (minute, hour, day of month, month, day of week) of ``*``, ``?``, numbers, names, ranges, steps and lists,
or a descriptor. When both day fields are restricted, a day that matches either counts. Times are epoch seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo

from kubernel.objects import times

__all__ = ["Schedule", "parse", "zone"]

_YEARS = 5
"""How far ahead a match is looked for."""


class Schedule(Protocol):
    def next(self, after: float) -> float | None:
        """The first time later than ``after``; None when there is none within five years."""
        ...


@dataclass(frozen=True, slots=True)
class _Bounds:
    low: int
    high: int
    names: Mapping[str, int]


def _names(text: str, first: int) -> dict[str, int]:
    return {name: number for number, name in enumerate(text.split(), first)}


_MINUTE = _Bounds(0, 59, {})
_HOUR = _Bounds(0, 23, {})
_DAY = _Bounds(1, 31, {})
_MONTH = _Bounds(1, 12, _names("jan feb mar apr may jun jul aug sep oct nov dec", 1))
_WEEKDAY = _Bounds(0, 6, _names("sun mon tue wed thu fri sat", 0))
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def zone(name: str) -> tzinfo:
    """The time zone of that name; ValueError in Go's words when there is none."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise ValueError(f"unknown time zone {name}") from None


def parse(text: str, default: tzinfo = UTC) -> Schedule:
    """The schedule; a prefix ``TZ=`` or ``CRON_TZ=`` overrules ``default``. ValueError in upstream's words."""
    if not text:
        raise ValueError("empty spec string")
    where = default
    if text.startswith(("TZ=", "CRON_TZ=")):
        named, _, text = text.partition(" ")
        name = named.partition("=")[2]
        try:
            where = zone(name)
        except ValueError as error:
            raise ValueError(f"provided bad location {name}: {error}") from None
        text = text.strip()
    if text.startswith("@every "):
        rest = text.removeprefix("@every ")
        try:
            return _Every(max(math.floor(times.duration(rest)), 1))
        except ValueError as error:
            raise ValueError(f"failed to parse duration {text}: {error}") from None
    if text.startswith("@"):
        if text not in _DESCRIPTORS:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != len(_FIELDS):
        listed = " ".join(fields)
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(fields)}: [{listed}]")
    parsed = [_field(field, bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
    (minutes, _), (hours, _), (days, any_day), (months, _), (weekdays, any_weekday) = parsed
    return _Spec(minutes, hours, days, months, weekdays, any_day or any_weekday, where)


def _field(text: str, bounds: _Bounds) -> tuple[frozenset[int], bool]:
    """(values, whether it has an unrestricted star)."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            found, whole = _range(part, bounds)
            values.update(found)
            star = star or whole
    return frozenset(values), star


def _range(text: str, bounds: _Bounds) -> tuple[range, bool]:
    """``number | number-number [/step]``, ``*`` or ``?``; ``number/step`` goes on to the end."""
    span, *steps = text.split("/")
    ends = span.split("-")
    star = ends[0] in ("*", "?")
    if star:
        low, high = bounds.low, bounds.high
    else:
        low = _number(ends[0], bounds)
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
        high = _number(ends[1], bounds) if len(ends) == 2 else low
    step = 1
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    if steps:
        step = _integer(steps[0])
        if len(ends) == 1:
            high = bounds.high
        star = star and step <= 1
    if low < bounds.low:
        raise ValueError(f"beginning of range ({low}) below minimum ({bounds.low}): {text}")
    if high > bounds.high:
        raise ValueError(f"end of range ({high}) above maximum ({bounds.high}): {text}")
    if low > high:
        raise ValueError(f"beginning of range ({low}) beyond end of range ({high}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    return range(low, high + 1, step), star


def _number(text: str, bounds: _Bounds) -> int:
    named = bounds.names.get(text.lower())
    return _integer(text) if named is None else named


def _integer(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number


@dataclass(frozen=True, slots=True)
class _Every:
    seconds: int

    def next(self, after: float) -> float | None:
        return math.floor(after) + self.seconds


@dataclass(frozen=True, slots=True)
class _Spec:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both_days: bool
    """One of the day fields is ``*``: a day has to match both, otherwise either."""
    zone: tzinfo

    def next(self, after: float) -> float | None:
        """Walks as robfig's Next does, field by field, beginning anew where a field starts over. Where clocks change
        its steps decide which Jobs there are, so they are kept: a local hour that does not exist is passed over, one
        that is repeated is met twice, and a day without a midnight may be left out."""
        local = self._local(math.floor(after) + 1)
        last_year = local.year + _YEARS
        # Before the first step of a field those below it are set to their start; later they are there already.
        begun = False
        while local.year <= last_year:
            if local.month not in self.months:
                wall = _wall(local) if begun else datetime(local.year, local.month, 1)  # noqa: DTZ001
                local = self._at(_next_month(wall))
                while local.month not in self.months and local.month != 1:
                    local = self._at(_next_month(_wall(local)))
                begun = True
                if local.month not in self.months or local.month == 1:
                    continue
            again = False
            while not self._day_matches(local):
                wall = _wall(local) if begun else datetime(local.year, local.month, local.day)  # noqa: DTZ001
                begun = True
                local = self._midnight(wall + timedelta(days=1))
                if again := local.day == 1:
                    break
            while not again and local.hour not in self.hours:
                moment = local if begun else self._at(_wall(local).replace(minute=0, second=0))
                begun = True
                local = self._local(_epoch(moment) + 3600)
                again = local.hour == 0
            while not again and local.minute not in self.minutes:
                begun = True
                local = self._local(_epoch(local) // 60 * 60 + 60)
                again = local.minute == 0
            if again:
                continue
            if local.second == 0:
                return _epoch(local)
            begun = True
            local = self._local(_epoch(local) // 60 * 60 + 60)
        return None

    def _day_matches(self, local: datetime) -> bool:
        day = local.day in self.days
        weekday = local.isoweekday() % 7 in self.weekdays
        return day and weekday if self.both_days else day or weekday

    def _local(self, moment: int) -> datetime:
        return datetime.fromtimestamp(moment, self.zone)

    def _at(self, wall: datetime) -> datetime:
        """The moment at which clocks show ``wall``, as Go's ``time.Date`` chooses it around changes."""
        asked = round(wall.replace(tzinfo=UTC).timestamp())
        offset = self._offset(asked)
        if offset and (corrected := self._offset(asked - offset)) != offset:
            offset = corrected
        return self._local(asked - offset)

    def _offset(self, moment: int) -> int:
        offset = self._local(moment).utcoffset()
        return round(offset.total_seconds()) if offset is not None else 0

    def _midnight(self, wall: datetime) -> datetime:
        """The start of a day. Where clocks go forward at midnight it is the hour before, and the schedule goes on
        with the day after the next: robfig's way, kept because it decides which Jobs there are."""
        found = self._at(wall)
        hours = 24 - found.hour if found.hour > 12 else -found.hour
        return self._local(round(found.timestamp()) + hours * 3600)


def _wall(local: datetime) -> datetime:
    return local.replace(tzinfo=None)


def _epoch(local: datetime) -> int:
    return round(local.timestamp())


def _next_month(wall: datetime) -> datetime:
    """A day that the month does not have is counted on into the one after it."""
    first = wall.replace(day=1)
    first = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first + timedelta(days=wall.day - 1)
