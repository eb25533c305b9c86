"""The Swagger document as protobuf: the message ``openapi.v2.Document``, which kubectl asks for.

Field numbers are those of the published ``openapiv2/OpenAPIv2.proto`` of github.com/google/gnostic-models. There is
no ``k8s\\0`` envelope around it. What proto3 cannot tell from absence (zero, false, the empty string) is left out.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kubernel.registry.documents import Document
from kubernel.registry.wire import delimited, varint

__all__ = ["MEDIA_TYPES", "protobuf_document", "to_gnostic"]

MEDIA_TYPES = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
"""As registered, and as later clients spell it: ``@`` is no token character (RFC 7231 3.1.1.1)."""

_Encoder = Callable[[int, Any], bytes]
"""A field's number and value -> the encoded field, or fields when the value is repeated."""
_Table = Mapping[str, tuple[int, _Encoder]]
"""Name of the JSON member -> number and encoder. ``x-`` stands for all vendor extensions."""


def protobuf_document(document: Document) -> Document:
    """The same in protobuf, with an ETag of its own."""
    body = to_gnostic(orjson.loads(document.body))
    return Document(body, hashlib.sha256(body).hexdigest().upper())


def to_gnostic(document: Mapping[str, Any]) -> bytes:
    """The bytes of a Swagger 2.0 ``document`` of JSON values."""
    return _body(_DOCUMENT, document)


# --- single fields


def _text(number: int, value: str) -> bytes:
    return delimited(number, value.encode()) if value else b""


def _texts(number: int, values: str | Iterable[str]) -> bytes:
    if isinstance(values, str):
        values = (values,)
    return b"".join(delimited(number, value.encode()) for value in values)


def _flag(number: int, value: bool) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value) if value else b""


