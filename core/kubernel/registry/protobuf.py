"""Protobuf request bodies: the envelope and the built-in types' messages, as objects.

The wire format of a type is a table of field numbers (see ``FieldTable``), since they cannot be derived
from its schema. What is decoded is what the same object would be in JSON: zero values that Go would leave
out are left out. Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf and the published
``generated.proto`` files.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

from kubernel.clock import micro_time, rfc3339
from kubernel.errors import BadRequest

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["MAX_DEPTH", "MEDIA_TYPE", "Codec", "FieldTable", "ProtobufDecoder"]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 100
"""Messages within messages; more is refused."""

_MAGIC = b"k8s\x00"
_DROP: Any = object()
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions."


class Codec(Protocol):
    """What a types plugin gives the registry for its protobuf bodies."""

    def decode(self, body: bytes) -> Obj:
        """The object in an enveloped body; BadRequest for what is none."""
        ...


class Field(NamedTuple):
    name: str
    kind: str
    """``s``, ``b``, ``i``, ``d``, ``y`` or the name of a message."""
    shape: str
    """Empty, ``*`` repeated, ``%`` map, ``^`` inlined."""
    keeps_zero: bool


class FieldTable:
    """The text that ``build_schema/protobuf_fields.py`` prints, parsed message by message when used."""

    def __init__(self, text: str) -> None:
        self._lines = {
            name: fields for name, _, fields in (line.partition(" ") for line in text.splitlines())
        }
        self._messages: dict[str, dict[int, Field]] = {}

    def __contains__(self, message: str) -> bool:
        return message in self._lines

    def is_strings(self, name: str) -> bool:
        """Whether the message is a list of strings in JSON."""
        return self._lines.get(name) == "~strings"

    def message(self, name: str) -> dict[int, Field]:
        """Field number -> field; KeyError for an unknown message."""
        fields = self._messages.get(name)
        if fields is None:
            package = name.rpartition(".")[0]
            fields = self._messages[name] = dict(_field(part, package) for part in self._lines[name].split())
        return fields


def _field(text: str, package: str) -> tuple[int, Field]:
    name, _, rest = text.partition("=")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    number, kind = int(rest[:digits]), rest[digits:]
    keeps = kind.startswith("!")
    kind = kind.removeprefix("!")
    shape = kind[0] if kind[0] in "*%^" else ""
    kind = kind.removeprefix(shape)
    if kind.startswith(">."):
        kind = f"{package}{kind[1:]}"
    return number, Field(name, kind.removeprefix(">"), shape, keeps)


class ProtobufDecoder:
    """Decodes by ``table``; ``definition(group, version, kind)`` names a kind's message, None for an
    unknown one."""

    def __init__(
        self, table: Callable[[], FieldTable], definition: Callable[[str, str, str], str | None]
    ) -> None:
        self._load = table
        self._table: FieldTable | None = None
        self._definition = definition

    def decode(self, body: bytes) -> Obj:
        if not body.startswith(_MAGIC):
            raise BadRequest(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
            )
        if self._table is None:
            self._table = self._load()
        try:
            return self._unwrap(self._table, body)
        except (IndexError, struct.error, ValueError) as error:
            raise BadRequest(f"proto: illegal wireType or truncated message: {error}") from None

    def _unwrap(self, table: FieldTable, body: bytes) -> Obj:
        api_version = kind = ""
        raw = b""
        for number, value in _fields(body, len(_MAGIC), len(body)):
            if number == 1:
                texts = dict(_fields(_bytes(value), 0, len(value)))
                api_version, kind = _text(texts.get(1, b"")), _text(texts.get(2, b""))
            elif number == 2:
                raw = _bytes(value)
            elif number == 3 and value:
                raise BadRequest("unsupported content encoding in a protobuf body")
        group, _, version = api_version.rpartition("/")
        message = self._definition(group, version, kind)
        if message is None or message not in table:
            raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
        content = _message(table, message, raw, 0)
        if not isinstance(content, dict):
            raise BadRequest(f"{kind} is no object")
        return {"apiVersion": api_version, "kind": kind, **content}


# --- the wire format (protobuf.dev/programming-guides/encoding)


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


def _fields(data: bytes, at: int, end: int) -> list[tuple[int, Any]]:
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


def _message(table: FieldTable, name: str, data: bytes, depth: int) -> Any:
    special = _SPECIAL.get(name)
    if special is not None:
        return special(table, data, depth)
    if table.is_strings(name):
        return [_text(value) for number, value in _fields(data, 0, len(data)) if number == 1]
    if depth > MAX_DEPTH:
        raise BadRequest(f"the body is nested more than {MAX_DEPTH} levels deep")
    known = table.message(name)
    result: Obj = {}
    for number, value in _fields(data, 0, len(data)):
        field = known.get(number)
        if field is None:
            continue
        if field.shape == "*":
            item = _value(table, field.kind, value, depth + 1)
            result.setdefault(field.name, []).append(None if item is _DROP else item)
        elif field.shape == "%":
            entry = dict(_fields(_bytes(value), 0, len(value)))
            empty: Any = b"" if field.kind not in ("b", "i") else 0
            item = _value(table, field.kind, entry.get(2, empty), depth + 1)
            result.setdefault(field.name, {})[_text(entry.get(1, b""))] = None if item is _DROP else item
        elif field.shape == "^":
            inlined = _value(table, field.kind, value, depth + 1)
            if isinstance(inlined, dict):
                result.update(inlined)
        else:
            item = _value(table, field.kind, value, depth + 1)
            if item is not _DROP and (field.keeps_zero or item not in _ZEROS):
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
    return _message(table, kind, _bytes(value), depth)


def _parts(data: bytes) -> dict[int, Any]:
    return dict(_fields(data, 0, len(data)))


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
    for number, value in _fields(data, 0, len(data)):
        if number == 1:
            return _message(table, f"{_EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1)
        several.append(_message(table, f"{_EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1))
    return several


def _schema_or_strings(table: FieldTable, data: bytes, depth: int) -> Any:
    several: list[str] = []
    for number, value in _fields(data, 0, len(data)):
        if number == 1:
            return _message(table, f"{_EXTENSIONS}v1.JSONSchemaProps", _bytes(value), depth + 1)
        several.append(_text(value))
    return several


def _schema_or_bool(table: FieldTable, data: bytes, depth: int) -> Any:
    parts = _parts(data)
    if 2 in parts:
        return _message(table, f"{_EXTENSIONS}v1.JSONSchemaProps", _bytes(parts[2]), depth + 1)
    return bool(_signed(parts.get(1, 0)))


_SPECIAL: dict[str, Callable[[FieldTable, bytes, int], Any]] = {
    f"{_META}Time": _time,
    f"{_META}MicroTime": _micro_time,
    f"{_META}Duration": _duration,
    f"{_META}FieldsV1": _raw,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": _quantity,
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": _int_or_string,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw,
    f"{_EXTENSIONS}v1.JSON": _raw,
    f"{_EXTENSIONS}v1.JSONSchemaPropsOrArray": _schema_or,
    f"{_EXTENSIONS}v1.JSONSchemaPropsOrStringArray": _schema_or_strings,
    f"{_EXTENSIONS}v1.JSONSchemaPropsOrBool": _schema_or_bool,
}
