"""Values: JSON values are themselves; what JSON does not have is here.

int int (64 bits) · uint UInt · double float · bool bool · string str · bytes bytes · null None
list list · map, object dict · timestamp Timestamp · duration Duration · optional Optional · type Type
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .errors import EvaluationError
from .times import format_duration, format_timestamp
from .types import (
    ANY_TYPE,
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    Type,
    list_of,
    map_of,
    opaque,
    optional_of,
)

__all__ = [
    "INT_MAX", "INT_MIN", "LONGEST", "MISSING", "MOST_ITEMS", "NONE", "UINT_MAX", "Duration", "Message",
    "Opaque", "Optional", "Timestamp", "UInt", "compare", "equal", "is_type", "lookup", "no_such_key",
    "no_such_overload", "runtime_type", "size_of", "to_text", "too_large",
]  # fmt: skip

INT_MAX, INT_MIN, UINT_MAX = 2**63 - 1, -(2**63), 2**64 - 1
MISSING: Any = object()
LONGEST, MOST_ITEMS = 10 * 1024 * 1024, 4_000_000
"""The longest text and the longest list that an expression may make. What a call costs is known only after it, and
a few calls could fill the memory; no request holds a third of this."""


class UInt(int):
    """An unsigned integer of 64 bits."""

    __slots__ = ()


class Timestamp(NamedTuple):
    """A moment: nanoseconds since 1970."""

    nanos: int


class Duration(NamedTuple):
    """A span of time in nanoseconds."""

    nanos: int


class Optional(NamedTuple):
    """An optional value; ``NONE`` has none."""

    value: Any

    @property
    def present(self) -> bool:
        return self.value is not MISSING


NONE = Optional(MISSING)


class Message(dict[str, Any]):
    """What ``Name{field: value}`` makes: a map that knows its name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Opaque:
    """A value that only its library's functions look into. ``TYPE`` names its type."""

    __slots__ = ()
    TYPE = ""


def no_such_overload() -> EvaluationError:
    return EvaluationError("no such overload")


def too_large() -> EvaluationError:
    return EvaluationError("the result is too large")


def to_text(value: Timestamp | Duration) -> str:
    """As JSON has it."""
    return format_timestamp(value.nanos) if isinstance(value, Timestamp) else format_duration(value.nanos)


def no_such_key(key: Any) -> EvaluationError:
    return EvaluationError(f"no such key: {key_text(key)}")


def key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


_NUMBERS = (int, float)
_RUNTIME: dict[type, Type] = {
    bool: BOOL,
    int: INT,
    UInt: UINT,
    float: DOUBLE,
    str: STRING,
    bytes: BYTES,
    type(None): NULL,
    Timestamp: TIMESTAMP,
    Duration: DURATION,
    list: list_of(DYN),
    dict: map_of(DYN, DYN),
    Optional: optional_of(DYN),
    Type: ANY_TYPE,
}
_KINDS = {cls: known.kind for cls, known in _RUNTIME.items()}


def runtime_type(value: Any) -> Type:
    """The type of a value, as ``type(x)`` sees it."""
    known = _RUNTIME.get(type(value))
    if known is not None:
        return known
    if isinstance(value, Opaque):
        return opaque(value.TYPE)
    for cls in (dict, list):
        if isinstance(value, cls):
            return _RUNTIME[cls]
    raise no_such_overload()


def is_type(value: Any, type_: Type) -> bool:
    """Whether an overload with a parameter of this type takes the value."""
    kind = type_.kind
    if kind in ("dyn", "var"):
        return True
    actual = _KINDS.get(type(value))
    if actual is None:
        if isinstance(value, Opaque):
            return kind == "opaque" and type_.name == value.TYPE
        actual = "map" if isinstance(value, dict) else "list" if isinstance(value, list) else ""
    if actual == "list" and kind == "list" and type_.parameters[0].kind not in ("dyn", "var"):
        return all(is_type(item, type_.parameters[0]) for item in value)
    return actual == kind or (actual == "map" and kind == "object")


def is_number(value: Any) -> bool:
    return isinstance(value, _NUMBERS) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool:
    """CEL equality: numbers by value whatever their types, values of other different types are unequal."""
    cls = type(left)
    if cls is type(right) and cls in _SCALARS:
        return bool(left == right)
    return _equal(left, right, set())


_SCALARS = frozenset((str, int, bool, float, bytes, UInt, Timestamp, Duration, type(None)))


def _equal(left: Any, right: Any, seen: set[tuple[int, int]]) -> bool:
    """``seen`` are the pairs of containers that were compared already: what an expression builds may hold the same
    list a thousand times over, and only the first time is work."""
    if isinstance(left, list | dict) and isinstance(right, list | dict):
        pair = (id(left), id(right))
        if pair in seen:
            return True
        seen.add(pair)
        if isinstance(left, list):
            return (
                isinstance(right, list)
                and len(left) == len(right)
                and all(_equal(a, b, seen) for a, b in zip(left, right, strict=True))
            )
        return isinstance(right, dict) and _equal_maps(left, right, seen)
    if isinstance(left, Optional) and isinstance(right, Optional):
        return left.present == right.present and (not left.present or _equal(left.value, right.value, seen))
    if type(left) is type(right):
        return bool(left == right)
    return is_number(left) and is_number(right) and left == right


def _equal_maps(left: dict[Any, Any], right: dict[Any, Any], seen: set[tuple[int, int]]) -> bool:
    if len(left) != len(right):
        return False
    for key, value in left.items():
        other = lookup(right, key)
        if other is MISSING or not _equal(value, other, seen):
            return False
    return True


def lookup(map: dict[Any, Any], key: Any) -> Any:
    """The value of a key, MISSING when there is none. Python takes True for 1; CEL does not."""
    if type(key) is str:
        return map.get(key, MISSING)
    if key is None or not isinstance(key, str | int | float):
        raise EvaluationError("no such overload")
    value = map.get(key, MISSING)
    if value is MISSING or key not in (0, 1):
        return value
    boolean = type(key) is bool
    return next((v for k, v in map.items() if k == key and (type(k) is bool) == boolean), MISSING)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1; 2 for what has no order (NaN). Raises EvaluationError for values that cannot be compared."""
    cls = type(left)
    if cls is not type(right) and not (is_number(left) and is_number(right)):
        raise no_such_overload()
    if not isinstance(left, _NUMBERS) and cls not in (str, bytes, Timestamp, Duration):
        raise no_such_overload()
    if left < right:
        return -1
    if left == right:
        return 0
    return 1 if left > right else 2


def size_of(value: Any) -> int:
    """How large a value is for costs: elements, entries, code points or bytes; 1 for others."""
    return len(value) if isinstance(value, str | bytes | list | dict) else 1
