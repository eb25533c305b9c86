"""A document of OpenAPI 3 as protobuf: the message ``openapi.v3.Document``.

Field numbers are those of the published ``openapiv3/OpenAPIv3.proto`` of github.com/google/gnostic-models.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from kubernel.registry.documents import Document
from kubernel.registry.gnostic_fields import (
    CONTACT,
    DOCS,
    LICENSE,
    TAG,
    Table,
    any_body,
    any_of,
    anys,
    body,
    double,
    flag,
    integer,
    many,
    mapping,
    message,
    named,
    one,
    one_or_many,
    or_flag,
    split,
    text,
    texts,
)
from kubernel.registry.wire import delimited, varint

__all__ = ["MEDIA_TYPES", "protobuf_document_v3", "to_gnostic_v3"]

MEDIA_TYPES = (
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v3@v1.0+protobuf",
)
"""As it is told in answers, and as it was registered: ``@`` is no token character (RFC 7231 3.1.1.1)."""


def protobuf_document_v3(document: Document) -> Document:
    """The same in protobuf. As upstream's, it has the ETag of what it is made from."""
    return Document(to_gnostic_v3(orjson.loads(document.body)), document.etag)


def to_gnostic_v3(document: Mapping[str, Any]) -> bytes:
    """The bytes of an OpenAPI 3.0 ``document`` of JSON values."""
    return body(_DOCUMENT, document)


_REFERENCE: Table = {"$ref": (1, text)}


def _or_reference(table: Callable[[], Table]) -> Callable[[Mapping[str, Any]], bytes]:
    """The body of a choice between a message and a reference to one. ``table`` may be one that refers to itself."""

    def encode(value: Mapping[str, Any]) -> bytes:
        if "$ref" in value:
            return delimited(2, body(_REFERENCE, value))
        return delimited(1, body(table(), value))

    return encode


# --- schemas

_schema = _or_reference(lambda: _SCHEMA)


def _default(number: int, value: Any) -> bytes:
    """Of an object or a list the message knows only that there is one."""
    inner = b""
    if isinstance(value, bool):
        inner = varint(2 << 3) + bytes((value,))
    elif isinstance(value, str):
        inner = delimited(3, value.encode())
    elif isinstance(value, int | float):
        inner = varint(1 << 3 | 1) + struct.pack("<d", value)
    return delimited(number, inner)


_DISCRIMINATOR: Table = {
    "propertyName": (1, text),
    "mapping": (2, mapping(str.encode)),
    "x-": (3, any_of),
}
_SCHEMA: Table = {
    "nullable": (1, flag),
    "discriminator": (2, message(_DISCRIMINATOR)),
    "readOnly": (3, flag),
    "writeOnly": (4, flag),
    "externalDocs": (6, message(DOCS)),
    "example": (7, any_of),
    "deprecated": (8, flag),
    "title": (9, text),
    "multipleOf": (10, double),
    "maximum": (11, double),
    "exclusiveMaximum": (12, flag),
    "minimum": (13, double),
    "exclusiveMinimum": (14, flag),
    "maxLength": (15, integer),
    "minLength": (16, integer),
    "pattern": (17, text),
    "maxItems": (18, integer),
    "minItems": (19, integer),
    "uniqueItems": (20, flag),
    "maxProperties": (21, integer),
    "minProperties": (22, integer),
    "required": (23, texts),
    "enum": (24, anys),
    "type": (25, text),
    "allOf": (26, many(_schema)),
    "oneOf": (27, many(_schema)),
    "anyOf": (28, many(_schema)),
    "not": (29, lambda number, value: delimited(number, body(_SCHEMA, value))),
    "items": (30, one_or_many(_schema)),
    "properties": (31, mapping(_schema)),
    "additionalProperties": (32, or_flag(_schema)),
    "default": (33, _default),
    "description": (34, text),
    "format": (35, text),
    "x-": (36, any_of),
}


# --- parameters, bodies and answers

