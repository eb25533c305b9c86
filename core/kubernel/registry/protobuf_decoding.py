"""Protobuf messages as the JSON values that the same objects would be.

Zero values that Go would leave out of JSON are left out. Source of the special cases: the ``Unmarshal`` and
``MarshalJSON`` methods of k8s.io/apimachinery's own types.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.clock import micro_time, rfc3339
from kubernel.errors import BadRequest
from kubernel.registry.protobuf_table import EXTENSIONS, SPECIAL
from kubernel.registry.wire import DELIMITED, FIXED64, VARINT

if TYPE_CHECKING:
    from kubernel.registry.protobuf_table import Field, FieldTable
    from kubernel.store.records import Obj

__all__ = ["MAX_DEPTH", "MessageDecoder", "read_fields"]

MAX_DEPTH = 100
"""Messages within messages; more is refused."""

_DROP: Any = object()
_SCHEMA = f"{EXTENSIONS}v1.JSONSchemaProps"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("integer overflow")


def read_fields(data: bytes, at: int, end: int) -> list[tuple[int, Any]]:
    """(number, int or bytes) of one message. IndexError and ValueError for what is none."""
    found: list[tuple[int, Any]] = []
    while at < end:
        # Most numbers are one byte long.
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1)
        wire, number = tag & 7, tag >> 3
        if not number:
            raise ValueError("field number 0")
        value: int | bytes
        if wire == DELIMITED:
            size = data[at]
            at += 1
            if size >= 0x80:
                size, at = _varint(data, at - 1)
            if size > end - at:
                raise ValueError("unexpected EOF")
            value = data[at : at + size]
            at += size
        elif wire == VARINT:
            value = data[at]
            at += 1
            if value >= 0x80:
                value, at = _varint(data, at - 1)
        elif wire in (FIXED64, 5):
            size = 8 if wire == FIXED64 else 4
            if size > end - at:
                raise ValueError("unexpected EOF")
            value = data[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")
        found.append((number, value))
    return found


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("wrong wireType, a message or string was expected")
    return value


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8")


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("wrong wireType, an integer was expected")
    return value - (1 << 64) if value >> 63 else value


# --- messages as JSON values


_Read = Callable[[Any, int], Any]
"""A field's value on the wire, and how deep it stands, to a JSON value."""
_Take = Callable[["Obj", Any, int], None]
"""Puts a field's value into its message's object."""


class MessageDecoder:
    """Decodes by ``table``; what it makes of a message's fields is kept."""

    def __init__(self, table: FieldTable) -> None:
        self._table = table
        self._readers: dict[str, _Read] = {}

    def decode(self, name: str, data: bytes, depth: int = 0) -> Any:
        """The message ``name``; KeyError for one that the table has not, ValueError, IndexError and BadRequest for
        what is none."""
        return self._reader(name)(data, depth)

    def _reader(self, kind: str) -> _Read:
        found = _SCALARS.get(kind) or self._readers.get(kind)
        if found is None:
            form = SPECIAL.get(kind)
            if form is not None:
                found = self._special(_FORMS[form])
            else:
                found = _strings if self._table.is_strings(kind) else self._message(kind)
            self._readers[kind] = found
        return found

    def _special(self, special: Callable[[MessageDecoder, bytes, int], Any]) -> _Read:
        return lambda value, depth: special(self, _bytes(value), depth)

    def _message(self, kind: str) -> _Read:
        plan: dict[int, _Take] = {}
        self._table.message(kind)

        def read(value: Any, depth: int) -> Any:
            if not plan:
                # Not before there is one: messages hold messages of their own kind.
                fields = {number: self._taker(field) for number, field in self._table.message(kind).items()}
                plan.update(fields)
            if depth > MAX_DEPTH:
                raise BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")
            result: Obj = {}
            depth += 1
            for number, item in read_fields(_bytes(value), 0, len(value)):
                take = plan.get(number)
                if take is not None:
                    take(result, item, depth)
            return result

        return read

    def _taker(self, field: Field) -> _Take:
        name, read, keeps = field.name, self._reader(field.kind), field.mark in ("?", "&", "!")

        def repeated(result: Obj, value: Any, depth: int) -> None:
            item = read(value, depth)
            result.setdefault(name, []).append(None if item is _DROP else item)

        def entry(result: Obj, value: Any, depth: int) -> None:
            parts = dict(read_fields(_bytes(value), 0, len(value)))
            empty: Any = b"" if field.kind not in ("b", "i") else 0
            item = read(parts.get(2, empty), depth)
            result.setdefault(name, {})[_text(parts.get(1, b""))] = None if item is _DROP else item

        def inlined(result: Obj, value: Any, depth: int) -> None:
            item = read(value, depth)
            if isinstance(item, dict):
                result.update(item)

        def text(result: Obj, value: Any, depth: int) -> None:
            item = _text(value)
            if item or keeps:
                result[name] = item

        def single(result: Obj, value: Any, depth: int) -> None:
            item = read(value, depth)
            if item is not _DROP and (item or keeps or item is None):
                result[name] = item

        plain = text if field.kind == "s" else single
        return {"*": repeated, "%": entry, "^": inlined}.get(field.shape, plain)


