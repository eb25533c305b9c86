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
from kubernel.registry.protobuf_table import EXTENSIONS, META

if TYPE_CHECKING:
    from kubernel.registry.protobuf_table import FieldTable
    from kubernel.store.records import Obj

__all__ = ["MAX_DEPTH", "decode_message", "read_fields"]

MAX_DEPTH = 100
"""Messages within messages; more is refused."""

_DROP: Any = object()


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
    """(number, int or bytes) of one message."""
    found: list[tuple[int, Any]] = []
    while at < end:
        tag, at = _varint(data, at)
        wire, number = tag & 7, tag >> 3
        if number == 0:
            raise ValueError("field number 0")
        value: int | bytes
        if wire == 0:
            value, at = _varint(data, at)
        elif wire == 2:
            size, at = _varint(data, at)
            if size > end - at:
                raise ValueError("unexpected EOF")
            value = data[at : at + size]
            at += size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
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


def decode_message(table: FieldTable, name: str, data: bytes, depth: int) -> Any:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(table, data, depth)
    if table.is_strings(name):
        return [_text(value) for number, value in read_fields(data, 0, len(data)) if number == 1]
    if depth > MAX_DEPTH:
        raise BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")
    known = table.message(name)
    result: Obj = {}
    for number, value in read_fields(data, 0, len(data)):
        field = known.get(number)
        if field is None:
            continue
        if field.shape == "*":
            item = _value(table, field.kind, value, depth + 1)
            result.setdefault(field.name, []).append(None if item is _DROP else item)
        elif field.shape == "%":
            entry = dict(read_fields(_bytes(value), 0, len(value)))
            empty: Any = b"" if field.kind not in ("b", "i") else 0
            item = _value(table, field.kind, entry.get(2, empty), depth + 1)
            result.setdefault(field.name, {})[_text(entry.get(1, b""))] = None if item is _DROP else item
        elif field.shape == "^":
            inlined = _value(table, field.kind, value, depth + 1)
            if isinstance(inlined, dict):
                result.update(inlined)
        else:
            item = _value(table, field.kind, value, depth + 1)
            if item is not _DROP and (field.mark or item not in _ZEROS):
                result[field.name] = item
    return result


_ZEROS: tuple[Any, ...] = ("", 0, 0.0, False, {}, [])


def _value(table: FieldTable, kind: str, value: Any, depth: int) -> Any:
    if kind == "s":
        return _text(value)
    if kind == "i":
        return _signed(value)
    if kind == "b":
        return bool(_signed(value))
    if kind == "d":
        return struct.unpack("<d", _bytes(value))[0]
    if kind == "y":
        return base64.b64encode(_bytes(value)).decode()
    return decode_message(table, kind, _bytes(value), depth)


def _parts(data: bytes) -> dict[int, Any]:
    return dict(read_fields(data, 0, len(data)))


def _time(table: FieldTable, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    return rfc3339(_signed(parts.get(1, 0))) if parts else _DROP


def _micro_time(table: FieldTable, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if not parts:
        return _DROP
    return micro_time(_signed(parts.get(1, 0)))[:-7] + f"{_signed(parts.get(2, 0)) // 1000:06d}Z"


def _quantity(table: FieldTable, data: bytes, depth: int) -> Any:
    return _text(_parts(data).get(1, b"")) or "0"


def _int_or_string(table: FieldTable, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if _signed(parts.get(1, 0)) == 1:
        return _text(parts.get(3, b""))
    return _signed(parts.get(2, 0))


def _raw(table: FieldTable, data: bytes, depth: int) -> Any:
    raw = _bytes(_parts(data).get(1, b""))
    return orjson.loads(raw) if raw else _DROP


def _duration(table: FieldTable, data: bytes, depth: int) -> Any:
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


def _schema_or(table: FieldTable, data: bytes, depth: int) -> Any:
    """JSONSchemaPropsOrArray and …OrStringArray: the schema (1), else the list (2)."""
    several: list[Any] = []
    for number, value in read_fields(data, 0, len(data)):
        if number == 1:
            return decode_message(table, f"{EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1)
        several.append(decode_message(table, f"{EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1))
    return several


def _schema_or_strings(table: FieldTable, data: bytes, depth: int) -> Any:
    several: list[str] = []
    for number, value in read_fields(data, 0, len(data)):
        if number == 1:
            return decode_message(table, f"{EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1)
        several.append(_text(value))
    return several


def _schema_or_bool(table: FieldTable, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if 2 in parts:
        return decode_message(table, f"{EXTENSIONS}v1.JSONSchemaProps", _bytes(parts[2]), depth + 1)
    return bool(_signed(parts.get(1, 0)))


_SPECIAL: dict[str, Callable[[FieldTable, bytes, int], Any]] = {
    f"{META}Time": _time,
    f"{META}MicroTime": _micro_time,
    f"{META}Duration": _duration,
    f"{META}FieldsV1": _raw,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw,
    f"{EXTENSIONS}v1.JSON": _raw,
    f"{EXTENSIONS}v1.JSONSchemaPropsOrArray": _schema_or,
    f"{EXTENSIONS}v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
    f"{EXTENSIONS}v1.JSONSchemaPropsOrBool": _schema_or_bool,
}
