"""Paths to fields of a schema: ``.spec.a['b.c']``, for rules and for selectable fields.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/validation.go, ValidFieldPath (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["SchemaPathError", "find_path", "render_path"]

_TOKEN = re.compile(r"'(?:[^'\\]|\\.)*'|[.\[\]]|[^.\[\]]+", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "'": "'", "\\": "\\"}
_END = "unexpected end of JSON path"
_NO_FIELD = "does not refer to a valid field"


class SchemaPathError(ValueError):
    """The path cannot be read, or leads to nothing; ``str()`` is upstream's text."""


def find_path(
    text: str, schema: Mapping[str, Any], *, brackets: bool = True
) -> tuple[list[str], Mapping[str, Any]]:
    """(parts of the path, the schema that it leads to); a map's key comes as ``[key]``."""
    tokens = _TOKEN.findall(text)
    parts: list[str] = []
    at = 0

    def take() -> str:
        nonlocal at
        if at >= len(tokens):
            raise SchemaPathError(_END)
        at += 1
        return str(tokens[at - 1])

    while at < len(tokens):
        part = take()
        if part == "[":
            if not brackets:
                raise SchemaPathError("array notation is not allowed")
            name = take()
            if len(name) < 2 or name[0] != "'" or name[-1] != "'":
                raise SchemaPathError(f"expected single quoted string but got {name}")
            schema = _step(schema, _plain(name[1:-1]), parts)
            closing = take()
            if closing != "]":
                raise SchemaPathError(f"expected ] but got {closing}")
        elif part == ".":
            schema = _step(schema, take(), parts)
        else:
            raise SchemaPathError(f"expected [ or . but got: {part}")
    return parts, schema


def render_path(parts: list[str]) -> str:
    """As messages have it, to be put after the path of the rule's own field."""
    return "".join(part if part[:1] == "[" else f".{part}" for part in parts).removeprefix(".")


def _plain(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPED:
            raise SchemaPathError(f"invalid string literal: invalid escape char {found[0]}")
        return _ESCAPED[found[1]]

    return _ESCAPE.sub(one, text)


def _step(schema: Mapping[str, Any], name: str, parts: list[str]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    additional = schema.get("additionalProperties")
    below: Any
    if properties:
        below = properties.get(name)
        parts.append(name)
    elif isinstance(additional, Mapping):
        below = additional
        parts.append(f"[{name}]")
    else:
        below = None
    if not isinstance(below, Mapping):
        raise SchemaPathError(_NO_FIELD)
    return below
