"""Whatever happens in whatever order, each pod that waits for a node is in one place and comes out again."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubernel.clock import VirtualClock
from kubernel.plugin.scheduling import Change, PodState, Policy
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler.default.queue import SchedulingQueue

UIDS = tuple(f"u{number}" for number in range(6))
CAUSES = ("red", "green", "blue")


class Refusing(Policy):
    """Is helped by changes of its own colour alone; keeps pods with its colour as a gate out of the queue."""

    scope = "cluster"

    def __init__(self, colour: str) -> None:
        self.name = colour  # type: ignore[misc]

    def helps(self, pod: PodState, change: Change) -> bool:
        return change.resource in (self.name, "everything")


async def settled() -> None:
    await asyncio.sleep(0)


POLICIES = {colour: Refusing(colour) for colour in CAUSES}


def state(uid: str, gates: tuple[str, ...], priority: int) -> PodState:
    return pod_state(
        {
            "metadata": {
                "name": uid,
                "namespace": "default",
                "uid": uid,
                "labels": {"gates": ",".join(gates)},
            },
            "spec": {"containers": [], "priority": priority, "gates": list(gates)},
        }
    )


class Queue(RuleBasedStateMachine):
    """Beside the queue a model: which pods wait, which of them are out, and why the others cannot go yet."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = VirtualClock()
        self.open: set[str] = set()
        """Gates that are open for everyone."""
        self.queue = SchedulingQueue(
            self.clock,
            order=lambda pod: (-pod.priority,),
            gate=lambda pod: [POLICIES[each] for each in pod.pod["spec"]["gates"] if each not in self.open],
            sign=lambda pod: (pod.priority, tuple(pod.pod["spec"]["gates"])),
        )
        self.waiting: dict[str, PodState] = {}
        self.out: dict[str, PodState] = {}
        self.placed: set[str] = set()
        """Those of them that are being bound."""
        self.missed: dict[str, set[str]] = {}
        """What happened while a pod was out."""
        self.due: set[str] = set()
        """Pods that have to become active by time alone."""

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self.come_out())
        finally:
            self.queue.close()
            self.loop.close()

    async def come_out(self) -> None:
        """In the end all go: what was popped is given back, everything that can help does."""
        for uid, pod in list(self.out.items()):
            self.queue.fail(pod, [POLICIES["red"]])
            del self.out[uid]
        self.open.update(CAUSES)
        self.queue.changed(Change("everything", "MODIFIED", {}))
        await self.clock.advance(10.0, settled)
        found = []
        while (pod := self.queue.pop_now()) is not None:
            found.append(pod)
        assert sorted(pod.uid for pod in found) == sorted(self.waiting)
        priorities = [pod.priority for pod in found]
        assert priorities == sorted(priorities, reverse=True)

    # --- what may happen

    @rule(
        uid=st.sampled_from(UIDS),
        gates=st.lists(st.sampled_from(CAUSES), max_size=2, unique=True).map(tuple),
        priority=st.integers(0, 2),
    )
    def pod_comes_or_changes(self, uid: str, gates: tuple[str, ...], priority: int) -> None:
        known = self.waiting.get(uid)
        if known is not None:
            # Gates are only taken away, and the priority stays.
            gates = tuple(each for each in known.pod["spec"]["gates"] if each in gates)
            priority = known.priority
        self.waiting[uid] = state(uid, gates, priority)
        self.queue.add(self.waiting[uid])

    @rule(uid=st.sampled_from(UIDS))
    def pod_goes(self, uid: str) -> None:
        self.queue.remove(uid)
        self.waiting.pop(uid, None)
        self.out.pop(uid, None)
        self.due.discard(uid)
        self.placed.discard(uid)

    @rule(colour=st.sampled_from((*CAUSES, "everything", "nothing")))
    def something_happens(self, colour: str) -> None:
        if colour in CAUSES:
            self.open.add(colour)
        for uid in self.out:
            self.missed[uid].add(colour)
        self.queue.changed(Change(colour, "MODIFIED", {}))

    @rule(seconds=st.sampled_from((0.5, 1.0, 3.0, 11.0, 400.0)))
    def time_passes(self, seconds: float) -> None:
        self.loop.run_until_complete(self.clock.advance(seconds, settled))
        if seconds > 10.0:
            parts = {uid: waiting.place for uid, waiting in self.queue._pods.items()}
            assert all(parts[uid] == "active" for uid in self.due)

    @rule()
    def long_unschedulable_ones_are_flushed(self) -> None:
        self.queue.flush()

    @rule()
    def first_is_popped(self) -> None:
        pod = self.queue.pop_now()
        if pod is not None:
            assert pod.uid not in self.out
            assert pod is self.waiting[pod.uid]
            self.take_out(pod)

    def take_out(self, pod: PodState) -> None:
        self.out[pod.uid] = pod
        self.missed[pod.uid] = set()
        self.due.discard(pod.uid)

    @rule(uids=st.lists(st.sampled_from(UIDS), max_size=3, unique=True))
    def some_are_taken_together(self, uids: list[str]) -> None:
        for pod in self.queue.take(uids):
            assert pod.uid not in self.out
            self.take_out(pod)

    @rule(uid=st.sampled_from(UIDS))
    def one_is_to_be_tried_at_once(self, uid: str) -> None:
        self.queue.activate(uid)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), refused_by=st.lists(st.sampled_from(CAUSES), max_size=2), retry=st.booleans())
    def popped_one_fails(self, data: Any, refused_by: list[str], retry: bool) -> None:
        pod = self.out.pop(data.draw(st.sampled_from(sorted(self.out))), None)
        assert pod is not None
        if pod.uid in self.placed:
            # What went wrong with the binding may be over.
            self.placed.discard(pod.uid)
            refused_by, retry = [], True
        self.queue.fail(pod, [POLICIES[each] for each in refused_by], retry=retry)
        missed = self.missed.pop(pod.uid)
        helped = bool(missed & {*refused_by, "everything"}) or (bool(missed) and not refused_by)
        gated = any(gate not in self.open for gate in self.waiting[pod.uid].pod["spec"]["gates"])
        if (retry or helped) and not gated:
            self.due.add(pod.uid)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def popped_one_gets_a_node(self, data: Any) -> None:
        """Binding is under way: it ends with ``popped_one_fails`` or ``pod_goes``."""
        uid = data.draw(st.sampled_from(sorted(self.out)))
        self.placed.add(uid)
        self.queue.placed(uid)

    # --- what holds all the time

    @invariant()
    def everybody_is_known_once(self) -> None:
        assert len(self.queue) == len(self.waiting)
        assert all(uid in self.queue for uid in self.waiting)
        assert {pod.uid for pod in self.queue.taken()} == self.out.keys()


TestQueue = Queue.TestCase
TestQueue.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
