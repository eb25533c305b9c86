"""Sets of fields, kept in the very form in which ``managedFields`` stores them.

A set is a tree of dicts (FieldsV1, KEP-555): a key is a path element, its value the set below it.

    f:name        field ``name`` of a struct or key of a map
    k:{"name":…}  the element of a list of maps with these keys
    v:"x"         the element ``x`` of a list that is a set
    .             the place itself belongs to the set; ``{}`` means that and nothing below

Working on these trees directly saves decoding and encoding at every write; every operation returns its
argument itself when nothing changed, and never changes one. The empty set is ``{}`` at the root, None below.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.schema import Node, equal

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "NOTHING",
    "Tree",
    "compare",
    "created",
    "decoded",
    "difference",
    "drop",
    "element",
    "intersection",
    "is_granular",
    "is_keyed",
    "key_default",
    "owned",
    "paths",
    "union",
]

Tree = dict[str, Any]
_Walk = Callable[[Any], "Tree | None"]
"""None: of what is there nothing belongs to the set."""

UNTRACKED = frozenset(["apiVersion", "kind"])
UNTRACKED_METADATA = frozenset(
    [
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ]
)
"""What the server decides or what names the object belongs to no manager."""

NOTHING: Mapping[str, Tree] = MappingProxyType({})
_ABSENT: Any = object()
_CONTAINERS = (dict, list)
_SHAPES = 64
"""Shapes (names and types of members) that each place remembers with their trees."""


# --- what the schema says about a place ----------------------------------------------------------


def is_granular(node: Node | None) -> bool:
    """Whether a map at this place is owned key by key. Without a schema every map is; another object in a built-in
    type's field is not."""
    if node is None:
        return True
    return (
        node.map_type != "atomic" and node.type in ("object", "any") and not (node.native and node.embedded)
    )


def is_keyed(node: Node | None) -> bool:
    """Whether a list at this place is owned element by element. Without a schema no list is."""
    return node is not None and node.list_type in ("map", "set")


def element(node: Node, item: Any) -> str:
    """The path element of a list's item: ``k:{…}`` with defaults filled in, or ``v:…``."""
    if node.list_type == "set":
        return "v:" + orjson.dumps(item).decode()
    given = item if isinstance(item, dict) else {}
    if len(node.map_keys) == 1:
        (key,) = node.map_keys
        value = given.get(key, _ABSENT)
        return f'k:{{"{key}":{orjson.dumps(key_default(node, key) if value is _ABSENT else value).decode()}}}'
    keys = {}
    for key in node.map_keys:
        value = given.get(key, _ABSENT)
        keys[key] = key_default(node, key) if value is _ABSENT else value
    return "k:" + orjson.dumps(keys, option=orjson.OPT_SORT_KEYS).decode()


def key_default(node: Node, key: str) -> Any:
    """What an element that omits a key is taken to have there, None when it must have it.

    Upstream's schema of a built-in type gives every field that Go always writes its zero value as default
    (kube-openapi, ``mustEnforceDefault``); keys of lists are such fields.
    """
    field = (node.items.properties or {}).get(key) if node.items is not None else None
    if field is None:
        return None
    if field.default is not type(field).UNSET:
        return field.default
    return _ZEROS.get(field.type) if field.native else None


_ZEROS = {"string": "", "integer": 0, "boolean": False}


def _elements(node: Node, values: list[Any]) -> dict[str, Any]:
    """Items by path element; duplicates, which old objects may have, are taken together."""
    found: dict[str, Any] = {}
    for item in values:
        key = element(node, item)
        found[key] = item if key not in found else [found[key], item]
    return found


# --- the fields of an object ---------------------------------------------------------------------

_APPLIED, _WHOLE, _SKELETON = 0, 1, 2
_PLANS = tuple((f"fields {mode}", f"fields {mode}, named") for mode in ("applied", "whole", "skeleton"))


