"""Times and durations as the API writes them. Formatting is in ``kubernel.clock``."""

from __future__ import annotations

import re
from datetime import datetime

__all__ = ["duration", "go_duration", "human_duration", "parse"]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse(text: str) -> float:
    """Epoch seconds of an RFC 3339 time (metav1.Time, MicroTime); ValueError in Go's words."""
    if isinstance(text, str) and _RFC3339.fullmatch(text):
        fraction = text.find(".")
        try:
            if fraction < 0:
                return datetime.fromisoformat(text.upper()).timestamp()
            end = fraction + 1
            while text[end].isdigit():
                end += 1
            whole = datetime.fromisoformat((text[:fraction] + text[end:]).upper()).timestamp()
            return whole + float(text[fraction:end])
        except ValueError as error:
            raise ValueError(f'parsing time "{text}": {error}') from None
    raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"')


def duration(text: str) -> float:
    """Seconds of a Go duration (``1h30m``, ``1.5s``, ``-2m``, ``0``); ValueError in Go's words."""
    sign, rest = 1.0, text
    if rest[:1] in ("+", "-"):
        sign, rest = (-1.0 if rest[0] == "-" else 1.0), rest[1:]
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    seconds, position = 0.0, 0
    while position < len(rest):
        found = _DURATION.match(rest, position)
        if found is None:
            what = "missing unit in duration" if rest[position].isdigit() else "invalid duration"
            raise ValueError(f'time: {what} "{text}"')
        seconds += float(found[1]) * _UNITS[found[2]]
        position = found.end()
    return sign * seconds


def go_duration(seconds: float) -> str:
    """As Go prints a duration: ``1m30s``, ``1.5s``, ``200ms``; microseconds are the least."""
    micros = round(seconds * 1_000_000)
    if micros < 1_000_000:
        if not micros:
            return "0s"
        return f"{micros}µs" if micros < 1000 else f"{micros / 1000:g}ms"
    whole, rest = divmod(micros, 1_000_000)
    minutes, last = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{last}.{rest:06}".rstrip("0") if rest else str(last)
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if hours or minutes else ''}{text}s"


def human_duration(duration: float) -> str:
    """``3d4h``: how kubectl shows durations (k8s.io/apimachinery/pkg/util/duration)."""
    whole = int(duration)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    if whole < 120:
        return f"{whole}s"
    minutes = whole // 60
    if minutes < 10:
        return _pair(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    hours = whole // 3600
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return _pair(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    years, rest = divmod(days, 365)
    return _pair(years, "y", rest if years < 8 else 0, "d")


def _pair(number: int, unit: str, rest: int, smaller: str) -> str:
    return f"{number}{unit}{rest}{smaller}" if rest else f"{number}{unit}"
