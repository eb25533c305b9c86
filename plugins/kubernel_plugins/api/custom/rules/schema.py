"""The schema of a version: what OpenAPI allows and Kubernetes demands of it.

Structural rules are ``structural``'s, defaults ``defaults``', CEL rules ``expressions``'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubernel.registry import causes
from kubernel_plugins.api.custom.rules.defaults import check_defaults
from kubernel_plugins.api.custom.rules.expressions import Costs, Scope, check_rules, check_texts
from kubernel_plugins.api.custom.rules.structural import check_structural
from kubernel_plugins.api.custom.rules.traversal import everything

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.schema import Node

__all__ = ["check_version_schema"]

Schema = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_META = ("metadata", "kind", "apiVersion")
_ROOT_FIELDS = {
    "description": "Description", "type": "Type", "format": "Format", "title": "Title", "maximum": "Maximum",
    "exclusiveMaximum": "ExclusiveMaximum", "minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum",
    "maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern", "maxItems": "MaxItems",
    "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf", "required": "Required",
    "items": "Items", "properties": "Properties", "externalDocs": "ExternalDocs", "example": "Example",
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields", "x-kubernetes-validations": "XValidations",
}  # fmt: skip
_UNSUPPORTED = (
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
)


def check_version_schema(
    schema: Schema, path: str, *, status: bool, unchanged: bool, metadata: Node
) -> list[Cause]:
    """``status``: the version has the status subresource; ``unchanged``: the schema is what it was, so what it may
    cost is not looked at."""
    where = f"{path}.openAPIV3Schema"
    found: list[Cause] = []
    if status:
        found += _check_root(schema, where)
    if schema.get("nullable"):
        found.append(causes.forbidden(f"{where}.nullable", "nullable cannot be true at the root"))
    costs: Costs | None = None
    # What is no structural schema at all is told by the rules below.
    if all(_convertible(one) for one in everything(schema)):
        structural = check_structural(schema, where) or check_defaults(schema, where, metadata)
        if not structural:
            costs = Costs(enforced=not unchanged)
        found += structural
    wrong, wrong_rules = _Walk(costs).check(schema, where, _Place(root=True), _scope(schema, costs))
    found += wrong + wrong_rules
    if costs is not None:
        found += costs.total_causes(where)
    return found


def _convertible(schema: Schema) -> bool:
    return (
        schema.get("x-kubernetes-preserve-unknown-fields") is not False
        and not any(schema.get(keyword) for keyword, _ in _UNSUPPORTED)
        and not isinstance(schema.get("items"), list)
    )


def _scope(schema: Schema, costs: Costs | None) -> Scope | None:
    return Scope(schema, root=True) if costs is not None else None


def _check_root(schema: Schema, path: str) -> list[Cause]:
    for keyword, value in schema.items():
        if value in (None, "", [], {}, False):
            continue
        if keyword == "type":
            if value != "object":
                text = (
                    'only "object" is allowed as the type at the root of the schema if the status subresource is '
                    "enabled"
                )
                return [causes.invalid(f"{path}.type", value, text)]
        elif keyword not in _ROOT_FIELDS:
            allowed = " ".join(_ROOT_FIELDS.values())
            text = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
            return [causes.invalid(path, schema, text)]
    return []


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the whole a schema stands."""

    root: bool = False
    in_meta: bool = False
    no_defaults: str | None = None
    """Why defaults are forbidden here; None where they are not."""
    uncorrelated: str = ""
    """The path of the schema below which nothing can be told to be the same as before."""


class _Walk:
    def __init__(self, costs: Costs | None) -> None:
        self._costs = costs

    def check(
        self, schema: Schema, path: str, place: _Place, scope: Scope | None
    ) -> tuple[list[Cause], list[Cause]]:
        """(complaints about the schema, complaints about CEL rules)."""
        found = _openapi(schema, path, place)
        rules: list[Cause] = []

        def below(one: Any, where: str, inner: _Place, within: Scope | None) -> None:
            if isinstance(one, Mapping):
                wrong, wrong_rules = self.check(one, where, inner, within)
                found.extend(wrong)
                rules.extend(wrong_rules)

        place_below = replace(place, root=False)
        properties: Mapping[str, Schema] = schema.get("properties") or {}
        additional = schema.get("additionalProperties")
        if schema.get("uniqueItems"):
            text = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
            found.append(causes.forbidden(f"{path}.uniqueItems", text))
        if additional is not None:
            if properties and additional is not True:
                text = "additionalProperties and properties are mutual exclusive"
                found.append(causes.forbidden(f"{path}.additionalProperties", text))
            inner = place_below
            if place.in_meta:
                inner = replace(inner, no_defaults="inside additionalProperties applying to object metadata")
            below(additional, f"{path}.additionalProperties", inner, scope and scope.values(additional))
        for name, one in properties.items():
            inner = place_below
            if (place.root or schema.get("x-kubernetes-embedded-resource")) and name in _META:
                inner = replace(inner, in_meta=True)
                if place.root:
                    inner = replace(inner, no_defaults=f"in top-level {name}")
            below(one, f"{path}.properties[{name}]", inner, scope and scope.field(one))
        below(schema.get("not"), f"{path}.not", place_below, None)
        for keyword in ("allOf", "oneOf", "anyOf"):
            for index, one in enumerate(schema.get(keyword) or ()):
                below(one, f"{path}.{keyword}[{index}]", place_below, None)
        for name, one in (schema.get("definitions") or {}).items():
            below(one, f"{path}.definitions[{name}]", place_below, None)
        items = schema.get("items")
        inner = place_below
        if schema.get("x-kubernetes-list-type") != "map" and not place.uncorrelated:
            inner = replace(inner, uncorrelated=path)
        below(items, f"{path}.items", inner, scope and scope.values(items))
        found += _extensions(schema, path)
        if schema.get("x-kubernetes-validations"):
            found += check_texts(schema, path)
            if not found and scope is not None and self._costs is not None:
                rules += check_rules(schema, path, scope, self._costs, uncorrelated=place.uncorrelated)
        return found, rules


