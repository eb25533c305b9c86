"""Whether a schema is structural: types everywhere, and nothing but value rules under allOf, anyOf, oneOf and not.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/{validation,complete}.go (v1.37), KEP-1002.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel.registry import causes

if TYPE_CHECKING:
    from kubernel.errors import Cause

__all__ = ["check_structural"]

Schema = Mapping[str, Any]

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_ROOT, _ITEM, _FIELD = "root", "item", "field"
_TYPE_MISSING = {
    _ROOT: "must not be empty at the root",
    _ITEM: "must not be empty for specified array items",
    _FIELD: "must not be empty for specified object fields",
}
_NESTED = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
_OF_METADATA = frozenset(
    (
        "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
        "minItems", "maxItems", "minProperties", "maxProperties", "enum", "format", "required", "allOf", "anyOf",
        "oneOf", "not", "type", "properties", "default",
    )
)  # fmt: skip
_METADATA_ONLY = (
    "must not specify anything other than name and generateName, but metadata is implicitly specified"
)


def check_structural(schema: Schema, path: str) -> list[Cause]:
    """Sorted as upstream sorts them: by the whole text."""
    found = _invariants(schema, _ROOT, path) + _complete_values(schema, schema, path, path)
    return sorted(found, key=lambda cause: f"{cause.field}: {cause.message}")


def _invariants(schema: Schema, level: str, path: str) -> list[Cause]:
    found: list[Cause] = []
    type_ = schema.get("type") or ""
    items = schema.get("items")
    embedded = bool(schema.get("x-kubernetes-embedded-resource"))
    preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    if type_ == "array" and items is None:
        found.append(causes.required(f"{path}.items", "must be specified"))
    if isinstance(items, Mapping):
        found += _invariants(items, _ITEM, f"{path}.items")
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    for name, below in properties.items():
        found += _invariants(below, _FIELD, f"{path}.properties[{name}]")
    additional = schema.get("additionalProperties")
    if additional is not None:
        if level == _ROOT:
            found.append(causes.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(additional, Mapping):
            found += _invariants(additional, _FIELD, f"{path}.additionalProperties")
    if int_or_string and preserve:
        text = "must be false if x-kubernetes-int-or-string is true"
        found.append(causes.invalid(f"{path}.x-kubernetes-preserve-unknown-fields", True, text))
    if int_or_string and embedded:
        text = "must be false if x-kubernetes-int-or-string is true"
        found.append(causes.invalid(f"{path}.x-kubernetes-embedded-resource", True, text))
    found += _values(schema, path)
    checked = level == _ROOT or embedded
    if embedded and type_ != "object":
        text = "must be object if x-kubernetes-embedded-resource is true"
        found.append(
            causes.invalid(f"{path}.type", type_, text) if type_ else causes.required(f"{path}.type", text)
        )
    elif not type_ and not int_or_string and not preserve:
        found.append(causes.required(f"{path}.type", _TYPE_MISSING[level]))
    if embedded and additional is not None:
        text = "must not be used if x-kubernetes-embedded-resource is set"
        found.append(causes.forbidden(f"{path}.additionalProperties", text))
    if level == _ROOT and type_ and type_ != "object":
        found.append(causes.invalid(f"{path}.type", type_, "must be object at the root"))
    for name in ("kind", "apiVersion"):
        if checked and name in properties and properties[name].get("type") != "string":
            where = f"{path}.properties[{name}].type"
            found.append(causes.invalid(where, properties[name].get("type") or "", "must be string"))
    if "metadata" in properties:
        found += _metadata(properties["metadata"], checked, level, f"{path}.properties[metadata]")
    if embedded and not preserve and not properties:
        text = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        found.append(causes.required(f"{path}.properties", text))
    return found


def _metadata(schema: Schema, checked: bool, level: str, path: str) -> list[Cause]:
    found: list[Cause] = []
    if checked and schema.get("type") != "object":
        found.append(causes.invalid(f"{path}.type", schema.get("type") or "", "must be object"))
    if level != _ROOT:
        return found
    named = set(schema.get("properties") or ())
    # What lies outside of value rules says more than a name: it would be of metadata itself.
    others = {
        key
        for key, value in schema.items()
        if key not in _OF_METADATA and value not in (None, "", [], {}, False)
    }
    rules = {key for key in schema if key in _OF_METADATA - {"type", "properties", "default"}}
    if not named <= {"name", "generateName"} or others or any(schema.get(key) for key in rules):
        found.append(causes.forbidden(path, _METADATA_ONLY))
    return found


def _values(
    schema: Schema, path: str, *, skip_any: bool | None = None, skip_first: bool | None = None
) -> list[Cause]:
    """The value rules of a schema; the two spellings of int-or-string are let through."""
    any_of = schema.get("anyOf") or []
    all_of = schema.get("allOf") or []
    if skip_any is None:
        skip_any = any_of == _INT_OR_STRING
    if skip_first is None:
        skip_first = bool(all_of) and all_of[0].get("anyOf") == _INT_OR_STRING
    found: list[Cause] = []
    if not skip_any:
        for index, one in enumerate(any_of):
            found += _nested(one, f"{path}.anyOf[{index}]")
    for index, one in enumerate(all_of):
        found += _nested(one, f"{path}.allOf[{index}]", skip_any=skip_first and index == 0)
    for index, one in enumerate(schema.get("oneOf") or ()):
        found += _nested(one, f"{path}.oneOf[{index}]")
    if schema.get("not") is not None:
        found += _nested(schema["not"], f"{path}.not")
    pattern = schema.get("pattern")
    if pattern:
        wrong = _pattern_error(pattern)
        if wrong:
            text = f"must be a valid regular expression, but isn't: {wrong}"
            found.append(causes.invalid(f"{path}.pattern", pattern, text))
    return found


def _pattern_error(pattern: str) -> str:
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0] if error.args else ""
        text, _, where = (said.decode() if isinstance(said, bytes) else str(said)).partition(": ")
        return f"error parsing regexp: {_GO_WORDS.get(text, text)}: `{where}`"
    return ""


_GO_WORDS = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "trailing \\": "trailing backslash at end of expression",
}
"""Where Go's regexp/syntax says it otherwise than RE2."""


