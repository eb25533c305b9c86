"""Definitions of one Kubernetes version -> a structure table and a description table.

The source are the JSON schema files of the ``kubernetes-validate`` distribution, which were made from the
OpenAPI documents: field types became ``[type, null]``, ``apiVersion`` and ``kind`` got enums, and quantities
and int-or-strings a ``oneOf``. All of that is undone here.

Both tables are JSON, deflated. Structure (read by ``kubernel_plugins.api.builtin.schemas``)::

    {"format": 1, "version": "1.37",
     "types": [spec, ...],                  each different field type once
     "definitions": {name: {"p": {field: index into types}, "q": [required], "g": [[group, version, kind]],
                            "m": map type, "u": unions, "t": scalar type, "f": format, "x": 1 if free-form}}}

    spec = {"r": definition | "t": type, "f": format, "i": items' index, "a": map values' index,
            "l": list type, "k": map keys, "m": map type, "s": patch strategy, "g": patch merge key}

Descriptions::

    {"format": 1, "texts": [...], "definitions": {name: [index or -1, {field: index}]}}
"""

from __future__ import annotations

import json
import zlib
from typing import Any

__all__ = ["FORMAT", "SchemaSourceError", "compile_definitions", "pack"]

FORMAT = 1

# Definitions whose Go types have their own JSON form, which the OpenAPI documents cannot express.
_SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
}
_FREE_OBJECTS = {
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    "io.k8s.apimachinery.pkg.runtime.RawExtension",
}

_KNOWN_KEYS = {
    "$ref",
    "additionalProperties",
    "description",
    "enum",
    "format",
    "items",
    "oneOf",
    "properties",
    "required",
    "type",
    "x-kubernetes-group-version-kind",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-unions",
}


class SchemaSourceError(Exception):
    """The definitions hold something that this compiler does not know: extend it first."""


def compile_definitions(document: dict[str, Any], version: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The structure and the description table of a ``_definitions.json`` document."""
    source: dict[str, dict[str, Any]] = document.get("$defs") or document["definitions"]
    types = _Interned()
    texts = _Interned()
    definitions: dict[str, dict[str, Any]] = {}
    described: dict[str, list[Any]] = {}
    for name in sorted(source):
        schema = source[name]
        definitions[name] = _definition(name, schema, types)
        fields = {
            field: texts.index(prop["description"])
            for field, prop in sorted(schema.get("properties", {}).items())
            if prop.get("description")
        }
        text = schema.get("description")
        described[name] = [texts.index(text) if text else -1, fields]
    for spec in types.values:
        if "r" in spec and spec["r"] not in definitions:
            raise SchemaSourceError(f"{version}: reference to missing definition {spec['r']}")
    structure = {"format": FORMAT, "version": version, "types": types.values, "definitions": definitions}
    return structure, {"format": FORMAT, "texts": texts.values, "definitions": described}


def pack(table: dict[str, Any]) -> bytes:
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False)
    return zlib.compress(text.encode(), 9)


class _Interned:
    """Values by index, each once, in order of first use."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._index: dict[str, int] = {}

    def index(self, value: Any) -> int:
        key = json.dumps(value, sort_keys=True)
        at = self._index.get(key)
        if at is None:
            at = self._index[key] = len(self.values)
            self.values.append(value)
        return at


def _definition(name: str, schema: dict[str, Any], types: _Interned) -> dict[str, Any]:
    _check_keys(name, schema)
    out: dict[str, Any] = {}
    gvks = schema.get("x-kubernetes-group-version-kind")
    if gvks:
        out["g"] = [[gvk["group"], gvk["version"], gvk["kind"]] for gvk in gvks]
    if name in _SCALARS:
        return out | {"t": _SCALARS[name]}
    type_ = _type(name, schema)
    if type_ is None:
        return out | {"t": "any"}
    if name in _FREE_OBJECTS:
        return out | {"x": 1}
    if type_ != "object":
        return out | {"t": type_} | ({"f": schema["format"]} if "format" in schema else {})
    out["p"] = {
        field: types.index(_spec(f"{name}.{field}", prop, types))
        for field, prop in sorted(schema.get("properties", {}).items())
    }
    for key, short in (("required", "q"), ("x-kubernetes-map-type", "m"), ("x-kubernetes-unions", "u")):
        if schema.get(key):
            out[short] = schema[key]
    return out


def _spec(where: str, schema: dict[str, Any], types: _Interned) -> dict[str, Any]:
    _check_keys(where, schema)
    spec: dict[str, Any] = {}
    if "$ref" in schema:
        spec["r"] = schema["$ref"].rpartition("/")[2]
    else:
        spec["t"] = _type(where, schema) or "any"
    if "properties" in schema or "oneOf" in schema:
        raise SchemaSourceError(f"{where}: inline structure")
    if "enum" in schema and where.rpartition(".")[2] not in ("apiVersion", "kind"):
        raise SchemaSourceError(f"{where}: enum")
    if "items" in schema:
        spec["i"] = types.index(_spec(where, schema["items"], types))
    if "additionalProperties" in schema:
        spec["a"] = types.index(_spec(where, schema["additionalProperties"], types))
    for key, short in (
        ("format", "f"),
        ("x-kubernetes-list-type", "l"),
        ("x-kubernetes-list-map-keys", "k"),
        ("x-kubernetes-map-type", "m"),
        ("x-kubernetes-patch-strategy", "s"),
        ("x-kubernetes-patch-merge-key", "g"),
    ):
        if key in schema:
            spec[short] = schema[key]
    return spec


def _type(where: str, schema: dict[str, Any]) -> str | None:
    named = schema.get("type")
    if named is None:
        return None
    names = [one for one in ([named] if isinstance(named, str) else named) if one != "null"]
    if len(names) != 1:
        raise SchemaSourceError(f"{where}: type {named!r}")
    return str(names[0])


def _check_keys(where: str, schema: dict[str, Any]) -> None:
    unknown = schema.keys() - _KNOWN_KEYS
    if unknown:
        raise SchemaSourceError(f"{where}: unknown keyword {', '.join(sorted(unknown))}")
