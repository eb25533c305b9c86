"""Validation of custom resources: what a structural schema can say, but for CEL rules.

Texts: kube-openapi/pkg/validation/errors as apiextensions turns them into field errors
(apiextensions/pkg/apiserver/validation/validation.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from kubernel.errors import Cause
from kubernel.registry import causes as told
from kubernel.registry.formats import find_check
from kubernel.registry.jsonschema import compile_schema
from kubernel.registry.schema import Node
from kubernel.registry.schematypes import effective_format, type_step

__all__ = ["UNKNOWN", "Step", "mark", "sorted_keys", "structural_step"]

Step = Callable[..., None]
"""``step(value, path, causes)``; the path is a chain (path of the parent, last part) or None. Steps of structural
nodes take the value that was there before, too: what did not change is not complained about (KEP-4008)."""

UNKNOWN: Any = object()
"""There is no value before, or none that is known to be the same one."""

Compile = Callable[[Node], Step | None]


def mark(value: Any) -> bytes:
    """Equal for equal JSON values."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return repr(value).encode()


def sorted_keys(value: Any) -> Any:
    """The value as Go prints what has no struct: with the keys of maps in order."""
    if not isinstance(value, dict | list):
        return value
    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def structural_step(node: Node, compile: Compile) -> Step:
    """The walker for values of a structural node; ``compile`` gives those of the nodes below it."""
    typed = type_step(node)
    enum = node.enum
    enum_marks = {mark(one) for one in enum}
    # Go's list of what is supported is one of strings.
    shown_enum = tuple(one if isinstance(one, str) else told.show(one) for one in enum)
    rules = _rules(node)
    logic = _logic(node, compile)
    properties, additional, items = node.properties or {}, node.additional, node.items
    must = node.required if node.enforced is None else node.enforced
    keys = node.map_keys if node.list_type == "map" else ()
    atomic = node.map_type == "atomic"
    steps: dict[int, Step | None] = {}

    def below(child: Node) -> Step | None:
        key = id(child)
        if key not in steps:
            made = compile(child)
            steps[key] = _unratcheted(made) if made is not None and child.native else made
        return steps[key]

    def step(value: Any, path: Any, causes: list[Cause], old: Any = UNKNOWN) -> None:
        if old is not UNKNOWN and old == value:
            return
        if typed is not None:
            typed(value, path, causes)
        if value is None:
            if enum:
                # Upstream compares Go's types, and null has none.
                causes.append(told.not_supported(told.render(path), None, shown_enum))
            return
        for check in logic:
            check(value, path, causes)
        if enum and mark(value) not in enum_marks and not _converts(value, enum):
            causes.append(told.not_supported(told.render(path), sorted_keys(value), shown_enum))
        if not isinstance(value, list):
            for rule in rules:
                rule(value, path, causes)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) and not atomic else _NOTHING
            for name, item in value.items():
                known = properties.get(name)
                child = known if known is not None else additional
                inner = below(child) if child is not None else None
                if inner is not None:
                    inner(item, (path, name), causes, before.get(name, UNKNOWN))
            causes += [told.required(told.render((path, name))) for name in must if name not in value]
        elif isinstance(value, list):
            inner = below(items) if items is not None else None
            if inner is not None:
                olds = _by_keys(old, keys) if keys and isinstance(old, list) else _NOTHING
                for index, item in enumerate(value):
                    inner(
                        item, (path, index), causes, olds.get(_key(item, keys), UNKNOWN) if olds else UNKNOWN
                    )
            for rule in rules:
                rule(value, path, causes)

    return step


_NOTHING: dict[Any, Any] = {}


def _converts(value: Any, enum: tuple[Any, ...]) -> bool:
    """Upstream compares after a conversion to the other's Go type, which cuts off fractions."""
    return isinstance(value, float) and any(type(one) is int and int(value) == one for one in enum)


def _unratcheted(step: Step) -> Step:
    """Of a native node among structural ones: object metadata."""
    return lambda value, path, causes, old=UNKNOWN: step(value, path, causes)


def _key(item: Any, keys: tuple[str, ...]) -> bytes:
    return mark([item.get(key) for key in keys]) if isinstance(item, dict) else b""


