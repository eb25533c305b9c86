"""Pods that wait for a node: active, backing off, or unschedulable until something changes.

Source: k8s.io/kubernetes/pkg/scheduler/backend/queue (v1.37).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer
    from kubernel.plugin.scheduling import PodState

__all__ = ["SchedulingQueue"]

_BACKOFF_FIRST, _BACKOFF_LAST = 1.0, 10.0
_UNSCHEDULABLE_LIMIT = 300.0
"""Seconds after which an unschedulable pod is tried again even when nothing changed."""


class SchedulingQueue:
    """Highest priority first, then first come, first served.

    A pod is in exactly one part; ``pop`` takes it out, and whoever popped it puts it back with ``fail`` when
    no node was found.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sequence = itertools.count()
        self._active: list[tuple[int, int, str]] = []
        self._waiting: dict[str, PodState] = {}
        self._unschedulable: dict[str, float] = {}
        self._backoff: dict[str, Timer] = {}
        self._attempts: dict[str, int] = {}
        self._changes = 0
        self._wakeup = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def changes(self) -> int:
        """Grows with every change of the cluster: what was popped before one may fit after it."""
        return self._changes

    def add(self, pod: PodState) -> None:
        """A new pod, or a new version of one that waits."""
        known = self._waiting.get(pod.uid)
        self._waiting[pod.uid] = pod
        if known is None:
            self._activate(pod)
        elif pod.uid in self._unschedulable and known.pod["spec"] != pod.pod["spec"]:
            del self._unschedulable[pod.uid]
            self._activate(pod)

    def remove(self, uid: str) -> None:
        """Deleted, or placed."""
        self._waiting.pop(uid, None)
        self._unschedulable.pop(uid, None)
        self._attempts.pop(uid, None)
        if timer := self._backoff.pop(uid, None):
            timer.cancel()

    async def pop(self) -> PodState:
        while True:
            while self._active:
                _, _, uid = heapq.heappop(self._active)
                pod = self._waiting.get(uid)
                if pod is not None and uid not in self._unschedulable and uid not in self._backoff:
                    return pod
            self._wakeup.clear()
            await self._wakeup.wait()

    def fail(self, pod: PodState, seen: int) -> None:
        """No node for it. ``seen`` is ``changes`` as it was when the attempt began."""
        uid = pod.uid
        if uid not in self._waiting:
            return
        self._attempts[uid] = self._attempts.get(uid, 0) + 1
        if seen != self._changes:
            self._back_off(uid)
        else:
            self._unschedulable[uid] = self._clock.monotonic()

    def cluster_changed(self) -> None:
        """Something happened that may make room: pods that found none are tried again."""
        self._changes += 1
        for uid in list(self._unschedulable):
            self._back_off(uid)

    def flush(self) -> None:
        """Try again what has been unschedulable for long; called now and then."""
        limit = self._clock.monotonic() - _UNSCHEDULABLE_LIMIT
        for uid, since in list(self._unschedulable.items()):
            if since <= limit:
                self._back_off(uid)

    def close(self) -> None:
        """Drop all timers and set no more."""
        self._closed = True
        for timer in self._backoff.values():
            timer.cancel()
        self._backoff.clear()

    def _back_off(self, uid: str) -> None:
        """Wait out what the number of attempts demands since the last one, then become active."""
        since = self._unschedulable.pop(uid, self._clock.monotonic())
        wait = min(_BACKOFF_FIRST * 2 ** (self._attempts.get(uid, 1) - 1), _BACKOFF_LAST)
        left = since + wait - self._clock.monotonic()
        if left <= 0:
            self._ripe(uid)
        elif not self._closed:
            self._backoff[uid] = self._clock.call_later(left, self._ripe, uid)

    def _ripe(self, uid: str) -> None:
        self._backoff.pop(uid, None)
        pod = self._waiting.get(uid)
        if pod is not None:
            self._activate(pod)

    def _activate(self, pod: PodState) -> None:
        heapq.heappush(self._active, (-pod.priority, next(self._sequence), pod.uid))
        self._wakeup.set()
