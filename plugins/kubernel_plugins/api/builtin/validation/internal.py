"""Objects as Go prints upstream's internal types: Go's field names, all of them, in the order of the structs.

Only messages about broken rules need this, so the table (``internal_fields.txt``, made by
``build_schema.internal_fields``) is read when the first is written.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kubernel.objects import quantity

__all__ = ["go_diff", "go_equal", "go_value", "published_value"]

_TABLE = Path(__file__).parent.parent / "internal_fields.txt"
_ZERO: Mapping[str, Any] = {"s": "", "i": 0, "b": False, "q": "0", "o": 0, "t": None, "n": None}
_CONTEXT = 3

_Field = tuple[str, str, str, bool, bool]
"""(printed name, published name, kind, left out when zero, published even when zero)"""


@cache
def _types() -> Mapping[str, tuple[_Field, ...]]:
    found: dict[str, tuple[_Field, ...]] = {}
    for line in _TABLE.read_text().splitlines():
        name, *fields = line.split(" ")
        found[name] = tuple(map(_field, fields))
    return found


def _field(text: str) -> _Field:
    printed, _, rest = text.partition("=")
    published, _, kind = rest.partition(":")
    always = published.endswith("!")
    return printed, published.removesuffix("!"), kind.removesuffix("?"), kind.endswith("?"), always


def go_value(type: str, value: Any) -> Any:
    """``value``, an object of the published type, as the JSON of the internal one (``core.PodSpec``).
    None stays None; a list is a list of such objects."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return [_struct(type, item) for item in value]
    return _struct(type, value)


def _struct(type: str, value: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    source = value if isinstance(value, dict) else {}
    for printed, published, kind, optional, _ in _types()[type]:
        told = _shown(kind, _published(source, published))
        if optional and (not told and told is not False if kind[0] == "n" else not told):
            continue
        shown[printed] = told
    return shown


def published_value(type: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """``value`` as Go prints it of the published type: fields in its order, with those that are never left out."""
    shown: dict[str, Any] = {}
    for _, name, kind, _, always in _types()[type]:
        told = _published(value, name)
        if told or always or told is False:
            shown[name] = _as_published(kind, told)
    return shown


def _as_published(kind: str, value: Any) -> Any:
    mark, _, type = kind.partition(">")
    if not type or value is None:
        return _ZERO.get(mark) if value is None else _plain(value)
    if mark == "*":
        return [published_value(type, item) for item in value]
    if mark == "%":
        return {key: published_value(type, value[key]) for key in sorted(value)}
    return published_value(type, value)


def _published(source: Mapping[str, Any], path: str) -> Any:
    """What is embedded in the internal type is nested in the published one."""
    if "." not in path:
        return source.get(path)
    first, _, rest = path.partition(".")
    return (source.get(first) or {}).get(rest)


def _shown(kind: str, value: Any) -> Any:
    mark, _, type = kind.partition(">")
    if not type:
        if value is None:
            return _ZERO[mark]
        if mark == "q":
            return _quantity(value)
        return _plain(value)
    if mark == "":
        return _struct(type, value)
    if value is None:
        return None
    if mark == "*":
        return [_struct(type, item) for item in value]
    if mark == "%":
        return {key: _struct(type, value[key]) for key in sorted(value)}
    return _struct(type, value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _quantity(value: Any) -> str:
    try:
        return quantity.canonical(value)
    except ValueError:
        return str(value)


def go_equal(type: str, left: Any, right: Any) -> bool:
    """Upstream's semantic equality: nothing and an empty list or map are the same."""
    return bool(left == right or _bare(go_value(type, left)) == _bare(go_value(type, right)))


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()} or None
    if isinstance(value, list):
        return [_bare(item) for item in value] or None
    return value


def go_diff(type: str, old: Any, new: Any) -> str:
    """The unified diff of both values' indented JSON (k8s.io/apimachinery/pkg/util/diff)."""
    lines = difflib.unified_diff(_lines(type, old), _lines(type, new), n=_CONTEXT, lineterm="\n")
    return "".join(line for line in lines if line not in ("--- \n", "+++ \n"))


def _lines(type: str, value: Any) -> list[str]:
    text = orjson.dumps(go_value(type, value), option=orjson.OPT_INDENT_2).decode()
    found = []
    for line in text.split("\n"):
        bare = line.lstrip(" ")
        found.append(" " * ((len(line) - len(bare)) // 2) + bare + "\n")
    return found