def _nested(schema: Schema, path: str, *, skip_any: bool = False) -> list[Cause]:
    found = _values(schema, path, skip_any=skip_any, skip_first=False)
    items = schema.get("items")
    if isinstance(items, Mapping):
        found += _nested(items, f"{path}.items")
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    for name, below in properties.items():
        found += _nested(below, f"{path}.properties[{name}]")
    found += [
        causes.forbidden(f"{path}.{keyword}", text)
        for keyword, text in _NESTED
        if schema.get(keyword) not in (None, "", False, [])
        or (
            keyword in ("default", "additionalProperties", "externalDocs") and schema.get(keyword) is not None
        )
    ]
    if "metadata" in properties:
        text = "must not be specified in a nested context"
        found.append(causes.forbidden(f"{path}.properties[metadata]", text))
    return found


# --- whatever the root's value rules speak of must be specified outside of them


def _complete_values(rules: Schema, schema: Schema | None, path: str, where: str) -> list[Cause]:
    if schema is None:
        return [causes.required(path, f"because it is defined in {where}")]
    found: list[Cause] = []
    if rules.get("not") is not None:
        found += _complete_nested(rules["not"], schema, path, f"{where}.not")
    for keyword in ("allOf", "anyOf", "oneOf"):
        for index, one in enumerate(rules.get(keyword) or ()):
            found += _complete_nested(one, schema, path, f"{where}.{keyword}[{index}]")
    return found


def _complete_nested(rules: Schema, schema: Schema | None, path: str, where: str) -> list[Cause]:
    if schema is None:
        return [causes.required(path, f"because it is defined in {where}")]
    found = _complete_values(rules, schema, path, where)
    items = rules.get("items")
    if isinstance(items, Mapping):
        below = schema.get("items")
        found += _complete_nested(
            items, below if isinstance(below, Mapping) else None, f"{path}.items", f"{where}.items"
        )
    for name, one in (rules.get("properties") or {}).items():
        found += _complete_nested(
            one,
            (schema.get("properties") or {}).get(name),
            f"{path}.properties[{name}]",
            f"{where}.properties[{name}]",
        )
    return found
