"""An object as YAML in which comments tell who manages each field.

``metadata.managedFields`` names, for each manager, the fields it set last (FieldsV1: ``f:NAME`` a field, ``k:{...}``
an element of a list by its keys, ``v:VALUE`` by its value, ``.`` the thing itself).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from kubernel.store.records import Obj

__all__ = ["annotate"]

_ONE_LINE = sys.maxsize

_Tree = dict[str, Any]
_Claims = list[tuple[str, _Tree | None]]
"""Who, and the fields below that they own; None: all of them."""


def annotate(obj: Obj) -> str:
    """Valid YAML that ends with a newline; ``metadata.managedFields`` itself is left out."""
    meta = obj.get("metadata") or {}
    claims: _Claims = [
        (_who(entry), entry.get("fieldsV1") or {}) for entry in meta.get("managedFields") or ()
    ]
    shown = {**obj, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}
    lines = list(_mapping(shown, claims, ""))
    width = min(max((len(line) for line, owners in lines if owners), default=0), 72)
    return "".join(
        f"{line:<{width}}  # {', '.join(owners)}\n" if owners else f"{line}\n" for line, owners in lines
    )


def _who(entry: dict[str, Any]) -> str:
    told = f"{entry.get('manager') or 'unknown'} {entry.get('operation', '')}".rstrip()
    if entry.get("subresource"):
        told += f" ({entry['subresource']})"
    return f"{told} {entry['time']}" if entry.get("time") else told


_Line = tuple[str, list[str]]


def _mapping(value: dict[str, Any], claims: _Claims, indent: str) -> Iterator[_Line]:
    for key, child in value.items():
        below = [(who, None if tree is None else tree.get(f"f:{key}", _ABSENT)) for who, tree in claims]
        yield from _entry(f"{indent}{_scalar(key)}:", child, _claimed(below), indent)


def _sequence(value: list[Any], claims: _Claims, indent: str) -> Iterator[_Line]:
    for position, child in enumerate(value):
        below = [(who, None if tree is None else _element(tree, child, position)) for who, tree in claims]
        lines = list(_entry(f"{indent}-", child, _claimed(below), indent + "  "))
        if isinstance(child, dict) and child:
            # The first field stands beside the dash.
            first, owners = lines[1]
            lines[:2] = [(f"{indent}- {first.lstrip()}", owners)]
        yield from lines


def _entry(head: str, value: Any, claims: _Claims, indent: str) -> Iterator[_Line]:
    if isinstance(value, dict) and value:
        yield head, []
        dash = head.endswith("-")
        yield from _mapping(value, _into(claims), indent if dash else indent + "  ")
    elif isinstance(value, list) and value:
        yield head, []
        yield from _sequence(value, _into(claims), indent)
    else:
        yield f"{head} {_scalar(value)}", [who for who, _ in claims]


_ABSENT: _Tree = {"absent": {}}


def _claimed(below: list[tuple[str, _Tree | None]]) -> _Claims:
    return [(who, tree) for who, tree in below if tree is not _ABSENT]


def _into(claims: _Claims) -> _Claims:
    """A claim with nothing below it is one on the whole value, or only on its being there: that is how it looks
    when others own what is in it."""
    if any(tree for _, tree in claims):
        return [(who, tree) for who, tree in claims if tree or tree is None]
    return [(who, None) for who, _ in claims]


def _element(tree: _Tree, value: Any, position: int) -> _Tree:
    found: _Tree = tree.get(f"i:{position}", _ABSENT)
    for name, below in tree.items():
        kind, _, text = name.partition(":")
        if kind not in ("k", "v"):
            continue
        wanted = json.loads(text)
        if kind == "v":
            if wanted == value:
                found = below
        elif isinstance(value, dict) and all(value.get(key) == each for key, each in wanted.items()):
            found = below
    return found


def _scalar(value: Any) -> str:
    """On one line, whatever is in it."""
    import yaml

    style = '"' if isinstance(value, str) and not (value.isprintable() and len(value) < 100) else None
    text: str = yaml.safe_dump(value, allow_unicode=True, width=_ONE_LINE, default_style=style)
    return text.removesuffix("\n").removesuffix("\n...")
