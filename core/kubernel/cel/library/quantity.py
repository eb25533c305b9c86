"""Kubernetes' quantities and semantic versions."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.values import INT_MAX, INT_MIN, Opaque
from kubernel.objects import quantity

from .declare import Table, function, member, traversal

__all__ = ["Quantity", "Semver", "semver", "table"]

_SEMVER = re.compile(
    r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


class Quantity(Opaque):
    """A resource quantity. Equal when the amounts are."""

    __slots__ = ("amount", "text")
    TYPE = "kubernetes.Quantity"

    def __init__(self, text: str) -> None:
        self.text = text
        self.amount = quantity.parse(text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.amount == other.amount

    def __hash__(self) -> int:
        return hash(self.amount)


def _parse(text: str) -> Quantity:
    try:
        return Quantity(text)
    except ValueError as error:
        raise EvaluationError(str(error)) from None


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


def _fits(one: Quantity) -> bool:
    return isinstance(one.amount, int) and INT_MIN <= one.amount <= INT_MAX


def _as_integer(one: Quantity) -> int:
    if not isinstance(one.amount, int) or not _fits(one):
        raise EvaluationError("cannot convert value to integer")
    return one.amount


def _sign(one: Quantity) -> int:
    return (one.amount > 0) - (one.amount < 0)


def _text(other: Quantity | int) -> str:
    return other.text if isinstance(other, Quantity) else str(int(other))


def _add(one: Quantity, other: Quantity | int) -> Quantity:
    return _parse(quantity.add(one.text, _text(other)))


def _sub(one: Quantity, other: Quantity | int) -> Quantity:
    return _parse(quantity.subtract(one.text, _text(other)))


def _compare(one: Any, other: Any) -> int:
    return 1 if one.amount > other.amount else -1 if one.amount < other.amount else 0


def _approximate(one: Quantity) -> float:
    amount: Decimal | int = one.amount
    return float(Fraction(amount))


class Semver(Opaque):
    """A semantic version (semver.org 2.0). Build metadata is not compared."""

    __slots__ = ("amount", "parts")
    TYPE = "kubernetes.Semver"

    def __init__(self, major: int, minor: int, patch: int, pre: str) -> None:
        self.parts = (major, minor, patch)
        # A version without a pre-release comes after those with one; numbers before texts.
        order = (
            tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split("."))
            if pre
            else ()
        )
        self.amount = (*self.parts, not pre, order)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self.amount == other.amount

    def __hash__(self) -> int:
        return hash(self.amount)


def semver(text: str, normalize: bool = False) -> Semver:
    found = _SEMVER.fullmatch(_normalized(text) if normalize else text) if len(text) < 1024 else None
    if found is None or any(int(found[group]) > 2**64 - 1 for group in (1, 2, 3)):
        raise EvaluationError(f"error parsing semver: {_semver_fault(text)}")
    return Semver(int(found[1]), int(found[2]), int(found[3]), found[4] or "")


def _semver_fault(text: str) -> str:
    parts = text.split(".", 2)
    if not text:
        return "Version string empty"
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    for name, part in zip(("major", "minor", "patch"), parts, strict=True):
        number = re.split("[-+]", part, maxsplit=1)[0] if name == "patch" else part
        if not number.isdigit():
            return f'Invalid character(s) found in {name} number "{number}"'
        if len(number) > 1 and number[0] == "0":
            return f'{name.capitalize()} number must not contain leading zeroes "{number}"'
    return "invalid pre-release or build metadata"


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    cut = min((at for at in (text.find("-"), text.find("+")) if at >= 0), default=len(text))
    numbers = [part.lstrip("0") or "0" for part in text[:cut].split(".")]
    return ".".join([*numbers, "0", "0"][: max(3, len(numbers))]) + text[cut:]


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        semver(text, normalize)
    except EvaluationError:
        return False
    return True


def table() -> Table:
    q, v = Quantity.TYPE, Semver.TYPE
    return [
        function("quantity", "string", q, _parse, traversal),
        function("isQuantity", "string", "bool", _is_quantity, traversal),
        member("sign", q, "int", _sign),
        member("isInteger", q, "bool", _fits),
        member("asInteger", q, "int", _as_integer),
        member("asApproximateFloat", q, "double", _approximate),
        member("add", f"{q};{q}", q, _add),
        member("add", f"{q};int", q, _add),
        member("sub", f"{q};{q}", q, _sub),
        member("sub", f"{q};int", q, _sub),
        *(
            declared
            for kind in (q, v)
            for declared in (
                member("compareTo", f"{kind};{kind}", "int", _compare),
                member("isLessThan", f"{kind};{kind}", "bool", lambda a, b: a.amount < b.amount),
                member("isGreaterThan", f"{kind};{kind}", "bool", lambda a, b: a.amount > b.amount),
            )
        ),
        function("semver", "string", v, semver, traversal),
        function("semver", "string;bool", v, semver, traversal),
        function("isSemver", "string", "bool", _is_semver, traversal),
        function("isSemver", "string;bool", "bool", _is_semver, traversal),
        member("major", v, "int", lambda one: one.parts[0]),
        member("minor", v, "int", lambda one: one.parts[1]),
        member("patch", v, "int", lambda one: one.parts[2]),
    ]
