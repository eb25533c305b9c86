"""The code of macros over lists and maps. Costs are those of the fold that cel-go expands a macro into."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

from .errors import CostExceeded, EvaluationError
from .frame import LIST_COST, MAP_COST, Code, Frame
from .values import MISSING, key_text, lookup, no_such_overload

__all__ = ["MACROS"]


def _pairs(value: Any, two: bool) -> Any:
    """What a macro goes over: (variable, second variable) for each element."""
    if isinstance(value, list):
        return enumerate(value) if two else zip(value, repeat(None), strict=False)
    if isinstance(value, dict):
        return list(value.items()) if two else zip(list(value), repeat(None), strict=False)
    raise no_such_overload()


def _quantifier(any_of: bool) -> Callable[..., Code]:
    charge = 4 if any_of else 3

    def make(range: Code, first: int, two: bool, condition: Code, step: Code | None) -> Code:
        def code(frame: Frame) -> Any:
            slots = frame.locals
            failure: EvaluationError | None = None
            for one, other in _pairs(range(frame), two):
                slots[first] = one
                if two:
                    slots[first + 1] = other
                frame.charge(charge)
                try:
                    value = condition(frame)
                except CostExceeded:
                    raise
                except EvaluationError as error:
                    failure = error
                    continue
                if value is any_of:
                    frame.cost += 1
                    return any_of
                if value is not True and value is not False:
                    failure = no_such_overload()
            if failure is not None:
                raise failure
            frame.cost += 1
            return not any_of

        return code

    return make


def _exists_one(range: Code, first: int, two: bool, condition: Code, step: Code | None) -> Code:
    def code(frame: Frame) -> Any:
        slots = frame.locals
        count = 0
        for one, other in _pairs(range(frame), two):
            slots[first] = one
            if two:
                slots[first + 1] = other
            frame.charge(1)
            if _true(condition(frame)):
                frame.cost += 1
                count += 1
        frame.cost += 2
        return count == 1

    return code


def _true(value: Any) -> bool:
    if value is True or value is False:
        return value is True
    raise no_such_overload()


def _to_list(range: Code, first: int, two: bool, condition: Code | None, step: Code | None) -> Code:
    def code(frame: Frame) -> list[Any]:
        slots = frame.locals
        frame.charge(LIST_COST)
        made: list[Any] = []
        for one, other in _pairs(range(frame), two):
            slots[first] = one
            if two:
                slots[first + 1] = other
            frame.charge(1)
            if condition is None or _true(condition(frame)):
                made.append(one if step is None else step(frame))
                # What cel-go's fold does for each element: a list of one, and a sum of two lists.
                frame.charge(LIST_COST + 1)
        frame.cost += 1
        return made

    return code


def _to_map(entry: bool) -> Callable[..., Code]:
    def make(range: Code, first: int, two: bool, condition: Code | None, step: Code) -> Code:
        def code(frame: Frame) -> dict[Any, Any]:
            slots = frame.locals
            frame.charge(MAP_COST)
            made: dict[Any, Any] = {}
            for one, other in _pairs(range(frame), two):
                slots[first] = one
                slots[first + 1] = other
                frame.charge(2)
                if condition is not None and not _true(condition(frame)):
                    continue
                value = step(frame)
                if entry and not isinstance(value, dict):
                    raise no_such_overload()
                for key, item in value.items() if entry else ((one, value),):
                    if lookup(made, key) is not MISSING:
                        raise EvaluationError(f"insert failed: key '{key_text(key)}' already exists")
                    made[key] = item
            frame.cost += 1
            return made

        return code

    return make


MACROS: dict[str, Callable[..., Code]] = {
    "all": _quantifier(False),
    "exists": _quantifier(True),
    "exists_one": _exists_one,
    "filter": _to_list,
    "map": _to_list,
    "transformList": _to_list,
    "transformMap": _to_map(False),
    "transformMapEntry": _to_map(True),
}