def _by_keys(items: list[Any], keys: tuple[str, ...]) -> dict[bytes, Any]:
    """The first of those with the same keys stands for them."""
    return {_key(item, keys): item for item in reversed(items)}


def _logic(node: Node, compile: Compile) -> list[Step]:
    """allOf, anyOf, oneOf and not. What they say has no field of its own."""
    extra = node.extra or {}
    found: list[Step] = []

    def alternatives(keyword: str) -> list[Step]:
        steps = (compile(compile_schema(one)) for one in extra.get(keyword) or ())
        return [step or _nothing for step in steps]

    def failures(steps: list[Step], value: Any, path: Any) -> list[list[Cause]]:
        results: list[list[Cause]] = []
        for step in steps:
            results.append([])
            step(value, path, results[-1])
        return results

    def say(path: Any, causes: list[Cause], text: str) -> None:
        causes.append(told.invalid("<nil>", "", f'"{told.render(path)}" {text}'))

    every = alternatives("allOf")
    repeats = node.type == "int-or-string" and _repeats(extra.get("anyOf"))
    some = alternatives("anyOf")
    one = alternatives("oneOf")
    never = compile(compile_schema(extra["not"])) or _nothing if "not" in extra else None

    def all_of(value: Any, path: Any, causes: list[Cause]) -> None:
        results = failures(every, value, path)
        for result in results:
            causes += result
        if any(results):
            say(
                path,
                causes,
                "must validate all the schemas (allOf)" + (". None validated" if all(results) else ""),
            )

    def any_of(value: Any, path: Any, causes: list[Cause]) -> None:
        if repeats and isinstance(value, int | str) and not isinstance(value, bool):
            return
        results = failures(some, value, path)
        if all(results):
            say(path, causes, "must validate at least one schema (anyOf)")
            causes += results[0]

    def one_of(value: Any, path: Any, causes: list[Cause]) -> None:
        results = failures(one, value, path)
        valid = sum(not result for result in results)
        if valid != 1:
            why = f"Found {valid} valid alternatives" if valid else "Found none valid"
            say(path, causes, f"must validate one and only one schema (oneOf). {why}")
            if not valid:
                causes += results[0]

    def none_of(value: Any, path: Any, causes: list[Cause]) -> None:
        result: list[Cause] = []
        assert never is not None  # noqa: S101 - used only then
        never(value, path, result)
        if not result:
            say(path, causes, "must not validate the schema (not)")

    found += [any_of] if some else []
    found += [one_of] if one else []
    found += [all_of] if every else []
    found += [none_of] if never is not None else []
    return found


def _repeats(alternatives: Any) -> bool:
    return bool(alternatives == [{"type": "integer"}, {"type": "string"}])


def _nothing(value: Any, path: Any, causes: list[Cause]) -> None:
    """A schema that says nothing."""


def _rules(node: Node) -> list[Step]:
    extra = node.extra or {}
    rules: list[Step] = []
    texts = [
        make(extra[keyword], extra) for keyword, make in _OF_TEXTS.items() if extra.get(keyword) is not None
    ]
    if texts:
        rules.append(texts[0] if len(texts) == 1 else _first(texts))
    for keyword, make in _MAKERS.items():
        limit = extra.get(keyword)
        if limit is not None and limit is not False:
            rules.append(make(limit, extra))
    if extra.get("additionalProperties") is False:
        rules.append(_nothing_else(frozenset(node.properties or ())))
    format_ = effective_format(node)
    check = find_check(format_)
    if check is not None:
        rules.append(_format(format_, check))
    if node.list_type == "map" and node.map_keys:
        rules.append(_unique_keys(node.map_keys))
    elif node.list_type == "set":
        rules.append(_set)
    return rules


def _say(path: Any, causes: list[Cause], value: Any, text: str) -> None:
    field = told.render(path)
    causes.append(told.invalid(field, value, f"{field} in body {text}"))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _minimum(limit: Any, extra: dict[str, Any]) -> Step:
    exclusive = bool(extra.get("exclusiveMinimum"))
    text = f"should be greater than {'' if exclusive else 'or equal to '}{limit}"

    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if _number(value) and (value < limit or (exclusive and value == limit)):
            _say(path, causes, value, text)

    return rule


