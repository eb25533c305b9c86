"""The indexes of an indexed job: ``1,3-5``."""

from __future__ import annotations

import re

__all__ = ["count_indexes", "overlap"]

_index = re.compile(r"[+-]?[0-9]+")


def _interval(text: str, completions: int) -> tuple[int, int]:
    parts = text.split("-")
    if len(parts) > 2:
        raise ValueError(
            f'the fragment "{text}" violates the requirement that an index interval can have at most two parts '
            "separated by '-'"
        )
    limits = []
    for part in parts:
        if not _index.fullmatch(part):
            raise ValueError(f'cannot convert string to integer for index: "{part}"')
        if int(part) >= completions:
            raise ValueError(f'too large index: "{part}"')
        limits.append(int(part))
    if len(limits) == 2 and limits[0] >= limits[1]:
        raise ValueError(f"non-increasing order, previous: {limits[0]}, current: {limits[1]}")
    return limits[0], limits[-1]


def count_indexes(text: str, completions: int) -> int:
    """How many indexes ``1,3-5`` has; ValueError in upstream's words."""
    total, last = 0, None
    for part in text.split(",") if text else ():
        first, end = _interval(part, completions)
        if last is not None and last >= first:
            raise ValueError(f"non-increasing order, previous: {last}, current: {first}")
        total += end - first + 1
        last = end
    return total


def _intervals(text: str, completions: int) -> list[tuple[int, int]]:
    """Those parts that can be read."""
    found = []
    for part in text.split(",") if text else ():
        try:
            found.append(_interval(part, completions))
        except ValueError:
            continue
    return found


def overlap(text: str, other: str, completions: int) -> int | None:
    """The first index that both have."""
    shared = [
        max(first, start)
        for first, end in _intervals(text, completions)
        for start, stop in _intervals(other, completions)
        if first <= stop and start <= end
    ]
    return min(shared, default=None)
