"""How fast and how far a recommendation is followed: limits, policies, stabilisation.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Decision", "History", "normalize"]

_UP_FACTOR = 2.0
_UP_MINIMUM = 4.0
_MAX_INT32 = 2**31 - 1


class Decision(NamedTuple):
    """A replica count, and the conditions AbleToScale and ScalingLimited: (status, reason, message)."""

    replicas: int
    able: tuple[str, str, str]
    limited: tuple[str, str, str]


@dataclass(slots=True)
class History:
    """What was recommended, and what was done: (count, epoch seconds)."""

    recommendations: list[tuple[int, float]] = field(default_factory=list)
    up: list[tuple[int, float]] = field(default_factory=list)
    down: list[tuple[int, float]] = field(default_factory=list)

    def scaled(self, behavior: Mapping[str, Any] | None, before: int, after: int, now: float) -> None:
        """Remember a change as long as any policy of its direction looks back."""
        if behavior is None:
            return
        events, rules = (self.up, "scaleUp") if after > before else (self.down, "scaleDown")
        longest = max((policy["periodSeconds"] for policy in behavior[rules]["policies"]), default=0)
        events[:] = [event for event in events if event[1] >= now - longest]
        events.append((abs(after - before), now))

    def recommend(self, replicas: int, now: float, window: float) -> None:
        self.recommendations = [one for one in self.recommendations if one[1] >= now - window]
        self.recommendations.append((replicas, now))


_READY = ("True", "ReadyForNewScale", "recommended size matches current size")
_UP_STABILIZED = (
    "True",
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
_DOWN_STABILIZED = (
    "True",
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
_WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
_TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
_TOO_FAST_DOWN = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
_TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
_TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")


def normalize(
    spec: Mapping[str, Any], history: History, current: int, desired: int, now: float, downscale: float
) -> Decision:
    """What becomes of a recommendation; ``downscale``: seconds of stabilisation where the spec names none."""
    low, high = spec.get("minReplicas", 1), spec["maxReplicas"]
    behavior = spec.get("behavior")
    if behavior is None:
        stable, able = _highest(history, desired, now, downscale)
        replicas, limit = _within(current, stable, low, high)
    else:
        stable, able = _stabilize(behavior, history, current, desired, now, downscale)
        replicas, limit = _at_rate(behavior, history, current, stable, now, low, high)
    return Decision(replicas, able, ("False" if replicas == stable else "True", *limit))


def _highest(history: History, desired: int, now: float, window: float) -> tuple[int, tuple[str, str, str]]:
    stable = max([desired, *(one for one, at in history.recommendations if at >= now - window)])
    history.recommend(desired, now, window)
    return stable, _READY if stable == desired else _DOWN_STABILIZED


def _within(current: int, desired: int, low: int, high: int) -> tuple[int, tuple[str, str]]:
    fastest = int(max(_UP_FACTOR * current, _UP_MINIMUM))
    limit, reason = (fastest, _TOO_FAST_UP) if high > fastest else (high, _TOO_MANY)
    if desired < low:
        return low, _TOO_FEW
    if desired > limit:
        return limit, reason
    return desired, _WITHIN


def _stabilize(
    behavior: Mapping[str, Any], history: History, current: int, desired: int, now: float, downscale: float
) -> tuple[int, tuple[str, str, str]]:
    up_window: float = behavior["scaleUp"].get("stabilizationWindowSeconds") or 0
    down_window: float = behavior["scaleDown"].get("stabilizationWindowSeconds", downscale)
    lowest = min([desired, *(one for one, at in history.recommendations if at > now - up_window)])
    highest = max([desired, *(one for one, at in history.recommendations if at > now - down_window)])
    stable = min(max(current, lowest), highest)
    history.recommend(desired, now, max(up_window, down_window))
    if stable == desired:
        return stable, _READY
    return stable, _UP_STABILIZED if desired >= current else _DOWN_STABILIZED


def _at_rate(
    behavior: Mapping[str, Any],
    history: History,
    current: int,
    desired: int,
    now: float,
    low: int,
    high: int,
) -> tuple[int, tuple[str, str]]:
    if desired > current:
        fastest = max(_up_limit(behavior["scaleUp"], history, current, now), current)
        limit, reason = (fastest, _TOO_FAST_UP) if high > fastest else (high, _TOO_MANY)
        if desired > limit:
            return limit, reason
    elif desired < current:
        fastest = min(_down_limit(behavior["scaleDown"], history, current, now), current)
        limit, reason = (fastest, _TOO_FAST_DOWN) if low < fastest else (low, _TOO_FEW)
        if desired < limit:
            return limit, reason
    return desired, _WITHIN


def _at_start(history: History, current: int, period: float, now: float) -> int:
    """How many replicas there were when the policy's period began."""
    added = sum(count for count, at in history.up if at > now - period)
    removed = sum(count for count, at in history.down if at > now - period)
    return current - added + removed


def _up_limit(rules: Mapping[str, Any], history: History, current: int, now: float) -> int:
    if rules.get("selectPolicy") == "Disabled":
        return current
    least = rules.get("selectPolicy") == "Min"
    choose: Callable[[int, int], int] = min if least else max
    result = _MAX_INT32 if least else -_MAX_INT32
    for policy in rules.get("policies") or ():
        start = _at_start(history, current, policy["periodSeconds"], now)
        if policy["type"] == "Pods":
            proposed = start + policy["value"]
        else:
            # Rounded up, or a small count would never grow.
            proposed = math.ceil(start * (1 + policy["value"] / 100))
        result = choose(result, proposed)
    return result


def _down_limit(rules: Mapping[str, Any], history: History, current: int, now: float) -> int:
    if rules.get("selectPolicy") == "Disabled":
        return current
    least = rules.get("selectPolicy") == "Min"
    choose: Callable[[int, int], int] = max if least else min
    result = -_MAX_INT32 if least else _MAX_INT32
    for policy in rules.get("policies") or ():
        start = _at_start(history, current, policy["periodSeconds"], now)
        by_count = policy["type"] == "Pods"
        value: int = policy["value"]
        result = choose(result, start - value if by_count else int(start * (1 - value / 100)))
    return result
