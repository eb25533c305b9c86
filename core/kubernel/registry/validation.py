"""What a schema demands of values: required, enum, limits, patterns, uniqueness, types.

Texts and reasons are those of apimachinery's field errors for native nodes (built-in types), and those of
kube-openapi and apiextensions for structural ones (custom resources).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kubernel.errors import Cause
from kubernel.registry.causes import duplicate, invalid, not_supported, render, required, too_long, too_many
from kubernel.registry.fastpath import conforms
from kubernel.registry.schema import Node, must_have
from kubernel.registry.structural import UNKNOWN, Step, mark, structural_step

__all__ = ["validate"]

_CONSTRAINTS = frozenset(
    ("minimum", "maximum", "minLength", "maxLength", "pattern", "minItems", "maxItems", "uniqueItems")
)


def validate(node: Node, obj: Any, old: Any = UNKNOWN, said: Sequence[Cause] = ()) -> list[Cause]:
    """The schema's complaints about a decoded and defaulted object; ``obj`` is not changed. What a strategy, which
    knows better words, ``said`` of a field for the same reason is not said again.

    Native trees: enums, limits and required fields (``Node.enforced``; where that is None, required strings,
    structs and numbers with a positive minimum). A top-level ``status`` is exempt from required, since Go
    fills in zero values there. Structural trees: everything a structural schema can say but CEL rules; what is
    as it is in ``old`` is not complained about.
    """
    causes: list[Cause] = []
    if conforms(node, obj, decoded=True):
        return causes
    step = _step(node)
    if step is None:
        return causes
    if node.native and node.properties is not None and isinstance(obj, dict) and "status" in obj:
        step(obj, None, causes)
        causes = [
            cause
            for cause in causes
            if cause.reason != "FieldValueRequired" or not cause.field.startswith("status.")
        ]
    elif node.native:
        step(obj, None, causes)
    else:
        step(obj, None, causes, old)
        # Alternatives say the same as the schema around them, which upstream tells once.
        causes = list(dict.fromkeys(causes))
    known = {(cause.field, cause.reason) for cause in said}
    return [cause for cause in causes if (cause.field, cause.reason) not in known]


def _step(node: Node) -> Step | None:
    """The walker for values of ``node``; None where nothing can be wrong."""
    owner = node
    if node.shared is not None and not node.enum and node.extra == node.shared.extra:
        owner = node.shared
    plans = owner.plans
    if plans is None:
        plans = owner.plans = {}
    if "validate" in plans:
        made: Step | None = plans["validate"]
        return made
    step: Step | None = None
    if _constrained_below(owner):
        step = _native(owner) if owner.native else structural_step(owner, _step)
    plans["validate"] = step
    return step


def _constrained(node: Node) -> bool:
    if not node.native:
        return True
    return bool(node.enum or must_have(node) or (node.extra and not _CONSTRAINTS.isdisjoint(node.extra)))


def _constrained_below(node: Node) -> bool:
    seen = {id(node)}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if _constrained(one):
            return True
        for child in (*(one.properties or {}).values(), one.additional, one.items):
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)
    return False


def _native(node: Node) -> Step:
    own = _own_rules(node)
    must = must_have(node)
    properties, additional, items = node.properties, node.additional, node.items
    below: list[tuple[str, Step]] | None = None
    inner: Step | None = None
    started = False

    def struct(value: Any, path: Any, causes: list[Cause]) -> None:
        nonlocal below
        if type(value) is not dict and not isinstance(value, dict):
            return
        if below is None:
            found = ((name, _step(field)) for name, field in (properties or {}).items())
            below = [(name, step) for name, step in found if step is not None]
        for name in must:
            if not value.get(name) and _missing(value.get(name)):
                causes += (required(render((path, name))),)
        for name, step in below:
            if name in value:
                step(value[name], (path, name), causes)
        if own is not None:
            own(value, path, causes)

    def collection(value: Any, path: Any, causes: list[Cause]) -> None:
        nonlocal inner, started
        if not started:
            within = additional if items is None else items
            inner, started = _step(within) if within is not None else None, True
        if inner is not None and isinstance(value, list):
            for index, item in enumerate(value):
                inner(item, (path, index), causes)
        elif inner is not None and isinstance(value, dict):
            for name, item in value.items():
                inner(item, (path, f"[{name}]"), causes)
        if own is not None:
            own(value, path, causes)

    if properties is not None:
        return struct
    if additional is not None or items is not None:
        return collection
    return own or _nothing


def _nothing(value: Any, path: Any, causes: list[Cause]) -> None:
    """A scalar without rules."""


def _missing(value: Any) -> bool:
    # 0 and {} are values.
    return value is None or value == "" or value == []


def _own_rules(node: Node) -> Step | None:
    """What a native node says about the value itself, or None."""
    enum = node.enum
    extra = node.extra or {}
    minimum, maximum = extra.get("minimum"), extra.get("maximum")
    longest, shortest = extra.get("maxLength"), extra.get("minLength")
    most, fewest = extra.get("maxItems"), extra.get("minItems")
    pattern = re.compile(extra["pattern"]) if "pattern" in extra else None
    repeats_refused = bool(extra.get("uniqueItems"))
    keys = node.map_keys
    if not enum and _CONSTRAINTS.isdisjoint(extra):
        return None
    if minimum is not None and maximum is not None:
        limits = f"must be between {minimum} and {maximum}, inclusive"
    elif minimum is not None:
        limits = f"must be greater than or equal to {minimum}"
    else:
        limits = f"must be less than or equal to {maximum}"

    def step(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, str):
            if enum and value not in enum:
                causes.append(not_supported(render(path), value, enum))
            elif longest is not None and len(value) > longest:
                causes.append(too_long(render(path), longest))
            elif shortest is not None and len(value) < shortest:
                causes.append(required(render(path)))
            elif pattern is not None and not pattern.search(value):
                causes.append(invalid(render(path), value, f"must match '{pattern.pattern}'"))
        elif isinstance(value, list):
            if most is not None and len(value) > most:
                causes.append(too_many(render(path), len(value), most))
            elif fewest is not None and len(value) < fewest:
                causes.append(required(render(path)))
            if repeats_refused:
                _unique(value, keys, path, causes)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            return
        elif (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            causes.append(invalid(render(path), value, limits))

    return step


def _unique(value: list[Any], keys: tuple[str, ...], path: Any, causes: list[Cause]) -> None:
    """``spec.containers[1].name: Duplicate value: "web"``"""
    seen: set[bytes] = set()
    for index, item in enumerate(value):
        known = {name: item.get(name) for name in keys} if keys and isinstance(item, dict) else item
        key = mark(known)
        if key in seen:
            if len(keys) == 1 and isinstance(item, dict):
                causes.append(duplicate(render(((path, index), keys[0])), item.get(keys[0])))
            else:
                causes.append(duplicate(render((path, index)), known))
        seen.add(key)
