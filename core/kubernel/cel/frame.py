"""One evaluation of compiled code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .errors import CostExceeded

__all__ = ["LIST_COST", "MAP_COST", "STRUCT_COST", "Code", "Frame"]

LIST_COST, MAP_COST, STRUCT_COST = 10, 30, 40


class Frame:
    """One evaluation: the variables, those of macros by number, what it has cost and may."""

    __slots__ = ("cost", "limit", "locals", "variables")

    def __init__(self, variables: Mapping[str, Any], locals: int, limit: int) -> None:
        self.variables = variables
        self.locals: list[Any] = [None] * locals
        self.cost = 0
        self.limit = limit

    def charge(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise CostExceeded


Code = Callable[[Frame], Any]
