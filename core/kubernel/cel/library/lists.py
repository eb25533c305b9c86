"""Kubernetes' list functions and cel-go's sets extension."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.values import Duration, compare, equal, size_of

from .declare import Table, function, member, traversal
from .standard import checked_duration, checked_int, checked_uint

__all__ = ["table"]

_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")


def _is_sorted(items: list[Any]) -> bool:
    return all(compare(a, b) in (-1, 0) for a, b in pairwise(items))


def _extreme(name: str, wanted: int) -> Any:
    def extreme(items: list[Any]) -> Any:
        if not items:
            raise EvaluationError(f"{name} called on empty list")
        best = items[0]
        for item in items[1:]:
            if compare(item, best) == wanted:
                best = item
        return best

    return extreme


def _index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at, item in enumerate(items) if equal(item, wanted)), -1)


def _last_index_of(items: list[Any], wanted: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], wanted)), -1)


def _product(values: list[Any], result: Any) -> int:
    return size_of(values[0]) * size_of(values[1])


def _contains(items: list[Any], wanted: list[Any]) -> bool:
    return all(any(equal(item, one) for item in items) for one in wanted)


def _equivalent(left: list[Any], right: list[Any]) -> bool:
    return _contains(left, right) and _contains(right, left)


def _intersects(left: list[Any], right: list[Any]) -> bool:
    return any(equal(a, b) for a in left for b in right)


def table() -> Table:
    declared: Table = []
    for kind in _ORDERED:
        declared.append(member("isSorted", f"list({kind})", "bool", _is_sorted, traversal))
        declared.append(member("min", f"list({kind})", kind, _extreme("min", -1), traversal))
        declared.append(member("max", f"list({kind})", kind, _extreme("max", 1), traversal))
    declared.append(member("sum", "list(int)", "int", lambda items: checked_int(sum(items)), traversal))
    declared.append(
        member("sum", "list(uint)", "uint", lambda items: checked_uint(sum(map(int, items))), traversal)
    )
    declared.append(member("sum", "list(double)", "double", lambda items: float(sum(items)), traversal))
    declared.append(
        member("sum", "list(duration)", "duration", _sum_durations, traversal),
    )
    declared.append(member("indexOf", "list(A);A", "int", _index_of, traversal))
    declared.append(member("lastIndexOf", "list(A);A", "int", _last_index_of, traversal))
    declared.append(function("sets.contains", "list(A);list(A)", "bool", _contains, _product))
    declared.append(function("sets.equivalent", "list(A);list(A)", "bool", _equivalent, _product))
    declared.append(function("sets.intersects", "list(A);list(A)", "bool", _intersects, _product))
    return declared


def _sum_durations(items: list[Duration]) -> Duration:
    return checked_duration(sum(item.nanos for item in items))
