"""Types from schemas: what ``self`` is in a CRD's rules, what ``object`` is when a policy is checked.

The mapping is upstream's (``SchemaDeclType``). Fields whose type says nothing (no type, with
``x-kubernetes-preserve-unknown-fields``) cannot be named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from .lexer import CONSTANTS, RESERVED
from .types import BOOL, BYTES, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of

__all__ = ["Schema", "escape", "is_identifier", "smallest", "type_from_schema", "unescape"]


class Schema(Protocol):
    """What is read of a schema node; ``kubernel.registry.schema.Node`` is one."""

    type: str
    properties: Any
    additional: Any
    items: Any
    format: str
    list_type: str
    map_keys: tuple[str, ...]
    embedded: bool
    required: Any
    default: Any
    extra: Any


_REQUEST = 3 * 1024 * 1024
_SMALLEST = {"boolean": 4, "integer": 1, "number": 1, "array": 2}
_SMALLEST_TEXTS = {"byte": 2, "duration": 4, "date": 12, "date-time": 22}
_WORD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_RESERVED = RESERVED | CONSTANTS | {"in"}
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_FIND = re.compile(r"__|[./-]")
_BACK = {escaped: plain for plain, escaped in _ESCAPES.items()}
_FIND_BACK = re.compile("|".join(_BACK))

_STRINGS = {"byte": BYTES, "duration": DURATION, "date": TIMESTAMP, "date-time": TIMESTAMP}
_SCALARS = {
    "boolean": BOOL,
    "integer": INT,
    "number": DOUBLE,
    "int-or-string": DYN,
    "quantity": DYN,
    "time": TIMESTAMP,
    "microtime": TIMESTAMP,
}


def escape(name: str) -> str | None:
    """A property's name as an expression writes it: ``x-prop`` is ``x__dash__prop``, ``namespace``
    ``__namespace__``. None for one that cannot be written."""
    if name in _RESERVED:
        return f"__{name}__"
    escaped = _FIND.sub(lambda found: _ESCAPES[found[0]], name)
    return escaped if _WORD.fullmatch(escaped) else None


def is_identifier(name: str) -> bool:
    """Whether a variable may be called so."""
    return bool(_WORD.fullmatch(name)) and name not in _RESERVED


def unescape(name: str) -> str:
    """The property that an escaped name stands for."""
    if name.startswith("__") and name.endswith("__") and name[2:-2] in _RESERVED:
        return name[2:-2]
    return _FIND_BACK.sub(lambda found: _BACK[found[0]], name)


def type_from_schema(schema: Schema, name: str = "selfType", *, resource: bool = False) -> Type | None:
    """The type of a schema's values, None when it is unknown. ``name`` is what messages call an object.

    ``resource``: the root of an object of the API, which has apiVersion, kind, metadata.name and
    metadata.generateName whatever its schema says.
    """
    kind = schema.type
    if kind == "string":
        base = _STRINGS.get(schema.format, STRING)
        limit = (schema.extra or {}).get("maxLength")
        # A string's length is in code points of up to four bytes.
        return _limited(base, limit * 4 if limit is not None else _listed(schema))
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind == "array":
        element = type_from_schema(schema.items, f"{name}.@idx") if schema.items is not None else None
        if element is None:
            return None
        most = (schema.extra or {}).get("maxItems")
        if most is None:
            most = (_REQUEST - 2) // (smallest(schema.items) + 1)
        type_ = _limited(list_of(element), most)
        if schema.list_type in ("set", "map"):
            type_ = _limited(type_, type_.limit, fresh=True)
            type_.list_type = schema.list_type
            type_.keys = tuple(schema.map_keys)
        return type_
    if kind != "object":
        return None
    if schema.additional is not None and not schema.properties:
        value = type_from_schema(schema.additional, f"{name}.@elem")
        if value is None:
            return None
        most = (schema.extra or {}).get("maxProperties")
        if most is None:
            most = (_REQUEST - 2) // (smallest(schema.additional) + 6)
        return _limited(map_of(STRING, value), most)
    return Type("object", name, fields=lambda: _fields(schema, name, resource or schema.embedded))


def smallest(schema: Schema) -> int:
    """The fewest bytes that a value can have in JSON: what says how many there may be in a request."""
    if schema.type == "string":
        return _SMALLEST_TEXTS.get(schema.format, 2)
    if schema.type != "object":
        return _SMALLEST.get(schema.type, 1)
    size = 2
    if schema.additional is None:
        for name, field in (schema.properties or {}).items():
            if name in schema.required and field.default is type(field).UNSET:
                size += len(name) + 4 + smallest(field)
    return size


def _listed(schema: Schema) -> int | None:
    choices = getattr(schema, "enum", ())
    return max((len(str(choice)) for choice in choices), default=0) if choices else None


def _limited(type_: Type, limit: int | None, fresh: bool = False) -> Type:
    if limit is None and not fresh:
        return type_
    own = Type(type_.kind, type_.name, type_.parameters)
    own.limit = limit
    return own


def _fields(schema: Schema, name: str, resource: bool) -> Mapping[str, tuple[str, Type]]:
    fields: dict[str, tuple[str, Type]] = {}
    for key, child in (schema.properties or {}).items():
        escaped = escape(key)
        if escaped is None:
            continue
        type_ = type_from_schema(child, f"{name}.{key}")
        if type_ is not None:
            fields[escaped] = (key, type_)
    if resource:
        for key in ("apiVersion", "kind"):
            fields.setdefault(key, (key, STRING))
        metadata = fields.get("metadata")
        named = {"name": ("name", STRING), "generateName": ("generateName", STRING)}
        if metadata is None or metadata[1].kind != "object":
            fields["metadata"] = ("metadata", Type("object", f"{name}.metadata", fields=named))
        elif not all(key in metadata[1].fields for key in named):
            own = metadata[1]
            fields["metadata"] = ("metadata", Type("object", own.name, fields={**named, **own.fields}))
    return fields
