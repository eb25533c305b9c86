"""Types: what the checker knows about a value before there is one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

__all__ = [
    "ANY_TYPE", "BOOL", "BYTES", "DOUBLE", "DURATION", "DYN", "ERROR", "FREE", "INT", "NULL", "STRING", "TIMESTAMP",
    "UINT", "Overload", "Type", "list_of", "map_of", "object_type", "opaque", "optional_of", "parse_type", "type_of",
]  # fmt: skip


class Type:
    """``kind`` is ``int``, ``uint``, ``double``, ``bool``, ``string``, ``bytes``, ``null_type``, ``timestamp``,
    ``duration``, ``dyn``, ``error``, ``list``, ``map``, ``optional``, ``type``, ``object``, ``opaque``, ``var`` (of an
    overload) or ``free`` (the elements of ``[]``, which may still be of any type). Objects and opaque types
    have a ``name``, the others their ``parameters``.

    ``fields`` of an object maps the name an expression uses to (the key in the value, the type).
    ``list_type`` and ``keys`` are a schema's: sets and keyed lists compare and add without regard to order.
    ``limit`` bounds elements, entries or bytes for cost estimates; None is unknown.
    """

    __slots__ = ("_fields", "keys", "kind", "limit", "list_type", "name", "parameters")

    def __init__(
        self,
        kind: str,
        name: str = "",
        parameters: tuple[Type, ...] = (),
        fields: Mapping[str, tuple[str, Type]] | Callable[[], Mapping[str, tuple[str, Type]]] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.parameters = parameters
        self._fields = fields
        self.list_type = ""
        self.keys: tuple[str, ...] = ()
        self.limit: int | None = None

    @property
    def fields(self) -> Mapping[str, tuple[str, Type]]:
        """Made when first looked at: a schema may contain itself."""
        fields = self._fields
        if fields is None:
            return {}
        if callable(fields):
            fields = self._fields = fields()
        return fields

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Type)
            and self.kind == other.kind
            and self.name == other.name
            and self.parameters == other.parameters
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.parameters))

    def __str__(self) -> str:
        """As cel-go writes it in its messages."""
        if self.kind in ("object", "opaque", "var"):
            return self.name
        if self.kind == "error":
            return "!error!"
        if self.kind == "free":
            return "dyn"
        if self.kind == "null_type":
            return "null"
        kind = "optional_type" if self.kind == "optional" else self.kind
        if not self.parameters:
            return kind
        return f"{kind}({', '.join(str(parameter) for parameter in self.parameters)})"

    def __repr__(self) -> str:
        return f"<Type {self}>"


INT, UINT, DOUBLE, BOOL = Type("int"), Type("uint"), Type("double"), Type("bool")
STRING, BYTES, NULL = Type("string"), Type("bytes"), Type("null_type")
TIMESTAMP, DURATION = Type("timestamp"), Type("duration")
DYN, ERROR, ANY_TYPE = Type("dyn"), Type("error"), Type("type")
FREE = Type("free")

_PLAIN = {t.kind: t for t in (INT, UINT, DOUBLE, BOOL, STRING, BYTES, TIMESTAMP, DURATION, DYN)} | {
    "null": NULL,
    "type": ANY_TYPE,
}


def list_of(element: Type) -> Type:
    return Type("list", parameters=(element,))


def map_of(key: Type, value: Type) -> Type:
    return Type("map", parameters=(key, value))


def optional_of(value: Type) -> Type:
    return Type("optional", parameters=(value,))


def type_of(value: Type) -> Type:
    return Type("type", parameters=(value,))


def opaque(name: str) -> Type:
    return Type("opaque", name)


def object_type(name: str, fields: Mapping[str, Type]) -> Type:
    """An object with these fields, under the same names in its values."""
    return Type("object", name, fields=_Named(fields))


class _Named(Mapping[str, tuple[str, Type]]):
    """Fields whose keys are their names; looked at only when asked, so that a mapping may have any field."""

    def __init__(self, fields: Mapping[str, Type]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> tuple[str, Type]:
        return name, self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class Overload:
    """One signature of a function.

    ``call`` takes the values; a member's first is its receiver. ``cost`` is what one call costs, as a number or a
    function of (values, result).
    """

    __slots__ = ("call", "cost", "member", "name", "parameters", "result")

    def __init__(
        self,
        name: str,
        member: bool,
        parameters: tuple[Type, ...],
        result: Type,
        call: Callable[..., Any],
        cost: int | Callable[..., int] = 1,
    ) -> None:
        self.name = name
        self.member = member
        self.parameters = parameters
        self.result = result
        self.call = call
        self.cost = cost


_WORD = re.compile(r"\s*([\w.]+|[(),])")


@lru_cache(maxsize=1024)
def parse_type(text: str) -> Type:
    """``map(string, list(A))`` as a type; one capital letter is a type variable."""
    words = _WORD.findall(text)
    type, rest = _read(words, 0)
    if rest != len(words):
        raise ValueError(f"not a type: {text}")
    return type


def _read(words: list[str], at: int) -> tuple[Type, int]:
    name = words[at]
    at += 1
    parameters: list[Type] = []
    if at < len(words) and words[at] == "(":
        while words[at] != ")":
            parameter, at = _read(words, at + 1)
            parameters.append(parameter)
        at += 1
    if name in ("list", "map", "optional"):
        return Type(name, parameters=tuple(parameters)), at
    if len(name) == 1:
        return Type("var", name), at
    return _PLAIN.get(name) or opaque(name), at
