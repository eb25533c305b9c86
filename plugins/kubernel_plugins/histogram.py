"""A histogram in the Prometheus text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["Histogram", "exponential"]


def exponential(first: float, factor: float, count: int) -> tuple[float, ...]:
    """Bounds that grow by ``factor``."""
    return tuple(float(f"{first * factor**number:.12g}") for number in range(count))


class Histogram:
    __slots__ = ("bounds", "row", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.row = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.row[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: str, *, least: int = 0, value: float = 0.0) -> Iterable[str]:
        """``least`` observations of ``value``, the lowest bound, were counted elsewhere."""
        total = least
        before, around = f"{labels}," if labels else "", f"{{{labels}}}" if labels else ""
        for bound, hits in zip((*map(str, self.bounds), "+Inf"), self.row, strict=True):
            total += hits
            yield f'{name}_bucket{{{before}le="{bound}"}} {total}'
        yield f"{name}_sum{around} {self.sum + least * value:.6f}"
        yield f"{name}_count{around} {total}"
