"""The function libraries that Kubernetes gives to every expression."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from kubernel.cel.types import Overload

from . import authorizer, formats, lists, net, quantity, regex, standard, strings
from .declare import function, traversal

__all__ = ["functions"]


@lru_cache(maxsize=1)
def functions() -> Mapping[str, list[Overload]]:
    """Every function's overloads by name. Built when the first expression is compiled, then only read."""
    by_name: dict[str, list[Overload]] = {}
    for module in (standard, strings, lists, regex, quantity, net, formats, authorizer):
        for overload in module.table():
            by_name.setdefault(overload.name, []).append(overload)
    escape = function("jsonpatch.escapeKey", "string", "string", _escape_key, traversal)
    by_name[escape.name] = [escape]
    return by_name


def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