_MEDIA: Table = {
    "schema": (1, one(_schema)),
    "example": (2, any_of),
    "x-": (5, any_of),
}
_media = mapping(lambda value: body(_MEDIA, value))
_HEADER: Table = {
    "description": (1, text),
    "required": (2, flag),
    "deprecated": (3, flag),
    "allowEmptyValue": (4, flag),
    "style": (5, text),
    "explode": (6, flag),
    "allowReserved": (7, flag),
    "schema": (8, one(_schema)),
    "example": (9, any_of),
    "content": (11, _media),
    "x-": (12, any_of),
}
_header = _or_reference(lambda: _HEADER)
_PARAMETER: Table = {
    "name": (1, text),
    "in": (2, text),
    "description": (3, text),
    "required": (4, flag),
    "deprecated": (5, flag),
    "allowEmptyValue": (6, flag),
    "style": (7, text),
    "explode": (8, flag),
    "allowReserved": (9, flag),
    "schema": (10, one(_schema)),
    "example": (11, any_of),
    "content": (13, _media),
    "x-": (14, any_of),
}
_parameter = _or_reference(lambda: _PARAMETER)
_REQUEST_BODY: Table = {
    "description": (1, text),
    "content": (2, _media),
    "required": (3, flag),
    "x-": (4, any_of),
}
_request_body = _or_reference(lambda: _REQUEST_BODY)
_RESPONSE: Table = {
    "description": (1, text),
    "headers": (2, mapping(_header)),
    "content": (3, _media),
    "x-": (5, any_of),
}
_response = _or_reference(lambda: _RESPONSE)


def _responses(number: int, value: Mapping[str, Any]) -> bytes:
    inner = b""
    if "default" in value:
        inner = delimited(1, _response(value["default"]))
    codes = {code: entry for code, entry in value.items() if code != "default" and not code.startswith("x-")}
    others = {name: entry for name, entry in value.items() if name.startswith("x-")}
    return delimited(number, inner + named(_response)(2, codes) + named(any_body)(3, others))


# --- operations and the document


def _requirements(number: int, values: Iterable[Mapping[str, list[str]]]) -> bytes:
    one = named(lambda scopes: texts(1, scopes))
    return b"".join(delimited(number, one(1, value)) for value in values)


_SERVER: Table = {"url": (1, text), "description": (2, text), "x-": (4, any_of)}
_servers = many(lambda value: body(_SERVER, value))
_OPERATION: Table = {
    "tags": (1, texts),
    "summary": (2, text),
    "description": (3, text),
    "externalDocs": (4, message(DOCS)),
    "operationId": (5, text),
    "parameters": (6, many(_parameter)),
    "requestBody": (7, one(_request_body)),
    "responses": (8, _responses),
    "deprecated": (10, flag),
    "security": (11, _requirements),
    "servers": (12, _servers),
    "x-": (13, any_of),
}
_VERBS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_PATH: Table = {
    "$ref": (1, text),
    "summary": (2, text),
    "description": (3, text),
    **{verb: (number, message(_OPERATION)) for number, verb in enumerate(_VERBS, 4)},
    "servers": (12, _servers),
    "parameters": (13, many(_parameter)),
    "x-": (14, any_of),
}
_SECURITY_SCHEME: Table = {
    "type": (1, text),
    "description": (2, text),
    "name": (3, text),
    "in": (4, text),
    "scheme": (5, text),
    "bearerFormat": (6, text),
    "openIdConnectUrl": (8, text),
    "x-": (9, any_of),
}
_COMPONENTS: Table = {
    "schemas": (1, mapping(_schema)),
    "responses": (2, mapping(_response)),
    "parameters": (3, mapping(_parameter)),
    "requestBodies": (5, mapping(_request_body)),
    "headers": (6, mapping(_header)),
    "securitySchemes": (7, mapping(_or_reference(lambda: _SECURITY_SCHEME))),
    "x-": (10, any_of),
}
_INFO: Table = {
    "title": (1, text),
    "description": (2, text),
    "termsOfService": (3, text),
    "contact": (4, message(CONTACT)),
    "license": (5, message(LICENSE)),
    "version": (6, text),
    "x-": (7, any_of),
}
_DOCUMENT: Table = {
    "openapi": (1, text),
    "info": (2, message(_INFO)),
    "servers": (3, _servers),
    "paths": (4, split(1, 2, lambda value: body(_PATH, value))),
    "components": (5, message(_COMPONENTS)),
    "security": (6, _requirements),
    "tags": (7, many(lambda value: body(TAG, value))),
    "externalDocs": (8, message(DOCS)),
    "x-": (9, any_of),
}