def _strings(value: Any, depth: int) -> list[str]:
    return [_text(item) for number, item in read_fields(_bytes(value), 0, len(value)) if number == 1]


_SCALARS: dict[str, _Read] = {
    "s": lambda value, depth: _text(value),
    "i": lambda value, depth: _signed(value),
    "b": lambda value, depth: bool(_signed(value)),
    "d": lambda value, depth: struct.unpack("<d", _bytes(value))[0],
    "y": lambda value, depth: base64.b64encode(_bytes(value)).decode(),
}


def _parts(data: bytes) -> dict[int, Any]:
    return dict(read_fields(data, 0, len(data)))


def _time(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    return rfc3339(_signed(parts.get(1, 0))) if parts else _DROP


def _micro_time(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if not parts:
        return _DROP
    return micro_time(_signed(parts.get(1, 0)))[:-7] + f"{_signed(parts.get(2, 0)) // 1000:06d}Z"


def _quantity(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    return _text(_parts(data).get(1, b"")) or "0"


def _int_or_string(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if _signed(parts.get(1, 0)) == 1:
        return _text(parts.get(3, b""))
    return _signed(parts.get(2, 0))


def _raw(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    raw = _bytes(_parts(data).get(1, b""))
    return orjson.loads(raw) if raw else _DROP


def _duration(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    """Nanoseconds as Go prints a duration, in its largest exact form."""
    nanos = _signed(_parts(data).get(1, 0))
    seconds, rest = divmod(abs(nanos), 1_000_000_000)
    sign = "-" if nanos < 0 else ""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{rest:09d}".rstrip("0") if rest else ""
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}{fraction}s"
    if minutes:
        return f"{sign}{minutes}m{seconds}{fraction}s"
    return f"{sign}{seconds}{fraction}s"


def _schema_or(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    """JSONSchemaPropsOrArray and …OrStringArray: the schema (1), else the list (2)."""
    several: list[Any] = []
    for number, value in read_fields(data, 0, len(data)):
        if number == 1:
            return decoder.decode(_SCHEMA, _bytes(value), depth + 1)
        several.append(decoder.decode(_SCHEMA, _bytes(value), depth + 1))
    return several


def _schema_or_strings(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    several: list[str] = []
    for number, value in read_fields(data, 0, len(data)):
        if number == 1:
            return decoder.decode(_SCHEMA, _bytes(value), depth + 1)
        several.append(_text(value))
    return several


def _schema_or_bool(decoder: MessageDecoder, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if 2 in parts:
        return decoder.decode(_SCHEMA, _bytes(parts[2]), depth + 1)
    return bool(_signed(parts.get(1, 0)))


_FORMS: dict[str, Callable[[MessageDecoder, bytes, int], Any]] = {
    "time": _time,
    "micro time": _micro_time,
    "duration": _duration,
    "raw": _raw,
    "quantity": _quantity,
    "integer or string": _int_or_string,
    "schema or schemas": _schema_or,
    "schema or strings": _schema_or_strings,
    "schema or truth": _schema_or_bool,
}
