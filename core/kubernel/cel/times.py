"""Timestamps and durations as Go reads and writes them, in whole nanoseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

__all__ = [
    "EARLIEST",
    "LARGEST_DURATION",
    "LATEST",
    "SECOND",
    "broken_down",
    "format_duration",
    "format_timestamp",
    "parse_date",
    "parse_duration",
    "parse_timestamp",
]  # fmt: skip

SECOND = 10**9
EARLIEST, LATEST = -62135596800 * SECOND, 253402300799 * SECOND + SECOND - 1
LARGEST_DURATION = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": SECOND,
    "m": 60 * SECOND,
    "h": 3600 * SECOND,
}
_PART = re.compile(r"(\d*)(?:\.(\d*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)


def parse_timestamp(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 text. Raises ValueError with Go's words."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    *parts, fraction, sign, hours, minutes = found.groups()
    try:
        moment = datetime(*map(int, parts), tzinfo=UTC)  # type: ignore[misc, arg-type]
    except ValueError:
        raise ValueError(f'parsing time "{text}": out of range') from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    if sign:
        seconds -= (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == "-" else 1)
    nanos = seconds * SECOND + int((fraction or "").ljust(9, "0"))
    if not EARLIEST <= nanos <= LATEST:
        raise ValueError(f'parsing time "{text}": out of range')
    return nanos


def parse_date(text: str) -> int:
    return parse_timestamp(f"{text}T00:00:00Z")


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1h30m``, ``-1.5s``. Raises ValueError with Go's words."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    total = at = 0
    while at < len(rest):
        found = _PART.match(rest, at)
        if found is None or not (found[1] or found[2]):
            break
        whole, fraction, unit = found.groups()
        fraction = fraction or ""
        if len(whole) > 19 or len(fraction) > 400:
            break
        scale = _UNITS[unit]
        total += int(whole or "0") * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
        at = found.end()
    if not rest or at < len(rest) or total > LARGEST_DURATION:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text[0] == "-" else total


def format_duration(nanos: int) -> str:
    """``3.5s``: CEL writes durations in seconds."""
    sign = "-" if nanos < 0 else ""
    seconds, rest = divmod(abs(nanos), SECOND)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{sign}{seconds}{fraction}s"


def format_timestamp(nanos: int) -> str:
    """RFC 3339 in UTC with as many digits as it has."""
    seconds, rest = divmod(nanos, SECOND)
    moment = _EPOCH + timedelta(seconds=seconds)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    return f"{moment.year:04d}-{moment:%m-%dT%H:%M:%S}{fraction}Z"


def broken_down(nanos: int, zone: str) -> datetime:
    """The moment in a zone: ``UTC``, ``Europe/Berlin``, ``+02:00``. Raises ValueError for one that is not known."""
    where: tzinfo
    offset = _OFFSET.fullmatch(zone)
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3])
        if minutes >= 24 * 60:
            raise ValueError(f"unknown time zone {zone}")
        where = timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    elif zone in ("", "UTC", "Z"):
        where = UTC
    else:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            where = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"unknown time zone {zone}") from None
    try:
        return (_EPOCH + timedelta(seconds=nanos // SECOND)).astimezone(where)
    except OverflowError:
        raise ValueError("timestamp overflow") from None
