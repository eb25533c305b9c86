"""An OpenAPI 3 document as protobuf: what github.com/google/gnostic-models v0.7.1 makes of it."""

from __future__ import annotations

import base64
from typing import Any

from kubernel.registry.gnostic_v3 import to_gnostic_v3

DOCUMENT = {
    "openapi": "3.0.0",
    "info": {"title": "Kubernetes", "version": "1.37"},
    "paths": {
        "/api/v1/pods": {
            "get": {
                "tags": ["core_v1"],
                "description": "list",
                "operationId": "listPods",
                "parameters": [
                    {"$ref": "#/components/parameters/limit"},
                    {"name": "watch", "in": "query", "schema": {"type": "boolean", "uniqueItems": True}},
                ],
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pod"}}},
                    },
                    "401": {"description": "Unauthorized"},
                    "default": {"description": "else"},
                },
                "x-kubernetes-streams": True,
            },
            "post": {
                "requestBody": {"content": {"*/*": {"schema": {"$ref": "#/components/schemas/Pod"}}}},
                "responses": {"201": {"description": "Created"}},
            },
        }
    },
    "components": {
        "schemas": {
            "Pod": {
                "description": "a pod",
                "type": "object",
                "required": ["spec", "kind"],
                "properties": {
                    "count": {
                        "type": "integer",
                        "minimum": 1,
                        "maxLength": 300,
                        "default": 0,
                        "enum": [1, 2],
                        "format": "int64",
                    },
                    "free": {"type": "object", "additionalProperties": False, "default": {}},
                    "list": {"type": "array", "items": {"$ref": "#/components/schemas/x"}, "default": ""},
                    "map": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
                    "one": {
                        "allOf": [{"$ref": "#/components/schemas/x"}],
                        "default": True,
                        "not": {"type": "string"},
                        "oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^a"}],
                    },
                },
                "x-kubernetes-preserve-unknown-fields": True,
            }
        },
        "parameters": {
            "limit": {"name": "limit", "in": "query", "required": True, "schema": {"type": "integer"}}
        },
        "securitySchemes": {
            "BearerToken": {
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
                "description": "Bearer",
            }
        },
    },
}
PUBLISHED = base64.b64decode(
    "CgUzLjAuMBISCgpLdWJlcm5ldGVzMgQxLjM3IsYCCsMCCgwvYXBpL3YxL3BvZHMSsgIi6gEKB2NvcmVfdjEaBGxpc3QqCGxp"
    "c3RQb2RzMiESHwodIy9jb21wb25lbnRzL3BhcmFtZXRlcnMvbGltaXQyIQofCgV3YXRjaBIFcXVlcnlSDwoNoAEBygEHYm9v"
    "bGVhbkJoCggKBgoEZWxzZRJDCgMyMDASPAo6CgJPSxo0CjIKEGFwcGxpY2F0aW9uL2pzb24SHgocEhoKGCMvY29tcG9uZW50"
    "cy9zY2hlbWFzL1BvZBIXCgM0MDESEAoOCgxVbmF1dGhvcml6ZWRqHwoUeC1rdWJlcm5ldGVzLXN0cmVhbXMSBxIFdHJ1ZQoy"
    "QzorCikSJwolCgMqLyoSHgocEhoKGCMvY29tcG9uZW50cy9zY2hlbWFzL1BvZEIUEhIKAzIwMRILCgkKB0NyZWF0ZWQq6gMK"
    "/gIK+wIKA1BvZBLzAgrwAroBBHNwZWO6AQRraW5kygEGb2JqZWN0+gGbAgpDCgVjb3VudBI6CjhpAAAAAAAA8D94rALCAQQS"
    "AjEKwgEEEgIyCsoBB2ludGVnZXKKAgkJAAAAAAAAAACaAgVpbnQ2NAobCgRmcmVlEhMKEcoBBm9iamVjdIICAhAAigIACjYK"
    "BGxpc3QSLgosygEFYXJyYXnyARwKGhIYChYjL2NvbXBvbmVudHMvc2NoZW1hcy94igICGgAKJAoDbWFwEh0KG8oBBm9iamVj"
    "dIICDwoNCgsIAcoBBnN0cmluZwpZCgNvbmUSUgpQ0gEaEhgKFiMvY29tcG9uZW50cy9zY2hlbWFzL3jaAQwKCsoBB2ludGVn"
    "ZXLaARAKDooBAl5hygEGc3RyaW5n6gEJygEGc3RyaW5nigICEAGSAgVhIHBvZKICLwokeC1rdWJlcm5ldGVzLXByZXNlcnZl"
    "LXVua25vd24tZmllbGRzEgcSBXRydWUKGisKKQoFbGltaXQSIAoeCgVsaW1pdBIFcXVlcnkgAVIMCgrKAQdpbnRlZ2VyOjoK"
    "OAoLQmVhcmVyVG9rZW4SKQonCgZhcGlLZXkSBkJlYXJlchoNYXV0aG9yaXphdGlvbiIGaGVhZGVy"
)


def tree(data: bytes) -> Any:
    """Fields by number, whatever can be read as a message is read as one; what cannot is the bytes."""
    found: list[tuple[int, Any]] = []
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, wire = divmod(key, 8)
        if wire == 0:
            value, at = varint(data, at)
            found.append((number, value))
            continue
        length, at = (8, at) if wire == 1 else varint(data, at)
        if wire > 2 or not number or at + length > len(data):
            raise ValueError
        piece = data[at : at + length]
        try:
            found.append((number, tree(piece) if wire == 2 else piece))
        except (ValueError, IndexError):
            found.append((number, piece))
        at += length
    return sorted(found, key=repr)


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def test_every_member_is_where_gnostic_has_it() -> None:
    made = to_gnostic_v3(DOCUMENT)
    assert len(made) == len(PUBLISHED)
    assert tree(made) == tree(PUBLISHED)


def test_a_changed_member_is_another_message() -> None:
    changed = {**DOCUMENT, "openapi": "3.1.0"}
    assert tree(to_gnostic_v3(changed)) != tree(PUBLISHED)
