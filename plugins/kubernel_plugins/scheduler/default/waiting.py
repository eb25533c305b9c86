"""Pods that have a node and are not bound yet: held until policies allow it (the permit extension point), or until what
has to be done before is done (pre-bind).

Source: k8s.io/kubernetes/pkg/scheduler/framework/runtime, waiting_pods_map.go and pods_in_prebind_map.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.errors import KubernelError
from kubernel.objects import times

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer
    from kubernel.plugin.scheduling import PodState

__all__ = ["Decision", "WaitingPods"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a held pod. ``policy`` refused it, saying ``text``; ``taken_back``: nobody has anything against
    it, it is to be tried again."""

    policy: str
    text: str
    taken_back: bool = False


@dataclass(slots=True)
class _Held:
    pod: PodState
    timers: dict[str, Timer]
    """Of the policies that have not allowed it yet."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: Decision | None = None


@dataclass(slots=True)
class _Doing:
    task: asyncio.Task[Any]
    interrupted: str = ""


class WaitingPods:
    """By uid."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._doing: dict[str, _Doing] = {}

    def pods(self) -> Collection[PodState]:
        """Those that are held."""
        return [held.pod for held in self._held.values() if not held.decided.is_set()]

    def hold(self, pod: PodState, waits: Mapping[str, float]) -> None:
        """Hold the pod until all of these policies allow it. The first whose seconds are over refuses it."""
        self._held[pod.uid] = held = _Held(pod, {})
        for policy, seconds in waits.items():
            told = times.go_duration(seconds)
            text = f"rejected due to timeout after waiting {told} at plugin {policy}"
            held.timers[policy] = self._clock.call_later(seconds, self.reject, pod.uid, policy, text)

    def allow(self, uid: str, policy: str) -> None:
        held = self._held.get(uid)
        if held is None or held.decided.is_set():
            return
        if (timer := held.timers.pop(policy, None)) is not None:
            timer.cancel()
        if not held.timers:
            held.decided.set()

    def reject(self, uid: str, policy: str, text: str) -> None:
        self._decide(uid, Decision(policy, text))

    def preempt(self, uid: str, policy: str) -> bool:
        """Send a pod back to the queue, unless it is on its way there already; False for one that is neither held nor
        being prepared."""
        held, doing = self._held.get(uid), self._doing.get(uid)
        if held is not None:
            self._decide(uid, Decision(policy, "preempted", taken_back=True))
            return held.refusal is not None
        if doing is not None and not doing.interrupted:
            doing.interrupted = f"preempted by {policy}"
            doing.task.cancel()
        return doing is not None

    def __contains__(self, uid: str) -> bool:
        return uid in self._held

    async def wait(self, uid: str) -> Decision | None:
        """What was decided against a pod. At once for one that is not held."""
        held = self._held.get(uid)
        if held is None:
            return None
        try:
            await held.decided.wait()
        finally:
            self.forget(uid)
        return held.refusal

    @contextmanager
    def preparing(self, uid: str) -> Iterator[None]:
        """Inside, the current task can be interrupted by ``preempt``: KubernelError says so."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - called from a coroutine
        self._doing[uid] = doing = _Doing(task)
        try:
            yield
        except asyncio.CancelledError:
            if doing.interrupted and not task.uncancel():
                raise KubernelError(doing.interrupted) from None
            raise
        finally:
            del self._doing[uid]

    def forget(self, uid: str) -> None:
        held = self._held.pop(uid, None)
        if held is not None:
            for timer in held.timers.values():
                timer.cancel()

    def close(self) -> None:
        for uid in tuple(self._held):
            self.forget(uid)

    def _decide(self, uid: str, refusal: Decision) -> None:
        held = self._held.get(uid)
        if held is None or held.decided.is_set():
            return
        for timer in held.timers.values():
            timer.cancel()
        held.refusal = refusal
        held.decided.set()
