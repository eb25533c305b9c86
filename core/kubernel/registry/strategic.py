"""Strategic merge patch: a merge patch in which the schema says how lists merge.

Semantics are those of k8s.io/apimachinery/pkg/util/strategicpatch, directives included:

``$patch: replace | delete | merge``           in a map: take the patch's, empty it, merge as ever;
                                               in a list's element: replace the list, delete that element
``$retainKeys: [a, b]``                        drop all other keys of this map
``$deleteFromPrimitiveList/field: [x]``        take these values out of the list ``field``
``$setElementOrder/field: [x, {key: y}]``      the order of the list ``field`` after merging

A list merges when its node has the patch strategy ``merge``: maps by ``merge_key``, scalars as a set. All
else that is no map is replaced. Where there is no schema, lists are replaced: a merge patch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.errors import BadRequest, Invalid, UnnamedError
from kubernel.objects.go_json import printed

if TYPE_CHECKING:
    from kubernel.registry.schema import Node

__all__ = ["strategic_patch"]

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_ABSENT: Any = object()

Map = dict[str, Any]


def strategic_patch(node: Node | None, obj: Map, patch: Any) -> Map:
    """``obj`` with the patch merged in, sharing what did not change; nothing given is changed.

    BadRequest for a patch that breaks the format, Invalid for lists of lists, all in upstream's words.
    """
    if not isinstance(patch, dict):
        raise BadRequest("invalid JSON document")
    return _merge_map(node, obj, patch)


def _child(node: Node | None, key: str) -> Node | None:
    if node is None:
        return None
    if node.properties is not None and (found := node.properties.get(key)) is not None:
        return found
    return node.additional


def _strategy(node: Node | None) -> str:
    if node is None:
        return ""
    return next((word for word in node.patch_strategy if word != "retainKeys"), "")


def _merge_map(node: Node | None, original: Map, patch: Map) -> Map:
    directive = patch.get(_PATCH, _ABSENT)
    if directive == "replace":
        return _clean({key: value for key, value in patch.items() if key != _PATCH})  # type: ignore[no-any-return]
    if directive == "delete":
        return {}
    if directive is not _ABSENT:
        raise UnnamedError(f"unknown patch type: {directive} in map: {printed(patch)}")
    result = dict(original)
    if _RETAIN in patch:
        _retain(result, patch)
    ordered = set()
    for key, value in patch.items():
        if key.startswith(_ORDER):
            field = key[len(_ORDER) :]
            ordered.add(field)
            _merge_ordered(_child(node, field), result, field, value, patch.get(field, _ABSENT))
    for key, value in patch.items():
        if key in (_PATCH, _RETAIN) or key in ordered or key.startswith(_ORDER):
            continue
        if key.startswith(_DELETE):
            _delete_from(result, key[len(_DELETE) :], value)
        elif value is None:
            result.pop(key, None)
        else:
            merged = _merge_value(_child(node, key), result.get(key, _ABSENT), value)
            if merged is _ABSENT:
                result.pop(key, None)
            else:
                result[key] = merged
    return result


def _merge_value(node: Node | None, old: Any, new: Any) -> Any:
    if isinstance(new, dict):
        if not isinstance(old, dict):
            return _clean(new)
        if _strategy(node) == "replace":
            return _clean({key: value for key, value in new.items() if key != _PATCH})
        return _merge_map(node, old, new)
    if isinstance(new, list):
        if not isinstance(old, list) or _strategy(node) != "merge":
            return _clean(new)
        return _merge_list(node, old, new)
    return new


def _clean(value: Any) -> Any:
    """A patch's value taken as it is: without directives, without nulls in maps.

    A map that is told how to merge (``$patch``, whatever it says) has nothing to merge with: it is absent.
    """
    if isinstance(value, dict):
        if _PATCH in value:
            return _ABSENT
        cleaned = {
            key: _clean(each)
            for key, each in value.items()
            if each is not None and key != _RETAIN and not key.startswith((_ORDER, _DELETE))
        }
        return {key: each for key, each in cleaned.items() if each is not _ABSENT}
    if isinstance(value, list):
        return [each for each in map(_clean, value) if each is not _ABSENT]
    return value


def _retain(result: Map, patch: Map) -> None:
    kept = patch[_RETAIN]
    if not isinstance(kept, list):
        raise BadRequest("invalid patch format of retainKeys")
    for key, value in patch.items():
        if value is not None and not key.startswith("$") and key not in kept:
            raise BadRequest("invalid patch format of retainKeys")
    for key in [key for key in result if key not in kept]:
        del result[key]


def _delete_from(result: Map, field: str, gone: Any) -> None:
    if not isinstance(gone, list):
        raise BadRequest("invalid patch format of primitive list")
    old = result.get(field)
    if isinstance(old, list):
        result[field] = [value for value in old if value not in gone]


# --- lists -------------------------------------------------------------------------------------


def _is_map_list(*lists: Sequence[Any]) -> bool:
    maps = None
    for values in lists:
        for value in values:
            if isinstance(value, list):
                raise Invalid("the server rejected our request due to an error in our request")
            if maps is None:
                maps = isinstance(value, dict)
            elif maps is not isinstance(value, dict):
                raise UnnamedError(f"list element types are not identical: {printed(list(lists))}")
    return bool(maps)


def _merge_list(node: Node | None, old: list[Any], new: list[Any]) -> list[Any]:
    if not _is_map_list(old, new):
        merged = _unique([*old, *new])
        return _in_order(merged, new, old, "")
    key = node.merge_key if node is not None else ""
    if not key:
        raise UnnamedError("cannot merge lists without merge key")
    patches, remaining = [], old
    replace = False
    for element in new:
        directive = element.get(_PATCH)
        if directive is None:
            patches.append(element)
        elif directive == "delete":
            if key not in element:
                raise UnnamedError(f"map: {printed(element)} does not contain declared merge key: {key}")
            remaining = [each for each in remaining if each.get(key, _ABSENT) != element[key]]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise UnnamedError("merging lists cannot yet be specified in the patch")
        else:
            raise UnnamedError(f"unknown patch type: {directive} in map: {printed(element)}")
    if replace:
        return [_clean(each) for each in patches]
    merged = list(remaining)
    items = node.items if node is not None else None
    places: dict[Any, int] = {}
    for index, each in enumerate(merged):
        places.setdefault(each.get(key), index)
    for element in patches:
        if key not in element:
            raise UnnamedError(f"map: {printed(element)} does not contain declared merge key: {key}")
        place = _place(places, element[key])
        if place is None:
            places[element[key]] = len(merged)
            merged.append(_clean(element))
        else:
            merged[place] = _merge_map(items, merged[place], element)
    return _in_order(merged, patches, remaining, key)


def _place(places: dict[Any, int], value: Any) -> int | None:
    if isinstance(value, dict | list):
        raise UnnamedError("merge keys are scalars")
    return places.get(value)


def _unique(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _identity(element: Any, key: str) -> Any:
    identity = element.get(key) if key and isinstance(element, dict) else element
    return str(identity) if isinstance(identity, dict | list) else identity


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], key: str) -> list[Any]:
    """``merged`` with the elements of ``wanted`` in that order, the others interleaved by the server's order.

    The order within each of the two groups is kept; an element that only the server knows stands before the
    first wanted one that follows it on the server.
    """
    rank: dict[Any, int] = {}
    for index, element in enumerate(wanted):
        rank.setdefault(_identity(element, key), index)
    position: dict[Any, int] = {}
    for index, element in enumerate(server):
        position.setdefault(_identity(element, key), index)
    first = [each for each in merged if _identity(each, key) in rank]
    first.sort(key=lambda each: rank[_identity(each, key)])
    others = [each for each in merged if _identity(each, key) not in rank]
    others.sort(key=lambda each: position.get(_identity(each, key), len(server)))
    result: list[Any] = []
    at = 0
    for each in first:
        here = position.get(_identity(each, key))
        while here is not None and at < len(others):
            there = position.get(_identity(others[at], key))
            if there is None or there >= here:
                break
            result.append(others[at])
            at += 1
        result.append(each)
    return result + others[at:]


def _merge_ordered(node: Node | None, result: Map, field: str, order: Any, new: Any) -> None:
    """A list with its ``$setElementOrder`` directive: merged if the patch has it, then put in order."""
    old = result.get(field, _ABSENT)
    if not isinstance(order, list):
        raise BadRequest("invalid patch format of setElementOrder list")
    if new is None:
        result.pop(field, None)
        return
    for value in (old, new):
        if value is not _ABSENT and not isinstance(value, list):
            raise UnnamedError(f"expected a []interface {{}}, but received a {type(value).__name__}")
    key = node.merge_key if node is not None else ""
    if isinstance(new, list):
        _check_order(new, order, key)
    if old is _ABSENT and new is _ABSENT:
        return
    if new is _ABSENT:
        merged, server = old, old
    elif old is _ABSENT:
        merged, server = _clean(new), []
    else:
        merged, server = _merge_value(node, old, new), old
    result[field] = _in_order(merged, order, server, key)


def _check_order(new: list[Any], order: list[Any], key: str) -> None:
    """The patch's elements must stand in the order list, in the same order (deletions aside)."""
    rest = iter([_identity(element, key) for element in order])
    for element in new:
        if isinstance(element, dict) and element.get(_PATCH) is not None:
            continue
        identity = _identity(element, key)
        if not any(each == identity for each in rest):
            raise UnnamedError(
                f"The order in patch list:\n{printed(new)}\n doesn't match $setElementOrder list:\n"
                f"{printed(order)}\n"
            )
