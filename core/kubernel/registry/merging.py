"""The two halves of an apply on the object itself: merging what is applied, pruning what no longer is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import UnnamedError
from kubernel.objects.equality import same
from kubernel.objects.go_json import go_type, printed
from kubernel.registry.causes import show
from kubernel.registry.fields import Tree, element, is_granular, is_keyed, key_default

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj

__all__ = ["check_applied", "merge", "not_converted", "prune"]

_ABSENT: Any = object()
_EMPTY: Tree = {}


# --- checking ------------------------------------------------------------------------------------


def check_applied(node: Node | None, applied: Obj, api_version: str) -> None:
    """BadRequest with all that the schema does not know, and all list elements that are there twice."""
    problems: list[str] = []
    _check(node, applied, "", problems)
    if problems:
        told = (
            problems[0] if len(problems) == 1 else "errors:\n" + "\n".join(f"  {each}" for each in problems)
        )
        raise UnnamedError(f"failed to create typed patch object {_identified(applied, api_version)}: {told}")


def not_converted(applied: Obj, api_version: str, why: str) -> UnnamedError:
    """The refusal of a configuration that is right in form, but whose values are none of the type's."""
    kind = f"{_version(api_version)}, Kind={applied.get('kind', '')}"
    return UnnamedError(
        f"failed to convert new object {_identified(applied, api_version)} to proper version: "
        f"unable to convert unstructured object to {kind}: {why}"
    )


def _identified(applied: Obj, api_version: str) -> str:
    metadata = applied.get("metadata")
    parts = map(metadata.get, ("namespace", "name")) if isinstance(metadata, dict) else ("", "")
    names = [part if isinstance(part, str) else "" for part in parts]
    return f"({'/'.join(names)}; {_version(api_version)}, Kind={applied.get('kind', '')})"


def _version(api_version: str) -> str:
    return api_version if "/" in api_version else f"/{api_version}"


_SHAPES = {
    "object": (dict, "map"),
    "array": (list, "list"),
    "string": (str, "string"),
    "boolean": (bool, "boolean"),
    "integer": (int | float, "numeric (int or float)"),
    "number": (int | float, "numeric (int or float)"),
    **dict.fromkeys(("quantity", "time", "microtime"), (str | int | float, "any scalar")),
}


def _shape(node: Node | None, value: Any) -> str:
    """What is wrong with the value's type, as structured-merge-diff tells it."""
    wanted, name = _SHAPES.get(node.type if node is not None else "", (object, ""))
    numeric = name.startswith("numeric") and isinstance(value, bool)
    if value is None or (isinstance(value, wanted) and not numeric):
        return ""
    if name == "string":
        return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    if name.startswith("numeric"):
        return f"expected {name}, got {go_type(value)}"
    return f"expected {name}, got &{{{printed(value)}}}"


def _go_syntax(value: Any) -> str:
    """As Go's ``%#v`` prints it."""
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(map(_go_syntax, value)) + "}"
    if isinstance(value, dict):
        fields = (f"{show(key)}:{_go_syntax(value[key])}" for key in sorted(value))
        return "map[string]interface {}{" + ", ".join(fields) + "}"
    return show(value) if isinstance(value, str) else "interface {}(nil)" if value is None else printed(value)


def _check(node: Node | None, value: Any, path: str, problems: list[str]) -> None:
    if node is None:
        return
    if isinstance(value, dict):
        properties, additional = node.properties, node.additional
        known = properties is None or node.preserve_unknown or additional is not None or node.embedded
        for key, each in value.items():
            child = properties.get(key) if properties is not None else None
            if child is None and not known and key not in ("apiVersion", "kind"):
                problems.append(f"{path}.{key}: field not declared in schema")
            elif problem := _shape(child if child is not None else additional, each):
                problems.append(f"{path}.{key}: {problem}")
            elif isinstance(each, dict | list):
                _check(child if child is not None else additional, each, f"{path}.{key}", problems)
    elif isinstance(value, list):
        _check_list(node, value, path, problems)


def _check_list(node: Node, values: list[Any], path: str, problems: list[str]) -> None:
    keyed = is_keyed(node)
    seen = set()
    for index, item in enumerate(values):
        at = f"[{index}]"
        if keyed:
            if wrong := _no_element(node, item):
                # Without its key nothing can be said of an element, nor of those that follow.
                problems.append(f"{path}: element {index}: {wrong}")
                return
            at = _shown(node, item)
            key = element(node, item)
            if key in seen:
                problems.append(f"{path}: duplicate entries for key {at}")
            seen.add(key)
        if problem := _shape(node.items, item):
            problems.append(f"{path}{at}: {problem}")
        elif isinstance(item, dict | list):
            _check(node.items, item, f"{path}{at}", problems)


def _no_element(node: Node, item: Any) -> str:
    """Why an item has no place of its own in its list; empty when it has one."""
    if node.list_type == "map":
        if item is None:
            return "associative list with keys may not have a null element"
        if not isinstance(item, dict):
            return "associative list with keys may not have non-map elements"
        if all(key not in item and key_default(node, key) is None for key in node.map_keys):
            keys = " ".join(f'"{key}"' for key in node.map_keys)
            return (
                f"associative list with keys has an element that omits all key fields [{keys}] "
                "(and doesn't have default values for any key fields)"
            )
        return ""
    if item is None:
        return "associative list without keys has an element that's an explicit null"
    if isinstance(item, dict):
        return "associative list without keys has an element that's a map type"
    return "not supported: associative list with lists as elements" if isinstance(item, list) else ""


