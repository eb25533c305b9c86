"""How upstream prints the result of a patch that it refuses.

A stored object is written in the order of Go's structs, maps by the alphabet. What a patch goes through becomes a map,
and what it leaves alone stays as it was written. Source: github.com/evanphx/json-patch (v4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kubernel.registry.causes import show

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj

__all__ = ["print_patched"]

_FIRST = ("kind", "apiVersion")


def print_patched(live: Obj, node: Node, patch: Callable[[Obj], Any], given: Any = None) -> str:
    """What ``patch`` makes of ``live``; it shares what it does not change. ``given`` is kept as it is written, too."""
    written = _in_order(live, node, _FIRST)
    kept = {id(part) for whole in (written, given) for part in _objects(whole)}
    return show(_sorted(patch(written), kept))


def _in_order(value: Any, node: Node | None, first: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list):
        items = node.items if node is not None else None
        return [_in_order(item, items) for item in value]
    if not isinstance(value, dict):
        return value
    if node is None or not node.properties:
        inner = node.additional if node is not None else None
        return {key: _in_order(value[key], inner) for key in sorted(value)}
    order = node.source.order(node.ref) if node.source is not None else ()
    places = {key: place for place, key in enumerate((*first, *order))}
    keys = sorted(value, key=lambda key: (places.get(key, len(places)), key))
    return {key: _in_order(value[key], node.properties.get(key)) for key in keys}


def _sorted(value: Any, kept: set[int]) -> Any:
    if isinstance(value, list):
        return [_sorted(item, kept) for item in value]
    if not isinstance(value, dict) or id(value) in kept:
        return value
    return {key: _sorted(value[key], kept) for key in sorted(value)}


def _objects(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)
