"""JSONPath as printer columns use it: the dialect of k8s.io/client-go/util/jsonpath, without templates.

``.spec.ports[0].name``, ``.metadata.annotations.a\\.b``, ``['a']``, ``[1:3]``, ``[*]``, ``..name``,
``.status.conditions[?(@.type=="Ready")].status``. A field that is not there gives no result; an index that is not
there, or one of what is no list, makes the whole path fail.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

__all__ = ["PathFailed", "compile_path"]

Step = Callable[[list[Any]], list[Any]]
"""From what was found so far to what is found then."""

_ENDS = frozenset(" \t\r\n.,[]$@{}")
_SLICE = re.compile(r"(-?\d*)(:-?\d*)?(:-?\d*)?", re.ASCII)
_KEY = re.compile(r"'([^']*)'")
_COMPARISON = re.compile(r"([^!<>=]+)([!<>=]+)(.+)", re.DOTALL)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class PathFailed(ValueError):
    """A path that fits no such object."""


def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """``path(obj)`` gives what the path finds, in order, or raises PathFailed. ValueError for a path that cannot be
    understood."""
    steps = list(_steps(text))

    def find(obj: Any) -> list[Any]:
        return _walk(steps, [obj])

    return find


def _walk(steps: list[Step], found: list[Any]) -> list[Any]:
    for step in steps:
        found = step(found)
    return found


def _steps(text: str) -> Iterator[Step]:
    at, end = 0, len(text)
    while at < end:
        if text.startswith("[?(", at):
            step, at = _filter(text, at + 3)
            yield step
        elif text.startswith("..", at):
            yield _descend
            at += 2
            if at < end and (text[at] == "_" or text[at].isalnum()):
                step, at = _field(text, at)
                yield step
        elif text[at] == ".":
            step, at = _field(text, at + 1)
            yield step
        elif text[at] == "[":
            close = text.find("]", at)
            if close < 0:
                raise ValueError(f"unterminated array in path {text}")
            yield from _bracket(text[at + 1 : close])
            at = close + 1
        elif text[at] in " @$":
            at += 1
        else:
            raise ValueError(f"unrecognized character in path {text}")


def _field(text: str, at: int) -> tuple[Step, int]:
    """The step of a name that begins there, and where it ends."""
    place = at
    while place < len(text) and text[place] not in _ENDS:
        place += 2 if text[place] == "\\" else 1
    name = text[at:place]
    return (_every if name == "*" else _child(name.replace("\\", ""))), min(place, len(text))


def _bracket(inside: str) -> Iterator[Step]:
    if "," in inside:
        yield _union([list(_bracket(part.strip(" "))) for part in inside.split(",")])
        return
    key = _KEY.fullmatch(inside)
    if key is not None:
        # Upstream reads the key as a path: a dot in it separates.
        yield from _steps(f".{key[1]}")
        return
    part = _SLICE.fullmatch(":" if inside == "*" else inside)
    if part is None:
        raise ValueError(f"invalid array index {inside}")
    first, second, third = part.groups()
    if second is None and not first:
        raise ValueError(f"invalid array index {inside}")
    start = _number(first) or 0
    by = _number((third or "")[1:])
    yield _slice(start, _number(second[1:]), by) if second is not None else _slice(start, start + 1, by)


def _number(text: str) -> int | None:
    return int(text) if text else None


def _child(name: str) -> Step:
    def step(found: list[Any]) -> list[Any]:
        return [value[name] for value in found if isinstance(value, dict) and name in value]

    return step


def _every(found: list[Any]) -> list[Any]:
    return [each for value in found for each in _children(value)]


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descend(found: list[Any]) -> list[Any]:
    return [each for value in found for each in _below(value)]


def _below(value: Any) -> Iterator[Any]:
    yield value
    for each in _children(value):
        if isinstance(each, dict | list):
            yield from _below(each)


def _slice(start: int, stop: int | None, by: int | None) -> Step:
    single = stop == start + 1

    def step(found: list[Any]) -> list[Any]:
        made: list[Any] = []
        for value in found:
            if value is None:
                continue
            if not isinstance(value, list):
                raise PathFailed("not an array or slice")
            size = len(value)
            first = start + size if start < 0 else start
            last = size if stop is None else stop
            if last < 0 or (single and last == 0):
                last += size
            if first == last:
                return made
            if not 0 <= first < size or not 0 <= last <= size:
                raise PathFailed("array index out of bounds")
            if first > last:
                raise PathFailed("starting index is greater than ending index")
            if by is not None and by <= 0:
                raise PathFailed("step must be > 0")
            made += value[first:last:by]
        return made

    return step


def _union(parts: list[list[Step]]) -> Step:
    def step(found: list[Any]) -> list[Any]:
        return [each for steps in parts for each in _walk(steps, found)]

    return step


def _filter(text: str, at: int) -> tuple[Step, int]:
    """The step of a condition that begins there, and where it ends."""
    pair, closed, place = "", False, at
    while place < len(text):
        char = text[place]
        if char in "\"'":
            if not pair:
                pair = char
            elif char == pair and text[place - 1] != "\\":
                closed = True
        elif char == ")" and bool(pair) == closed:
            break
        place += 1
    if text[place : place + 2] != ")]":
        raise ValueError(f"unterminated filter in path {text}")
    condition = text[at:place]
    comparison = _COMPARISON.fullmatch(condition)
    if comparison is None:
        return _exists(list(_steps(condition))), place + 2
    left, operation, right = comparison.groups()
    return _compare(list(_steps(left.strip(" "))), operation, _operand(right.strip(" "))), place + 2


def _operand(text: str) -> list[Step]:
    if text[:1] in ("@", "$", "."):
        return list(_steps(text))
    if text[:1] in ("'", '"'):
        if len(text) < 2 or text[-1] != text[0]:
            raise ValueError(f"unterminated quoted string {text}")
        value: Any = re.sub(r"\\(.)", r"\1", text[1:-1])
    else:
        try:
            value = orjson.loads(text.removeprefix("+"))
        except orjson.JSONDecodeError:
            raise ValueError(f"invalid filter operand {text}") from None
    return [lambda found: [value for _ in found]]


def _exists(steps: list[Step]) -> Step:
    def step(found: list[Any]) -> list[Any]:
        return [each for each in _listed(found) if _walk(steps, [each])]

    return step


def _compare(left: list[Step], operation: str, right: list[Step]) -> Step:
    compare = _OPERATORS.get(operation)

    def step(found: list[Any]) -> list[Any]:
        made: list[Any] = []
        for each in _listed(found):
            ones = _walk(left, [each])
            others = _walk(right, [each]) if ones else []
            if len(ones) > 1 or len(others) > 1:
                raise PathFailed("can only compare one element at a time")
            if ones and others and _holds(compare, ones[0], others[0]):
                made.append(each)
        return made

    return step


def _listed(found: list[Any]) -> Iterator[Any]:
    for value in found:
        if not isinstance(value, list):
            raise PathFailed("not an array or slice and cannot be filtered")
        yield from value


def _holds(compare: Callable[[Any, Any], Any] | None, one: Any, other: Any) -> bool:
    if compare is None:
        raise PathFailed("unrecognized filter operator")
    if type(one) is not type(other) or not isinstance(one, str | int | float):
        raise PathFailed("incompatible types for comparison")
    if isinstance(one, bool) and compare not in (operator.eq, operator.ne):
        raise PathFailed("invalid type for comparison")
    return bool(compare(one, other))
