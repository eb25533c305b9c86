"""Bringing scores to 0 to 100 (k8s.io/kubernetes/pkg/scheduler/framework/plugins/helper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy

from kubernel.plugin.scheduling import MAX_SCORE

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Mask

__all__ = ["by_largest"]


def by_largest(scores: Amounts, fits: Mask, *, reverse: bool = False) -> Amounts:
    """The largest score among nodes that fit becomes 100; ``reverse``: it becomes 0, and none becomes 100."""
    largest = int(scores[fits].max())
    if not largest:
        return numpy.full_like(scores, MAX_SCORE) if reverse else scores
    scaled = MAX_SCORE * scores // largest
    return MAX_SCORE - scaled if reverse else scaled