def _openapi(schema: Schema, path: str, place: _Place) -> list[Cause]:
    found: list[Cause] = []
    type_ = schema.get("type") or ""
    if type_ and type_ not in _TYPES:
        found.append(causes.not_supported(f"{path}.type", type_, _TYPES))
    if "default" in schema and place.no_defaults is not None:
        found.append(causes.forbidden(f"{path}.default", f"must not be set {place.no_defaults}"))
    found += [
        causes.forbidden(f"{path}.{keyword}", text) for keyword, text in _UNSUPPORTED if schema.get(keyword)
    ]
    if type_ == "null":
        text = "type cannot be set to null, use nullable as an alternative"
        found.append(causes.forbidden(f"{path}.type", text))
    if isinstance(schema.get("items"), list):
        found.append(causes.forbidden(f"{path}.items", "items must be a schema object and not an array"))
    if place.in_meta and schema.get("x-kubernetes-embedded-resource"):
        text = "must not be used inside of resource meta"
        found.append(causes.forbidden(f"{path}.x-kubernetes-embedded-resource", text))
    return found


def _extensions(schema: Schema, path: str) -> list[Cause]:
    found: list[Cause] = []
    type_ = schema.get("type") or ""
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        found.append(causes.invalid(where, False, "must be true or undefined"))
    map_type, list_type = schema.get("x-kubernetes-map-type"), schema.get("x-kubernetes-list-type")
    keys: list[str] = schema.get("x-kubernetes-list-map-keys") or []
    if map_type is not None and type_ != "object":
        found.append(_wrong_type(path, type_, "must be object if x-kubernetes-map-type is specified"))
    if map_type not in (None, "atomic", "granular"):
        where = f"{path}.x-kubernetes-map-type"
        found.append(causes.not_supported(where, map_type, ("atomic", "granular")))
    items = schema.get("items")
    if list_type is not None and type_ != "array":
        found.append(_wrong_type(path, type_, "must be array if x-kubernetes-list-type is specified"))
    elif list_type == "set" and isinstance(items, Mapping):
        found += _atomic_items(items, path)
    if list_type not in (None, "atomic", "set", "map"):
        where = f"{path}.x-kubernetes-list-type"
        found.append(causes.not_supported(where, list_type, ("atomic", "set", "map")))
    if keys and list_type != "map":
        where, text = (
            f"{path}.x-kubernetes-list-type",
            "must be map if x-kubernetes-list-map-keys is non-empty",
        )
        found.append(
            causes.required(where, text) if list_type is None else causes.invalid(where, list_type, text)
        )
    if list_type == "map":
        found += _keyed(schema, keys, path)
    if list_type in ("set", "map") and isinstance(items, Mapping):
        found += _never_null(items, keys, list_type, path)
    return found


def _wrong_type(path: str, type_: str, text: str) -> Cause:
    return causes.invalid(f"{path}.type", type_, text) if type_ else causes.required(f"{path}.type", text)


def _atomic_items(items: Schema, path: str) -> list[Cause]:
    text = "must be atomic as item of a list with x-kubernetes-list-type=set"
    list_type = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and list_type not in (None, "atomic"):
        return [causes.invalid(f"{path}.items.x-kubernetes-list-type", list_type, text)]
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        return [causes.invalid(f"{path}.items.x-kubernetes-map-type", list_type, text)]
    return []


def _keyed(schema: Schema, keys: list[str], path: str) -> list[Cause]:
    found: list[Cause] = []
    items = schema.get("items")
    where = f"{path}.x-kubernetes-list-map-keys"
    if not keys:
        found.append(causes.required(where, "must not be empty if x-kubernetes-list-type is map"))
    if items is None:
        text = "must have a schema if x-kubernetes-list-type is map"
        found.append(causes.required(f"{path}.items", text))
    elif not isinstance(items, Mapping):
        text = "must only have a single schema if x-kubernetes-list-type is map"
        found.append(causes.invalid(f"{path}.items", items, text))
    elif items.get("type") != "object":
        text = "must be object if parent array's x-kubernetes-list-type is map"
        found.append(causes.invalid(f"{path}.items.type", items.get("type") or "", text))
    else:
        properties = items.get("properties") or {}
        for index, key in enumerate(keys):
            field = properties.get(key)
            if field is None:
                text = "entries must all be names of item properties"
                found.append(causes.invalid(where, keys, text))
            elif field.get("type") in ("array", "object"):
                text = "must be a scalar type if parent array's x-kubernetes-list-type is map"
                found.append(causes.invalid(f"{path}.items.properties[{key}].type", items.get("type"), text))
            if key in keys[:index]:
                found.append(causes.invalid(where, keys, "must not contain duplicate entries"))
    return found


def _never_null(items: Schema, keys: list[str], list_type: str, path: str) -> list[Cause]:
    found: list[Cause] = []
    if items.get("nullable"):
        text = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
        found.append(causes.forbidden(f"{path}.items.nullable", text))
    if list_type != "map":
        return found
    properties = items.get("properties") or {}
    for key in keys:
        field = properties.get(key)
        if field is None:
            continue
        where = f"{path}.items.properties[{key}]"
        if key not in (items.get("required") or ()) and "default" not in field:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            found.append(causes.required(f"{where}.default", text))
        if field.get("nullable"):
            text = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            found.append(causes.forbidden(f"{where}.nullable", text))
    return found