def _maximum(limit: Any, extra: dict[str, Any]) -> Step:
    exclusive = bool(extra.get("exclusiveMaximum"))
    text = f"should be less than {'' if exclusive else 'or equal to '}{limit}"

    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if _number(value) and (value > limit or (exclusive and value == limit)):
            _say(path, causes, value, text)

    return rule


def _multiple(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if _number(value) and limit and not float(value / limit).is_integer():
            _say(path, causes, value, f"should be a multiple of {limit}")

    return rule


def _min_length(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, str) and len(value) < limit:
            _say(path, causes, value, f"should be at least {limit} chars long")

    return rule


def _max_length(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, str) and len(value) > limit:
            causes.append(told.too_long(told.render(path), limit))

    return rule


def _pattern(limit: Any, extra: dict[str, Any]) -> Step:
    try:
        pattern = re.compile(limit)
    except re.error:  # RE2 knows classes that Python does not: such a pattern refuses nothing
        return lambda value, path, causes: None

    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, str) and not pattern.search(value):
            _say(path, causes, value, f"should match '{limit}'")

    return rule


def _min_items(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, list) and len(value) < limit:
            _say(path, causes, len(value), f"should have at least {limit} items")

    return rule


def _max_items(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, list) and len(value) > limit:
            causes.append(told.too_many(told.render(path), len(value), limit))

    return rule


def _min_properties(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, dict) and len(value) < limit:
            _say(path, causes, len(value), f"should have at least {limit} properties")

    return rule


def _max_properties(limit: Any, extra: dict[str, Any]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, dict) and len(value) > limit:
            causes.append(told.too_many(told.render(path), len(value), limit))

    return rule


_MAKERS: dict[str, Callable[[Any, dict[str, Any]], Step]] = {
    "minimum": _minimum,
    "maximum": _maximum,
    "multipleOf": _multiple,
    "minItems": _min_items,
    "maxItems": _max_items,
    "minProperties": _min_properties,
    "maxProperties": _max_properties,
}


_OF_TEXTS: dict[str, Callable[[Any, dict[str, Any]], Step]] = {
    "maxLength": _max_length,
    "minLength": _min_length,
    "pattern": _pattern,
}


def _nothing_else(known: frozenset[str]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, dict):
            for name in value.keys() - known:
                text = f"{told.render(path)}.{name} in body is a forbidden property"
                causes.append(told.invalid(told.render(path), name, text))

    return rule


def _first(rules: list[Step]) -> Step:
    """Of a text only the first rule that is broken is told."""

    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        before = len(causes)
        for one in rules:
            one(value, path, causes)
            if len(causes) > before:
                return

    return rule


def _format(name: str, check: Callable[[str], bool]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if isinstance(value, str) and not check(value):
            _say(path, causes, value, f"must be of type {name}: {told.show(value)}")

    return rule


def _set(value: Any, path: Any, causes: list[Cause]) -> None:
    if not isinstance(value, list):
        return
    causes += [
        told.duplicate(told.render((path, index)), sorted_keys(value[index])) for index in _repeated(value)
    ]


def _repeated(values: list[Any]) -> Iterator[int]:
    """Where a value stands for the second time."""
    seen: dict[bytes, int] = {}
    for index, value in enumerate(values):
        key = mark(value)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 2:
            yield index


def _unique_keys(keys: tuple[str, ...]) -> Step:
    def rule(value: Any, path: Any, causes: list[Cause]) -> None:
        if not isinstance(value, list):
            return
        for index, item in enumerate(value):
            if item is not None and not isinstance(item, dict):
                text = "must be an object for an array of list-type map"
                causes.append(told.invalid(told.render((path, index)), item, text))
                return
        named = [{key: item[key] for key in keys if key in item} if item else {} for item in value]
        causes += [
            told.duplicate(told.render((path, index)), sorted_keys(named[index]))
            for index in _repeated(named)
        ]

    return rule
