"""The functions and operators of the CEL specification, with cel-go's overloads and error texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.times import (
    EARLIEST,
    LARGEST_DURATION,
    LATEST,
    SECOND,
    broken_down,
    format_duration,
    format_timestamp,
    parse_duration,
    parse_timestamp,
)
from kubernel.cel.values import (
    INT_MAX,
    INT_MIN,
    LONGEST,
    MISSING,
    MOST_ITEMS,
    NONE,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    UInt,
    compare,
    equal,
    lookup,
    runtime_type,
    size_of,
    too_large,
)
from kubernel.objects.go_json import go_float

from .declare import Table, function, member, traversal
from .regex import regex_cost, search

__all__ = ["checked_duration", "checked_int", "checked_uint", "table"]


def checked_int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise EvaluationError("integer overflow")


def checked_uint(value: int) -> UInt:
    if 0 <= value <= UINT_MAX:
        return UInt(value)
    raise EvaluationError("unsigned integer overflow")


def _timestamp(nanos: int) -> Timestamp:
    if EARLIEST <= nanos <= LATEST:
        return Timestamp(nanos)
    raise EvaluationError("timestamp overflow")


def checked_duration(nanos: int) -> Duration:
    if abs(nanos) <= LARGEST_DURATION:
        return Duration(nanos)
    raise EvaluationError("duration overflow")


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    whole = abs(left) // abs(right)
    return whole if (left < 0) == (right < 0) else -whole


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("modulus by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _double_multiply(left: float, right: float) -> float:
    return left * right


def _no_conversion(type: str) -> EvaluationError:
    """A text cannot be read as a value of that type."""
    return EvaluationError(f"type conversion error from 'string' to '{type}'")


def _to_int(value: Any) -> int:
    if isinstance(value, float):
        if not -9223372036854775808.0 < value < 9223372036854775808.0:
            raise EvaluationError("integer overflow")
        return int(value)
    if isinstance(value, str):
        if not re.fullmatch(r"[+-]?[0-9]{1,30}", value):
            raise _no_conversion("int")
        number = int(value)
        if not INT_MIN <= number <= INT_MAX:
            raise _no_conversion("int")
        return number
    if isinstance(value, Timestamp):
        return value.nanos // SECOND
    if isinstance(value, Duration):
        return value.nanos
    return checked_int(int(value))


def _to_uint(value: Any) -> UInt:
    if isinstance(value, float):
        if not 0 <= value < 18446744073709551616.0:
            raise EvaluationError("unsigned integer overflow")
        return UInt(value)
    if isinstance(value, str):
        if not re.fullmatch(r"[0-9]{1,30}", value):
            raise _no_conversion("uint")
        if int(value) > UINT_MAX:
            raise _no_conversion("uint")
    return checked_uint(int(value))


_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|[iI]nf(?:inity)?|[nN]a[nN])"
)


def _to_double(value: Any) -> float:
    if isinstance(value, str) and not _DOUBLE.fullmatch(value):
        raise _no_conversion("double")
    return float(value)


def _to_bool(value: Any) -> bool:
    if value in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if value in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise _no_conversion("bool")


def _to_string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return go_float(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None
    if isinstance(value, Timestamp):
        return format_timestamp(value.nanos)
    if isinstance(value, Duration):
        return format_duration(value.nanos)
    return str(value)


def _read_timestamp(value: Any) -> Timestamp:
    if isinstance(value, Timestamp):
        return value
    if isinstance(value, int):
        return _timestamp(value * SECOND)
    try:
        nanos = parse_timestamp(value)
    except ValueError:
        raise _no_conversion("google.protobuf.Timestamp") from None
    return _timestamp(nanos)


def _read_duration(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if isinstance(value, int):
        return checked_duration(value)
    try:
        return Duration(parse_duration(value))
    except ValueError:
        raise _no_conversion("google.protobuf.Duration") from None


def _concatenate(left: list[Any], right: list[Any]) -> list[Any]:
    if len(left) + len(right) > MOST_ITEMS:
        raise too_large()
    return [*left, *right]


def _joined(left: Any, right: Any) -> Any:
    if len(left) + len(right) > LONGEST:
        raise too_large()
    return left + right


def _contains(element: Any, container: Any) -> bool:
    if isinstance(container, dict):
        try:
            return lookup(container, element) is not MISSING
        except EvaluationError:
            return False
    if type(element) is str:
        return element in container
    return any(equal(element, item) for item in container)


def _in_cost(values: list[Any], result: Any) -> int:
    return size_of(values[1]) if isinstance(values[1], list) else 1


def _both(values: list[Any], result: Any) -> int:
    return (size_of(values[0]) + size_of(values[1]) + 9) // 10


def _shorter(values: list[Any], result: Any) -> int:
    return (min(size_of(values[0]), size_of(values[1])) + 9) // 10


def _contains_cost(values: list[Any], result: Any) -> int:
    return ((size_of(values[0]) + 9) // 10) * ((size_of(values[1]) + 9) // 10)


def _moment(part: Callable[[Any], int]) -> Callable[..., int]:
    def accessor(value: Timestamp, zone: str = "UTC") -> int:
        try:
            return part(broken_down(value.nanos, zone))
        except ValueError as error:
            raise EvaluationError(str(error)) from None

    return accessor


_PARTS: dict[str, Callable[[Any], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
}


def table() -> Table:
    """Every overload, those of one function together and in cel-go's order."""
    declared: Table = []
    add = declared.append
    for name, one in (("_+_", int.__add__), ("_-_", int.__sub__), ("_*_", int.__mul__)):
        add(function(name, "int;int", "int", lambda a, b, one=one: checked_int(one(a, b))))
        add(function(name, "uint;uint", "uint", lambda a, b, one=one: checked_uint(one(int(a), int(b)))))
    add(function("_/_", "int;int", "int", lambda a, b: checked_int(_quotient(a, b))))
    add(function("_/_", "uint;uint", "uint", lambda a, b: checked_uint(_quotient(int(a), int(b)))))
    add(function("_%_", "int;int", "int", _remainder))
    add(function("_%_", "uint;uint", "uint", lambda a, b: UInt(_remainder(int(a), int(b)))))
    for name, real in (
        ("_+_", float.__add__),
        ("_-_", float.__sub__),
        ("_*_", _double_multiply),
        ("_/_", _divide),
    ):
        add(function(name, "double;double", "double", real))
    for kind in ("string", "bytes"):
        add(function("_+_", f"{kind};{kind}", kind, _joined, _both))
    add(function("_+_", "list(A);list(A)", "list(A)", _concatenate))
    add(function("_+_", "duration;duration", "duration", lambda a, b: checked_duration(a.nanos + b.nanos)))
    add(function("_+_", "timestamp;duration", "timestamp", lambda a, b: _timestamp(a.nanos + b.nanos)))
    add(function("_+_", "duration;timestamp", "timestamp", lambda a, b: _timestamp(a.nanos + b.nanos)))
    add(function("_-_", "timestamp;timestamp", "duration", lambda a, b: checked_duration(a.nanos - b.nanos)))
    add(function("_-_", "timestamp;duration", "timestamp", lambda a, b: _timestamp(a.nanos - b.nanos)))
    add(function("_-_", "duration;duration", "duration", lambda a, b: checked_duration(a.nanos - b.nanos)))
    add(function("-_", "int", "int", lambda a: checked_int(-a)))
    add(function("-_", "double", "double", lambda a: -a))
    add(function("!_", "bool", "bool", _not))
    _declare_order(add)
    for name in ("_==_", "_!=_"):
        add(function(name, "A;A", "bool", equal))
    add(function("_?_:_", "bool;A;A", "A", _never))
    add(function("_[_]", "list(A);int", "A", _never))
    add(function("_[_]", "map(A,B);A", "B", _never))
    add(function("_[_]", "optional(list(A));int", "optional(A)", _never))
    add(function("_[_]", "optional(map(A,B));A", "optional(B)", _never))
    add(function("_[?_]", "list(A);int", "optional(A)", _never))
    add(function("_[?_]", "map(A,B);A", "optional(B)", _never))
    add(function("_[?_]", "optional(list(A));int", "optional(A)", _never))
    add(function("_[?_]", "optional(map(A,B));A", "optional(B)", _never))
    add(function("@in", "A;list(A)", "bool", _contains, _in_cost))
    add(function("@in", "A;map(A,B)", "bool", _contains))
    for kind in ("string", "bytes", "list(A)", "map(A,B)"):
        add(function("size", kind, "int", len))
        add(member("size", kind, "int", len))
    _declare_conversions(add)
    add(member("contains", "string;string", "bool", lambda a, b: b in a, _contains_cost))
    add(member("startsWith", "string;string", "bool", str.startswith, traversal))
    add(member("endsWith", "string;string", "bool", str.endswith, traversal))
    add(member("matches", "string;string", "bool", search, regex_cost))
    add(function("matches", "string;string", "bool", search, regex_cost))
    for name, part in _PARTS.items():
        add(member(name, "timestamp", "int", _moment(part)))
        add(member(name, "timestamp;string", "int", _moment(part)))
    add(member("getMilliseconds", "timestamp", "int", lambda a: a.nanos % SECOND // 10**6))
    add(member("getMilliseconds", "timestamp;string", "int", lambda a, zone: a.nanos % SECOND // 10**6))
    for name, unit in (("getHours", 3600 * SECOND), ("getMinutes", 60 * SECOND), ("getSeconds", SECOND)):
        add(member(name, "duration", "int", lambda a, unit=unit: _quotient(a.nanos, unit)))
    add(member("getMilliseconds", "duration", "int", lambda a: _remainder(a.nanos, SECOND) // 10**6))
    _declare_optionals(add)
    return declared


def _not(value: Any) -> bool:
    if value is True or value is False:
        return not value
    raise TypeError


def _never(*values: Any) -> Any:
    raise TypeError("compiled without a call")


def _declare_order(add: Callable[[Any], None]) -> None:
    tests: dict[str, Callable[[int], bool]] = {
        "_<_": lambda order: order == -1,
        "_<=_": lambda order: order in (-1, 0),
        "_>_": lambda order: order == 1,
        "_>=_": lambda order: order in (0, 1),
    }
    numbers = ("int", "uint", "double")
    for name, test in tests.items():

        def ordered(a: Any, b: Any, test: Callable[[int], bool] = test) -> bool:
            return test(compare(a, b))

        for kind in ("bool", *numbers, "timestamp", "duration"):
            add(function(name, f"{kind};{kind}", "bool", ordered))
        for kind in ("string", "bytes"):
            add(function(name, f"{kind};{kind}", "bool", ordered, _shorter))
        for left in numbers:
            for right in numbers:
                if left != right:
                    add(function(name, f"{left};{right}", "bool", ordered))


def _declare_conversions(add: Callable[[Any], None]) -> None:
    for kind in ("int", "uint", "double", "string", "timestamp", "duration"):
        add(function("int", kind, "int", _to_int))
    for kind in ("uint", "int", "double", "string"):
        add(function("uint", kind, "uint", _to_uint))
    for kind in ("double", "int", "uint", "string"):
        add(function("double", kind, "double", _to_double))
    add(function("bool", "bool", "bool", lambda a: a))
    add(function("bool", "string", "bool", _to_bool))
    for kind in ("string", "bool", "int", "uint", "double", "timestamp", "duration"):
        add(function("string", kind, "string", _to_string))
    add(function("string", "bytes", "string", _to_string, traversal))
    add(function("bytes", "bytes", "bytes", lambda a: a))
    add(function("bytes", "string", "bytes", str.encode, traversal))
    for kind in ("timestamp", "string", "int"):
        add(function("timestamp", kind, "timestamp", _read_timestamp))
    for kind in ("duration", "string", "int"):
        add(function("duration", kind, "duration", _read_duration))
    add(function("dyn", "A", "dyn", lambda a: a))
    add(function("type", "A", "type", runtime_type))


def _is_zero(value: Any) -> bool:
    return (
        value is None or equal(value, type(value)())
        if not isinstance(value, Timestamp | Duration)
        else not value.nanos
    )


def _declare_optionals(add: Callable[[Any], None]) -> None:
    add(function("optional.of", "A", "optional(A)", Optional))
    add(
        function(
            "optional.ofNonZeroValue", "A", "optional(A)", lambda a: NONE if _is_zero(a) else Optional(a)
        )
    )
    add(function("optional.none", "", "optional(A)", lambda: NONE))
    add(member("hasValue", "optional(A)", "bool", lambda a: a.present))
    add(member("value", "optional(A)", "A", _optional_value))
    add(member("or", "optional(A);optional(A)", "optional(A)", _never))
    add(member("orValue", "optional(A);A", "A", _never))


def _optional_value(optional: Optional) -> Any:
    if not optional.present:
        raise EvaluationError("optional.none() dereference")
    return optional.value
