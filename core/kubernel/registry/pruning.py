"""Decoding against a schema: unknown fields, nulls, wrong types, canonical scalars.

Native nodes (built-in types) behave as encoding/json does with Go structs, in its words
(sigs.k8s.io/json): a wrong type refuses the whole body, null is the same as absent. Structural nodes
(custom resources) are pruned as apiextensions does; wrong types are left for ``validation``.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Final

from kubernel.registry.causes import show
from kubernel.registry.decode_errors import (
    Path,
    TooDeepError,
    Undecodable,
    WrongTypeError,
    depth,
    embedded,
    explain,
    explain_conversion,
    render,
)
from kubernel.registry.duplicates import duplicate_fields
from kubernel.registry.fastpath import conforms
from kubernel.registry.scalars import (
    canonical_bytes,
    canonical_microtime,
    canonical_quantity,
    canonical_time,
    json_type,
)
from kubernel.registry.schema import MAX_DEPTH, Node

__all__ = ["decode_check", "duplicate_fields"]

MOST_UNKNOWN = 100
"""How many unknown fields are told; all are dropped."""

Step = Callable[[Any, Path, list[str]], Any]
"""``step(value, path, unknown)`` gives the value to keep: the same one, a canonical one, or ``_ABSENT``."""

_ABSENT: Final = object()
_EMBEDDED = ("apiVersion", "kind", "metadata")


def decode_check(node: Node, obj: Any, *, kind: str = "", version: str = "") -> list[str]:
    """Bring ``obj`` into canonical form in place; gives ``unknown field "spec.foo"`` for each field dropped.

    Quantities, times and bytes are rewritten canonically, nulls of native nodes and what they omit removed. ``obj``
    must be the caller's own down to its leaves. Raises Undecodable, naming ``kind`` and ``version``, for what cannot be
    decoded at all: wrong types and malformed scalars under native nodes, nesting beyond MAX_DEPTH.
    """
    unknown: list[str] = []
    if conforms(node, obj):
        return unknown
    converted = ""
    try:
        _step(node)(obj, None, unknown)
        return unknown
    except WrongTypeError as error:
        why, converted = explain(node, error), explain_conversion(node, obj, error)
        if not node.native:
            why = embedded(node, obj, error) + why
    except TooDeepError:
        why = f"exceeded max depth of {MAX_DEPTH}"
    except ValueError as error:
        why = str(error)
        if why.startswith("illegal base64"):
            converted = f"error decoding from json: {why}"
    if not kind and isinstance(obj, dict):
        kind = obj["kind"] if isinstance(obj.get("kind"), str) else ""
    if not version and isinstance(obj, dict):
        version = str(obj.get("apiVersion", "")).rpartition("/")[2]
    raise Undecodable(kind, version, kind, why, converted)


def _step(node: Node) -> Step:
    owner = node.shared or node
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    made: Step | None = plans.get("decode")
    if made is None:
        made = plans["decode"] = _native(owner) if owner.native else _structural(owner)
        return made
    # Steps are made when first met, so whatever closes a cycle finds one that exists: there (and at a few
    # harmless places) the depth is checked, and nowhere else.
    return _checked(made) if owner.type in ("object", "array") else made


def _checked(step: Step) -> Step:
    def checked(value: Any, path: Path, unknown: list[str]) -> Any:
        if depth(path) > MAX_DEPTH:
            raise TooDeepError
        return step(value, path, unknown)

    return checked


def _note(unknown: list[str], path: Path) -> None:
    if len(unknown) < MOST_UNKNOWN:
        unknown.append(f'unknown field "{render(path)}"')


# --- native nodes


def _native(node: Node) -> Step:
    type_ = node.type
    if type_ == "object":
        if node.properties is not None:
            return _native_struct(node.properties, node.omits)
        if node.additional is not None:
            return _native_map(node.additional)
        return _free
    if type_ == "array":
        return _native_list(node.items) if node.items is not None else _free
    if type_ == "string":
        return _scalar(canonical_bytes) if node.format == "byte" else _plain(str)
    if type_ == "integer":
        return _integer(32 if node.format == "int32" else 64)
    made = _NATIVE_SCALARS.get(type_)
    return made if made is not None else _free


def _plain_type(node: Node) -> type | None:
    """The Python type that needs no further look."""
    if node.type == "string" and node.format != "byte":
        return str
    return bool if node.type == "boolean" else None


class _Fields(dict[str, type | None]):
    """A struct's fields: the Python type that needs no further look, or None. Fields come in when they are
    first met, since most fields of most types are never used; their steps go to ``steps``."""

    def __init__(self, properties: dict[str, Node]) -> None:
        super().__init__()
        self.properties = properties
        self.steps: dict[str, Step] = {}

    def __missing__(self, key: str) -> type | None:
        field = self.properties.get(key)
        if field is None:
            return None
        plain = self[key] = int if field.type == "integer" else _plain_type(field)
        self.steps[key] = _step(field)
        return plain


def _native_struct(properties: dict[str, Node], omits: frozenset[str]) -> Step:
    fields = _Fields(properties)
    steps = fields.steps

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is not dict and not isinstance(value, dict):
            if value is None:
                return _ABSENT
            raise WrongTypeError(path, json_type(value))
        changes: list[tuple[str, Any]] | None = None
        for key, item in value.items():
            kind = type(item)
            if fields[key] is kind and (kind is not int or -0x80000000 <= item <= 0x7FFFFFFF):
                if item or key not in omits:
                    continue  # integers of both sizes take what fits in 32 bits
                new = _ABSENT
            elif (child := steps.get(key)) is None:
                _note(unknown, (path, key))
                new = _ABSENT
            else:
                new = child(item, (path, key), unknown)
                if not new and key in omits:
                    new = _ABSENT
                elif new is item:
                    continue
            if changes is None:
                changes = []
            changes.append((key, new))
        if changes is not None:
            for key, new in changes:
                if new is _ABSENT:
                    del value[key]
                else:
                    value[key] = new
        return value

    return step


def _native_map(values: Node) -> Step:
    plain = _plain_type(values)
    uniform = {plain}

    child: Step | None = None

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        nonlocal child
        if type(value) is not dict and not isinstance(value, dict):
            if value is None:
                return _ABSENT
            raise WrongTypeError(path, json_type(value))
        if plain is not None and uniform.issuperset(map(type, value.values())):
            return value
        if child is None:
            child = _step(values)
        for key, item in value.items():
            new = child(item, (path, key), unknown)
            if new is not item:
                value[key] = _zero(values) if new is _ABSENT else new
        return value

    return step


def _native_list(items: Node) -> Step:
    plain = _plain_type(items)
    uniform = {plain}

    child: Step | None = None

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        nonlocal child
        if type(value) is not list and not isinstance(value, list):
            if value is None:
                return _ABSENT
            raise WrongTypeError(path, json_type(value))
        if plain is not None and uniform.issuperset(map(type, value)):
            return value
        if child is None:
            child = _step(items)
        for index, item in enumerate(value):
            new = child(item, (path, index), unknown)
            if new is not item:
                value[index] = _zero(items) if new is _ABSENT else new
        return value

    return step


def _zero(node: Node) -> Any:
    """What Go keeps for a null inside a list or map."""
    zeros: dict[str, Any] = {
        "string": "",
        "integer": 0,
        "number": 0,
        "boolean": False,
        "quantity": "0",
        "int-or-string": 0,
    }
    if node.type == "object":
        return {}
    if node.type == "array":
        return []
    return zeros.get(node.type)


def _plain(kind: type) -> Step:
    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        if isinstance(value, kind):
            return value
        if value is None:
            return _ABSENT
        raise WrongTypeError(path, json_type(value))

    return step


def _integer(bits: int) -> Step:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        if value is None:
            return _ABSENT
        raise WrongTypeError(path, _integer_told(value))

    return step


def _integer_told(value: Any) -> str:
    """A number is told as it was written; what is beyond 64 bits comes as a float from our decoder."""
    if json_type(value) != "number":
        return json_type(value)
    whole = isinstance(value, float) and isfinite(value) and abs(value) >= 1 << 63
    return f"number {int(value) if whole else value}"


def _number(value: Any, path: Path, unknown: list[str]) -> Any:
    if value is None:
        return _ABSENT
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongTypeError(path, json_type(value))
    return value


def _int_or_string(value: Any, path: Path, unknown: list[str]) -> Any:
    if isinstance(value, str) or (type(value) is int and -(1 << 31) <= value < 1 << 31):
        return value
    if value is None:
        return _ABSENT
    raise WrongTypeError(path, _integer_told(value))


def _scalar(canonical: Callable[[Any], str]) -> Step:
    textual = canonical is not canonical_quantity

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        if value is None:
            return _ABSENT
        if textual and not isinstance(value, str):
            raise WrongTypeError(path, json_type(value))
        text = canonical(value)
        return value if text == value else text

    return step


def _free(value: Any, path: Path, unknown: list[str]) -> Any:
    if value is None:
        return _ABSENT
    if isinstance(value, dict | list):
        _check_depth(value, depth(path))
    return value


_NATIVE_SCALARS: dict[str, Step] = {
    "boolean": _plain(bool),
    "number": _number,
    "int-or-string": _int_or_string,
    "quantity": _scalar(canonical_quantity),
    "time": _scalar(canonical_time),
    "microtime": _scalar(canonical_microtime),
}


def _check_depth(value: Any, level_of_value: int) -> None:
    """Level by level, since calls could not go as deep as a body may."""
    level = [value]
    while level:
        if level_of_value > MAX_DEPTH:
            raise TooDeepError
        level_of_value += 1
        level = [
            item
            for one in level
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, dict | list)
        ]


# --- structural nodes


def _structural(node: Node) -> Step:
    if node.items is not None:
        return _structural_list(node.items)
    if node.properties is not None or node.additional is not None or node.type == "object":
        return _structural_object(node)
    return _kept


def _kept(value: Any, path: Path, unknown: list[str]) -> Any:
    if isinstance(value, dict | list):
        _check_depth(value, depth(path))
    return value


def _structural_object(node: Node) -> Step:
    properties = node.properties or {}
    additional = node.additional
    # What a schema forbids is told by validation, which must see it.
    keep_all = node.preserve_unknown or (node.extra or {}).get("additionalProperties") is False
    steps: dict[int, Step] = {}
    embedded = _EMBEDDED if node.embedded else ()

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        if not isinstance(value, dict):
            return _kept(value, path, unknown)
        changes: list[tuple[str, Any]] = []
        for key, item in value.items():
            if key in embedded:
                if key != "metadata" and not isinstance(item, str):
                    raise ValueError(f"{render((path, key))}: Invalid value: {show(item)}: must be a string")
                if key == "metadata" and item is None:
                    changes.append((key, {}))
                    continue
            field = properties.get(key, additional)
            if field is not None:
                # A null that may not be is as good as absent; a default may take its place.
                if item is None and not field.nullable and (key in properties or field.default is Node.UNSET):
                    changes.append((key, _ABSENT))
                    continue
                child = steps.get(id(field)) or steps.setdefault(id(field), _step(field))
                new = child(item, (path, key), unknown)
                if new is not item:
                    changes.append((key, new))
            elif keep_all or key in embedded:
                _kept(item, (path, key), unknown)
            else:
                _note(unknown, (path, key))
                changes.append((key, _ABSENT))
        for key, new in changes:
            if new is _ABSENT:
                del value[key]
            else:
                value[key] = new
        return value

    return step


def _structural_list(items: Node) -> Step:
    child: Step | None = None

    def step(value: Any, path: Path, unknown: list[str]) -> Any:
        nonlocal child
        if not isinstance(value, list):
            return _kept(value, path, unknown)
        if child is None:
            child = _step(items)
        for index, item in enumerate(value):
            new = child(item, (path, index), unknown)
            if new is not item:
                value[index] = None if new is _ABSENT else new
        return value

    return step
