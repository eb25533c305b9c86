"""Times and durations as the API writes them. Formatting is in ``kubernel.clock``."""

from __future__ import annotations

import re
from datetime import datetime

__all__ = ["duration", "parse"]

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
