"""Pods that get their nodes together or not at all.

Source: k8s.io/kubernetes/pkg/scheduler/schedule_one_podgroup.go (v1.37). Nobody is preempted for a gang.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from kubernel_plugins.scheduler.default.messages import unschedulable

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Gang, PodState, Policy
    from kubernel_plugins.scheduler.default.profile import Profile
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

__all__ = ["GangCycle"]


class GangCycle:
    """One attempt for one gang."""

    def __init__(self, scheduler: Scheduler, profile: Profile, policy: Policy, gang: Gang) -> None:
        self._scheduler = scheduler
        self._profile = profile
        self._policy = policy
        self._gang = gang
        self._placed: list[tuple[PodState, str]] = []
        self._failed: dict[str, str] = {}
        self._refused_by: dict[str, Policy] = {}

    async def schedule(self, first: PodState, group: asyncio.TaskGroup, binds: asyncio.Semaphore) -> None:
        """``first`` is out of the queue; the others of its gang that wait are taken out here."""
        scheduler, queue = self._scheduler, self._scheduler.queue
        others = [uid for uid in self._gang.members if uid != first.uid]
        members = [first, *queue.take(others)]
        refusal = self._mixed(members) or self._place(members)
        if refusal:
            for pod, _ in reversed(self._placed):
                scheduler.give_back(pod, self._profile)
                scheduler.table.take_off(pod.uid)
        placed = {} if refusal else {pod.uid: node for pod, node in self._placed}
        for pod in members:
            if pod.uid in placed:
                queue.placed(pod.uid)
            else:
                queue.fail(pod, [*self._refused_by.values(), self._policy])
        for pod in members:
            if pod.uid in placed:
                await scheduler.begin_binding(pod, placed[pod.uid], self._profile, group, binds)
            else:
                await scheduler.tell(pod, self._profile, self._failed.get(pod.uid, refusal))
        await self._policy.decided(self._gang, refusal)

    def _mixed(self, members: list[PodState]) -> str:
        """One profile's policies decide for all of them."""
        first = members[0]
        for pod in members:
            if self._scheduler.profile(pod) is not self._profile:
                name, other = (each.pod["spec"].get("schedulerName", "") for each in (pod, first))
                return (
                    "all pods in a pod group hierarchy should have the same .spec.schedulerName set, got: "
                    f'"{name}" ("{pod.name}") and "{other}" ("{first.name}")'
                )
        return ""

    def _place(self, members: list[PodState]) -> str:
        """Assume one after the other; why the gang as a whole is refused."""
        scheduler, before = self._scheduler, self._gang.scheduled
        refusal = self._policy.too_few(self._gang, before, len(members))
        for position, pod in enumerate(members):
            if refusal:
                break
            evaluation = scheduler.evaluation(pod)
            row = scheduler.choose(pod, evaluation)
            if row is None:
                found = evaluation.diagnose(pod)
                self._failed[pod.uid] = unschedulable(found, (), nominated=True)
                self._refused_by.update((name, self._profile.policies[name]) for name in found.policies)
            else:
                node = scheduler.table.name(row)
                if why := scheduler.assume(pod, node, self._profile):
                    self._failed[pod.uid] = why
                    scheduler.give_back(pod, self._profile)
                    scheduler.table.take_off(pod.uid)
                else:
                    self._placed.append((pod, node))
            left = len(members) - position - 1
            refusal = self._policy.too_few(self._gang, before + len(self._placed), left)
        return refusal
