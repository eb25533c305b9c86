"""Pods that get their nodes together or not at all.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one_podgroup.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kubernel.plugin.gangs import GangNomination
from kubernel.plugin.scheduling import PolicyError
from kubernel_plugins.scheduler.default.messages import unschedulable

if TYPE_CHECKING:
    from kubernel.plugin.gangs import Gang
    from kubernel.plugin.scheduling import PodState, Policy
    from kubernel_plugins.scheduler.default.profile import Profile
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

__all__ = ["GangCycle"]


_UNSCHEDULABLE = "pod group is unschedulable, "


class GangCycle:
    """One attempt for one gang."""

    def __init__(self, scheduler: Scheduler, profile: Profile, policy: Policy, gang: Gang) -> None:
        self._scheduler = scheduler
        self._profile = profile
        self._policy = policy
        self.gang = gang
        self._placed: list[tuple[PodState, str]] = []
        self._failed: dict[str, str] = {}
        self._refused_by: dict[str, Policy] = {}
        self._error = ""
        self._begun = scheduler.clock.monotonic()

    async def schedule(self, first: PodState, group: asyncio.TaskGroup, binds: asyncio.Semaphore) -> None:
        """``first`` is out of the queue; the others of its gang that wait are taken out here."""
        scheduler, queue = self._scheduler, self._scheduler.queue
        others = [uid for uid in self.gang.members if uid != first.uid]
        members = [first, *queue.take(others)]
        if wrong := self._mixed(members):
            await self._stop(members, wrong)
            return
        refusal = first_refusal = self._place(members)
        scheduler.metrics.gang_algorithm.observe(scheduler.clock.monotonic() - self._begun)
        if self._error:
            self.undo()
            await self._stop(members, self._error)
            return
        promised: Mapping[str, str] = {}
        fitted: set[str] = set()
        if refusal:
            fitted = {pod.uid for pod, _ in self._placed}
            self.undo()
            refusal, promised = await self._make_room(members, refusal)
        placed = {} if refusal else {pod.uid: node for pod, node in self._placed}
        for pod in members:
            if pod.uid in placed:
                continue
            if pod.uid in promised and pod.uid in queue:
                scheduler.nominations.add(pod, promised[pod.uid])
            queue.fail(pod, [*self._refused_by.values(), self._policy])
        for pod in members:
            if pod.uid in placed:
                await scheduler.begin_binding(pod, placed[pod.uid], self._profile, group, binds)
            else:
                text = self._failed.get(pod.uid, first_refusal)
                if pod.uid in fitted:
                    text = refusal if promised else f"{_UNSCHEDULABLE}{refusal}"
                await scheduler.tell(pod, self._profile, text, promised.get(pod.uid, ""))
        await self._policy.decided(self.gang, refusal)
        result = "scheduled" if not refusal else "waiting_on_preemption" if promised else "unschedulable"
        self._count(result)

    def _count(self, result: str) -> None:
        seconds = self._scheduler.clock.monotonic() - self._begun
        self._scheduler.metrics.gang_attempt(self._profile.scheduler_name, result, seconds)

    async def _stop(self, members: list[PodState], why: str) -> None:
        """Something is wrong; all are tried again."""
        for pod in members:
            self._scheduler.queue.fail(pod, retry=True)
        for pod in members:
            text = self._failed.get(pod.uid, why)
            await self._scheduler.tell(pod, self._profile, text, "", reason="SchedulerError")
        await self._policy.decided(self.gang, why, error=True)
        self._count("error")

    def undo(self) -> None:
        """The members have no nodes after all."""
        for pod, _ in reversed(self._placed):
            self._scheduler.give_back(pod, self._profile)
            self._scheduler.table.take_off(pod.uid)

    def _mixed(self, members: list[PodState]) -> str:
        """One profile's policies decide for all of them, and they are worth the same."""
        first = members[0]
        name = first.pod["spec"].get("schedulerName", "")
        policy = _preemption(first)
        for pod in members:
            if self._scheduler.profile(pod) is not self._profile:
                other = pod.pod["spec"].get("schedulerName", "")
                return (
                    "all pods in a single pod group should have the same .spec.schedulerName set, got: "
                    f'"{other}" and "{name}"'
                )
            if pod.priority != self.gang.priority:
                return (
                    "all pods in a single pod group should have the same priority as the pod group's priority, got "
                    f"{pod.priority} and {self.gang.priority}"
                )
            if _preemption(pod) != policy:
                return (
                    "all pods in a single pod group should have the same preemption policy, got "
                    f"{_preemption(pod)} and {policy}"
                )
        return ""

    async def _make_room(self, members: list[PodState], refusal: str) -> tuple[str, Mapping[str, str]]:
        """What is said of the gang after policies tried to make room, and the nodes promised to its pods."""
        failed, refused_by, wrong = dict(self._failed), dict(self._refused_by), self._error
        found: Mapping[str, str] = {}
        for policy in self._profile.at("post_filter"):
            trial = _Trial(self._scheduler, self, members)
            answer = await policy.post_filter_gang(trial)
            if isinstance(answer, GangNomination):
                self._scheduler.metrics.gang_victims.observe(answer.victims)
                refusal, found = f"{refusal}, {answer.text}", answer.nodes
                break
            if answer:
                refusal = f"{refusal}, {answer}"
        self._failed, self._refused_by, self._error = failed, refused_by, wrong
        return refusal, found

    def place(self, members: list[PodState]) -> tuple[str, list[tuple[PodState, str]]]:
        """Another attempt, with the nodes as they are supposed to be now."""
        self._placed = []
        return self._place(members), self._placed

    def tried(self, members: list[PodState]) -> tuple[str, Mapping[str, str]]:
        """Why the gang would be refused before anybody made room, and the node that each of its pods (by name) would
        get; nothing is kept."""
        try:
            refusal = self._mixed(members) or self._place(members)
            return refusal, {pod.name: node for pod, node in self._placed}
        finally:
            self.undo()

    def _place(self, members: list[PodState]) -> str:
        """Assume one after the other; why the gang as a whole is refused."""
        before = len(self.gang.placed)
        refusal = self._policy.too_few(self.gang, before, len(members))
        if refusal:
            return f"{_UNSCHEDULABLE}{refusal}"
        for position, pod in enumerate(members):
            if refusal:
                break
            try:
                self._place_one(pod)
            except PolicyError as error:
                self._failed = {pod.uid: str(error)}
                self._error = f"failed to schedule other pod from a pod group: {error}"
                return self._error
            left = len(members) - position - 1
            refusal = self._policy.too_few(self.gang, before + len(self._placed), left)
        return refusal

    def _place_one(self, pod: PodState) -> None:
        scheduler = self._scheduler
        evaluation = scheduler.evaluation(pod)
        row = scheduler.choose(pod, evaluation)
        if row is None:
            found = evaluation.diagnose(pod)
            self._failed[pod.uid] = unschedulable(found)
            self._refused_by.update((name, self._profile.policies[name]) for name in found.policies)
            return
        node = scheduler.table.name(row)
        kept = False
        try:
            why = scheduler.assume(pod, node, self._profile)
            kept = why is None
        finally:
            if not kept:
                scheduler.give_back(pod, self._profile)
                scheduler.table.take_off(pod.uid)
        if why is None:
            self._placed.append((pod, node))
        else:
            self._failed[pod.uid] = f"0/1 nodes are available: 1 {why.text}."
            self._refused_by[why.policy] = self._profile.policies[why.policy]


