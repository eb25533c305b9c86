"""Pods that have a node but are held until somebody allows them to be bound (the permit extension point).

Source: k8s.io/kubernetes/pkg/scheduler/framework/runtime/waiting_pods_map.go (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer
    from kubernel.plugin.scheduling import PodState

__all__ = ["WaitingPods"]


@dataclass(slots=True)
class _Held:
    pod: PodState
    timer: Timer
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: str = ""


class WaitingPods:
    """Held pods by uid."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}

    def pods(self) -> Collection[PodState]:
        return [held.pod for held in self._held.values() if not held.decided.is_set()]

    def hold(self, pod: PodState, seconds: float) -> None:
        """Hold the pod; after ``seconds`` it is refused."""
        text = f'pod "{pod.name}" was rejected: timed out waiting for permission'
        timer = self._clock.call_later(seconds, self.reject, pod.uid, text)
        self._held[pod.uid] = _Held(pod, timer)

    def allow(self, uid: str) -> None:
        self._decide(uid, "")

    def reject(self, uid: str, text: str) -> None:
        self._decide(uid, text)

    def __contains__(self, uid: str) -> bool:
        return uid in self._held

    async def wait(self, uid: str) -> str:
        """What was decided: a refusal, or nothing. At once for a pod that is not held."""
        held = self._held.get(uid)
        if held is None:
            return ""
        try:
            await held.decided.wait()
        finally:
            self.forget(uid)
        return held.refusal

    def forget(self, uid: str) -> None:
        held = self._held.pop(uid, None)
        if held is not None:
            held.timer.cancel()

    def close(self) -> None:
        for uid in tuple(self._held):
            self.forget(uid)

    def _decide(self, uid: str, refusal: str) -> None:
        held = self._held.get(uid)
        if held is not None and not held.decided.is_set():
            held.timer.cancel()
            held.refusal = refusal
            held.decided.set()
