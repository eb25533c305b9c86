"""DefaultPreemption.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption and framework/preemption (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.objects import meta
from kubernel.plugin.gangs import GangNomination
from kubernel.plugin.scheduling import Change, Nomination, Policy, Proposal
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.default_preemption.executing import Executor
from kubernel_plugins.scheduler_policy.default_preemption.victims import (
    Candidate,
    Victim,
    best,
    violating_first,
)
from kubernel_plugins.scheduler_policy.groups import group_name

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.gangs import GangTrial
    from kubernel.plugin.scheduling import Context, Cycle, PodState
    from kubernel.store.records import EventType, Obj

__all__ = ["DefaultPreemption"]

_NO_HELP = "Preemption is not helpful for scheduling"
_NO_VICTIMS = "No preemption victims found for incoming pod"


class DefaultPreemption(Policy):
    """Arguments: ``minCandidateNodesPercentage`` and ``minCandidateNodesAbsolute``: how many nodes to find on
    which preemption would help before the best of them is taken."""

    name = "DefaultPreemption"
    scope = "node object"
    arguments = frozenset(("minCandidateNodesPercentage", "minCandidateNodesAbsolute"))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._percentage = args.get("minCandidateNodesPercentage", 10)
        self._absolute = args.get("minCandidateNodesAbsolute", 100)
        wrong = Problems()
        wrong.within("minCandidateNodesPercentage", self._percentage, 0, 100)
        if self._absolute < 0:
            wrong.invalid("minCandidateNodesAbsolute", self._absolute, "not in valid range [0, inf)")
        if not self._percentage and not self._absolute:
            both = ("minCandidateNodesPercentage", "minCandidateNodesAbsolute")
            for one, other in (both, both[::-1]):
                wrong.invalid(one, 0, f"cannot be zero at the same time as {other}")
        wrong.check()
        self._executor = Executor(context, self.name)
        self._budgets: Informer | None = None
        self._budget_changes = 0
        self._known: dict[int, tuple[object, Candidate | Sequence[str]]] = {}
        """By row, what was found when the node had a stamp, for pods alike that come one after the other."""
        self._unlisten: Callable[[], None] = lambda: None

    async def start(self) -> None:
        self._budgets = self.context.client.informer("poddisruptionbudgets.v1.policy")
        await self._budgets.synced()
        self._unlisten = self._budgets.add_listener(self._on_budget)

    async def stop(self) -> None:
        self._unlisten()

    def _on_budget(self, type: EventType, budget: Obj, old: Obj | None) -> None:
        self._budget_changes += 1

    def sign(self, pod: PodState) -> Any:
        return ()

    def helps(self, pod: PodState, change: Change) -> bool:
        return change.resource == "pods" and change.type == "DELETED"

    def pre_enqueue(self, pod: PodState) -> str:
        if not self._executor.is_busy(pod):
            return ""
        what = "pod group" if group_name(pod.pod) else "pod"
        return f"waiting for the preemption for this {what} to be finished"

    async def post_filter(self, cycle: Cycle) -> Nomination | str:
        if refusal := self._not_eligible(cycle):
            return f"preemption: {refusal}"
        reasons: Counter[str] = Counter()
        candidates = list(self._candidates(cycle, reasons))
        if not candidates:
            return Nomination("", self._hopeless(cycle, reasons))
        left = await cycle.review({each.node: Proposal(each.victims, each.violations) for each in candidates})
        candidates = [
            Candidate(node, tuple(sorted(its.victims, key=_importance)), its.violations)
            for node, its in left.items()
        ]
        if not candidates:
            return Nomination("", "preemption: no candidate node for preemption")
        chosen = best(candidates)
        self._executor.preempt([cycle.pod], cycle.pod.pod, chosen.victims, chosen.node)
        count = len(chosen.victims)
        text = f"found a potential placement for pod on node {chosen.node}, preempting {count} victims"
        return Nomination(chosen.node, f"preemption: {text}", count)

    def proposals(self, cycle: Cycle) -> Mapping[str, Proposal] | str:
        if refusal := self._not_eligible(cycle):
            return f"preemption: {refusal}"
        reasons: Counter[str] = Counter()
        candidates = []
        for row in numpy.flatnonzero(self.context.nodes.live & ~cycle.lasting):
            found = self._candidate(cycle, int(row))
            if isinstance(found, Candidate):
                candidates.append(found)
            else:
                reasons.update(found)
        if not candidates:
            return self._hopeless(cycle, reasons)
        candidates.sort(key=lambda candidate: candidate.cost)
        return {each.node: Proposal(each.victims, each.violations) for each in candidates}

    async def post_filter_gang(self, trial: GangTrial) -> GangNomination | str:
        members = trial.members
        first = members[0]
        if first.pod["spec"].get("preemptionPolicy") == "Never":
            return "pod group preemption: not eligible due to preemptionPolicy=Never."
        if promised := self._going(members):
            return GangNomination(promised, 0, "pod group preemption: ongoing preemption on nominated nodes")
        nodes = self.context.nodes
        everyone = (each for row in numpy.flatnonzero(nodes.live) for each in nodes.pods_on(int(row)))
        lower = self._lower(everyone, first.priority)
        if not lower:
            return "pod group preemption: No preemption victims found for incoming preemptor"
        victims: list[Victim] = []
        try:
            for pod in _pods(lower):
                trial.take_off(pod)
            refusal, found = trial.place()
            if refusal:
                return f"pod group preemption: {refusal}"
            budgets = self._budgets.list() if self._budgets is not None else []
            for victim, _ in violating_first(lower, budgets):
                for pod in victim.pods:
                    trial.put_back(pod)
                if not trial.fits():
                    for pod in victim.pods:
                        trial.take_off(pod)
                    victims.append(victim)
        finally:
            trial.restore()
        going = _pods(sorted(victims, key=lambda victim: victim.importance))
        self._executor.preempt(members, trial.gang.group, going, "cluster")
        text = f"found a placement for podgroup, preempting {len(going)} victims"
        return GangNomination(found, len(going), f"pod group preemption: {text}")

    def _lower(self, pods: Iterable[PodState], priority: int) -> list[Victim]:
        """Who is worth less than ``priority``, the most important first. A group that only goes as a whole is one
        victim, wherever its pods are."""
        found: dict[object, Victim] = {}
        for pod in pods:
            gang = self.context.gang(pod) if group_name(pod.pod) else None
            if (pod.priority if gang is None else gang.priority) >= priority:
                continue
            if gang is None or not gang.whole:
                found[pod.uid] = Victim((pod,), pod.priority if gang is None else gang.priority)
            elif gang.key not in found:
                there = (self.context.nodes.pod(uid) for uid in gang.placed)
                members = tuple(each[0] for each in there if each is not None)
                found[gang.key] = Victim(members, gang.priority, grouped=True)
        return sorted(found.values(), key=lambda victim: victim.importance)

    def _going(self, members: Sequence[PodState]) -> dict[str, str]:
        """The nodes promised to members where somebody is still leaving for them."""
        nodes = self.context.nodes
        promised = {
            each.uid: str(meta.get(each.pod, "status", "nominatedNodeName", default="")) for each in members
        }
        rows = {row for name in promised.values() if name and (row := nodes.row(name)) is not None}
        leaving = any(
            each.priority < members[0].priority and each.leaving and Executor.ended(each.pod)
            for row in rows
            for each in nodes.pods_on(row)
        )
        return {uid: name for uid, name in promised.items() if name} if leaving else {}

    # --- whether

    def _not_eligible(self, cycle: Cycle) -> str:
        pod = cycle.pod
        if pod.pod["spec"].get("preemptionPolicy") == "Never":
            return "not eligible due to preemptionPolicy=Never."
        nodes = self.context.nodes
        row = nodes.row(meta.get(pod.pod, "status", "nominatedNodeName", default=""))
        if row is None or cycle.lasting[row]:
            return ""
        for each in nodes.pods_on(row):
            if each.priority < pod.priority and each.leaving and Executor.ended(each.pod):
                return "not eligible due to a terminating pod on the nominated node."
        return ""

    def _hopeless(self, cycle: Cycle, reasons: Counter[str]) -> str:
        nodes = self.context.nodes
        reasons[_NO_HELP] += int((cycle.lasting & nodes.live).sum())
        told = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
        return f"preemption: 0/{nodes.count} nodes are available: {', '.join(told)}."

    # --- where

    def _candidates(self, cycle: Cycle, reasons: Counter[str]) -> Iterator[Candidate]:
        """Nodes on which preemption would help: from one chosen by lot, until there are enough. Why it would not help
        on others is counted in ``reasons``."""
        nodes = self.context.nodes
        rows = numpy.flatnonzero(nodes.live & ~cycle.lasting)
        if not len(rows):
            return
        enough = min(max(len(rows) * self._percentage // 100, self._absolute), len(rows))
        offset = int(self.context.rng.random() * len(rows))
        found = harmless = 0
        for row in numpy.roll(rows, -offset):
            candidate = self._candidate(cycle, int(row))
            if not isinstance(candidate, Candidate):
                reasons.update(candidate)
                continue
            yield candidate
            found += 1
            harmless += not candidate.violations
            if harmless and found >= enough:
                return

    def _candidate(self, cycle: Cycle, row: int) -> Candidate | Sequence[str]:
        stamp = cycle.stamp(row)
        now = stamp, self._budget_changes
        known = self._known.get(row)
        if stamp is not None and known is not None and known[0] == now:
            return known[1]
        lower = self._lower(self.context.nodes.pods_on(row), cycle.pod.priority)
        found = self._victims(cycle, row, lower)
        # What becomes of a group depends on other nodes, too.
        if stamp is not None and not any(victim.grouped for victim in lower):
            self._known[row] = now, found
        return found

    def _victims(self, cycle: Cycle, row: int, lower: Sequence[Victim]) -> Candidate | Sequence[str]:
        """The fewest that have to go: all of lower priority are taken off, then, the important ones first, each that
        may stay is put back. Texts say why nobody's going would help."""
        if not lower:
            return (_NO_VICTIMS,)
        victims: list[Victim] = []
        violations = 0
        with cycle.suppose(row) as there:
            for pod in _pods(lower):
                there.take_off(pod)
            if not there.fits():
                return tuple(there.refusals())
            budgets = self._budgets.list() if self._budgets is not None else []
            for victim, violating in violating_first(lower, budgets):
                for pod in victim.pods:
                    there.put_back(pod)
                if not there.fits():
                    for pod in victim.pods:
                        there.take_off(pod)
                    victims.append(victim)
                    violations += violating
        if not victims:
            return (_NO_VICTIMS,)
        victims.sort(key=lambda victim: victim.importance)
        return Candidate(self.context.nodes.name(row), _pods(victims), violations)


def _pods(victims: Iterable[Victim]) -> tuple[PodState, ...]:
    return tuple(pod for victim in victims for pod in victim.pods)


def _importance(pod: PodState) -> tuple[Any, ...]:
    return Victim((pod,), pod.priority).importance
