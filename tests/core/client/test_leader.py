from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from fake_api import FakeApi, run, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.client.leader import LeaderElector
from kubernel.clock import VirtualClock
from kubernel.errors import ServiceUnavailable

LEASE = ("leases.v1.coordination.k8s.io", "kube-system", "lock")


class SlowApi:
    """One candidate's road to the API: each request and each answer may take its time or get lost."""

    def __init__(self, api: FakeApi, delays: list[tuple[float, float]]) -> None:
        self.api = api
        self.delays = delays

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            there, back = self.delays.pop(0) if self.delays else (0.0, 0.0)
            await self.api.clock.sleep(there)
            if there > 20:
                raise ServiceUnavailable("lost")
            answer = await getattr(self.api, name)(*args, **options)
            await self.api.clock.sleep(back)
            return answer

        return call


class Candidate:
    def __init__(self, api: FakeApi, name: str, acting: set[str], delays: list[tuple[float, float]]) -> None:
        self.name = name
        self.acting = acting
        self.terms = 0
        self.elector = LeaderElector(
            SlowApi(api, delays),  # type: ignore[arg-type]
            api.clock,
            random.Random(name),
            "lock",
            identity=name,
        )
        self.task = asyncio.create_task(self.elector.run(self.work))

    async def work(self) -> None:
        self.acting.add(self.name)
        self.terms += 1
        assert self.acting == {self.name}, "two leaders at once"
        try:
            await asyncio.Event().wait()
        finally:
            self.acting.discard(self.name)

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_one_leads_and_the_other_takes_over_at_once_when_it_gives_up() -> None:
    async def check() -> None:
        api, acting = FakeApi(), set[str]()
        first = Candidate(api, "first", acting, [])
        await settle()
        second = Candidate(api, "second", acting, [])
        await api.clock.advance(60, settle)
        assert acting == {"first"}
        spec = api.objects[LEASE]["spec"]
        assert spec["holderIdentity"] == "first"
        assert spec["leaseDurationSeconds"] == 15
        assert spec["leaseTransitions"] == 0
        assert second.elector.leader == "first"
        await first.stop()
        assert api.objects[LEASE]["spec"]["holderIdentity"] == ""
        await api.clock.advance(5, settle)
        assert acting == {"second"}
        assert api.objects[LEASE]["spec"]["leaseTransitions"] == 1
        await second.stop()

    run(check())


def test_a_leader_that_cannot_renew_stops_before_another_begins() -> None:
    async def check() -> None:
        api, acting = FakeApi(), set[str]()
        first = Candidate(api, "first", acting, [])
        await settle()
        second = Candidate(api, "second", acting, [])
        await api.clock.advance(20, settle)
        first.elector._client.delays = [(1000.0, 0.0)] * 5  # type: ignore[attr-defined]
        await api.clock.advance(11, settle)
        assert acting == set()
        await api.clock.advance(9, settle)
        assert acting == {"second"}
        await first.stop()
        await second.stop()

    run(check())


def test_the_end_of_the_work_ends_the_term_and_its_failure_is_raised() -> None:
    async def check() -> None:
        api = FakeApi()
        elector = LeaderElector(api, api.clock, random.Random(1), "lock")  # type: ignore[arg-type]

        async def fail() -> None:
            assert elector.is_leader
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            await elector.run(fail)
        assert not elector.is_leader
        assert api.objects[LEASE]["spec"]["holderIdentity"] == ""

    run(check())


def test_periods_that_could_make_two_leaders_are_refused() -> None:
    with pytest.raises(ValueError, match="lease_duration > renew_deadline"):
        LeaderElector(
            FakeApi(), VirtualClock(), random.Random(1), "x", lease_duration=10, renew_deadline=10  # type: ignore[arg-type]
        )  # fmt: skip


DELAY = st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 40))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(DELAY, DELAY), max_size=30), min_size=2, max_size=3),
    st.lists(st.floats(1, 60), max_size=8),
)
def test_never_two_leaders_however_slow_the_network(
    delays: list[list[tuple[float, float]]], steps: list[float]
) -> None:
    async def check() -> None:
        api, acting = FakeApi(), set[str]()
        candidates = [Candidate(api, f"c{number}", acting, list(each)) for number, each in enumerate(delays)]
        for step in steps:
            await api.clock.advance(step, settle)
        for candidate in candidates:
            candidate.elector._client.delays.clear()  # type: ignore[attr-defined]
        await api.clock.advance(120, settle)
        assert len(acting) == 1
        for candidate in candidates:
            assert not candidate.task.done()
            await candidate.stop()

    run(check())
