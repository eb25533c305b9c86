"""What the schema says about absent fields: constant defaults, and the zeros of native structs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kubernel.registry.schema import Node

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = ["any_default_below", "apply_defaults", "complete_object", "settle"]

_Step = Callable[[Any], None]
_BUT_SPEC = "default, but spec"
_EMPTY: tuple[Any, ...] = ([], {})


def apply_defaults(node: Node, obj: Any, *, but: str = "") -> None:
    """Fill absent fields of ``obj`` in place; default values are copied.

    Defaults below a field only apply where that field is present (or has a default itself, which may be
    ``{}``). ``obj`` must be the caller's own down to its leaves; subclasses of dict and list are left alone. The
    field ``but`` of a struct is not looked at.
    """
    step = _step(node, but)
    if step is not None:
        step(obj)


def _step(node: Node, but: str = "") -> _Step | None:
    """The walker of a struct, map or list; None for a node below which no default can stand."""
    owner = node.shared or node
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    key = f"default, but {but}" if but else "default"
    if key in plans:
        made: _Step | None = plans[key]
        return made
    step: _Step | None = None
    if owner.type in ("object", "array") and any_default_below(owner):
        step = _object(owner, but) if owner.items is None else _list(owner.items)
    plans[key] = step
    return step


def any_default_below(node: Node) -> bool:
    """Whether ``apply_defaults`` could ever add something; the metadata of custom resources is not looked at."""
    return any(
        one.zeros or any(child.default is not Node.UNSET for child in _children(one)) for one in _below(node)
    )


def _children(node: Node) -> list[Node]:
    found = list((node.properties or {}).values())
    return found + [child for child in (node.additional, node.items) if child is not None]


def _below(node: Node) -> Iterator[Node]:
    """The node and the structs, maps and lists that can stand below, each once."""
    seen = {id(node)}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        for child in _children(one):
            child = child.shared or child
            if child.type in ("object", "array") and id(child) not in seen and child.native is node.native:
                seen.add(id(child))
                waiting.append(child)


def _object(node: Node, but: str) -> _Step:
    properties, additional = node.properties or {}, node.additional
    if but:
        properties = {name: field for name, field in properties.items() if name != but}
    replaced = additional is not None and _takes_null(additional)
    plain: list[tuple[str, Any]] = []
    fresh: list[tuple[str, Any]] = []
    zeros = node.zeros
    for name, field in properties.items():
        default = field.default if field.default is not Node.UNSET else zeros.get(name, Node.UNSET)
        if default is not Node.UNSET:
            (fresh if isinstance(default, dict | list) else plain).append((name, default))
    always = frozenset(name for name, _ in (*plain, *fresh))
    below: dict[str, _Step] | None = None
    rest: _Step | None = None

    def step(value: Any) -> None:
        nonlocal below, rest
        if type(value) is not dict:
            return
        if not always <= value.keys():
            for name, default in plain:
                if name not in value:
                    value[name] = default
            for name, default in fresh:
                if name not in value:
                    value[name] = _copy(default)
        if below is None:  # not before the first use: trees may be recursive
            found = ((name, _step(field)) for name, field in properties.items())
            below = {name: child for name, child in found if child is not None}
            rest = _step(additional) if additional is not None else None
        if below:
            for name in below.keys() & value.keys():
                item = value[name]
                if item is not None:
                    below[name](item)
        if rest is not None or replaced:
            for name, item in value.items():
                if name in properties or name == but:
                    continue
                if item is None and additional is not None and replaced:
                    value[name] = _copy(additional.default)
                elif rest is not None:
                    rest(item)

    return step


def _takes_null(node: Node) -> bool:
    """Whether a null in a list or map of such values gives way to their default."""
    return not node.native and not node.nullable and node.default is not Node.UNSET


def _list(items: Node) -> _Step:
    child: _Step | None = None
    replaced = _takes_null(items)

    def step(value: Any) -> None:
        nonlocal child
        if child is None:
            child = _step(items)
        if type(value) is not list:
            return
        if replaced:
            for index, item in enumerate(value):
                if item is None:
                    value[index] = _copy(items.default)
        if child is not None:
            for item in value:
                child(item)

    return step


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def complete_object(type: ResourceType, node: Node, obj: Obj, *, but_spec: bool = False) -> None:
    """Fill in what is absent. ``but_spec``: it is complete already."""
    if but_spec:
        plans = node.plans
        if plans is None or _BUT_SPEC not in plans:
            apply_defaults(node, obj, but="spec")
        elif (step := plans[_BUT_SPEC]) is not None:
            step(obj)
    else:
        apply_defaults(node, obj)
        if not type.custom and isinstance(obj.get("spec"), dict):
            type.strategy.default_spec(obj["spec"])
    type.strategy.default(obj)


def settle(node: Node, obj: Obj) -> None:
    """Make lists and maps that are always there null when they are empty, in place: so they come out of upstream's
    store, whose protobuf does not tell the two."""
    step = _settling(node)
    if step is not None:
        step(obj)


def _settling(node: Node) -> _Step | None:
    """The walker; None for a node below which there is no such field."""
    owner = node.shared or node
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    if "settle" in plans:
        made: _Step | None = plans["settle"]
        return made
    step: _Step | None = None
    if any(map(_emptied, _below(owner))):
        step = _settle_object(owner) if owner.items is None else _settle_list(owner.items)
    plans["settle"] = step
    return step


def _emptied(node: Node) -> list[str]:
    return [
        name
        for name, zero in node.zeros.items()
        if zero is None
        and node.properties is not None
        and name in node.properties
        and (node.properties[name].items is not None or node.properties[name].additional is not None)
    ]


def _settle_object(node: Node) -> _Step:
    emptied = _emptied(node)
    additional = node.additional
    below: dict[str, _Step] | None = None
    rest: _Step | None = None

    def step(value: Any) -> None:
        nonlocal below, rest
        if type(value) is not dict:
            return
        for name in emptied:
            if not value.get(name, True) and value[name] in _EMPTY:
                value[name] = None
        if below is None:  # not before the first use: trees may be recursive
            found = ((name, _settling(field)) for name, field in (node.properties or {}).items())
            below = {name: child for name, child in found if child is not None}
            rest = _settling(additional) if additional is not None else None
        if below:
            for name in below.keys() & value.keys():
                item = value[name]
                if item:
                    below[name](item)
        if rest is not None:
            for item in value.values():
                rest(item)

    return step


def _settle_list(items: Node) -> _Step:
    child: _Step | None = None

    def step(value: Any) -> None:
        nonlocal child
        if child is None:
            child = _settling(items)
        if child is not None and type(value) is list:
            for item in value:
                child(item)

    return step
