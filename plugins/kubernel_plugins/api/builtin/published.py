"""What the OpenAPI documents say of built-in fields and of streams' options beyond what the server goes by.

Enums and defaults are published where Go's types have them; the rules that refuse and default stand elsewhere. The
data (``published.json``) is made by ``build_schema/published.py`` and read when somebody asks for a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["go_type", "options_of", "published", "zero_defaults"]

_OWN_JSON = ("int-or-string", "quantity")


def published(name: str, node: Node) -> dict[str, Mapping[str, Any]]:
    """Field of a definition (``name[]``: its items or values) -> ``enum``, ``values``, ``default``."""
    told: dict[str, Mapping[str, Any]] = {
        field: {"default": zero} for field, zero in zero_defaults(node).items()
    }
    for field, keywords in _data()["fields"].get(name, {}).items():
        told[field] = {**told.get(field, {}), **keywords}
    return told


def zero_defaults(node: Node) -> dict[str, Any]:
    """Fields that are no pointers and that JSON never leaves out have Go's zero value for a default.

    Source: k8s.io/kube-openapi/pkg/generators (mustEnforceDefault).
    """
    return {
        field: node.zeros[field]
        for field, child in (node.properties or {}).items()
        if node.zeros.get(field) is not None and child.type not in _OWN_JSON
    }


def go_type(name: str, field: str) -> str:
    """``v1.Protocol``; empty for a plain type."""
    told: str = _data()["named"].get(name, {}).get(field, "")
    return told


def options_of(kind: str) -> Mapping[str, tuple[str, str]]:
    """Query parameters of a stream: name -> (type, text)."""
    options: Mapping[str, tuple[str, str]] = _data()["options"].get(kind, {})
    return options


@cache
def _data() -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(
        resources.files(__package__).joinpath("published.json").read_bytes()
    )
    return loaded
