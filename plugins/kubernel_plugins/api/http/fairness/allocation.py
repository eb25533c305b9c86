"""How seats are shared out between priority levels that lend and borrow.

Source: k8s.io/apiserver/pkg/util/flowcontrol/{conc_alloc,apf_controller}.go (KEP-1040, "Dynamic adjustment").
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

__all__ = ["Bounds", "Demand", "share"]

_LEAST = 0.001
_SMOOTHING = 0.977
"""How much of the smoothed demand is left after one period."""


class Bounds(NamedTuple):
    least: float
    most: float
    target: float


def share(total: float, levels: Sequence[Bounds]) -> tuple[list[float], float]:
    """(a share for each level, the proportion): each gets its target times one proportion, the same for all, or the
    bound that this would go beyond; the shares add up to ``total``. Without such a proportion, the bounds nearest
    to one."""
    targets = [max(level.target, _LEAST) for level in levels]

    def at(proportion: float) -> list[float]:
        return [
            max(level.least, min(level.most, proportion * target))
            for level, target in zip(levels, targets, strict=True)
        ]

    # The sum grows with the proportion, in straight pieces between the proportions at which a level meets a bound.
    corners = sorted(
        {bound / target for level, target in zip(levels, targets, strict=True) for bound in level[:2]}
    )
    low, before = 0.0, sum(at(0.0))
    if before >= total or not corners:
        return at(0.0), 0.0
    for corner in corners:
        after = sum(at(corner))
        if after >= total:
            part = (total - before) / (after - before) if after > before else 0.0
            proportion = low + (corner - low) * part
            return at(proportion), proportion
        low, before = corner, after
    return at(low), low


class Demand:
    """How many seats were wanted over time: the average, its deviation and the most, from ``reset`` to ``reset``."""

    __slots__ = (
        "_area",
        "_begun",
        "_last",
        "_most",
        "_squares",
        "average",
        "deviation",
        "most",
        "smoothed",
        "value",
    )

    def __init__(self, now: float) -> None:
        self.value = 0
        self._begun = self._last = now
        self._area = self._squares = 0.0
        self._most = 0
        self.average = self.deviation = self.smoothed = 0.0
        self.most = 0

    def set(self, value: int, now: float) -> None:
        spent = now - self._last
        if spent > 0:
            before = self.value
            weighed = before * spent
            self._area += weighed
            self._squares += before * weighed
            self._last = now
        self.value = value
        if value > self._most:
            self._most = value

    def reset(self, now: float, periods: int) -> None:
        """Take stock of what was since the last time, which was that many adjustment periods ago."""
        self.set(self.value, now)
        spent = now - self._begun
        self.most = self._most
        if spent > 0:
            self.average = self._area / spent
            self.deviation = sqrt(max(0.0, self._squares / spent - self.average**2))
            envelope = self.average + self.deviation
            kept = _SMOOTHING ** max(1, periods)
            self.smoothed = max(envelope, kept * self.smoothed + (1 - kept) * envelope)
        self._begun = now
        self._area = self._squares = 0.0
        self._most = self.value