def owned(node: Node | None, obj: Obj, ignored: Collection[str] = ()) -> Tree:
    """All fields of an applied configuration: leaves, list elements, map keys, and structs that are empty."""
    return _object(node, obj, _APPLIED, ignored)


def created(
    node: Node | None, obj: Obj, ignored: Collection[str] = (), known: Mapping[str, Tree | None] = NOTHING
) -> Tree:
    """All fields of a new object but for what every new object of its type has (``Node.zeros``), containers included.
    ``known`` are the trees of some of its fields, None for one that is nobody's."""
    return _object(node, obj, _SKELETON, ignored, known)


def _object(
    node: Node | None,
    obj: Obj,
    mode: int,
    ignored: Collection[str],
    known: Mapping[str, Tree | None] = NOTHING,
) -> Tree:
    properties = (node.properties if node is not None else None) or {}
    zeros = node.zeros if node is not None and mode == _SKELETON else NOTHING
    tree: Tree = {}
    for key, value in _written(obj, ignored).items():
        if key in UNTRACKED or key in ignored:
            continue
        child = properties.get(key)
        if key == "metadata" and isinstance(value, dict):
            skipped = _skipped(ignored)
            fields = {name: each for name, each in value.items() if name not in skipped}
            below: Tree | None = _extract(child, fields, True, mode)
            if below and "." in below:
                below = {name: each for name, each in below.items() if name != "."}
            below = below if fields and below else None
        elif key in known:
            below = known[key]
        elif child is not None and key in zeros:
            below = _beyond(child, zeros[key])(value)
        else:
            below = _extract(child, value, child is not None, _APPLIED if mode == _APPLIED else _WHOLE)
        if below is not None:
            tree[f"f:{key}"] = below
    return tree


def _written(obj: Obj, ignored: Collection[str]) -> Obj:
    """``obj`` without what stands in the ignored fields of its fields; metadata has more of these (``_skipped``)."""
    result = obj
    for name in ignored:
        key, _, below = name.partition(".")
        if below and key != "metadata" and isinstance(result.get(key), dict):
            result = {**result, key: {each: value for each, value in result[key].items() if each != below}}
    return result


def _skipped(ignored: Collection[str]) -> Collection[str]:
    """The fields of metadata that belong to nobody or that this endpoint may not write."""
    more = {name[9:] for name in ignored if name.startswith("metadata.")}
    return UNTRACKED_METADATA | more if more else UNTRACKED_METADATA


def _extract(node: Node | None, value: Any, named: bool, mode: int) -> Tree | None:
    """The fields of a present value, None if there are none. ``named``: it is a struct's field, which is no member by
    itself in ``_APPLIED`` mode; in ``_SKELETON`` mode the value was there before anybody wrote it, with its
    ``zeros``."""
    return _walker(node, named, mode)(value) if isinstance(value, _CONTAINERS) else {}


def _walker(node: Node | None, named: bool, mode: int) -> _Walk:
    """``_extract`` for the dicts and lists of one place, kept with its node: what the schema says about the
    place is asked once."""
    if node is None:
        return _free_field if named and mode == _APPLIED else _free
    plans = node.plans
    if plans is None:
        plans = node.plans = {}
    key = _PLANS[mode][named]
    walk: _Walk | None = plans.get(key)
    if walk is None:
        walk = plans[key] = _made(node, named, mode)
    return walk


def _free(value: Any) -> Tree:
    """Without a schema every map is owned key by key, every list as a whole."""
    if not value or isinstance(value, list):
        return {}
    tree: Tree = {".": {}}
    for key, each in value.items():
        tree[f"f:{key}"] = _free(each) if isinstance(each, _CONTAINERS) else {}
    return tree


def _free_field(value: Any) -> Tree:
    tree = _free(value)
    return {key: below for key, below in tree.items() if key != "."}


