from __future__ import annotations

import asyncio

import pytest
from fake_api import run, settle
from hypothesis import given
from hypothesis import strategies as st

from kubernel.client.workqueue import WorkQueue
from kubernel.clock import VirtualClock


def test_a_key_waits_once_however_often_it_is_added() -> None:
    async def check() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add("a")
        queue.add("a")
        queue.add("b")
        assert [await queue.get(), await queue.get()] == ["a", "b"]
        assert len(queue) == 0

    run(check())


def test_a_key_added_while_worked_on_comes_again_afterwards() -> None:
    async def check() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        queue.add("a")
        await queue.get()
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.idle

    run(check())


def test_the_earliest_of_several_delays_counts() -> None:
    async def check() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        queue.add("a", 10)
        queue.add("a", 5)
        queue.add("a", 20)
        await clock.advance(4.9, settle)
        assert len(queue) == 0
        await clock.advance(0.2, settle)
        assert await queue.get() == "a"
        queue.done("a")
        await clock.advance(100, settle)
        assert len(queue) == 0

    run(check())


def test_retries_back_off_from_5_ms_to_1000_s_and_start_over_after_success() -> None:
    async def check() -> None:
        queue: WorkQueue[str] = WorkQueue(VirtualClock())
        delays = [queue.retry("a") for _ in range(20)]
        assert delays[:4] == pytest.approx([0.005, 0.01, 0.02, 0.04])
        assert delays[-1] == 1000.0
        queue.forget("a")
        assert queue.retry("a") == 0.005

    run(check())


KEYS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, st.just(0.0)),
        st.tuples(st.just("add"), KEYS, st.floats(0.1, 5)),
        st.tuples(st.just("retry"), KEYS, st.just(0.0)),
        st.tuples(st.just("advance"), st.just(""), st.floats(0, 3)),
        st.tuples(st.just("settle"), st.just(""), st.just(0.0)),
    ),
    max_size=40,
)


@given(STEPS, st.integers(1, 4), st.floats(0, 2))
def test_no_key_is_lost_and_none_is_worked_on_twice_at_once(
    steps: list[tuple[str, str, float]], workers: int, takes: float
) -> None:
    async def check() -> None:
        clock = VirtualClock()
        queue: WorkQueue[str] = WorkQueue(clock)
        version = dict.fromkeys("abc", 0)
        done = dict.fromkeys("abc", 0)
        busy: set[str] = set()

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in busy
                busy.add(key)
                seen = version[key]
                await clock.sleep(takes)
                done[key] = seen
                busy.discard(key)
                queue.done(key)

        tasks = [asyncio.create_task(work()) for _ in range(workers)]
        for step, key, amount in steps:
            if step == "add":
                version[key] += 1
                queue.add(key, amount)
            elif step == "retry":
                version[key] += 1
                queue.retry(key)
            elif step == "advance":
                await clock.advance(amount, settle)
            else:
                await settle()
        await clock.advance(200, settle)
        assert done == version
        assert queue.idle
        for task in tasks:
            assert not task.done()
            task.cancel()

    run(check())
