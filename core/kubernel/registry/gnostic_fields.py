"""Fields of gnostic's messages, whose tables ``gnostic`` (OpenAPI 2) and ``gnostic_v3`` have, and the messages that
are alike in both.

There is no ``k8s\\0`` envelope around such a document. What proto3 cannot tell from absence (zero, false, the empty
string) is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kubernel.registry.wire import delimited, varint

__all__ = [
    "CONTACT",
    "DOCS",
    "LICENSE",
    "TAG",
    "Encoder",
    "Table",
    "any_body",
    "any_of",
    "anys",
    "body",
    "double",
    "flag",
    "integer",
    "many",
    "mapping",
    "message",
    "named",
    "numbered",
    "one",
    "one_or_many",
    "or_flag",
    "split",
    "text",
    "texts",
]

Encoder = Callable[[int, Any], bytes]
"""A field's number and value -> the encoded field, or fields when the value is repeated."""
Table = Mapping[str, tuple[int, Encoder]]
"""Name of the JSON member -> number and encoder. ``x-`` stands for all vendor extensions."""


def text(number: int, value: str) -> bytes:
    return delimited(number, value.encode()) if value else b""


def texts(number: int, values: str | Iterable[str]) -> bytes:
    if isinstance(values, str):
        values = (values,)
    return b"".join(delimited(number, value.encode()) for value in values)


def flag(number: int, value: bool) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def body(table: Table, value: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, entry in value.items():
        known = table.get(name)
        if known is not None:
            parts.append(known[1](known[0], entry))
        elif name.startswith("x-"):
            extension = table.get("x-")
            if extension is not None:
                parts.append(named(any_body)(extension[0], {name: entry}))
    return b"".join(parts)


def message(table: Table) -> Encoder:
    return one(lambda value: body(table, value))


def one(encode: Callable[[Any], bytes]) -> Encoder:
    """A message."""
    return lambda number, value: delimited(number, encode(value))


def many(encode: Callable[[Any], bytes]) -> Encoder:
    """A repeated message."""
    return lambda number, values: b"".join(delimited(number, encode(value)) for value in values)


def one_or_many(encode: Callable[[Any], bytes]) -> Encoder:
    """A message whose only field is repeated, where JSON has one or a list."""
    inner = many(encode)
    return lambda number, value: delimited(number, inner(1, value if isinstance(value, list) else [value]))


def or_flag(encode: Callable[[Any], bytes]) -> Encoder:
    """A choice between a message and a bool."""

    def choice(number: int, value: Any) -> bytes:
        # A choice's false is present, so it is written.
        inner = b"\x10" + bytes((value,)) if isinstance(value, bool) else delimited(1, encode(value))
        return delimited(number, inner)

    return choice


def named(body: Callable[[Any], bytes]) -> Encoder:
    """A map: ``repeated Named… {name = 1, value = 2}``."""

    def encode(number: int, value: Mapping[str, Any]) -> bytes:
        return b"".join(
            delimited(number, text(1, name) + delimited(2, body(entry))) for name, entry in value.items()
        )

    return encode


def mapping(body: Callable[[Any], bytes]) -> Encoder:
    """A message whose only field is such a map."""
    inner = named(body)
    return lambda number, value: delimited(number, inner(1, value))


def any_body(value: Any) -> bytes:
    """``Any``: YAML text, of which JSON is a part."""
    return text(2, orjson.dumps(value).decode() + "\n")


def any_of(number: int, value: Any) -> bytes:
    return delimited(number, any_body(value))


def anys(number: int, values: Iterable[Any]) -> bytes:
    return b"".join(any_of(number, value) for value in values)


def numbered(first: int, fields: Iterable[tuple[str, Encoder]]) -> Table:
    return {name: (number, encoder) for number, (name, encoder) in enumerate(fields, first)}


def split(plain: int, extension: int, body: Callable[[Any], bytes]) -> Encoder:
    """A message of named entries beside vendor extensions."""

    def encode(number: int, value: Mapping[str, Any]) -> bytes:
        entries = {name: entry for name, entry in value.items() if not name.startswith("x-")}
        others = {name: entry for name, entry in value.items() if name.startswith("x-")}
        return delimited(number, named(body)(plain, entries) + named(any_body)(extension, others))

    return encode


DOCS: Table = {"description": (1, text), "url": (2, text), "x-": (3, any_of)}
CONTACT: Table = {"name": (1, text), "url": (2, text), "email": (3, text), "x-": (4, any_of)}
LICENSE: Table = {"name": (1, text), "url": (2, text), "x-": (3, any_of)}
TAG: Table = {
    "name": (1, text),
    "description": (2, text),
    "externalDocs": (3, message(DOCS)),
    "x-": (4, any_of),
}
