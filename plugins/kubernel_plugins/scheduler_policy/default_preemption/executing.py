"""Ends the victims of a preemption while the scheduler goes on with the next pod (KEP-4832).

Source: k8s.io/kubernetes/pkg/scheduler/framework/preemption/executor.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import conditions, meta
from kubernel_plugins.scheduler_policy.groups import group_index

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Context, PodState
    from kubernel.store.records import Obj

__all__ = ["Executor"]

_REASON = "PreemptionByScheduler"
_AT_ONCE = 16


class Executor:
    """For ``policy``. Whoever preempts is not looked at again before the end of the last victim has begun: until then
    others would be chosen."""

    def __init__(self, context: Context, policy: str) -> None:
        self._context = context
        self._policy = policy
        self._busy: dict[str, PodState | None] = {}
        """Who preempts, by uid or group, with the last victim once all others are done with."""
        self._kept: set[str] = set()
        """Those of them that were kept out of the queue."""

    @staticmethod
    def ended(pod: Mapping[str, Any]) -> bool:
        """Whether a preemption was the end of a pod."""
        found = conditions.find(pod, "DisruptionTarget")
        return found is not None and found["status"] == "True" and found.get("reason") == _REASON

    def is_busy(self, pod: PodState) -> bool:
        """Whether a preemption for the pod, or its group, is under way."""
        who = _who(pod)
        if who not in self._busy:
            return False
        last = self._busy[who]
        if last is not None:
            now = self._context.client.informer("pods").get(last.name, last.namespace)
            if now is None or meta.uid(now) != last.uid or meta.is_deleting(now):
                return False
        self._kept.add(who)
        return True

    def preempt(self, pods: Sequence[PodState], about: Obj, victims: Sequence[PodState], node: str) -> None:
        """End ``victims`` for ``pods``: one that needs ``node``, or those of a group. ``about``: the pod, the group."""
        going = [victim for victim in victims if not victim.leaving]
        if going:
            self._busy[_who(pods[0])] = None
            self._context.spawn(self._run(pods, about, going, node), f"preemption for {pods[0].key}")

    async def _run(self, pods: Sequence[PodState], about: Obj, victims: list[PodState], node: str) -> None:
        who = _who(pods[0])
        failed = True
        try:
            for other in self._context.nominated(node):
                # What was promised to them may not be there any more.
                if other.priority < pods[0].priority:
                    await self._context.withdraw(other)
            *others, last = victims
            places = asyncio.Semaphore(_AT_ONCE)

            async def one(victim: PodState) -> None:
                async with places:
                    await self._end(victim, about, node)

            await asyncio.gather(*(one(victim) for victim in others))
            self._busy[who] = last
            await self._end(last, about, node)
            failed = False
        except ApiError as error:
            self._context.log.warning("preemption for {}/{}: {}", *pods[0].key, error.message)
        finally:
            del self._busy[who]
            kept = who in self._kept
            self._kept.discard(who)
        if failed or kept:
            for pod in pods:
                self._context.activate(pod.uid)

    async def _end(self, victim: PodState, about: Obj, node: str) -> None:
        """One that is not bound yet is only sent back to the queue."""
        context, client = self._context, self._context.client
        kind = "pod" if about.get("kind") == "Pod" else "podgroup"
        note = f"Preempted by {kind} {meta.uid(about)} on node {node}"
        if context.preempt(victim.uid, self._policy):
            note += " (in kube-scheduler memory)."
        else:
            now = rfc3339(context.clock.time())
            message = f"{context.scheduler_name}: preempting to accommodate a higher priority {kind}"
            current = client.informer("pods").get(victim.name, victim.namespace) or victim.pod
            found, changed = conditions.set(
                meta.get(current, "status", "conditions"),
                "DisruptionTarget",
                "True",
                _REASON,
                message,
                now,
                observedGeneration=current["metadata"].get("generation", 0),
            )
            told = [each for each in found if each["type"] == "DisruptionTarget"]
            patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": told}}
            try:
                if changed:
                    await client.patch(
                        "pods", victim.name, patch, victim.namespace, type="strategic", subresource="status"
                    )
                await client.delete("pods", victim.name, victim.namespace, uid=victim.uid)
            except (NotFound, Conflict):
                return
        context.event(victim.pod, "Normal", "Preempted", "Preempting", note, related=about)


def _who(pod: PodState) -> str:
    return next(iter(group_index(pod.pod)), pod.uid)
