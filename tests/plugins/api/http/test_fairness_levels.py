"""Priority levels as the cluster's objects make them: limits, lending and borrowing, who keeps what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from kubernel.clock import VirtualClock
from kubernel.registry.request import UserInfo
from kubernel.store import ObjectStore
from kubernel_plugins.api.http.fairness import Asked, Estimate, Fairness, Ticket
from kubernel_plugins.flowcontrol import LEVELS, SCHEMAS
from kubernel_plugins.store.memory import MemoryBackend

JANE = UserInfo("jane", ("system:authenticated",))
NODE = UserInfo("system:node:n1", ("system:nodes", "system:authenticated"))
ADMIN = UserInfo("kubernetes-admin", ("system:masters", "system:authenticated"))
GET_POD = Asked("get", "", "pods", "", "shop")


class Informer:
    def __init__(self, specs: Any) -> None:
        self.objects = {
            name: {"metadata": {"name": name, "uid": f"uid-of-{name}"}, "spec": spec}
            for name, spec in specs.items()
        }
        self.listener: Callable[..., None] = lambda *told: None

    def add_listener(self, listener: Callable[..., None]) -> Callable[[], None]:
        self.listener = listener
        return lambda: None

    def list(self) -> list[Any]:
        return list(self.objects.values())


class World:
    def __init__(self, total: int = 600) -> None:
        self.clock = VirtualClock()
        store = ObjectStore(MemoryBackend(), self.clock)
        self.schemas, self.levels = Informer(SCHEMAS), Informer(LEVELS)
        informers = {"flowschemas": self.schemas, "prioritylevelconfigurations": self.levels}
        client = SimpleNamespace(informer=lambda resource: informers[resource.partition(".")[0]])
        registry = SimpleNamespace(store=store, lookup=lambda *told: True)
        handle: Any = SimpleNamespace(
            clock=self.clock, registry=registry, client=lambda *told: client, rng=random.Random(1)
        )
        self.fairness = Fairness(handle, total)
        self.fairness.start()

    async def enter(self, user: UserInfo, asked: Asked = GET_POD) -> Ticket:
        classified = self.fairness.classify(user, asked)
        ticket = self.fairness.arrive(classified, user, asked, "", Estimate(1))
        if ticket.waiting is not None:
            await self.fairness.turn(ticket)
        return ticket

    async def advance(self, seconds: float) -> None:
        await self.clock.advance(seconds, lambda: asyncio.sleep(0))


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_the_suggested_levels_get_upstreams_seats() -> None:
    async def test() -> None:
        world = World()
        world.fairness.classify(JANE, GET_POD)
        levels = world.fairness.levels
        # 600 seats for 245 shares, rounded up.
        assert {name: level.nominal for name, level in levels.items()} == {
            "exempt": 0, "catch-all": 13, "system": 74, "node-high": 98, "leader-election": 25,
            "workload-high": 98, "workload-low": 245, "global-default": 49,
        }  # fmt: skip
        low = levels["workload-low"]
        # It lends nine tenths, and may borrow everything.
        assert (low.least, low.most) == (25, 845)

    run(test)


def test_requests_go_where_the_suggested_schemas_send_them() -> None:
    async def test() -> None:
        fairness = World().fairness

        def where(user: UserInfo, asked: Asked = GET_POD) -> tuple[str, str]:
            classified = fairness.classify(user, asked)
            return classified.schema.name, classified.level.name

        assert where(ADMIN) == ("exempt", "exempt")
        assert where(JANE) == ("global-default", "global-default")
        assert where(NODE) == ("system-nodes", "system")
        assert where(NODE, Asked("patch", "", "nodes", "status", "")) == ("system-node-high", "node-high")
        scheduler = UserInfo("system:kube-scheduler", ("system:authenticated",))
        assert where(scheduler) == ("kube-scheduler", "workload-high")
        lease = Asked("update", "coordination.k8s.io", "leases", "", "kube-system")
        assert where(scheduler, lease) == ("system-leader-election", "leader-election")
        nobody = UserInfo("system:anonymous", ("system:unauthenticated",))
        assert where(nobody, Asked("get", path="/healthz")) == ("probes", "exempt")

    run(test)


def test_a_level_that_is_not_used_lends_its_seats_to_one_that_is_full() -> None:
    async def test() -> None:
        world = World(total=100)
        world.fairness.classify(JANE, GET_POD)
        crowded = world.fairness.levels["global-default"]
        before = crowded.queues.limit
        users = [UserInfo(f"user-{number}", ("system:authenticated",)) for number in range(60)]
        tasks = [asyncio.ensure_future(world.enter(user)) for user in users]
        await asyncio.sleep(0)
        assert crowded.queues.executing == before
        assert crowded.queues.waiting == 60 - before
        await world.advance(10)
        # The next request, to whatever level, finds that it is time to look.
        other = await world.enter(NODE)
        await asyncio.sleep(0)
        assert crowded.queues.limit > before
        assert crowded.queues.executing > before
        assert sum(level.queues.limit for level in world.fairness.levels.values()) <= 110
        lender = world.fairness.levels["workload-low"]
        assert lender.least <= lender.queues.limit < lender.nominal
        world.fairness.leave(other)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    run(test)


def test_a_change_of_an_object_counts_from_the_next_request() -> None:
    async def test() -> None:
        world = World()
        assert world.fairness.classify(JANE, GET_POD).schema.name == "global-default"
        obj = world.schemas.objects["global-default"]
        changed = {**obj, "spec": {**obj["spec"], "priorityLevelConfiguration": {"name": "workload-high"}}}
        world.schemas.objects["global-default"] = changed
        world.schemas.listener("MODIFIED", changed, obj)
        assert world.fairness.classify(JANE, GET_POD).level.name == "workload-high"

    run(test)


def test_a_schema_without_its_level_is_passed_over() -> None:
    async def test() -> None:
        world = World()
        world.levels.objects.pop("global-default")
        assert world.fairness.classify(JANE, GET_POD).schema.name == "catch-all"

    run(test)


def test_the_mandatory_levels_are_there_without_their_objects() -> None:
    async def test() -> None:
        world = World()
        world.levels.objects.clear()
        world.schemas.objects.clear()
        assert world.fairness.classify(ADMIN, GET_POD).level.exempt
        assert world.fairness.classify(JANE, GET_POD).level.name == "catch-all"
        assert set(world.fairness.levels) == {"exempt", "catch-all"}

    run(test)


def test_who_waits_longer_than_a_quarter_of_a_requests_time_is_turned_away() -> None:
    async def test() -> None:
        world = World(total=1)
        world.fairness.classify(JANE, GET_POD)
        first = await world.enter(JANE)
        late = asyncio.ensure_future(world.enter(JANE))
        await asyncio.sleep(0)
        await world.advance(14)
        assert not late.done()
        await world.advance(2)
        results = await asyncio.gather(late, return_exceptions=True)
        assert getattr(results[0], "retry_after", None) == 1
        world.fairness.leave(first)
        assert world.fairness.levels["global-default"].queues.idle

    run(test)
