"""Priority and fairness by its parts: matching, shares, queues, and how long to stay away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.clock import VirtualClock
from kubernel.registry.request import UserInfo
from kubernel_plugins.api.http.fairness.allocation import Bounds, Demand, share
from kubernel_plugins.api.http.fairness.matching import Asked, Schema, deal, flow_hash
from kubernel_plugins.api.http.fairness.queues import QueueSet, Ticket
from kubernel_plugins.api.http.fairness.retry import MOST, RetryAfter
from kubernel_plugins.api.http.fairness.seats import Estimate

JANE = UserInfo("jane", ("dev", "system:authenticated"))
ROBOT = UserInfo("system:serviceaccount:shop:robot", ("system:serviceaccounts",))
GET_POD = Asked("get", "", "pods", "", "shop")
ALL: dict[str, Any] = {
    "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True,
}  # fmt: skip
EVERYBODY = [{"kind": "Group", "group": {"name": "*"}}]


def schema(name: str = "s", **rule: Any) -> Schema:
    rule = {"subjects": EVERYBODY, **rule}
    return Schema(
        {"metadata": {"name": name}, "spec": {"priorityLevelConfiguration": {"name": "l"}, "rules": [rule]}}
    )


# --- matching


@pytest.mark.parametrize(
    ("subject", "user", "matches"),
    [
        ({"kind": "User", "user": {"name": "jane"}}, JANE, True),
        ({"kind": "User", "user": {"name": "joe"}}, JANE, False),
        ({"kind": "User", "user": {"name": "*"}}, JANE, True),
        ({"kind": "Group", "group": {"name": "dev"}}, JANE, True),
        ({"kind": "Group", "group": {"name": "ops"}}, JANE, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "shop", "name": "robot"}}, ROBOT, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "shop", "name": "*"}}, ROBOT, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "sho", "name": "*"}}, ROBOT, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "shop", "name": "other"}}, ROBOT, False),
        ({"kind": "User"}, JANE, False),
    ],
)
def test_a_schema_is_about_its_subjects(subject: Any, user: UserInfo, matches: bool) -> None:
    assert schema(subjects=[subject], resourceRules=[ALL]).matches(user, GET_POD) is matches


@pytest.mark.parametrize(
    ("change", "asked", "matches"),
    [
        ({}, GET_POD, True),
        ({"verbs": ["list", "get"]}, GET_POD, True),
        ({"verbs": ["list"]}, GET_POD, False),
        ({"apiGroups": ["apps"]}, GET_POD, False),
        ({"resources": ["pods"]}, GET_POD, True),
        ({"resources": ["pods"]}, GET_POD._replace(subresource="status"), False),
        ({"resources": ["pods/status"]}, GET_POD._replace(subresource="status"), True),
        ({"namespaces": ["shop"]}, GET_POD, True),
        ({"namespaces": ["other"]}, GET_POD, False),
        ({"clusterScope": False}, GET_POD, True),
        ({"clusterScope": False}, GET_POD._replace(namespace=""), False),
        ({}, Asked("get", path="/healthz"), False),
    ],
)
def test_a_schema_is_about_resources(change: Any, asked: Asked, matches: bool) -> None:
    assert schema(resourceRules=[{**ALL, **change}]).matches(JANE, asked) is matches


@pytest.mark.parametrize(
    ("url", "path", "matches"),
    [
        ("*", "/healthz", True),
        ("/healthz", "/healthz", True),
        ("/healthz", "/livez", False),
        ("/healthz/*", "/healthz/etcd", True),
        ("/healthz", "/healthz/etcd", True),
        ("/health", "/healthz", False),
    ],
)
def test_a_schema_is_about_paths_and_what_is_below_them(url: str, path: str, matches: bool) -> None:
    found = schema(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": [url]}])
    assert found.matches(JANE, Asked("get", path=path)) is matches


@given(st.integers(0, 2**64 - 1), st.integers(1, 512), st.data())
def test_a_hand_is_dealt_without_repeats(number: int, deck: int, data: st.DataObject) -> None:
    hand = data.draw(st.integers(1, min(deck, 10)))
    cards = deal(number, deck, hand)
    assert len(set(cards)) == hand
    assert all(0 <= card < deck for card in cards)


def test_flows_are_dealt_as_upstream_deals_them() -> None:
    # 5 of 10 for 1: the first card is 1, all further ones the lowest that are left.
    assert deal(1, 10, 5) == (1, 0, 2, 3, 4)
    assert deal(2**64 - 1, 128, 6) == (127, 1, 7, 56, 91, 6)
    # The first eight bytes of the SHA-256 of "a", a zero byte and "b", little-endian.
    assert flow_hash("a", "b") == 0xD3B1BC1BAE71B259


# --- shares


def bounds() -> st.SearchStrategy[Bounds]:
    def made(least: int, more: int, wanted: int) -> Bounds:
        return Bounds(least, least + more, least + wanted)

    number = st.integers(0, 200)
    return st.builds(made, number, number, number)


@given(st.lists(bounds(), min_size=1, max_size=8), st.floats(0, 1))
def test_shares_keep_to_bounds_add_up_and_are_fair(levels: list[Bounds], part: float) -> None:
    low, high = sum(level.least for level in levels), sum(level.most for level in levels)
    total = low + (high - low) * part
    shares, proportion = share(total, levels)
    assert sum(shares) == pytest.approx(total, abs=1e-6)
    for level, got in zip(levels, shares, strict=True):
        assert level.least - 1e-9 <= got <= level.most + 1e-9
        wanted = proportion * max(level.target, 0.001)
        inside = level.least + 1e-6 < got < level.most - 1e-6
        assert not inside or got == pytest.approx(wanted)


def test_a_level_that_wants_more_borrows_from_one_that_wants_less() -> None:
    shares, _ = share(100, [Bounds(25, 150, 80), Bounds(10, 150, 10)])
    assert shares[0] > 80
    assert sum(shares) == pytest.approx(100)


def test_demand_is_averaged_over_time_and_smoothed() -> None:
    demand = Demand(0.0)
    demand.set(10, 0.0)
    demand.set(0, 5.0)
    demand.reset(10.0, 1)
    assert (demand.average, demand.deviation, demand.most, demand.smoothed) == (5.0, 5.0, 10, 10.0)
    demand.reset(20.0, 1)
    assert (demand.average, demand.most) == (0.0, 0)
    assert demand.smoothed == pytest.approx(9.77)


def test_the_time_to_stay_away_doubles_under_load_and_comes_down_after_it() -> None:
    retry = RetryAfter()
    seen = [retry.dropped(second) for second in range(100, 200) for _ in range(40)]
    assert seen[0] == 1
    assert max(seen) == MOST
    later = [retry.dropped(second) for second in range(300, 3000, 50)]
    assert later == sorted(later, reverse=True)
    assert later[-1] == 1


# --- queues


class Level:
    """A queue set under a virtual clock; ``enter`` gives a ticket, or why there is none."""

    def __init__(self, limit: int, *, queues: int | None = 8, hand: int = 2, length: int = 10) -> None:
        self.clock = VirtualClock()
        self.set = QueueSet("l", self.clock, Demand(self.clock.monotonic()), lambda: None)
        self.set.configure(queues, length)
        self.set.limit = limit
        self.hand = hand

    def enter(self, flow: str = "f", estimate: Estimate | None = None) -> Any:
        classified: Any = SimpleNamespace(level=SimpleNamespace(queues=self.set))
        ticket = Ticket(classified, estimate or Estimate(1), flow, GET_POD, "")
        wanted = self.set.wanted
        hand = deal(flow_hash("s", flow), wanted, min(self.hand, wanted)) if wanted else ()
        return self.set.enter(ticket, hand) or ticket

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds, lambda: asyncio.sleep(0))


def runs(ticket: Ticket) -> bool:
    return ticket.waiting is None or ticket.waiting.done()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_seats_are_given_until_there_are_none_then_requests_wait_in_their_order() -> None:
    async def test() -> None:
        level = Level(2, hand=1)
        tickets = [level.enter() for _ in range(5)]
        assert [runs(ticket) for ticket in tickets] == [True, True, False, False, False]
        level.set.finish(tickets[0])
        assert [runs(ticket) for ticket in tickets[2:]] == [True, False, False]
        level.set.finish(tickets[2])
        level.set.finish(tickets[1])
        assert all(map(runs, tickets))

    run(test)


def test_a_flow_that_asks_for_little_is_not_kept_waiting_by_one_that_asks_for_much() -> None:
    async def test() -> None:
        level = Level(1, queues=64, hand=1, length=50)
        first = level.enter("much")
        much = [level.enter("much") for _ in range(20)]
        little = level.enter("little")
        level.set.finish(first)
        running = next(ticket for ticket in (*much, little) if runs(ticket))
        if running is not little:
            level.set.finish(running)
        assert runs(little)

    run(test)


def test_a_full_queue_turns_away() -> None:
    async def test() -> None:
        level = Level(1, hand=1, length=2)
        tickets = [level.enter() for _ in range(4)]
        assert tickets[3] == "queue-full"
        assert (level.set.waiting, level.set.rejected) == (2, 1)

    run(test)


def test_a_level_without_queues_turns_away_who_finds_no_seat() -> None:
    async def test() -> None:
        level = Level(1, queues=0)
        first = level.enter()
        assert level.enter() == "concurrency-limit"
        level.set.finish(first)
        assert runs(level.enter())

    run(test)


def test_the_exempt_level_has_seats_for_all() -> None:
    async def test() -> None:
        level = Level(1, queues=None)
        assert all(runs(level.enter()) for _ in range(100))
        assert level.set.seats_in_use == 100

    run(test)


def test_a_wide_request_waits_for_all_its_seats_and_nobody_overtakes_it() -> None:
    async def test() -> None:
        level = Level(3, queues=1, hand=1)
        first = level.enter()
        wide, narrow = level.enter("f", Estimate(3)), level.enter("f")
        assert [runs(wide), runs(narrow)] == [False, False]
        level.set.finish(first)
        assert [runs(wide), runs(narrow)] == [True, False]
        level.set.finish(wide)
        assert runs(narrow)

    run(test)


def test_a_request_wider_than_the_level_runs_alone() -> None:
    async def test() -> None:
        level = Level(2, hand=1)
        first = level.enter()
        wide = level.enter("f", Estimate(9))
        assert not runs(wide)
        level.set.finish(first)
        assert runs(wide)

    run(test)


def test_final_seats_are_kept_for_the_watchers_of_a_write() -> None:
    async def test() -> None:
        level = Level(2, hand=1)
        write = level.enter("f", Estimate(1, 2, 0.01))
        assert level.set.seats_in_use == 2
        later = level.enter()
        level.set.finish(write)
        assert not runs(later)
        await level.advance(0.01)
        assert runs(later)

    run(test)


def test_who_went_away_or_waited_too_long_leaves_the_queue() -> None:
    async def test() -> None:
        level = Level(1, hand=1)
        first = level.enter()
        late, gone, last = level.enter(), level.enter(), level.enter()
        assert level.set.leave_queue(late, late=True)
        assert level.set.leave_queue(gone, late=False)
        assert not level.set.leave_queue(first, late=True)
        level.set.finish(first)
        assert runs(last)
        assert (level.set.timed_out, level.set.cancelled) == (1, 1)
        level.set.finish(last)
        assert level.set.idle
        assert (level.set.seats_in_use, level.set.seats_waiting) == (0, 0)

    run(test)


def test_more_seats_let_in_who_waits_and_fewer_queues_drain() -> None:
    async def test() -> None:
        level = Level(1, queues=8, hand=1)
        tickets = [level.enter(f"f{number}") for number in range(6)]
        level.set.configure(2, 10)
        assert len(level.set.queues) >= 2
        level.set.resize(6)
        assert all(map(runs, tickets))
        for ticket in tickets:
            level.set.finish(ticket)
        assert len(level.set.queues) == 2

    run(test)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.booleans()), max_size=60),
    st.integers(1, 5),
)
def test_seats_are_never_oversold_and_nobody_is_forgotten(
    steps: list[tuple[str, int, bool]], limit: int
) -> None:
    async def test() -> None:
        level = Level(limit, queues=4, hand=2, length=100)
        tickets: list[Ticket] = []
        for flow, seats, leaves in steps:
            tickets.append(level.enter(flow, Estimate(seats)))
            held = sum(t.estimate.most for t in tickets if runs(t))
            assert held == level.set.seats_in_use
            assert held <= limit or level.set.executing == 1
            running = [ticket for ticket in tickets if runs(ticket)]
            if leaves and running:
                tickets.remove(running[0])
                level.set.finish(running[0])
        while tickets:
            running = [ticket for ticket in tickets if runs(ticket)]
            assert running
            for ticket in running:
                tickets.remove(ticket)
                level.set.finish(ticket)
        assert level.set.idle
        assert level.set.seats_in_use == 0

    run(test)
