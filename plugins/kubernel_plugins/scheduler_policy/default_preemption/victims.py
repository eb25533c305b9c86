"""Which pods are worth how much, and which node costs least.

Source: k8s.io/kubernetes/pkg/scheduler/framework/preemption/preemption.go, pickOneNodeForPreemption, and
pkg/scheduler/util/utils.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, selectors, times

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState
    from kubernel.store.records import Obj

__all__ = ["Candidate", "best", "by_importance", "violating_first"]

_LOWEST_PRIORITY = 2**31
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and its victims, the most important first; ``violations``: how many a budget protects."""

    node: str
    victims: tuple[PodState, ...]
    violations: int
    cost: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        highest = self.victims[0].priority
        earliest = min(_started(each) for each in self.victims if each.priority == highest)
        # Priorities are brought above zero, so that two low ones count for more than one of them.
        importance = sum(each.priority + _LOWEST_PRIORITY for each in self.victims)
        cost = self.violations, highest, importance, len(self.victims), -earliest
        object.__setattr__(self, "cost", cost)


def _started(pod: PodState) -> float:
    """A pod that has not started counts as started now, later than all others."""
    started = meta.get(pod.pod, "status", "startTime")
    return times.parse(started) if started else _NEVER


def by_importance(pod: PodState) -> tuple[int, float]:
    """Sort key: higher priority first, then the one that has run for longer."""
    return -pod.priority, _started(pod)


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Fewest broken budgets; least important most important victim; least importance in all; fewest victims;
    the most important ones started last; the first."""
    return min(candidates, key=lambda candidate: candidate.cost)


def violating_first(pods: Iterable[PodState], budgets: Sequence[Obj]) -> Iterator[tuple[PodState, bool]]:
    """Pods whose end a disruption budget does not allow (True), then the others, each in the given order."""
    left = {
        meta.uid(budget): meta.get(budget, "status", "disruptionsAllowed", default=0) for budget in budgets
    }
    protecting: dict[str, list[tuple[Obj, selectors.Selector]]] = {}
    for budget in budgets:
        selector = selectors.from_object((budget.get("spec") or {}).get("selector"))
        if not selector.empty:
            protecting.setdefault(budget["metadata"].get("namespace", ""), []).append((budget, selector))
    violating: list[PodState] = []
    others: list[PodState] = []
    for pod in pods:
        violates = False
        for budget, selector in protecting.get(pod.namespace, ()) if pod.labels else ():
            if not selector.matches(pod.labels) or pod.name in (
                meta.get(budget, "status", "disruptedPods", default={}) or {}
            ):
                continue
            left[meta.uid(budget)] -= 1
            violates |= left[meta.uid(budget)] < 0
        (violating if violates else others).append(pod)
    yield from ((pod, True) for pod in violating)
    yield from ((pod, False) for pod in others)
