"""The Swagger document as protobuf: the message ``openapi.v2.Document``, which kubectl asks for.

Field numbers are those of the published ``openapiv2/OpenAPIv2.proto`` of github.com/google/gnostic-models. There is
no ``k8s\\0`` envelope around it. What proto3 cannot tell from absence (zero, false, the empty string) is left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kubernel.registry.documents import Document
from kubernel.registry.gnostic_fields import (
    CONTACT,
    DOCS,
    LICENSE,
    TAG,
    Encoder,
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
    numbered,
    one,
    one_or_many,
    or_flag,
    split,
    text,
    texts,
)
from kubernel.registry.wire import delimited

__all__ = ["MEDIA_TYPES", "protobuf_document", "to_gnostic"]

MEDIA_TYPES = (
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
)
"""As registered, and as later clients spell it: ``@`` is no token character (RFC 7231 3.1.1.1)."""


def protobuf_document(document: Document) -> Document:
    """The same in protobuf, with an ETag of its own."""
    body = to_gnostic(orjson.loads(document.body))
    return Document(body, hashlib.sha256(body).hexdigest().upper())


def to_gnostic(document: Mapping[str, Any]) -> bytes:
    """The bytes of a Swagger 2.0 ``document`` of JSON values."""
    return body(_DOCUMENT, document)


# --- schemas


def _schema_body(value: Mapping[str, Any]) -> bytes:
    return body(_SCHEMA, value)


def _type(number: int, value: str | list[str]) -> bytes:
    return delimited(number, texts(1, value))


_SCHEMA: Table = {
    "$ref": (1, text),
    "format": (2, text),
    "title": (3, text),
    "description": (4, text),
    "default": (5, any_of),
    "multipleOf": (6, double),
    "maximum": (7, double),
    "exclusiveMaximum": (8, flag),
    "minimum": (9, double),
    "exclusiveMinimum": (10, flag),
    "maxLength": (11, integer),
    "minLength": (12, integer),
    "pattern": (13, text),
    "maxItems": (14, integer),
    "minItems": (15, integer),
    "uniqueItems": (16, flag),
    "maxProperties": (17, integer),
    "minProperties": (18, integer),
    "required": (19, texts),
    "enum": (20, anys),
    "additionalProperties": (21, or_flag(_schema_body)),
    "type": (22, _type),
    "items": (23, one_or_many(_schema_body)),
    "allOf": (24, many(_schema_body)),
    "properties": (25, mapping(_schema_body)),
    "discriminator": (26, text),
    "readOnly": (27, flag),
    "externalDocs": (29, message(DOCS)),
    "example": (30, any_of),
    "x-": (31, any_of),
}


# --- parameters: of the places where they can be, each has a message with numbers of its own

_ITEM_FIELDS: tuple[tuple[str, Encoder], ...] = (
    ("default", any_of),
    ("maximum", double),
    ("exclusiveMaximum", flag),
    ("minimum", double),
    ("exclusiveMinimum", flag),
    ("maxLength", integer),
    ("minLength", integer),
    ("pattern", text),
    ("maxItems", integer),
    ("minItems", integer),
    ("uniqueItems", flag),
    ("enum", anys),
    ("multipleOf", double),
    ("x-", any_of),
)


def _items(number: int, value: Mapping[str, Any]) -> bytes:
    return delimited(number, body(_ITEMS, value))


_TYPED: tuple[tuple[str, Encoder], ...] = (
    ("type", text),
    ("format", text),
    ("items", _items),
    ("collectionFormat", text),
    *_ITEM_FIELDS,
)
_ITEMS: Table = numbered(1, _TYPED)
_PLACED: tuple[tuple[str, Encoder], ...] = (
    ("required", flag),
    ("in", text),
    ("description", text),
    ("name", text),
)
_PLAIN = numbered(1, (*_PLACED, *_TYPED))
_EMPTIABLE = numbered(1, (*_PLACED, ("allowEmptyValue", flag), *_TYPED))
_NON_BODY: Mapping[str, tuple[int, Table]] = {
    "header": (1, _PLAIN),
    "formData": (2, _EMPTIABLE),
    "query": (3, _EMPTIABLE),
    "path": (4, _PLAIN),
}
_BODY: Table = {
    "description": (1, text),
    "name": (2, text),
    "in": (3, text),
    "required": (4, flag),
    "schema": (5, one(_schema_body)),
    "x-": (6, any_of),
}


def _parameter_body(value: Mapping[str, Any]) -> bytes:
    where = value["in"]
    if where == "body":
        return delimited(1, body(_BODY, value))
    number, table = _NON_BODY[where]
    return delimited(2, delimited(number, body(table, value)))


_REFERENCE: Table = {"$ref": (1, text), "description": (2, text)}


def _parameters(number: int, values: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(
        delimited(
            number,
            delimited(2, body(_REFERENCE, value))
            if "$ref" in value
            else delimited(1, _parameter_body(value)),
        )
        for value in values
    )


# --- operations and the document


def _answer_schema(number: int, value: Mapping[str, Any]) -> bytes:
    return delimited(number, delimited(1, _schema_body(value)))


_RESPONSE: Table = {
    "description": (1, text),
    "schema": (2, _answer_schema),
    "examples": (4, mapping(any_body)),
    "x-": (5, any_of),
}


def _response_body(value: Mapping[str, Any]) -> bytes:
    if "$ref" in value:
        return delimited(2, body(_REFERENCE, value))
    return delimited(1, body(_RESPONSE, value))


def _requirements(number: int, values: Iterable[Mapping[str, list[str]]]) -> bytes:
    one = mapping(lambda scopes: texts(1, scopes))
    return b"".join(one(number, value) for value in values)


_OPERATION: Table = {
    "tags": (1, texts),
    "summary": (2, text),
    "description": (3, text),
    "externalDocs": (4, message(DOCS)),
    "operationId": (5, text),
    "produces": (6, texts),
    "consumes": (7, texts),
    "parameters": (8, _parameters),
    "responses": (9, split(1, 2, _response_body)),
    "schemes": (10, texts),
    "deprecated": (11, flag),
    "security": (12, _requirements),
    "x-": (13, any_of),
}
_PATH: Table = {
    "$ref": (1, text),
    **numbered(
        2,
        (
            (verb, message(_OPERATION))
            for verb in ("get", "put", "post", "delete", "options", "head", "patch")
        ),
    ),
    "parameters": (9, _parameters),
    "x-": (10, any_of),
}
_BASIC: Table = {"type": (1, text), "description": (2, text), "x-": (3, any_of)}
_API_KEY: Table = {
    "type": (1, text),
    "name": (2, text),
    "in": (3, text),
    "description": (4, text),
    "x-": (5, any_of),
}


def _security_body(value: Mapping[str, Any]) -> bytes:
    """How to log on: ``basic`` or ``apiKey``; a server of ours knows no OAuth flows."""
    if value["type"] == "basic":
        return delimited(1, body(_BASIC, value))
    return delimited(2, body(_API_KEY, value))


_INFO: Table = {
    "title": (1, text),
    "version": (2, text),
    "description": (3, text),
    "termsOfService": (4, text),
    "contact": (5, message(CONTACT)),
    "license": (6, message(LICENSE)),
    "x-": (7, any_of),
}


_DOCUMENT: Table = {
    "swagger": (1, text),
    "info": (2, message(_INFO)),
    "host": (3, text),
    "basePath": (4, text),
    "schemes": (5, texts),
    "consumes": (6, texts),
    "produces": (7, texts),
    "paths": (8, split(2, 1, lambda value: body(_PATH, value))),
    "definitions": (9, mapping(_schema_body)),
    "parameters": (10, mapping(_parameter_body)),
    "responses": (11, mapping(lambda value: body(_RESPONSE, value))),
    "security": (12, _requirements),
    "securityDefinitions": (13, mapping(_security_body)),
    "tags": (14, many(lambda value: body(TAG, value))),
    "externalDocs": (15, message(DOCS)),
    "x-": (16, any_of),
}
