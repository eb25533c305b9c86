"""Two schedulers for one store: one acts, the other takes over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.errors import Conflict, ServiceUnavailable
from kubernel.testing import Cluster
from kubernel_plugins.scheduler.default import Plugin, Settings

LEASES = "leases.v1.coordination.k8s.io"


class Line:
    """A client whose connection can be cut, and whose bindings can be kept on the way."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.cut = False
        self.keeps_bindings = False
        self.kept: list[Any] = []
        """Bindings on the way: functions that deliver them."""

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in ("get", "list", "create", "update", "patch", "delete"):
            return call

        async def through(*args: Any, **options: Any) -> Any:
            if self.keeps_bindings and options.get("subresource") == "binding":
                self.kept.append(lambda: call(*args, **options))
                await asyncio.Event().wait()
            if self.cut:
                raise ServiceUnavailable("the network is away")
            return await call(*args, **options)

        return through


class Settled:
    leader_election = True


class OwnHandle:
    """A plugin's handle, with a line of its own and leader election on."""

    def __init__(self, handle: Any, tasks: list[Any]) -> None:
        self._handle = handle
        self._tasks = tasks
        self.cluster = Settled()
        self.line: Line | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handle, name)

    def client(self, user: str, groups: Any = ()) -> Any:
        self.line = self.line or Line(self._handle.client(user, groups))
        return self.line

    def spawn(self, work: Any, name: str) -> Any:
        task = self._handle.spawn(work, name)
        self._tasks.append(task)
        return task


class Scheduler:
    def __init__(self, cluster: Cluster, settings: Settings | None = None) -> None:
        self.cluster = cluster
        self.tasks: list[Any] = []
        self.handle = OwnHandle(cluster.kernel.plugin("scheduler", "default").handle, self.tasks)
        self.plugin = Plugin(settings or Settings(), self.handle)
        cluster.run(self.plugin.start())
        cluster.settle()

    def stop(self) -> None:
        async def stop() -> None:
            await self.plugin.stop()
            for task in self.tasks:
                task.cancel()

        self.cluster.run(stop())
        self.cluster.settle()

    @property
    def line(self) -> Line:
        assert self.handle.line is not None
        return self.handle.line


@pytest.fixture
def pair(cluster: Cluster) -> Any:
    cluster.faults.crash("scheduler", "default")
    first = Scheduler(cluster)
    second = Scheduler(cluster)
    yield cluster, first, second
    first.stop()
    second.stop()


def bound(cluster: Cluster, name: str) -> bool:
    return bool(cluster.get("pods", name)["spec"].get("nodeName"))


def test_only_one_of_two_binds(pair: Any) -> None:
    cluster, _, _ = pair
    for number in range(20):
        cluster.create(pod(f"p{number}"))
    cluster.clock.advance("1m")
    assert all(bound(cluster, f"p{number}") for number in range(20))
    assert len(events(cluster, "Scheduled")) == 20
    assert events(cluster, "FailedScheduling") == []


def test_the_other_takes_over_at_once_when_the_leader_stops(pair: Any) -> None:
    cluster, first, _ = pair
    holder = cluster.get(LEASES, "kube-scheduler", "kube-system")["spec"]["holderIdentity"]
    first.stop()
    cluster.create(pod("late"))
    cluster.clock.advance(5)
    assert bound(cluster, "late")
    lease = cluster.get(LEASES, "kube-scheduler", "kube-system")["spec"]
    assert lease["holderIdentity"] not in ("", holder)


def test_a_leader_that_is_cut_off_stops_before_the_other_begins(pair: Any) -> None:
    cluster, first, _ = pair
    cluster.clock.advance(5)
    first.line.cut = True
    cluster.create(pod("meanwhile"))
    cluster.clock.advance(9)
    assert not bound(cluster, "meanwhile")
    cluster.clock.advance(15)
    assert bound(cluster, "meanwhile")
    first.line.cut = False
    cluster.create(pod("after"))
    cluster.clock.advance("1m")
    assert bound(cluster, "after")
    assert len(events(cluster, "Scheduled")) == 2


def test_a_leader_that_is_killed_hands_over_within_the_lease_and_no_pod_is_bound_twice(pair: Any) -> None:
    cluster, first, _ = pair
    places: dict[str, list[str]] = {}

    def look(kind: str, obj: Any, old: Any) -> None:
        node = obj["spec"].get("nodeName")
        if node and (old is None or old["spec"].get("nodeName") != node):
            places.setdefault(obj["metadata"]["name"], []).append(node)

    remove = cluster.client().informer("pods").add_listener(look)
    names = [f"p{number}" for number in range(30)]
    for name in names[:10]:
        cluster.create(pod(name))
    cluster.settle()
    # It dies with bindings on the way, of which some arrive when another leads already.
    first.line.keeps_bindings = True
    for name in names[10:]:
        cluster.create(pod(name))
    cluster.settle()
    assert len(first.line.kept) == 20
    first.line.cut = True
    early, late = first.line.kept[:5], first.line.kept[5:]
    for deliver in early:
        cluster.run(deliver())
    cluster.clock.advance(16 + 5)
    assert all(bound(cluster, name) for name in names)
    for deliver in late:
        with pytest.raises(Conflict, match="is already assigned to node"):
            cluster.run(deliver())
    cluster.clock.advance("1m")
    assert {name: len(nodes) for name, nodes in places.items()} == dict.fromkeys(names, 1)
    remove()


def test_a_leader_that_comes_back_knows_what_it_had_not_bound(pair: Any) -> None:
    cluster, first, second = pair
    cluster.faults.slow_store(2.0)
    gated = pod("a", schedulingGates=[{"name": "example.com/wait"}])
    cluster.create(gated)
    cluster.run(cluster.client().patch("pods", "a", {"spec": {"schedulingGates": None}}, "default"))
    cluster.settle()
    # Its binding is on the way when it loses the lease.
    first.line.cut = True
    cluster.faults.clear()
    second.stop()
    cluster.clock.advance("1m")
    first.line.cut = False
    cluster.clock.advance("1m")
    assert bound(cluster, "a")
    cluster.delete("pods", "a")
    cluster.clock.advance("1m")
    table = first.plugin.scheduler.table
    assert list(table.pods_on(table.row("node-1"))) == []


def test_pods_that_wait_for_a_binding_of_others_are_not_lost_with_the_lease(cluster: Cluster) -> None:
    cluster.faults.crash("scheduler", "default")
    alone = Scheduler(cluster, Settings(parallel_binds=1))
    cluster.create(pod("first"))
    cluster.clock.advance(1)
    assert bound(cluster, "first")
    alone.line.keeps_bindings = True
    names = [f"p{number}" for number in range(4)]
    for name in names:
        cluster.create(pod(name))
    cluster.settle()
    # One binding is on the way, another pod has its node and waits for its turn.
    assert len(alone.plugin.scheduler.queue.taken()) == 2
    alone.line.cut = True
    cluster.clock.advance("1m")
    assert alone.plugin.scheduler.queue.taken() == []
    alone.line.cut = alone.line.keeps_bindings = False
    cluster.clock.advance("2m")
    assert all(bound(cluster, name) for name in names)
    alone.stop()