def _double(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


def _body(table: _Table, value: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    for name, entry in value.items():
        known = table.get(name)
        if known is not None:
            parts.append(known[1](known[0], entry))
        elif name.startswith("x-"):
            extension = table.get("x-")
            if extension is not None:
                parts.append(_named(_any_body)(extension[0], {name: entry}))
    return b"".join(parts)


def _message(table: _Table) -> _Encoder:
    return lambda number, value: delimited(number, _body(table, value))


def _named(body: Callable[[Any], bytes]) -> _Encoder:
    """A map: ``repeated Named… {name = 1, value = 2}``."""

    def encode(number: int, value: Mapping[str, Any]) -> bytes:
        return b"".join(
            delimited(number, _text(1, name) + delimited(2, body(entry))) for name, entry in value.items()
        )

    return encode


def _mapping(body: Callable[[Any], bytes]) -> _Encoder:
    """A message whose only field is such a map."""
    inner = _named(body)
    return lambda number, value: delimited(number, inner(1, value))


def _any_body(value: Any) -> bytes:
    """``Any``: YAML text, of which JSON is a part."""
    return _text(2, orjson.dumps(value).decode() + "\n")


def _any(number: int, value: Any) -> bytes:
    return delimited(number, _any_body(value))


def _anys(number: int, values: Iterable[Any]) -> bytes:
    return b"".join(_any(number, value) for value in values)


# --- schemas


def _schema_body(value: Mapping[str, Any]) -> bytes:
    return _body(_SCHEMA, value)


def _schema(number: int, value: Mapping[str, Any]) -> bytes:
    return delimited(number, _schema_body(value))


def _schemas(number: int, values: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_schema(number, value) for value in values)


def _schema_or_schemas(number: int, value: Mapping[str, Any] | list[Mapping[str, Any]]) -> bytes:
    return delimited(number, _schemas(1, value if isinstance(value, list) else [value]))


def _schema_or_flag(number: int, value: Mapping[str, Any] | bool) -> bytes:
    # A choice's false is present, so it is written.
    inner = b"\x10" + bytes((value,)) if isinstance(value, bool) else _schema(1, value)
    return delimited(number, inner)


def _type(number: int, value: str | list[str]) -> bytes:
    return delimited(number, _texts(1, value))


_DOCS: _Table = {"description": (1, _text), "url": (2, _text), "x-": (3, _any)}
_SCHEMA: _Table = {
    "$ref": (1, _text),
    "format": (2, _text),
    "title": (3, _text),
    "description": (4, _text),
    "default": (5, _any),
    "multipleOf": (6, _double),
    "maximum": (7, _double),
    "exclusiveMaximum": (8, _flag),
    "minimum": (9, _double),
    "exclusiveMinimum": (10, _flag),
    "maxLength": (11, _integer),
    "minLength": (12, _integer),
    "pattern": (13, _text),
    "maxItems": (14, _integer),
    "minItems": (15, _integer),
    "uniqueItems": (16, _flag),
    "maxProperties": (17, _integer),
    "minProperties": (18, _integer),
    "required": (19, _texts),
    "enum": (20, _anys),
    "additionalProperties": (21, _schema_or_flag),
    "type": (22, _type),
    "items": (23, _schema_or_schemas),
    "allOf": (24, _schemas),
    "properties": (25, _mapping(_schema_body)),
    "discriminator": (26, _text),
    "readOnly": (27, _flag),
    "externalDocs": (29, _message(_DOCS)),
    "example": (30, _any),
    "x-": (31, _any),
}


# --- parameters: of the places where they can be, each has a message with numbers of its own

_ITEM_FIELDS: tuple[tuple[str, _Encoder], ...] = (
    ("default", _any),
    ("maximum", _double),
    ("exclusiveMaximum", _flag),
    ("minimum", _double),
    ("exclusiveMinimum", _flag),
    ("maxLength", _integer),
    ("minLength", _integer),
    ("pattern", _text),
    ("maxItems", _integer),
    ("minItems", _integer),
    ("uniqueItems", _flag),
    ("enum", _anys),
    ("multipleOf", _double),
    ("x-", _any),
)


def _items(number: int, value: Mapping[str, Any]) -> bytes:
    return delimited(number, _body(_ITEMS, value))


def _numbered(first: int, fields: Iterable[tuple[str, _Encoder]]) -> _Table:
    return {name: (number, encoder) for number, (name, encoder) in enumerate(fields, first)}


_TYPED: tuple[tuple[str, _Encoder], ...] = (
    ("type", _text),
    ("format", _text),
    ("items", _items),
    ("collectionFormat", _text),
    *_ITEM_FIELDS,
)
_ITEMS: _Table = _numbered(1, _TYPED)
_PLACED: tuple[tuple[str, _Encoder], ...] = (
    ("required", _flag),
    ("in", _text),
    ("description", _text),
    ("name", _text),
)
_PLAIN = _numbered(1, (*_PLACED, *_TYPED))
_EMPTIABLE = _numbered(1, (*_PLACED, ("allowEmptyValue", _flag), *_TYPED))
_NON_BODY: Mapping[str, tuple[int, _Table]] = {
    "header": (1, _PLAIN),
    "formData": (2, _EMPTIABLE),
    "query": (3, _EMPTIABLE),
    "path": (4, _PLAIN),
}
_BODY: _Table = {
    "description": (1, _text),
    "name": (2, _text),
    "in": (3, _text),
    "required": (4, _flag),
    "schema": (5, _schema),
    "x-": (6, _any),
}


def _parameter_body(value: Mapping[str, Any]) -> bytes:
    where = value["in"]
    if where == "body":
        return delimited(1, _body(_BODY, value))
    number, table = _NON_BODY[where]
    return delimited(2, delimited(number, _body(table, value)))


_REFERENCE: _Table = {"$ref": (1, _text), "description": (2, _text)}


def _parameters(number: int, values: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(
        delimited(
            number,
            delimited(2, _body(_REFERENCE, value))
            if "$ref" in value
            else delimited(1, _parameter_body(value)),
        )
        for value in values
    )


# --- operations and the document


def _answer_schema(number: int, value: Mapping[str, Any]) -> bytes:
    return delimited(number, _schema(1, value))


_RESPONSE: _Table = {
    "description": (1, _text),
    "schema": (2, _answer_schema),
    "examples": (4, _mapping(_any_body)),
    "x-": (5, _any),
}


def _response_body(value: Mapping[str, Any]) -> bytes:
    if "$ref" in value:
        return delimited(2, _body(_REFERENCE, value))
    return delimited(1, _body(_RESPONSE, value))


def _split(plain: int, extension: int, body: Callable[[Any], bytes]) -> _Encoder:
    """A message of named entries beside vendor extensions."""

    def encode(number: int, value: Mapping[str, Any]) -> bytes:
        entries = {name: entry for name, entry in value.items() if not name.startswith("x-")}
        others = {name: entry for name, entry in value.items() if name.startswith("x-")}
        return delimited(number, _named(body)(plain, entries) + _named(_any_body)(extension, others))

    return encode


def _requirements(number: int, values: Iterable[Mapping[str, list[str]]]) -> bytes:
    one = _mapping(lambda scopes: _texts(1, scopes))
    return b"".join(one(number, value) for value in values)


_OPERATION: _Table = {
    "tags": (1, _texts),
    "summary": (2, _text),
    "description": (3, _text),
    "externalDocs": (4, _message(_DOCS)),
    "operationId": (5, _text),
    "produces": (6, _texts),
    "consumes": (7, _texts),
    "parameters": (8, _parameters),
    "responses": (9, _split(1, 2, _response_body)),
    "schemes": (10, _texts),
    "deprecated": (11, _flag),
    "security": (12, _requirements),
    "x-": (13, _any),
}
_PATH: _Table = {
    "$ref": (1, _text),
    **_numbered(
        2,
        (
            (verb, _message(_OPERATION))
            for verb in ("get", "put", "post", "delete", "options", "head", "patch")
        ),
    ),
    "parameters": (9, _parameters),
    "x-": (10, _any),
}
_BASIC: _Table = {"type": (1, _text), "description": (2, _text), "x-": (3, _any)}
_API_KEY: _Table = {
    "type": (1, _text),
    "name": (2, _text),
    "in": (3, _text),
    "description": (4, _text),
    "x-": (5, _any),
}


def _security_body(value: Mapping[str, Any]) -> bytes:
    """How to log on: ``basic`` or ``apiKey``; a server of ours knows no OAuth flows."""
    if value["type"] == "basic":
        return delimited(1, _body(_BASIC, value))
    return delimited(2, _body(_API_KEY, value))


_CONTACT: _Table = {"name": (1, _text), "url": (2, _text), "email": (3, _text), "x-": (4, _any)}
_LICENSE: _Table = {"name": (1, _text), "url": (2, _text), "x-": (3, _any)}
_INFO: _Table = {
    "title": (1, _text),
    "version": (2, _text),
    "description": (3, _text),
    "termsOfService": (4, _text),
    "contact": (5, _message(_CONTACT)),
    "license": (6, _message(_LICENSE)),
    "x-": (7, _any),
}
_TAG: _Table = {
    "name": (1, _text),
    "description": (2, _text),
    "externalDocs": (3, _message(_DOCS)),
    "x-": (4, _any),
}


def _tags(number: int, values: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(delimited(number, _body(_TAG, value)) for value in values)


_DOCUMENT: _Table = {
    "swagger": (1, _text),
    "info": (2, _message(_INFO)),
    "host": (3, _text),
    "basePath": (4, _text),
    "schemes": (5, _texts),
    "consumes": (6, _texts),
    "produces": (7, _texts),
    "paths": (8, _split(2, 1, lambda value: _body(_PATH, value))),
    "definitions": (9, _mapping(_schema_body)),
    "parameters": (10, _mapping(_parameter_body)),
    "responses": (11, _mapping(lambda value: _body(_RESPONSE, value))),
    "security": (12, _requirements),
    "securityDefinitions": (13, _mapping(_security_body)),
    "tags": (14, _tags),
    "externalDocs": (15, _message(_DOCS)),
    "x-": (16, _any),
}
