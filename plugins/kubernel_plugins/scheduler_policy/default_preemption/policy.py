"""DefaultPreemption.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/defaultpreemption and framework/preemption (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import conditions, meta
from kubernel.plugin.gangs import GangNomination
from kubernel.plugin.scheduling import Change, Nomination, Policy, Proposal
from kubernel_plugins.scheduler_policy.default_preemption.victims import (
    Candidate,
    best,
    by_importance,
    violating_first,
)

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.gangs import GangTrial
    from kubernel.plugin.scheduling import Context, Cycle, PodState
    from kubernel.store.records import EventType, Obj

__all__ = ["DefaultPreemption"]

_REASON = "PreemptionByScheduler"
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
        if not 0 <= self._percentage <= 100:
            raise ValueError(
                f"minCandidateNodesPercentage: Invalid value: {self._percentage}: not in valid range [0, 100]"
            )
        if self._absolute < 0:
            raise ValueError(
                f"minCandidateNodesAbsolute: Invalid value: {self._absolute}: not in valid range [0, inf)"
            )
        if not self._percentage and not self._absolute:
            raise ValueError("minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero")
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

    async def post_filter(self, cycle: Cycle) -> Nomination | str:
        if refusal := self._not_eligible(cycle):
            return f"preemption: {refusal}"
        reasons: Counter[str] = Counter()
        candidates = list(self._candidates(cycle, reasons))
        if not candidates:
            return Nomination("", self._hopeless(cycle, reasons))
        left = await cycle.review({each.node: Proposal(each.victims, each.violations) for each in candidates})
        candidates = [
            Candidate(node, tuple(sorted(its.victims, key=by_importance)), its.violations)
            for node, its in left.items()
        ]
        if not candidates:
            return Nomination("", "preemption: no candidate node for preemption")
        chosen = best(candidates)
        await self._make_room(cycle.pod, chosen)
        return Nomination(chosen.node, victims=len(chosen.victims))

    async def post_filter_gang(self, trial: GangTrial) -> GangNomination | str:
        members = trial.members
        first = members[0]
        if first.pod["spec"].get("preemptionPolicy") == "Never":
            return "pod group preemption: not eligible due to preemptionPolicy=Never."
        if promised := self._going(members):
            return GangNomination(promised, 0, "pod group preemption: ongoing preemption on nominated nodes")
        nodes = self.context.nodes
        where = {
            each.uid: (each, nodes.name(int(row)))
            for row in numpy.flatnonzero(nodes.live)
            for each in nodes.pods_on(int(row))
            if each.priority < first.priority
        }
        lower = sorted((each for each, _ in where.values()), key=by_importance)
        if not lower:
            return "pod group preemption: No preemption victims found for incoming preemptor"
        victims = []
        try:
            for each in lower:
                trial.take_off(each)
            refusal, found = trial.place()
            if refusal:
                return f"pod group preemption: {refusal}"
            budgets = self._budgets.list() if self._budgets is not None else []
            for each, _ in violating_first(lower, budgets):
                trial.put_back(each)
                if not trial.fits():
                    trial.take_off(each)
                    victims.append(each)
        finally:
            trial.restore()
        for victim in victims:
            await self._end(victim, first, where[victim.uid][1])
        text = f"found a placement for podgroup, preempting {len(victims)} victims"
        return GangNomination(found, len(victims), f"pod group preemption: {text}")

    def _going(self, members: Sequence[PodState]) -> dict[str, str]:
        """The nodes promised to members where somebody is still leaving for them."""
        nodes = self.context.nodes
        promised = {
            each.uid: str(meta.get(each.pod, "status", "nominatedNodeName", default="")) for each in members
        }
        rows = {row for name in promised.values() if name and (row := nodes.row(name)) is not None}
        leaving = any(
            each.priority < members[0].priority and each.leaving and _was_preempted(each.pod)
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
            if each.priority < pod.priority and each.leaving and _was_preempted(each.pod):
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
        if stamp is None:
            return self._victims(cycle, row)
        now = stamp, self._budget_changes
        known = self._known.get(row)
        if known is None or known[0] != now:
            known = self._known[row] = now, self._victims(cycle, row)
        return known[1]

    def _victims(self, cycle: Cycle, row: int) -> Candidate | Sequence[str]:
        """The fewest pods that have to go: all of lower priority are taken off, then, the important ones first,
        each that may stay is put back. Texts say why nobody's going would help."""
        pod, nodes = cycle.pod, self.context.nodes
        lower = sorted(
            (each for each in nodes.pods_on(row) if each.priority < pod.priority), key=by_importance
        )
        if not lower:
            return (_NO_VICTIMS,)
        with cycle.suppose(row) as there:
            for each in lower:
                there.take_off(each)
            if not there.fits():
                return tuple(there.refusals())
            victims, violations = [], 0
            budgets = self._budgets.list() if self._budgets is not None else []
            for each, violates in violating_first(lower, budgets):
                there.put_back(each)
                if not there.fits():
                    there.take_off(each)
                    victims.append(each)
                    violations += violates
        return (
            Candidate(nodes.name(row), tuple(sorted(victims, key=by_importance)), violations)
            if victims
            else (_NO_VICTIMS,)
        )

    # --- how

    async def _make_room(self, pod: PodState, chosen: Candidate) -> None:
        for victim in chosen.victims:
            await self._end(victim, pod, chosen.node)
        for other in self.context.nominated(chosen.node):
            # What was promised to them may not be there any more.
            if other.priority < pod.priority:
                await self.context.withdraw(other)

    async def _end(self, victim: PodState, pod: PodState, node: str) -> None:
        context, client = self.context, self.context.client
        if any(each.uid == victim.uid for each in context.waiting()):
            context.reject(victim.uid, "preempted")
            return
        if victim.leaving:
            return
        now = context.clock.time()
        message = f"{context.scheduler_name}: preempting to accommodate a higher priority pod"
        found, _ = conditions.set(None, "DisruptionTarget", "True", _REASON, message, rfc3339(now))
        change = {"metadata": {"uid": victim.uid}, "status": {"conditions": found}}
        try:
            await client.patch(
                "pods", victim.name, change, victim.namespace, type="strategic", subresource="status"
            )
            await client.delete("pods", victim.name, victim.namespace, uid=victim.uid)
        except (NotFound, Conflict):
            return
        except ApiError as error:
            context.log.warning("preempting {}/{}: {}", victim.namespace, victim.name, error.message)
            return
        note = f"Preempted by pod {pod.uid} on node {node}"
        context.event(victim.pod, "Normal", "Preempted", "Preempting", note, related=pod.pod)


def _was_preempted(pod: Mapping[str, Any]) -> bool:
    found = conditions.find(pod, "DisruptionTarget")
    return found is not None and found["status"] == "True" and found.get("reason") == _REASON
