"""Pods that wait for a node: gated, active, backing off, or unschedulable until something changes that may help.

Source: k8s.io/kubernetes/pkg/scheduler/backend/queue (v1.37).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer
    from kubernel.plugin.scheduling import Change, PodState, Policy

__all__ = ["Attempt", "SchedulingQueue"]

_ADDED, _FAILED = "UnscheduledPodAdd", "ScheduleAttemptFailure"
_ACTIONS = {"ADDED": "Add", "MODIFIED": "Update", "DELETED": "Delete"}
_UNSCHEDULABLE_LIMIT = 300.0
"""Seconds after which an unschedulable pod is tried again even when nothing changed."""


@dataclass(slots=True)
class _Waiting:
    pod: PodState
    order: tuple[Any, ...]
    signature: object
    attempts: int = 0
    refusals: int = 0
    """Attempts that ended because some policy refused it everywhere."""
    errors: int = 0
    """Attempts that ended for other reasons, since the last one that did not."""
    entered: float = 0.0
    """When it came into the queue, on the monotonic clock."""
    popped: float = 0.0
    since: float = 0.0
    """When it became unschedulable, on the monotonic clock."""
    refused_by: tuple[Policy, ...] = ()
    place: str = "active"
    """``gated``, ``active``, ``backoff``, ``unschedulable``, ``out`` (popped) or ``placed``."""
    flushed: bool = False
    """Whether it is tried again only because it waited for long."""
    missed: list[Change] = field(default_factory=list)
    """What happened while it was out."""
    timer: Timer | None = None
    turn: int = -1
    """Its entry among the active ones, or those that back off; older entries of the same pod are void."""


@dataclass(slots=True)
class _Alike:
    """Unschedulable or gated pods of one signature, refused by the same policies: one hint serves all."""

    refused_by: tuple[Policy, ...]
    uids: dict[str, None] = field(default_factory=dict)


class Attempt(NamedTuple):
    """How often a pod was tried, when it came into the queue, when this attempt began (monotonic), and whether it was
    made only because the pod had waited for long."""

    number: int
    entered: float
    begun: float
    flushed: bool = False


def _wishes(pod: PodState) -> tuple[Any, ...]:
    """All of a pod that says where it may go; its claims are told in the status once they are made."""
    claims = (pod.pod.get("status") or {}).get("resourceClaimStatuses")
    return pod.pod["spec"], pod.labels, claims


class SchedulingQueue:
    """A pod is in exactly one part; ``pop`` takes it out, and whoever popped it ends with ``fail`` or ``remove``.

    ``order(pod)`` is the queue's order, ``gate(pod)`` the policies that do not let it in yet and ``sign(pod)``
    its signature (unique for pods that share nothing).
    """

    def __init__(
        self,
        clock: Clock,
        *,
        order: Callable[[PodState], tuple[Any, ...]],
        gate: Callable[[PodState], Sequence[Policy]] = lambda pod: (),
        sign: Callable[[PodState], object] = lambda pod: pod.uid,
        backoff: tuple[float, float] = (1.0, 10.0),
        incoming: Counter[tuple[str, str]] | None = None,
    ) -> None:
        """``incoming`` counts what comes into which part, by (part, event)."""
        self._clock = clock
        self._order, self._gate, self._sign = order, gate, sign
        self._first_backoff, self._last_backoff = backoff
        self._incoming = Counter() if incoming is None else incoming
        self._sequence = itertools.count()
        self._active: list[tuple[tuple[Any, ...], int, str]] = []
        self._resting: list[tuple[int, tuple[Any, ...], int, str]] = []
        """Those that back off after a refusal, by the second in which that ends: whoever has nothing else to do takes
        the first before its time."""
        self._pods: dict[str, _Waiting] = {}
        self._stuck: dict[object, _Alike] = {}
        self._out: dict[str, _Waiting] = {}
        self._wakeup = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        return len(self._pods)

    def taken(self) -> list[PodState]:
        """Pods that were popped or placed, and are neither removed nor back."""
        return [each.pod for each in self._pods.values() if each.place in ("out", "placed")]

    def pending(self) -> dict[str, int]:
        """How many pods each part has."""
        found = dict.fromkeys(("active", "backoff", "gated", "unschedulable"), 0)
        for each in self._pods.values():
            if each.place in found:
                found[each.place] += 1
        return found

    def refused(self) -> Counter[tuple[str, str]]:
        """How many unschedulable pods each policy refused, by (policy, scheduler name)."""
        found: Counter[tuple[str, str]] = Counter()
        for alike in self._stuck.values():
            for policy in alike.refused_by:
                found[policy.name, policy.context.scheduler_name] += len(alike.uids)
        return found

    def attempt(self, uid: str) -> Attempt:
        """Of a pod that is out of the queue."""
        waiting = self._pods.get(uid)
        if waiting is None:
            now = self._clock.monotonic()
            return Attempt(1, now, now)
        return Attempt(waiting.attempts, waiting.entered, waiting.popped, waiting.flushed)

    def signature(self, uid: str) -> object:
        """Of a pod that is in the queue, or popped; None of others."""
        waiting = self._pods.get(uid)
        return None if waiting is None else waiting.signature

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    # --- in and out

    def add(self, pod: PodState) -> None:
        """A new pod, or a new version of one that waits."""
        known = self._pods.get(pod.uid)
        if known is None:
            waiting = self._pods[pod.uid] = _Waiting(pod, self._order(pod), self._sign(pod))
            waiting.entered = self._clock.monotonic()
            self._enter(waiting, _ADDED)
            return
        changed = _wishes(known.pod) != _wishes(pod)
        known.pod = pod
        if changed:
            place = known.place
            self._unstick(known)
            known.signature, known.order = self._sign(pod), self._order(pod)
            if place in ("unschedulable", "gated"):
                # What was changed may be what was missing.
                self._enter(known, "TargetPodUpdate")

    def remove(self, uid: str) -> None:
        """Deleted, or placed."""
        waiting = self._pods.pop(uid, None)
        if waiting is not None:
            self._unstick(waiting)
            self._out.pop(uid, None)
            if waiting.timer is not None:
                waiting.timer.cancel()

    async def pop(self) -> PodState:
        """The first active pod; waits for one."""
        while (pod := self.pop_now()) is None:
            self._wakeup.clear()
            await self._wakeup.wait()
        return pod

    def pop_now(self) -> PodState | None:
        while self._active:
            _, turn, uid = heapq.heappop(self._active)
            waiting = self._pods.get(uid)
            if waiting is not None and waiting.place == "active" and waiting.turn == turn:
                self._take_out(waiting)
                return waiting.pod
        while self._resting:
            *_, turn, uid = heapq.heappop(self._resting)
            if self._rests(uid, turn):
                waiting = self._pods[uid]
                self._cancel(waiting)
                self._take_out(waiting)
                return waiting.pod
        return None

    def _rests(self, uid: str, turn: int) -> bool:
        waiting = self._pods.get(uid)
        return waiting is not None and waiting.place == "backoff" and waiting.turn == turn

    def take(self, uids: Iterable[str]) -> list[PodState]:
        """As ``pop`` for those of these pods that wait for anything but a gate, in the queue's order."""
        found = [
            waiting
            for uid in uids
            if (waiting := self._pods.get(uid)) is not None
            and waiting.place in ("active", "backoff", "unschedulable")
        ]
        found.sort(key=lambda waiting: waiting.order)
        for waiting in found:
            self._unstick(waiting)
            self._cancel(waiting)
            self._take_out(waiting)
        return [waiting.pod for waiting in found]

    def _take_out(self, waiting: _Waiting) -> None:
        waiting.place = "out"
        waiting.attempts += 1
        waiting.popped = self._clock.monotonic()
        waiting.missed.clear()
        self._out[waiting.pod.uid] = waiting

    @staticmethod
    def _cancel(waiting: _Waiting) -> None:
        if waiting.timer is not None:
            waiting.timer.cancel()
            waiting.timer = None

    def placed(self, uid: str) -> None:
        """A node was found; binding begins."""
        waiting = self._out.pop(uid, None)
        if waiting is not None:
            waiting.place = "placed"

    def fail(self, pod: PodState, refused_by: Iterable[Policy] = (), *, retry: bool = False) -> None:
        """No node for a popped pod. ``retry``: something went wrong, so try again after the backoff; otherwise when
        something happens that one of ``refused_by`` says may help."""
        waiting = self._pods.get(pod.uid)
        if waiting is None:
            return
        self._out.pop(pod.uid, None)
        waiting.since = self._clock.monotonic()
        waiting.flushed = False
        waiting.refused_by = tuple(refused_by)
        if retry:
            waiting.errors += 1
        else:
            waiting.refusals, waiting.errors = waiting.refusals + 1, 0
        if retry or any(self._helps(waiting.refused_by, waiting.pod, change) for change in waiting.missed):
            self._back_off(waiting, _FAILED)
        else:
            self._incoming["unschedulable", _FAILED] += 1
            self._stick(waiting, "unschedulable")

    # --- what may help

    def changed(self, change: Change, *, but: str = "") -> None:
        """Try again the pods that one of the policies which refused them thinks this may help, except the one with the
        uid ``but``."""
        for waiting in self._out.values():
            waiting.missed.append(change)
        if not self._stuck:
            return
        event = _event(change)
        for alike in list(self._stuck.values()):
            sample = self._pods[next(iter(alike.uids))].pod
            if self._helps(alike.refused_by, sample, change):
                for uid in [uid for uid in alike.uids if uid != but]:
                    waiting = self._pods[uid]
                    gated = waiting.place == "gated"
                    self._unstick(waiting)
                    if gated:
                        self._enter(waiting, event)
                    else:
                        self._back_off(waiting, event)

    @staticmethod
    def _helps(refused_by: Sequence[Policy], pod: PodState, change: Change) -> bool:
        return not refused_by or any(policy.helps(pod, change) for policy in refused_by)

    def activate(self, uid: str) -> None:
        """Try this pod again at once."""
        waiting = self._pods.get(uid)
        if waiting is not None and waiting.place in ("unschedulable", "backoff", "gated"):
            self._unstick(waiting)
            self._cancel(waiting)
            self._enter(waiting, "ForceActivate")

    def flush(self) -> None:
        """Try again what has been unschedulable for long; called now and then."""
        limit = self._clock.monotonic() - _UNSCHEDULABLE_LIMIT
        for waiting in list(self._pods.values()):
            if waiting.place == "unschedulable" and waiting.since <= limit:
                self._unstick(waiting)
                waiting.flushed = True
                self._back_off(waiting, "UnschedulableTimeout")

    def close(self) -> None:
        """Drop all timers and set no more."""
        self._closed = True
        for waiting in self._pods.values():
            if waiting.timer is not None:
                waiting.timer.cancel()

    # --- parts

    def _enter(self, waiting: _Waiting, event: str) -> None:
        if self._gated(waiting, event):
            return
        self._incoming["active", event] += 1
        waiting.place = "active"
        waiting.turn = next(self._sequence)
        heapq.heappush(self._active, (waiting.order, waiting.turn, waiting.pod.uid))
        self._wakeup.set()

    def _gated(self, waiting: _Waiting, event: str) -> bool:
        gates = self._gate(waiting.pod)
        if gates:
            self._incoming["gated", event] += 1
            waiting.refused_by = tuple(gates)
            self._stick(waiting, "gated")
        return bool(gates)

    def _stick(self, waiting: _Waiting, place: str) -> None:
        waiting.place = place
        key = (place, waiting.signature, tuple(policy.name for policy in waiting.refused_by))
        self._stuck.setdefault(key, _Alike(waiting.refused_by)).uids[waiting.pod.uid] = None

    def _unstick(self, waiting: _Waiting) -> None:
        if waiting.place not in ("gated", "unschedulable"):
            return
        key = (waiting.place, waiting.signature, tuple(policy.name for policy in waiting.refused_by))
        alike = self._stuck[key]
        del alike.uids[waiting.pod.uid]
        if not alike.uids:
            del self._stuck[key]
        waiting.place = "out"

    def _back_off(self, waiting: _Waiting, event: str) -> None:
        """Wait out what the number of attempts demands since the last one, then become active."""
        count = waiting.errors or waiting.refusals
        wait = min(self._first_backoff * 2 ** min(count - 1, 30), self._last_backoff) if count else 0.0
        left = waiting.since + wait - self._clock.monotonic()
        if left <= 0:
            self._enter(waiting, event)
            return
        if self._gated(waiting, event):
            return
        self._incoming["backoff", event] += 1
        waiting.place = "backoff"
        waiting.turn = next(self._sequence)
        if not waiting.errors:
            if len(self._resting) > 2 * len(self._pods):
                # Mostly entries of pods that became active in the meantime.
                self._resting = [entry for entry in self._resting if self._rests(entry[-1], entry[-2])]
                heapq.heapify(self._resting)
            due = int(waiting.since + wait)
            heapq.heappush(self._resting, (due, waiting.order, waiting.turn, waiting.pod.uid))
            self._wakeup.set()
        if not self._closed:
            waiting.timer = self._clock.call_later(left, self._ripe, waiting.pod.uid)

    def _ripe(self, uid: str) -> None:
        waiting = self._pods.get(uid)
        if waiting is not None and waiting.place == "backoff":
            waiting.timer = None
            self._enter(waiting, "BackoffComplete")


def _event(change: Change) -> str:
    """As the metrics of upstream call it: ``NodeUpdate``."""
    kind = "AssignedPod" if change.resource == "pods" else change.obj.get("kind", "")
    return f"{kind}{_ACTIONS.get(change.type, '')}"