def _preemption(pod: PodState) -> str:
    return str(pod.pod["spec"].get("preemptionPolicy") or "PreemptLowerPriority")


class _Trial:
    """A ``GangTrial``."""

    def __init__(self, scheduler: Scheduler, cycle: GangCycle, members: list[PodState]) -> None:
        self._scheduler, self._cycle, self._members = scheduler, cycle, members
        self._table = scheduler.table
        self._off: dict[str, tuple[PodState, str]] = {}
        self._placed: list[tuple[PodState, str]] = []

    @property
    def gang(self) -> Gang:
        return self._cycle.gang

    @property
    def members(self) -> Sequence[PodState]:
        return self._members

    def take_off(self, pod: PodState) -> None:
        there = self._table.pod(pod.uid)
        if there is not None:
            self._table.take_off(pod.uid)
            self._off[pod.uid] = there

    def put_back(self, pod: PodState) -> None:
        self._table.place(*self._off.pop(pod.uid))

    def place(self) -> tuple[str, Mapping[str, str]]:
        refusal, self._placed = self._cycle.place(self._members)
        return refusal, {pod.uid: node for pod, node in self._placed}

    def fits(self) -> bool:
        table = self._table
        for pod, node in self._placed:
            row = table.row(node)
            table.take_off(pod.uid)
            try:
                fits = row is not None and self._scheduler.evaluation(pod).fits_at(pod, row)
            finally:
                table.place(pod, node)
            if not fits:
                return False
        return True

    def restore(self) -> None:
        self._cycle.undo()
        self._placed = []
        for pod, _ in tuple(self._off.values()):
            self.put_back(pod)
