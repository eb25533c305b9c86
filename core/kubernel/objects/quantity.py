"""Resource quantities: ``500m``, ``1Gi``, ``1e3``.

The rules are k8s.io/apimachinery/pkg/api/resource's: nothing is finer than a nano (finer values round away
from zero), nothing binary is larger than 2**63-1, and a quantity keeps its format (decimal, binary, exponent) when
written in canonical form: no fraction, the largest suffix possible.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Literal

__all__ = [
    "add",
    "canonical",
    "format_binary",
    "format_decimal",
    "format_milli",
    "parse",
    "subtract",
    "to_int",
    "to_int_milli",
]

Format = Literal["decimal", "binary", "exponent"]

_FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_SUFFIX_WRONG = "unable to parse quantity's suffix"
_NUMBER_WRONG = "unable to parse numeric part of quantity"

_NANO = 10**9
_LARGEST = (2**63 - 1) * _NANO
_GRAMMAR = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")
_LONGEST_EXPONENT = 400
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {0: ""} | {exponent: suffix for suffix, exponent in _BINARY.items()}


# A cluster's quantities repeat a few texts endlessly; the memo is bounded and invisible.
@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[int, Format]:
    """(value in nanos, format)."""
    found = _GRAMMAR.fullmatch(text) if text else None
    if found is None:
        raise ValueError(_FORMAT_WRONG)
    sign, whole, fraction, suffix = found.groups()
    fraction = fraction or ""
    format: Format = "decimal"
    power, base = 0, 10
    if suffix in _DECIMAL:
        power = _DECIMAL[suffix]
    elif suffix in _BINARY:
        power, base, format = _BINARY[suffix], 2, "binary"
    else:
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is None or len(exponent[1].lstrip("+-0")) > 18:
            raise ValueError(_SUFFIX_WRONG)
        # Beyond this every value is zero, the smallest or the largest quantity anyway.
        power = max(-_LONGEST_EXPONENT, min(_LONGEST_EXPONENT, int(exponent[1])))
        format = "exponent"
    digits = whole + fraction
    if len(digits) > _LONGEST_EXPONENT:
        raise ValueError(_NUMBER_WRONG)
    number = Fraction(int(digits or "0"), 10 ** len(fraction)) * Fraction(base) ** power * _NANO
    nanos = -((-number.numerator) // number.denominator)
    if format == "binary":
        nanos = min(nanos, _LARGEST)
    if format == "binary" and 0 < nanos < _NANO:
        format = "decimal"
    return (-nanos if sign == "-" else nanos), format


def _text(value: str | int | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(_FORMAT_WRONG)
    return str(value)


def parse(text: str | int | float) -> int | Decimal:
    """The exact value: an int when it is whole, else a Decimal. JSON numbers are accepted as upstream does.

    Raises ValueError with upstream's text.
    """
    nanos, _ = _read(_text(text))
    whole, rest = divmod(nanos, _NANO)
    return Decimal(nanos).scaleb(-9) if rest else whole


def to_int(text: str | int | float) -> int:
    """The value in units, rounded away from zero (upstream's ``Value()``)."""
    return _rounded(_read(_text(text))[0], _NANO)


def to_int_milli(text: str | int | float) -> int:
    """The value in thousandths, rounded away from zero (upstream's ``MilliValue()``)."""
    return _rounded(_read(_text(text))[0], _NANO // 1000)


def _rounded(nanos: int, unit: int) -> int:
    return -(-nanos // unit) if nanos >= 0 else nanos // unit


def canonical(text: str | int | float) -> str:
    """The same quantity in canonical form: ``1024Mi`` is ``1Gi``, ``0.5`` is ``500m``."""
    return _write(*_read(_text(text)))


def format_decimal(value: int | Decimal) -> str:
    """Canonical text of a number in decimal format: 1500 is ``1500``, 2000 ``2k``, 0.25 ``250m``."""
    return _write(_nanos(value), "decimal")


def format_binary(value: int | Decimal) -> str:
    """Canonical text of a number in binary format: 1048576 is ``1Mi``."""
    return _write(_nanos(value), "binary")


def format_milli(millis: int) -> str:
    """Canonical text of so many thousandths: 1500 is ``1500m``, 2000 is ``2``."""
    return _write(millis * (_NANO // 1000), "decimal")


def add(left: str | int | float, right: str | int | float) -> str:
    """Canonical text of the sum, in the left one's format unless that is zero (as upstream)."""
    (a, format), (b, other) = _read(_text(left)), _read(_text(right))
    return _write(a + b, format if a else other)


def subtract(left: str | int | float, right: str | int | float) -> str:
    """Canonical text of the difference, in the left one's format unless that is zero (as upstream)."""
    (a, format), (b, other) = _read(_text(left)), _read(_text(right))
    return _write(a - b, format if a else other)


def _nanos(value: int | Decimal) -> int:
    if isinstance(value, int):
        return value * _NANO
    numerator, denominator = (Fraction(value) * _NANO).as_integer_ratio()
    return _rounded(numerator, denominator)


def _write(nanos: int, format: Format) -> str:
    if nanos == 0:
        return "0"
    if format == "binary" and abs(nanos) >= 1024 * _NANO and nanos % _NANO == 0:
        number, power = nanos // _NANO, 0
        while number % 1024 == 0:
            number, power = number // 1024, power + 10
        return f"{number}{_BINARY_SUFFIX[power]}"
    number, power = nanos, -9
    while number % 1000 == 0:
        number, power = number // 1000, power + 3
    if format == "exponent":
        return f"{number}e{power}" if power else str(number)
    # Go has no suffix beyond E either, and then writes none.
    return f"{number}{_DECIMAL_SUFFIX.get(power, '')}"
