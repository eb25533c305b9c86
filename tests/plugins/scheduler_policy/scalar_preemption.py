"""Preemption once more, in plain Python: who has to go on a node, and on which node least is lost.

Written from the rules of k8s.io/kubernetes/pkg/scheduler/framework/preemption and plugins/defaultpreemption (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kubernel.plugin.scheduling import PodState

Obj = dict[str, Any]
Fits = Callable[[Sequence[PodState]], bool]


def started(pod: PodState) -> str:
    """RFC 3339 in one zone, which sorts by time; a pod that has not started counts as started now."""
    return str((pod.pod.get("status") or {}).get("startTime") or "9999")


def more_important_first(pods: Sequence[PodState]) -> list[PodState]:
    return sorted(pods, key=lambda pod: (-pod.priority, started(pod)))


def protected(pods: Sequence[PodState], budgets: Sequence[Obj]) -> set[str]:
    """Those whose end, in this order, more than uses up a budget."""
    left = {each["metadata"]["name"]: each["status"]["disruptionsAllowed"] for each in budgets}
    found = set()
    for pod in pods:
        for each in budgets:
            name, wanted = each["metadata"]["name"], each["spec"]["selector"]["matchLabels"]
            if wanted.items() <= dict(pod.labels).items() and pod.name not in each["status"]["disruptedPods"]:
                left[name] -= 1
                if left[name] < 0:
                    found.add(pod.uid)
                    break
    return found


def victims(
    pod: PodState, there: Sequence[PodState], fits: Fits, budgets: Sequence[Obj]
) -> tuple[list[PodState], int] | None:
    """``fits``: whether the pod fits beside some others. The victims, the most important first, and how many of them
    budgets protect; None where nobody's going helps."""
    lower = more_important_first([each for each in there if each.priority < pod.priority])
    staying = [each for each in there if each.priority >= pod.priority]
    if not lower or not fits(staying):
        return None
    guarded = protected(lower, budgets)
    gone, violations = [], 0
    for each in sorted(lower, key=lambda each: each.uid not in guarded):
        if fits([*staying, each]):
            staying.append(each)
        else:
            gone.append(each)
            violations += each.uid in guarded
    return (more_important_first(gone), violations) if gone else None


def best(found: dict[str, tuple[list[PodState], int]]) -> set[str]:
    """The nodes that are as good as any: one criterion after the other leaves fewer of them."""

    def earliest(name: str) -> str:
        its = found[name][0]
        return min(started(each) for each in its if each.priority == max(one.priority for one in its))

    left = set(found)
    criteria: list[Callable[[str], Any]] = [
        lambda name: found[name][1],
        lambda name: max(each.priority for each in found[name][0]),
        lambda name: sum(each.priority + 2**31 for each in found[name][0]),
        lambda name: len(found[name][0]),
    ]
    for criterion in criteria:
        least = min(criterion(name) for name in left)
        left = {name for name in left if criterion(name) == least}
    latest = max(earliest(name) for name in left)
    return {name for name in left if earliest(name) == latest}
