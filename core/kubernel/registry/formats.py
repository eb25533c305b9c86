"""String formats of structural schemas: which strings have them.

Source: the formats apiextensions enforces (apiextensions/pkg/apiserver/validation/formats.go); others
are documentation.
"""

from __future__ import annotations

import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import urlsplit

from kubernel.registry.scalars import canonical_time

__all__ = ["CHECKS"]

_HOSTNAME = re.compile(
    r"(?=.{1,253}$)[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,62})(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,62}))*\.?"
)
_EMAIL = re.compile(r"[^@\s<>]+@[^@\s<>]+")
_MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}")
_COLOR = re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_RGB = re.compile(r"rgb\(\s*\d{1,3}\s*,\s*\d{1,3}\s*,\s*\d{1,3}\s*\)")
_DURATION = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_WORDS = re.compile(
    r"\d+(?:\.\d+)?\s*(?:ns|us|ms|s|m|h|hr|d|w|(?:nano|micro|milli)?sec(?:ond)?s?|min(?:ute)?s?|hours?|days?|weeks?)"
)
_ISBN = re.compile(r"(?:\d[\s-]?){9}[\dXx]|(?:\d[\s-]?){13}")
_BSON = re.compile(r"[0-9a-f]{24}")
_CARD = re.compile(r"(?:\d[ -]?){13,19}")
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}")


def _raises_nothing(function: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            function(text)
        except ValueError:
            return False
        return True

    return check


def _cidr(text: str) -> None:
    if "/" not in text:
        raise ValueError(text)
    ipaddress.ip_network(text, strict=False)


def _uri(text: str) -> None:
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(text)


def _uuid_version(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            return uuid.UUID(text).version == version
        except ValueError:
            return False

    return check


def _date(text: str) -> None:
    if len(text) != 10:
        raise ValueError(text)
    date.fromisoformat(text)


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(_BSON),
    "byte": _raises_nothing(lambda text: binascii.a2b_base64(text, strict_mode=True)),
    "cidr": _raises_nothing(_cidr),
    "creditcard": _matches(_CARD),
    "date": _raises_nothing(_date),
    "date-time": _raises_nothing(canonical_time),
    "datetime": _raises_nothing(canonical_time),
    "duration": lambda text: bool(_DURATION.fullmatch(text) or _WORDS.fullmatch(text)),
    "email": _matches(_EMAIL),
    "hexcolor": _matches(_COLOR),
    "hostname": _matches(_HOSTNAME),
    "ipv4": _raises_nothing(ipaddress.IPv4Address),
    "ipv6": _raises_nothing(ipaddress.IPv6Address),
    "isbn": _matches(_ISBN),
    "mac": _matches(_MAC),
    "rgbcolor": _matches(_RGB),
    "ssn": _matches(_SSN),
    "uri": _raises_nothing(_uri),
    "uuid": _raises_nothing(uuid.UUID),
    "uuid3": _uuid_version(3),
    "uuid4": _uuid_version(4),
    "uuid5": _uuid_version(5),
}
