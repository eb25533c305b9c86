"""JSONPath as printer columns use it: the dialect of k8s.io/client-go/util/jsonpath, without templates.

``.spec.ports[0].name``, ``.metadata.annotations.a\\.b``, ``['a']``, ``[1:3]``, ``[*]``, ``..name``,
``.status.conditions[?(@.type=="Ready")].status``. What is not there gives no result.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

__all__ = ["compile_path"]

Step = Callable[[Any], Iterator[Any]]

_NAME = re.compile(r"(?:\\.|[^.\[\]\\])+")
_INTEGERS = re.compile(r"\s*(-?\d+)\s*(?:,\s*(-?\d+)\s*)*")
_SLICE = re.compile(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*(?::\s*(-?\d*)\s*)?")
_FILTER = re.compile(
    r"\?\(\s*@(?P<path>(?:[^=!<>\s]|\\.)*)\s*(?:(?P<op>==|!=|<=|>=|<|>)\s*(?P<value>.+?))?\s*\)"
)
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_path(text: str) -> Callable[[Any], list[Any]]:
    """``path(obj)`` gives what the path finds, in order. ValueError for a path that cannot be understood."""
    steps = list(_steps(text))

    def find(obj: Any) -> list[Any]:
        found = [obj]
        for step in steps:
            found = [each for one in found for each in step(one)]
        return found

    return find


def _steps(text: str) -> Iterator[Step]:
    at = 0
    while at < len(text):
        if text.startswith("..", at):
            yield _descend
            at += 1 if text[at + 2 : at + 3] != "[" else 2
        elif text[at] == ".":
            at += 1
            if at == len(text) or text[at] == "[":
                continue
            found = _NAME.match(text, at)
            if found is None:
                raise ValueError(f"unrecognized character in path {text}")
            yield _every if found[0] == "*" else _child(re.sub(r"\\(.)", r"\1", found[0]))
            at = found.end()
        elif text[at] == "[":
            end = _closing(text, at)
            yield _bracket(text[at + 1 : end])
            at = end + 1
        else:
            raise ValueError(f"unrecognized character in path {text}")


def _closing(text: str, at: int) -> int:
    depth, quote = 0, ""
    for place in range(at, len(text)):
        char = text[place]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
            if not depth:
                return place
    raise ValueError(f"unterminated array in path {text}")


def _bracket(inside: str) -> Step:
    if inside == "*":
        return _every
    if inside[:1] in ("'", '"') and inside[-1:] == inside[:1]:
        return _child(inside[1:-1])
    condition = _FILTER.fullmatch(inside)
    if condition is not None:
        return _filter(condition["path"], condition["op"], condition["value"])
    if _INTEGERS.fullmatch(inside):
        return _indexes([int(part) for part in inside.split(",")])
    part = _SLICE.fullmatch(inside)
    if part is not None:
        return _slice(*(int(bound) if bound else None for bound in part.groups()))
    raise ValueError(f"invalid array index {inside}")


def _child(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _every(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def _descend(value: Any) -> Iterator[Any]:
    yield value
    for each in _every(value):
        yield from _descend(each)


def _indexes(wanted: list[int]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from (value[index] for index in wanted if -len(value) <= index < len(value))

    return step


def _slice(start: int | None = None, stop: int | None = None, by: int | None = None) -> Step:
    if by is not None and by <= 0:
        raise ValueError("step must be > 0")

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[start:stop:by]

    return step


def _filter(path: str, operation: str | None, literal: str | None) -> Step:
    left = compile_path(path)
    compare = _OPERATORS[operation] if operation else None
    right: Callable[[Any], list[Any]] | None = None
    wanted: Any = None
    if literal is not None:
        if literal.startswith("@"):
            right = compile_path(literal[1:])
        elif literal[:1] == "'" and literal[-1:] == "'":
            wanted = literal[1:-1]
        else:
            try:
                wanted = orjson.loads(literal)
            except orjson.JSONDecodeError:
                raise ValueError(f"invalid filter operand {literal}") from None

    def step(value: Any) -> Iterator[Any]:
        for each in _every(value):
            found = left(each)
            if compare is None:
                if found:
                    yield each
                continue
            others = right(each) if right is not None else [wanted]
            if found and others and _holds(compare, found[0], others[0]):
                yield each

    return step


def _holds(compare: Callable[[Any, Any], Any], one: Any, other: Any) -> bool:
    try:
        return bool(compare(one, other))
    except TypeError:
        return False
