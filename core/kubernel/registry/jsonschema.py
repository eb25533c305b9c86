"""Nodes from a custom resource's own schema: the JSONSchemaProps that a definition carries.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema (structural schemas, KEP-1002).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernel.registry.schema import Node

__all__ = ["KEYWORDS", "LOGIC", "compile_resource", "compile_schema"]

KEYWORDS = (
    "title",
    "externalDocs",
    "example",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "multipleOf",
    "minProperties",
    "maxProperties",
    "x-kubernetes-validations",
)
"""What goes to ``Node.extra`` as it is, and from there into the published documents; so does a description."""
LOGIC = ("allOf", "anyOf", "oneOf", "not")
"""Kept in ``Node.extra`` as written; ``structural`` makes nodes of them."""


def compile_schema(schema: Mapping[str, Any], metadata: Node | None = None) -> Node:
    """The node of one schema; ``metadata`` is ObjectMeta's, which embedded resources have."""
    node = Node(schema.get("type") or "any")
    if schema.get("x-kubernetes-int-or-string"):
        node.type = "int-or-string"
    node.format = schema.get("format") or ""
    node.nullable = bool(schema.get("nullable"))
    node.preserve_unknown = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    node.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    node.list_type = schema.get("x-kubernetes-list-type") or ""
    node.map_keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
    node.map_type = schema.get("x-kubernetes-map-type") or ""
    node.required = tuple(schema.get("required") or ())
    node.enum = tuple(schema.get("enum") or ())
    if "default" in schema:
        node.default = schema["default"]
    properties = schema.get("properties")
    if properties:
        node.properties = {name: compile_schema(field, metadata) for name, field in properties.items()}
    additional = schema.get("additionalProperties")
    if isinstance(additional, Mapping):
        node.additional = compile_schema(additional, metadata)
    elif additional:
        node.additional = Node("any")
        node.additional.preserve_unknown = node.additional.nullable = True
    items = schema.get("items")
    if isinstance(items, Mapping):
        node.items = compile_schema(items, metadata)
    extra = {key: schema[key] for key in ("description", *KEYWORDS, *LOGIC) if schema.get(key) is not None}
    if additional is False:
        extra["additionalProperties"] = False
    node.extra = extra or None
    if node.embedded:
        _frame(node, metadata)
    return node


def compile_resource(schema: Mapping[str, Any], metadata: Node) -> Node:
    """The node of a whole custom resource, whose frame is that of every object."""
    node = compile_schema(schema, metadata)
    node.type = "object"
    _frame(node, metadata)
    return node


def _frame(node: Node, metadata: Node | None) -> None:
    properties = node.properties = dict(node.properties or {})
    for name in ("apiVersion", "kind"):
        properties.setdefault(name, Node("string"))
    if metadata is not None:
        properties["metadata"] = metadata
