"""Scalars that Go types with a JSON form of their own read and write: times, bytes, quantities.

Each function gives the canonical form or raises ValueError in upstream's words.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from kubernel.objects import quantity

__all__ = ["canonical_bytes", "canonical_microtime", "canonical_quantity", "canonical_time", "json_type"]

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_PIECES = (
    ("2006", re.compile(r"\d{4}", re.ASCII)),
    ("-", re.compile("-")),
    ("01", re.compile(r"\d\d", re.ASCII)),
    ("-", re.compile("-")),
    ("02", re.compile(r"\d\d", re.ASCII)),
    ("T", re.compile("T")),
    ("15", re.compile(r"\d\d", re.ASCII)),
    (":", re.compile(":")),
    ("04", re.compile(r"\d\d", re.ASCII)),
    (":", re.compile(":")),
    ("05", re.compile(r"\d\d(?:[.,]\d+)?", re.ASCII)),
    ("Z07:00", re.compile(r"Z|[+-]\d\d:\d\d", re.ASCII)),
)
_MICRO_PIECES = (
    *_PIECES[:-2],
    ("05", re.compile(r"\d\d", re.ASCII)),
    (".000000", re.compile(r"[.,]\d{6}", re.ASCII)),
    _PIECES[-1],
)
_MICRO = re.compile(r".*T\d\d:\d\d:\d\d[.,]\d{6}(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_ALPHABET = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def json_type(value: Any) -> str:
    """What Go's decoder calls a JSON value."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "null" if value is None else "array"


def canonical_time(value: Any) -> str:
    """RFC 3339 in seconds, UTC (metav1.Time)."""
    if type(value) is str and len(value) == 20 and _TIME.fullmatch(value):
        try:
            datetime.fromisoformat(value)
            return value
        except ValueError:
            pass
    return _moment(value).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def canonical_microtime(value: Any) -> str:
    """RFC 3339 with six decimals, no more and no less, UTC (metav1.MicroTime)."""
    if isinstance(value, str) and not _MICRO.fullmatch(value):
        raise ValueError(_unparsed(value, _MICRO_LAYOUT, _MICRO_PIECES))
    return _moment(value, _MICRO_LAYOUT).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def canonical_quantity(value: Any) -> str:
    """resource.Quantity: a string, or a bare number."""
    if type(value) is str:
        return _canonical_quantity(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    return quantity.canonical(value)


# A cluster's quantities repeat a few texts endlessly; the memo is bounded and invisible.
@lru_cache(maxsize=4096)
def _canonical_quantity(text: str) -> str:
    return quantity.canonical(text)


def canonical_bytes(value: Any) -> str:
    """Base64, standard alphabet with padding; line breaks are dropped as Go's decoder does."""
    try:
        binascii.a2b_base64(value, strict_mode=True)
        return str(value)
    except (ValueError, TypeError):
        pass
    if not isinstance(value, str):
        raise ValueError(f"json: cannot unmarshal {json_type(value)} into Go value of type []uint8")
    position = _illegal_base64(value)
    if position >= 0:
        raise ValueError(f"illegal base64 data at input byte {position}")
    return base64.b64encode(base64.b64decode(value)).decode()


def _illegal_base64(text: str) -> int:
    """Where Go's base64.StdEncoding gives up, or -1. Source: encoding/base64 ``decodeQuantum``."""
    data = text.encode("utf-8", "surrogatepass")
    length, at, digits = len(data), 0, 0
    while at < length:
        byte = data[at]
        at += 1
        if byte in b"\r\n":
            continue
        if byte in _ALPHABET:
            digits = (digits + 1) % 4
            continue
        if byte != 0x3D or digits < 2:
            return at - 1
        if digits == 2:  # a second padding character must follow
            while at < length and data[at] in b"\r\n":
                at += 1
            if at == length:
                return length
            if data[at] != 0x3D:
                return at - 1
            at += 1
        while at < length and data[at] in b"\r\n":
            at += 1
        return at if at < length else -1
    return length - digits if digits else -1


def _moment(value: Any, layout: str = _LAYOUT) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"json: cannot unmarshal {json_type(value)} into Go value of type string")
    found = _TIME.fullmatch(value)
    if found is None:
        raise ValueError(_unparsed(value, layout))
    *numbers, fraction, zone = found.groups()
    year, month, day, hour, minute, second = map(int, numbers)
    limits = (("month", month, 1, 12), ("hour", hour, 0, 23), ("minute", minute, 0, 59))
    for what, number, low, high in (*limits, ("second", second, 0, 59)):
        if not low <= number <= high:
            raise ValueError(f'parsing time "{value}": {what} out of range')
    micro = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        offset = "+00:00" if zone == "Z" else zone
        text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}{offset}"
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        what = "time zone offset hour" if zone != "Z" and int(zone[1:3]) > 24 else "day"
        raise ValueError(f'parsing time "{value}": {what} out of range') from None


def _unparsed(text: str, layout: str, pieces: tuple[tuple[str, re.Pattern[str]], ...] = _PIECES) -> str:
    at = 0
    said = f'parsing time "{text}" as "{layout}": cannot parse'
    for name, pattern in pieces:
        found = pattern.match(text, at)
        if found is None:
            return f'{said} "{text[at:]}" as "{name}"'
        at = found.end()
    return f'parsing time "{text}": extra text: "{text[at:]}"'
