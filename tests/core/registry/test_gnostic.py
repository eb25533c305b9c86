"""The Swagger document as protobuf, read back by the numbers of OpenAPIv2.proto."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from kubernel.registry.gnostic import to_gnostic

GVK = [{"group": "", "kind": "Pod", "version": "v1"}]
SCHEMA = {
    "description": "a pod",
    "type": "object",
    "required": ["spec", "kind"],
    "properties": {
        "count": {"type": "integer", "minimum": 1, "maxLength": 300, "default": 0, "enum": [1, "a"]},
        "any": {"type": ["string", "null"], "additionalProperties": False},
        "list": {"type": "array", "items": {"$ref": "#/definitions/x"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "x-kubernetes-group-version-kind": GVK,
}
DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "v1.37.0"},
    "paths": {
        "/api/v1/pods": {
            "parameters": [{"$ref": "#/parameters/limit"}],
            "get": {
                "tags": ["core_v1"],
                "operationId": "listPods",
                "parameters": [
                    {"name": "body", "in": "body", "schema": {"type": "object"}, "required": True}
                ],
                "responses": {
                    "200": {"description": "OK", "schema": {"$ref": "#/definitions/Pod"}},
                    "401": {"description": "Unauthorized"},
                },
                "x-kubernetes-action": "list",
            },
        }
    },
    "definitions": {"Pod": SCHEMA},
    "parameters": {"limit": {"name": "limit", "in": "query", "type": "integer", "uniqueItems": True}},
    "security": [{"BearerToken": []}],
    "securityDefinitions": {"BearerToken": {"type": "apiKey", "name": "authorization", "in": "header"}},
}


def fields(data: bytes) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            found.append((number, varint()))
        else:
            length = 8 if wire == 1 else varint()
            found.append((number, data[at : at + length]))
            at += length
    return found


def at(data: bytes, *numbers: int) -> list[Any]:
    """All values under a path of field numbers."""
    values: list[Any] = [data]
    for number in numbers:
        values = [value for data in values for found, value in fields(data) if found == number]
    return values


@pytest.fixture(scope="module")
def encoded() -> bytes:
    return to_gnostic(DOCUMENT)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        pytest.param((1,), [b"2.0"], id="swagger"),
        pytest.param((2, 2), [b"v1.37.0"], id="version"),
        pytest.param((8, 2, 1), [b"/api/v1/pods"], id="path"),
        pytest.param((8, 2, 2, 2, 5), [b"listPods"], id="operation"),
        pytest.param((8, 2, 2, 2, 8, 1, 1, 5, 22, 1), [b"object"], id="body parameter"),
        pytest.param((8, 2, 2, 2, 8, 1, 1, 4), [1], id="required body"),
        pytest.param((8, 2, 2, 9, 2, 1), [b"#/parameters/limit"], id="parameter reference"),
        pytest.param((8, 2, 2, 2, 9, 1, 1), [b"200", b"401"], id="answers"),
        pytest.param((8, 2, 2, 2, 9, 1, 2, 1, 2, 1, 1), [b"#/definitions/Pod"], id="answer's schema"),
        pytest.param((8, 2, 2, 2, 13, 2, 2), [b'"list"\n'], id="vendor extension"),
        pytest.param((9, 1, 1), [b"Pod"], id="definition"),
        pytest.param((9, 1, 2, 19), [b"spec", b"kind"], id="required fields"),
        pytest.param((9, 1, 2, 25, 1, 1), [b"count", b"any", b"list", b"map"], id="properties"),
        pytest.param((9, 1, 2, 25, 1, 2, 9), [struct.pack("<d", 1)], id="double"),
        pytest.param((9, 1, 2, 25, 1, 2, 11), [300], id="integer"),
        pytest.param((9, 1, 2, 25, 1, 2, 5, 2), [b"0\n"], id="default of zero is a default"),
        pytest.param((9, 1, 2, 25, 1, 2, 20, 2), [b"1\n", b'"a"\n'], id="enum"),
        pytest.param((9, 1, 2, 25, 1, 2, 21, 2), [0], id="additionalProperties: false is said"),
        pytest.param((9, 1, 2, 25, 1, 2, 21, 1, 22, 1), [b"string"], id="additionalProperties"),
        pytest.param((9, 1, 2, 25, 1, 2, 23, 1, 1), [b"#/definitions/x"], id="items"),
        pytest.param((9, 1, 2, 31, 1), [b"x-kubernetes-group-version-kind"], id="kinds"),
        pytest.param((10, 1, 2, 2, 3, 20), [1], id="query parameter's own numbers"),
        pytest.param((12, 1, 1), [b"BearerToken"], id="security"),
        pytest.param((13, 1, 2, 2, 2), [b"authorization"], id="api key"),
    ],
)
def test_a_field_is_where_gnostic_reads_it(encoded: bytes, path: tuple[int, ...], values: list[Any]) -> None:
    assert at(encoded, *path) == values
