"""When a pod that could not be placed is looked at again."""

from __future__ import annotations

import asyncio

from scheduling_kit import pod

from kubernel.clock import VirtualClock
from kubernel.plugin.scheduling import Change, PodState, Policy
from kubernel_plugins.scheduler.default.queue import SchedulingQueue

SOMETHING = Change("anything", "MODIFIED", {})


class Helped(Policy):
    """Thinks that everything may help."""

    def __init__(self) -> None:
        self.name = "Helped"  # type: ignore[misc]


async def settled() -> None:
    await asyncio.sleep(0)


class Waiting:
    """A queue, and what comes out of it within a time."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.queue = SchedulingQueue(self.clock, order=lambda pod: (-pod.priority,))

    async def seconds_until(self, wanted: PodState) -> float:
        begun = self.clock.monotonic()
        while (found := self.queue.pop_now()) is None:
            await self.clock.advance(0.5, settled)
        assert found is wanted
        return self.clock.monotonic() - begun


def test_pauses_after_errors_grow() -> None:
    async def run() -> None:
        waiting, one = Waiting(), pod()
        waiting.queue.add(one)
        pauses = []
        for _ in range(7):
            pauses.append(await waiting.seconds_until(one))
            waiting.queue.fail(one, retry=True)
        assert pauses == [0, 1, 2, 4, 8, 10, 10]

    asyncio.run(run())


def test_an_attempt_without_an_error_ends_the_pauses_of_errors() -> None:
    async def run() -> None:
        waiting, one = Waiting(), pod()
        waiting.queue.add(one)
        for _ in range(4):
            await waiting.seconds_until(one)
            waiting.queue.fail(one, retry=True)
        await waiting.seconds_until(one)
        waiting.queue.fail(one, [Helped()])
        waiting.queue.changed(SOMETHING)
        assert waiting.queue.pop_now() is one
        waiting.queue.fail(one, retry=True)
        assert await waiting.seconds_until(one) == 1

    asyncio.run(run())


def test_who_backs_off_after_a_refusal_goes_at_once_when_nobody_else_waits() -> None:
    async def run() -> None:
        waiting, first, second = Waiting(), pod(), pod()
        for each in (first, second):
            waiting.queue.add(each)
            assert waiting.queue.pop_now() is each
        for each in (first, second):
            waiting.queue.fail(each, [Helped()])
        third = pod()
        waiting.queue.add(third)
        waiting.queue.changed(SOMETHING)
        assert waiting.queue.pending()["backoff"] == 2
        assert [waiting.queue.pop_now() for _ in range(3)] == [third, first, second]
        assert waiting.queue.pop_now() is None

    asyncio.run(run())


def test_who_backs_off_goes_by_the_end_of_its_pause_then_by_priority() -> None:
    async def run() -> None:
        waiting = Waiting()
        low, high, late = pod(priority=1), pod(priority=5), pod(priority=9)
        waiting.queue.add(late)
        for _ in range(3):
            assert waiting.queue.pop_now() is late
            waiting.queue.fail(late, [Helped()])
            waiting.queue.changed(SOMETHING)
        assert waiting.queue.pop_now() is late
        for each in (low, high):
            waiting.queue.add(each)
            assert waiting.queue.pop_now() is each
        for each in (low, high, late):
            waiting.queue.fail(each, [Helped()])
        waiting.queue.changed(SOMETHING)
        assert [waiting.queue.pop_now() for _ in range(3)] == [high, low, late]

    asyncio.run(run())


def test_what_gives_a_pods_room_back_does_not_wake_that_pod() -> None:
    async def run() -> None:
        waiting, one, other = Waiting(), pod(), pod()
        for each in (one, other):
            waiting.queue.add(each)
            waiting.queue.pop_now()
            waiting.queue.fail(each, [Helped()])
        waiting.queue.changed(SOMETHING, but=one.uid)
        assert waiting.queue.pop_now() is other
        assert waiting.queue.pop_now() is None
        assert waiting.queue.pending()["unschedulable"] == 1

    asyncio.run(run())