def _shown(node: Node, item: Any) -> str:
    if node.list_type == "map":
        keys = {key: item[key] if key in item else key_default(node, key) for key in node.map_keys}
        return f"[{','.join(f'{key}={_literal(keys[key])}' for key in sorted(keys))}]"
    return f"[={_literal(item)}]"


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(_literal, value)) + "]"
    if isinstance(value, dict):
        return "".join(f"{key}={_literal(value[key])}" for key in sorted(value))
    return f'"{value}"' if isinstance(value, str) else printed(value)


# --- merging -------------------------------------------------------------------------------------


def merge(node: Node | None, old: Any, new: Any) -> Any:
    """``new`` laid over ``old``: maps and keyed lists merge, all else is replaced, by null too.

    A null takes nothing away from what merges. Returns ``old`` itself when that changes nothing.
    """
    if new is None and old and _merges(node, old):
        return old
    if isinstance(new, dict) and is_granular(node):
        return _merge_maps(node, old if isinstance(old, dict) else None, new)
    if isinstance(new, list) and is_keyed(node):
        assert node is not None  # noqa: S101 - is_keyed
        return _merge_lists(node, old if isinstance(old, list) else None, new)
    return old if same(old, new) and (isinstance(new, dict | list) or type(old) is type(new)) else new


def _merges(node: Node | None, old: Any) -> bool:
    return is_granular(node) if isinstance(old, dict) else isinstance(old, list) and is_keyed(node)


def _merge_maps(node: Node | None, old: Obj | None, new: Obj) -> Obj:
    properties = node.properties if node is not None else None
    additional = node.additional if node is not None else None
    result: Obj | None = None if old is not None else {}
    before: Obj = old if old is not None else {}
    for key, value in new.items():
        present = before.get(key, _ABSENT)
        child = properties.get(key) if properties is not None else None
        joined = merge(child if child is not None else additional, present, value)
        if joined is not present:
            result = dict(before) if result is None else result
            result[key] = joined
    return before if result is None else result


def _merge_lists(node: Node, old: list[Any] | None, new: list[Any]) -> list[Any]:
    """Applied elements in their order, the others interleaved where they stood."""
    before = old or []
    lefts = [element(node, item) for item in before]
    rights = [element(node, item) for item in new]
    originals: dict[str, Any] = {}
    for key, item in zip(lefts, before, strict=True):
        originals.setdefault(key, item)
    wanted = set(rights)
    shared = [key for key in rights if key in originals]
    next_shared = 0
    result: list[Any] = []
    taken: set[str] = set()
    left = right = 0

    def take(at: int) -> None:
        nonlocal next_shared
        key = rights[at]
        result.append(merge(node.items, originals.get(key, _ABSENT), new[at]))
        taken.add(key)
        if next_shared < len(shared) and shared[next_shared] == key:
            next_shared += 1

    while left < len(lefts) or right < len(rights):
        if left < len(lefts) and right < len(rights):
            if lefts[left] == rights[right]:
                take(right)
                left, right = left + 1, right + 1
                continue
            if lefts[left] in wanted and (next_shared >= len(shared) or shared[next_shared] != lefts[left]):
                left += 1
                continue
        if left < len(lefts):
            if lefts[left] not in wanted:
                result.append(before[left])
                left += 1
                continue
            if lefts[left] in taken:
                left += 1
                continue
        if right < len(rights):
            take(right)
            right += 1
    if old is not None and len(result) == len(old) and all(a is b for a, b in zip(result, old, strict=True)):
        return old
    return result


# --- pruning -------------------------------------------------------------------------------------


def prune(node: Node | None, obj: Obj, last: Tree, managed: Tree) -> Obj:
    """``obj`` without what is in ``last`` (this applier's earlier set) and not in ``managed`` (everybody's).

    A struct's field belongs to a set as soon as anything below it does; a list's element or a map's key only
    when the set names it.
    """
    result = obj
    properties = node.properties if node is not None else None
    additional = node.additional if node is not None else None
    for key, below in last.items():
        name = key[2:]
        if key[:2] != "f:" or name not in obj:
            continue
        child = properties.get(name) if properties is not None else None
        if name == "metadata" and child is not None and node is not None and "kind" in (properties or ()):
            # The object keeps its metadata, whatever is dropped of it.
            kept = prune(child, obj[name], below, managed.get(key) or _EMPTY)
            if kept is not obj[name]:
                result = dict(result)
                result[name] = kept
            continue
        left = _prune_place(
            child if child is not None else additional,
            child is not None,
            obj[name],
            below,
            managed.get(key),
        )
        if left is obj[name]:
            continue
        if result is obj:
            result = dict(obj)
        if left is _ABSENT:
            del result[name]
        else:
            result[name] = left
    return result


def _prune_place(node: Node | None, named: bool, value: Any, last: Tree, managed: Tree | None) -> Any:
    applied = named or not last or "." in last
    still = managed is not None and (named or not managed or "." in managed)
    if applied and not still:
        return _ABSENT
    if not last:
        return value
    if isinstance(value, dict) and is_granular(node):
        left: Any = prune(node, value, last, managed or _EMPTY)
        return left or None if value else left
    if isinstance(value, list) and is_keyed(node):
        assert node is not None  # noqa: S101 - is_keyed
        items, same = [], True
        for item in value:
            key = element(node, item)
            below = last.get(key)
            if below is None:
                items.append(item)
                continue
            kept = _prune_place(node.items, False, item, below, (managed or _EMPTY).get(key))
            same = same and kept is item
            if kept is not _ABSENT:
                items.append(kept)
        if same:
            return value
        return items or None
    return value
