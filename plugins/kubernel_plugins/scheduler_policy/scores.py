"""Bringing scores to 0 to 100 (k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import MAX_SCORE

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Mask

__all__ = ["by_largest", "shaped"]

_TEN = 10
"""The largest score of a shape's point."""


def by_largest(scores: Amounts, fits: Mask, *, reverse: bool = False) -> Amounts:
    """The largest score among nodes that fit becomes 100; ``reverse``: it becomes 0, and none becomes 100."""
    largest = int(scores[fits].max())
    if not largest:
        return numpy.full_like(scores, MAX_SCORE) if reverse else scores
    scaled = MAX_SCORE * scores // largest
    return MAX_SCORE - scaled if reverse else scaled


def shaped(shape: Sequence[Mapping[str, Any]]) -> Amounts:
    """The score (0 to 100) for each per cent of utilisation, linear between the points of a shape (utilization in
    per cent, score 0 to 10)."""
    points = [(entry.get("utilization", 0), entry.get("score", 0)) for entry in shape]
    return numpy.array([_at(points, percent) for percent in range(101)], dtype=numpy.int64)


def _at(points: Sequence[tuple[int, int]], percent: int) -> int:
    scaled = [(use, score * (MAX_SCORE // _TEN)) for use, score in points]
    for position, (use, score) in enumerate(scaled):
        if percent <= use:
            if position == 0:
                return score
            before_use, before = scaled[position - 1]
            # Division truncates towards zero, as Go's does.
            return before + int((score - before) * (percent - before_use) / (use - before_use))
    return scaled[-1][1]
