"""Defaults must be what they are defaults of: pruned and valid.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import ApiError, Cause
from kubernel.registry import causes
from kubernel.registry.jsonschema import compile_schema
from kubernel.registry.pruning import decode_check
from kubernel.registry.structural import sorted_keys
from kubernel.registry.validation import validate
from kubernel_plugins.api.custom.embedded import check_embedded

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["check_defaults"]

Schema = Mapping[str, Any]


def check_defaults(schema: Schema, path: str, metadata: Node) -> list[Cause]:
    """Of a structural schema and all that it consists of."""
    found: list[Cause] = []
    if "default" in schema:
        found += _check(schema, f"{path}.default", metadata)
    items = schema.get("items")
    if isinstance(items, Mapping):
        found += check_defaults(items, f"{path}.items", metadata)
    for name, below in (schema.get("properties") or {}).items():
        found += check_defaults(below, f"{path}.properties[{name}]", metadata)
    return found


def _check(schema: Schema, path: str, metadata: Node) -> list[Cause]:
    default = schema["default"]
    node = compile_schema({key: value for key, value in schema.items() if key != "default"}, metadata)
    # Decoding works in place on what is its own.
    holder = orjson.loads(orjson.dumps({"default": default}))
    frame = compile_schema({"type": "object"})
    frame.properties = {"default": node}
    try:
        unknown = decode_check(frame, holder)
    except ApiError as error:
        return [causes.invalid(path, default, error.message)]
    found: list[Cause] = []
    if unknown:
        found.append(causes.invalid(path, sorted_keys(default), "must not have unknown fields"))
    embedded = check_embedded(node, default, path)
    if embedded:
        return found + embedded
    if default is None:
        return found
    return found + [
        Cause(cause.reason, cause.message, _below(path, cause.field)) for cause in validate(node, default)
    ]


def _below(path: str, field: str) -> str:
    if not field or field == "<nil>":
        return path
    return f"{path}{field}" if field[:1] == "[" else f"{path}.{field}"