def _beyond(node: Node, zero: Any) -> Callable[[Any], Tree | None]:
    """The fields of a value where ``zero`` (see ``Node.zeros``) was before; None when it is that and no more."""
    if zero is None:
        whole = _walker(node, True, _WHOLE)

        def filled(value: Any) -> Tree | None:
            if value is None:
                return None
            tree = (whole(value) if isinstance(value, _CONTAINERS) else {}) or {}
            return {key: below for key, below in tree.items() if key != "."} if "." in tree else tree

        return filled
    if zero == {} and is_granular(node):
        walk = _walker(node, True, _SKELETON)
        return lambda value: walk(value) or None
    known: Any = _zero_of(node) if zero == {} else zero
    return lambda value: None if value == known else {}


def _zero_of(node: Node) -> Obj:
    properties = node.properties or {}
    return {
        name: _zero_of(properties[name]) if zero == {} and name in properties else zero
        for name, zero in node.zeros.items()
    }


def _made(node: Node, named: bool, mode: int) -> _Walk:
    properties, additional = node.properties, node.additional
    granular, keyed = is_granular(node), is_keyed(node)
    below = _APPLIED if mode == _APPLIED else _WHOLE
    zeros = node.zeros if mode == _SKELETON else NOTHING
    implied = mode == _SKELETON or (mode == _APPLIED and named)
    # Nothing of a keyed list without elements is applied.
    nothing = named and keyed and mode == _APPLIED
    beyond: dict[str, Callable[[Any], Tree | None]] = {}
    shapes: dict[Any, tuple[Tree, list[tuple[str, str, _Walk]], list[tuple[str, str]]]] = {}

    def shaped(value: Obj, shape: Any) -> tuple[Tree, list[tuple[str, str, _Walk]], list[tuple[str, str]]]:
        tree: Tree = {} if implied else {".": {}}
        containers = []
        there = []
        for key, each in value.items():
            name = f"f:{key}"
            if key in zeros and properties is not None and key in properties:
                if key not in beyond:
                    beyond[key] = _beyond(properties[key], zeros[key])
                there.append((key, name))
                continue
            tree[name] = {}
            if isinstance(each, _CONTAINERS):
                if properties is not None and key in properties:
                    containers.append((key, name, _walker(properties[key], True, below)))
                else:
                    containers.append((key, name, _walker(additional, False, below)))
        if len(shapes) >= _SHAPES:
            shapes.clear()
        found = shapes[shape] = tree, containers, there
        return found

    def walk(value: Any) -> Tree | None:
        if not value:
            return None if nothing and value == [] else {}
        if isinstance(value, list):
            return elements(value) if keyed else {}
        if not granular:
            return {}
        shape = (*value, *map(type, value.values()))
        tree, containers, there = shapes.get(shape) or shaped(value, shape)
        if containers or there:
            tree = tree.copy()
            for key, name, step in containers:
                found = step(value[key])
                if found is None:
                    del tree[name]
                else:
                    tree[name] = found
            for key, name in there:
                more = beyond[key](value[key])
                if more is not None:
                    tree[name] = more
            if not tree and mode == _APPLIED:
                return None
        return tree

    def elements(value: list[Any]) -> Tree:
        step = _walker(node.items, False, _WHOLE if mode else _APPLIED)
        tree: Tree = {} if named and mode == _APPLIED else {".": {}}
        for item in value:
            tree[element(node, item)] = step(item) if isinstance(item, _CONTAINERS) else {}
        return tree

    return walk


# --- differences between two objects -------------------------------------------------------------


