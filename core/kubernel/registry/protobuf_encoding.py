"""JSON values as protobuf messages, byte for byte as Go's ``Marshal`` writes them.

Fields stand in the order of their numbers. A field that is no pointer in Go is written even when it is zero;
what JSON leaves out is its zero value. Source: the generated ``MarshalToSizedBuffer`` methods of k8s.io/api and
those that k8s.io/apimachinery's own types have instead.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.objects.times import duration, parse
from kubernel.registry.protobuf_table import EXTENSIONS, SPECIAL
from kubernel.registry.wire import DELIMITED, FIXED64, VARINT, delimited, tag, varint

if TYPE_CHECKING:
    from kubernel.registry.protobuf_table import Field, FieldTable
    from kubernel.store.records import Obj

__all__ = ["MessageEncoder"]

_Write = Callable[[Any], bytes]
"""A value to a whole field: tag, length and all."""

_ZERO_TIME = "0001-01-01T00:00:00Z"


class MessageEncoder:
    """Encodes by ``table``; what it makes of a message's fields is kept."""

    def __init__(self, table: FieldTable) -> None:
        self.table = table
        self._plans: dict[str, _Plan] = {}
        forms: dict[str, Callable[[Any], bytes]] = {
            "time": _time,
            "micro time": _micro_time,
            "duration": _duration,
            "raw": _raw,
            "quantity": _quantity,
            "integer or string": _int_or_string,
            "schema or schemas": self._schema_or_many,
            "schema or strings": self._schema_or_many,
            "schema or truth": self._schema_or_bool,
        }
        self._special = {message: forms[form] for message, form in SPECIAL.items()}

    def encode(self, name: str, obj: Obj) -> bytes:
        """``obj`` as the message ``name``; KeyError for one that the table has not."""
        return self._plan(name).encode(obj)

    def _plan(self, name: str) -> _Plan:
        plan = self._plans.get(name)
        if plan is None:
            self.table.message(name)
            plan = self._plans[name] = _Plan(self, name)
        return plan

    def body_of(self, kind: str) -> Callable[[Any], bytes]:
        """Encodes values of a message ``kind``, None among them: its zero value."""
        special = self._special.get(kind)
        if special is not None:
            return special
        return _strings if self.table.is_strings(kind) else self._plan(kind).encode

    def zero(self, kind: str) -> bytes:
        return self.body_of(kind)({} if kind not in self._special else None)

    def _schema_or_many(self, value: Any) -> bytes:
        if isinstance(value, list):
            schema = self.body_of(f"{EXTENSIONS}v1.JSONSchemaProps")
            return b"".join(
                delimited(2, item.encode() if isinstance(item, str) else schema(item)) for item in value
            )
        return b"" if value is None else delimited(1, self.encode(f"{EXTENSIONS}v1.JSONSchemaProps", value))

    def _schema_or_bool(self, value: Any) -> bytes:
        allows = b"\x08\x01" if value or isinstance(value, dict) else b"\x08\x00"
        if not isinstance(value, dict):
            return allows
        return allows + delimited(2, self.encode(f"{EXTENSIONS}v1.JSONSchemaProps", value))


