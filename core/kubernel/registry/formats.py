"""Formats of strings that custom resources may ask for.

Source: the registry of k8s.io/kube-openapi/pkg/validation/strfmt (v1.37); dashes in a name make no difference.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from urllib.parse import urlsplit

from kubernel.objects import names, times

__all__ = ["CHECKS", "find_check"]

_EMAIL = re.compile(r"(?:[^<>@,]*<)?[^@\s<>,]+@[^@\s<>,]+>?")
_MAC = re.compile(
    r"[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2})*|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4})+"
)
_MAC_LENGTHS = (6, 8, 20)
_COLOR = re.compile(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_BYTE = r"(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])"
_RGB = re.compile(rf"rgb\(\s*{_BYTE}\s*,\s*{_BYTE}\s*,\s*{_BYTE}\s*\)", re.ASCII)
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")
_BSON = re.compile(r"[0-9a-fA-F]{24}")
_SSN = re.compile(r"\d{3}[- ]?\d{2}[- ]?\d{4}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_CLOCK = re.compile(r"(\d{2}):(\d{2}):(\d{2})(.\d+)?(z|[+-]\d{2}:\d{2})", re.ASCII)
_CARD = re.compile(
    r"4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|(?:2131|1800|35\d{3})\d{11}",
    re.ASCII,
)
_AMOUNT = re.compile(r"(\d+)\s*([A-Za-zµ]+)", re.ASCII)
_UNITS = frozenset(("ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"))
_LONG_UNITS = ("nano", "micro", "milli", "sec", "min", "hour", "day", "week")
_PORTION = "[0-9a-f]"


def _uuid(version: str, variant: str) -> re.Pattern[str]:
    return re.compile(
        rf"{_PORTION}{{8}}-?{_PORTION}{{4}}-?{version}-?{variant}-?{_PORTION}{{12}}", re.IGNORECASE | re.ASCII
    )


def _matches(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _raises_nothing(function: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            function(text)
        except ValueError:
            return False
        return True

    return check


def _sign(char: str) -> bool:
    """What a label of a host's name may consist of: letters and symbols of any script, digits of ours."""
    return (char.isascii() and char.isalnum()) or unicodedata.category(char)[0] in "LS"


def _hostname(text: str) -> bool:
    *labels, last = text.split(".")
    if len(text.encode()) > 255 or any(len(part.encode()) > 63 for part in (*labels, last)):
        return False
    if not labels:
        # Alone, a label may have one dash, after its first sign.
        first, rest = last[:1], last[1:].removeprefix("-")
        return bool(first) and _sign(first) and len(rest) <= 62 and all(map(_sign, rest))
    if not 2 <= len(last) <= 63 or not all(unicodedata.category(char)[0] == "L" for char in last):
        return False
    return all(
        label and _sign(label[0]) and _sign(label[-1]) and all(char == "-" or _sign(char) for char in label)
        for label in labels
    )


def _sloppy(text: str) -> str:
    """Octets of IPv4 may begin with zeros here."""
    return ".".join(part.lstrip("0") or "0" if part.isdigit() else part for part in text.split("."))


def _ipv4(text: str) -> object:
    if "." not in text:
        raise ValueError(text)
    return ipaddress.ip_address(text if ":" in text else _sloppy(text))


def _ipv6(text: str) -> object:
    if "%" in text:
        raise ValueError(text)
    return ipaddress.IPv6Address(text)


def _cidr(text: str) -> object:
    address, slash, bits = text.partition("/")
    if not slash or not (bits.isascii() and bits.isdigit()):
        raise ValueError(text)
    return ipaddress.ip_network(f"{address if ':' in address else _sloppy(address)}/{bits}", strict=False)


def _uri(text: str) -> None:
    """What may stand in a request line: a path, or a URL with a scheme."""
    if not text or any(char <= " " or char == "\x7f" for char in text):
        raise ValueError(text)
    parts = urlsplit(text)
    if not parts.scheme and not text.startswith("/"):
        raise ValueError(text)


def _mac(text: str) -> bool:
    if _MAC.fullmatch(text) is None:
        return False
    return len(re.sub("[:.-]", "", text)) // 2 in _MAC_LENGTHS


def _day(text: str) -> None:
    if _DATE.fullmatch(text) is None:
        raise ValueError(text)
    date.fromisoformat(text)


def _date_time(text: str) -> bool:
    day, found, rest = text.lower().partition("t")
    clock = _CLOCK.fullmatch(rest.partition("t")[0])
    if not found or not CHECKS["date"](day) or clock is None:
        return False
    return clock[1] <= "23" and clock[2] <= "59" and clock[3] <= "59"


def _duration(text: str) -> bool:
    """Go's, or any text in which an amount has a unit."""
    try:
        times.duration(text)
        return True
    except ValueError:
        units = [unit.lower() for _, unit in _AMOUNT.findall(text)]
        return any(unit in _UNITS or unit.startswith(_LONG_UNITS) for unit in units)


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is None:
        return False
    values = [int(digit) if digit != "X" else 10 for digit in digits]
    return sum(place * value for place, value in enumerate(values, 1)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if re.fullmatch(r"\d{13}", digits, re.ASCII) is None:
        return False
    return sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits)) % 10 == 0


def _card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if _CARD.fullmatch(digits) is None:
        return False
    # Luhn's algorithm: every second digit from the right counts twice.
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _no_problem(check: Callable[[str], list[str]]) -> Callable[[str], bool]:
    return lambda text: not check(text)


def _long_name(text: str) -> bool:
    return not names.check_dns1123_subdomain(text)


CHECKS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(_BSON),
    "byte": _matches(_BASE64),
    "cidr": _raises_nothing(_cidr),
    "creditcard": _card,
    "date": _raises_nothing(_day),
    "datetime": _date_time,
    "duration": _duration,
    "email": _matches(_EMAIL),
    "hexcolor": _matches(_COLOR),
    "hostname": _hostname,
    "ipv4": _raises_nothing(_ipv4),
    "ipv6": _raises_nothing(_ipv6),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "k8slongname": _long_name,
    "k8sshortname": _no_problem(names.check_dns1123_label),
    "mac": _mac,
    "password": lambda text: True,
    "rgbcolor": _matches(_RGB),
    "ssn": lambda text: len(text) == 11 and _SSN.fullmatch(text) is not None,
    "uri": _raises_nothing(_uri),
    "uuid": _matches(_uuid(f"{_PORTION}{{4}}", f"{_PORTION}{{4}}")),
    "uuid3": _matches(_uuid(f"3{_PORTION}{{3}}", f"{_PORTION}{{4}}")),
    "uuid4": _matches(_uuid(f"4{_PORTION}{{3}}", f"[89ab]{_PORTION}{{3}}")),
    "uuid5": _matches(_uuid(f"5{_PORTION}{{3}}", f"[89ab]{_PORTION}{{3}}")),
}
"""By name without dashes."""


def find_check(name: str) -> Callable[[str], bool] | None:
    """What tells whether a text has this format; None for one that means nothing."""
    return CHECKS.get(name.replace("-", ""))