def compare(node: Node | None, old: Obj, new: Obj, ignored: Collection[str] = ()) -> tuple[Tree, Tree]:
    """``(changed, removed)``: fields added or modified, and places that are gone with all below them.

    ``ignored`` are fields that this endpoint may not write (``status``, ``metadata.labels``). The order of
    elements in keyed lists belongs to nobody.
    """
    changed: Tree = {}
    removed: Tree = {}
    properties = (node.properties if node is not None else None) or {}
    old, new = _written(old, ignored), _written(new, ignored)
    for key in {**old, **new}:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        child = properties.get(key)
        if before is after or key in UNTRACKED or key in ignored or equal(child, before, after):
            continue
        if key == "metadata" and isinstance(before, dict) and isinstance(after, dict):
            more, less = _compare_maps(child, before, after, _skipped(ignored))
            if more:
                changed["f:metadata"] = more
            if less:
                removed["f:metadata"] = less
        else:
            _compare_place(child, child is not None, f"f:{key}", before, after, changed, removed)
    return changed, removed


def _compare_place(
    node: Node | None, named: bool, key: str, before: Any, after: Any, changed: Tree, removed: Tree
) -> None:
    if after is _ABSENT:
        removed[key] = {}
        return
    if before is _ABSENT:
        changed[key] = _extract(node, after, named, _WHOLE)
        return
    if (before or after) and node is not None and node.type in ("array", "object"):
        # A field that is always there is null when it is empty.
        empty: Any = [] if node.type == "array" else {}
        before, after = empty if before is None else before, empty if after is None else after
    if isinstance(before, dict) and isinstance(after, dict) and is_granular(node):
        more, less = _compare_maps(node, before, after)
    elif isinstance(before, list) and isinstance(after, list) and is_keyed(node):
        assert node is not None  # noqa: S101 - is_keyed
        more, less = _compare_lists(node, before, after)
    else:
        changed[key] = _extract(node, after, named, _WHOLE)
        if isinstance(before, dict | list) and isinstance(before, dict) != isinstance(after, dict):
            removed[key] = {}
        return
    if more:
        changed[key] = more
    if less:
        removed[key] = less


def _compare_maps(
    node: Node | None, before: Obj, after: Obj, skipped: Collection[str] = ()
) -> tuple[Tree, Tree]:
    changed: Tree = {}
    removed: Tree = {}
    properties = node.properties if node is not None else None
    additional = node.additional if node is not None else None
    for key, new in after.items():
        old = before.get(key, _ABSENT)
        child = properties.get(key, additional) if properties is not None else additional
        if old is new or key in skipped or equal(child, old, new):
            continue
        named = properties is not None and key in properties
        _compare_place(child, named, f"f:{key}", old, new, changed, removed)
    for key in before:
        if key not in after and key not in skipped:
            removed[f"f:{key}"] = {}
    return changed, removed


def _compare_lists(node: Node, before: list[Any], after: list[Any]) -> tuple[Tree, Tree]:
    changed: Tree = {}
    removed: Tree = {}
    if _same_places(node, before, after):
        for old, new in zip(before, after, strict=True):
            if old is not new and not equal(node.items, old, new):
                _compare_place(node.items, False, element(node, new), old, new, changed, removed)
        return changed, removed
    olds, news = _elements(node, before), _elements(node, after)
    for key, new in news.items():
        old = olds.get(key, _ABSENT)
        if old is not new and not equal(node.items, old, new):
            _compare_place(node.items, False, key, old, new, changed, removed)
    for key in olds:
        if key not in news:
            removed[key] = {}
    return changed, removed


def _same_places(node: Node, before: list[Any], after: list[Any]) -> bool:
    """Whether both lists of maps have the same elements in the same order: the usual case, found without
    writing down any path element."""
    if len(before) != len(after) or node.list_type != "map":
        return False
    keys = node.map_keys
    for old, new in zip(before, after, strict=True):
        if old is new:
            continue
        if not isinstance(old, dict) or not isinstance(new, dict):
            return False
        for key in keys:
            value = old.get(key, _ABSENT)
            if value is _ABSENT or value != new.get(key, _ABSENT):
                return False
    return True


# --- algebra ---------------------------------------------------------------------------------------