class _Plan:
    """How one message is written: the bytes of an empty one field by field, and what writes each field."""

    __slots__ = ("_encoder", "_fields", "_inlined", "_name", "_template")

    def __init__(self, encoder: MessageEncoder, name: str) -> None:
        self._encoder = encoder
        self._name = name
        self._template: list[bytes] = []
        self._fields: dict[str, tuple[int, _Write]] | None = None
        self._inlined: list[tuple[int, _Write]] = []

    def encode(self, obj: Obj | None) -> bytes:
        fields = self._fields
        if fields is None:
            fields = self._compile()
        parts = self._template.copy()
        if obj:
            for name, value in obj.items():
                if value is not None and (entry := fields.get(name)) is not None:
                    parts[entry[0]] = entry[1](value)
            for position, write in self._inlined:
                parts[position] = write(obj)
        return b"".join(parts)

    def _compile(self) -> dict[str, tuple[int, _Write]]:
        known = sorted(self._encoder.table.message(self._name).items())
        fields: dict[str, tuple[int, _Write]] = {}
        template: list[bytes] = []
        inlined: list[tuple[int, _Write]] = []
        for position, (number, field) in enumerate(known):
            template.append(self._absent(number, field))
            write = self._writer(number, field)
            if field.shape == "^":
                inlined.append((position, write))
            else:
                fields[field.name] = (position, write)
        # Last, since clusters in several threads may share an encoder: each would make the same.
        self._template, self._inlined = template, inlined
        self._fields = fields
        return fields

    def _absent(self, number: int, field: Field) -> bytes:
        kind = field.kind
        if (
            field.shape in ("*", "%")
            or field.mark in ("?", "&")
            or kind == "y"
            or self._encoder.table.is_strings(kind)
        ):
            return b""
        if kind == "s":
            return tag(number, DELIMITED) + b"\x00"
        if kind in ("i", "b"):
            return tag(number, VARINT) + b"\x00"
        if kind == "d":
            return tag(number, FIXED64) + bytes(8)
        return delimited(number, self._encoder.zero(kind))

    def _writer(self, number: int, field: Field) -> _Write:
        write = self._single(number, field.kind)
        if field.shape == "*":
            return lambda values: b"".join([write(value) for value in values])
        if field.shape != "%":
            return write
        entry, write = tag(number, DELIMITED), self._single(2, field.kind)

        def write_map(values: dict[str, Any]) -> bytes:
            parts: list[bytes] = []
            for key in sorted(values):
                name, value = key.encode(), write(values[key])
                size = varint(len(name))
                parts += (entry, varint(1 + len(size) + len(name) + len(value)), b"\x0a", size, name, value)
            return b"".join(parts)

        return write_map

    def _single(self, number: int, kind: str) -> _Write:
        if kind == "s":
            start = tag(number, DELIMITED)

            def text(value: str | None) -> bytes:
                data = value.encode() if value else b""
                return start + varint(len(data)) + data

            return text
        if kind == "i":
            start = tag(number, VARINT)
            return lambda value: start + varint(int(value or 0))
        if kind == "b":
            no, yes = tag(number, VARINT) + b"\x00", tag(number, VARINT) + b"\x01"
            return lambda value: yes if value else no
        if kind == "d":
            start = tag(number, FIXED64)
            return lambda value: start + struct.pack("<d", value or 0.0)
        if kind == "y":
            return lambda value: b"" if value is None else delimited(number, base64.b64decode(value))
        start, body = tag(number, DELIMITED), self._encoder.body_of(kind)

        def message(value: Any) -> bytes:
            data = body(value)
            return start + varint(len(data)) + data

        return message


# --- types with a wire format of their own


def _strings(values: list[str] | None) -> bytes:
    return b"".join([delimited(1, value.encode()) for value in values or ()])


def _time(text: str | None) -> bytes:
    """Whole seconds; the zero time is an empty message."""
    if not text or text == _ZERO_TIME:
        return b""
    # The common form does without the checks that ``parse`` makes: what is stored has been validated.
    seconds = datetime.fromisoformat(text).timestamp() if len(text) == 20 else parse(text)
    return b"\x08" + varint(int(seconds // 1)) + b"\x10\x00"


def _micro_time(text: str | None) -> bytes:
    if not text or text.startswith(_ZERO_TIME[:-1]):
        return b""
    dot = text.find(".")
    if dot < 0:
        return _time(text)
    end = dot + 1
    while text[end : end + 1].isdigit():
        end += 1
    nanos = int(text[dot + 1 : end][:6].ljust(9, "0"))
    return b"\x08" + varint(int(parse(text[:dot] + text[end:]))) + b"\x10" + varint(nanos)


def _duration(text: str | None) -> bytes:
    return b"\x08" + varint(round(duration(text) * 1e9) if text else 0)


def _quantity(value: Any) -> bytes:
    return delimited(1, str(value).encode() if value is not None else b"0")


def _int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + delimited(3, value.encode())
    return b"\x08\x00\x10" + varint(int(value or 0)) + b"\x1a\x00"


def _raw(value: Any) -> bytes:
    return b"" if value is None else delimited(1, orjson.dumps(value))
