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

__all__ = ["Candidate", "Victim", "best", "violating_first"]

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


@dataclass(frozen=True, slots=True)
class Victim:
    """A pod, or the pods of a group that may only be disrupted as a whole; ``priority`` is what counts of it."""

    pods: tuple[PodState, ...]
    priority: int
    grouped: bool = False
    importance: tuple[Any, ...] = field(init=False, compare=False)
    """Sort key, the most important first: by priority, groups before pods, large groups before small ones, then the
    one that has run for longer."""

    def __post_init__(self) -> None:
        earliest = min(_started(each) for each in self.pods)
        key = -self.priority, not self.grouped, -len(self.pods), earliest
        object.__setattr__(self, "importance", key)


def best(candidates: Sequence[Candidate]) -> Candidate:
    """Fewest broken budgets; least important most important victim; least importance in all; fewest victims;
    the most important ones started last; the first."""
    return min(candidates, key=lambda candidate: candidate.cost)


def violating_first(victims: Iterable[Victim], budgets: Sequence[Obj]) -> Iterator[tuple[Victim, int]]:
    """Victims with pods whose end a disruption budget does not allow, and how many these are; then the others, each in
    the given order."""
    left = {
        meta.uid(budget): meta.get(budget, "status", "disruptionsAllowed", default=0) for budget in budgets
    }
    protecting: dict[str, list[tuple[Obj, selectors.Selector]]] = {}
    for budget in budgets:
        selector = selectors.from_object((budget.get("spec") or {}).get("selector"))
        if not selector.empty:
            protecting.setdefault(budget["metadata"].get("namespace", ""), []).append((budget, selector))

    def violates(pod: PodState) -> bool:
        for budget, selector in protecting.get(pod.namespace, ()) if pod.labels else ():
            if not selector.matches(pod.labels) or pod.name in (
                meta.get(budget, "status", "disruptedPods", default={}) or {}
            ):
                continue
            left[meta.uid(budget)] -= 1
            if left[meta.uid(budget)] < 0:
                return True
        return False

    counted = [(victim, sum(violates(pod) for pod in victim.pods)) for victim in victims]
    yield from ((victim, count) for victim, count in counted if count)
    yield from ((victim, 0) for victim, count in counted if not count)