def union(a: Tree, b: Tree) -> Tree:
    """Fields of either set. ``a`` itself when ``b`` adds nothing."""
    if not a:
        return b
    result = a
    for key, below in b.items():
        mine = a.get(key)
        joined = below if mine is None else _join(mine, below)
        if joined is not mine:
            if result is a:
                result = dict(a)
            result[key] = joined
    return result


def _join(a: Tree, b: Tree) -> Tree:
    if a is b:
        return a
    if not a:
        return b if not b or "." in b else {".": {}, **b}
    if not b:
        return a if "." in a else {".": {}, **a}
    return union(a, b)


def difference(a: Tree, b: Tree) -> Tree:
    """Fields of ``a`` that are not members of ``b``; what is below a member of ``b`` stays."""
    result = a
    for key, below in b.items():
        mine = a.get(key)
        if mine is None:
            continue
        left = None if key == "." else _subtract(mine, below)
        if left is mine:
            continue
        if result is a:
            result = dict(a)
        if left is None:
            del result[key]
        else:
            result[key] = left
    return result


def _subtract(a: Tree, b: Tree) -> Tree | None:
    if not a:
        return None if not b or "." in b else a
    if not b:
        b = {".": {}}
    left = difference(a, b)
    return left if left is a else _normal(left)


def drop(a: Tree, gone: Tree) -> Tree:
    """Fields of ``a`` that are not at or below a leaf of ``gone``."""
    result = a
    for key, below in gone.items():
        mine = a.get(key)
        if mine is None:
            continue
        left: Tree | None = mine
        if not below:
            left = None
        elif mine:
            rest = drop(mine, below)
            left = mine if rest is mine else _normal(rest)
        if left is mine:
            continue
        if result is a:
            result = dict(a)
        if left is None:
            del result[key]
        else:
            result[key] = left
    return result


def _normal(tree: Tree) -> Tree | None:
    if not tree:
        return None
    return {} if len(tree) == 1 and "." in tree else tree


def intersection(a: Tree, b: Tree) -> Tree:
    """Fields that are members of both sets."""
    result: Tree = {}
    for key, below in b.items():
        mine = a.get(key)
        if mine is None:
            continue
        if key == ".":
            result[key] = {}
            continue
        both = intersection(mine or {".": {}}, below or {".": {}})
        left = _normal(both)
        if left is not None:
            result[key] = left
    return result


def paths(tree: Tree) -> Iterator[str]:
    """The members as messages write them: ``.spec.containers[name="web"].image``; those of a place before what is
    below any of them."""
    places = [(_step(key), tree[key]) for key in sorted(tree) if key != "."]
    for step, below in places:
        if not below or "." in below:
            yield step
    for step, below in places:
        for rest in paths(below):
            yield step + rest


def decoded(tree: Any) -> Tree:
    """A set as a client sends it, without the kinds of path elements that nobody knows. Raises ValueError.

    Source: sigs.k8s.io/structured-merge-diff/v6/fieldpath/serialize.go.
    """
    if not isinstance(tree, dict):
        raise ValueError("a set of fields is an object")
    result: Tree = {}
    for key, below in tree.items():
        if key == ".":
            result[key] = {}
            continue
        if len(key) < len("f:") or key[1] != ":":
            raise ValueError(f"no path element: {key!r}")
        kind, text = key[0], key[2:]
        if kind not in "fkvi":
            continue
        if kind == "i":
            int(text)
        elif kind != "f" and not isinstance(orjson.loads(text), dict if kind == "k" else object):
            raise ValueError(f"no keys: {text!r}")
        result[key] = decoded(below)
    return _normal(result) or {}


def _step(key: str) -> str:
    kind, _, text = key.partition(":")
    if kind == "f":
        return f".{text}"
    if kind == "i":
        return f"[{text}]"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return f"[{text}]"
    if kind == "k" and isinstance(value, dict):
        told = ",".join(f"{name}={orjson.dumps(each).decode()}" for name, each in sorted(value.items()))
        return f"[{told}]"
    return f"[={orjson.dumps(value).decode()}]"
