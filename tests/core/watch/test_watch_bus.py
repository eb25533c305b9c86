"""The watch bus, alone and against a model."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubernel.clock import VirtualClock
from kubernel.store import Change, Compacted, Event, Feed, Key, ObjectStore, Snapshot, Write
from kubernel.store.ledger import Ledger
from kubernel.watch import Closed, Cursor, TooNew, TooOld, WatchBus


class LogBackend:
    """A backend of the core's own test: a list, durable across stores, commits when told to."""

    retention = 0.0

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.log: list[Change] = []
        self.feed: Feed | None = None

    async def open(self, feed: Feed) -> Snapshot:
        self.feed = feed
        return Snapshot(self.ledger.revision, self.ledger.compacted, list(self.log))

    async def close(self) -> None:
        self.feed = None

    def commit(self, write: Write) -> Awaitable[int]:
        return self.commit_all([write])

    async def commit_all(self, writes: Sequence[Write]) -> int:
        """One batch on the feed for all of them."""
        changes = [self.ledger.stage(write) for write in writes]
        self.ledger.keep()
        self.log += [change._replace(origin=None) for change in changes]
        assert self.feed is not None
        self.feed(changes)
        return changes[-1].revision

    async def get_at(self, key: Key, revision: int) -> Change | None:
        raise Compacted(revision, revision)

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        raise Compacted(revision, revision)

    async def compact(self, revision: int) -> None:
        self.ledger.compacted = revision
        while garbage := set(self.ledger.garbage(100)):
            self.log = [change for change in self.log if change.revision not in garbage]

    async def backup(self, path: Path) -> None:
        raise NotImplementedError


def node_of(obj: dict[str, Any]) -> str:
    return str(obj["spec"]["nodeName"])


def pod(node: str | None = None) -> dict[str, Any]:
    return {"kind": "Pod", "metadata": {}, "spec": {} if node is None else {"nodeName": node}}


@asynccontextmanager
async def cluster(
    backend: LogBackend | None = None, history: int = 1000
) -> AsyncIterator[tuple[ObjectStore, WatchBus]]:
    store = ObjectStore(backend or LogBackend(), VirtualClock(), history=history, freeze=True)
    bus = WatchBus(store)
    bus.index("pods", "spec.nodeName", node_of)
    await store.start()
    try:
        yield store, bus
    finally:
        bus.close()
        await store.stop()


def revisions(events: Sequence[Event]) -> list[int]:
    return [event.revision for event in events]


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    asyncio.run(main())


def test_a_watch_from_now_sees_only_what_comes() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            await store.create(Key("pods", "a", "x"), pod())
            cursor = bus.watch("pods")
            assert cursor.poll() == []
            assert cursor.revision == 1
            await store.create(Key("services", "a", "x"), pod())
            assert cursor.poll() == []
            assert cursor.revision == 2
            await store.update(Key("pods", "a", "x"), pod())
            assert cursor.revision == 2
            assert revisions(cursor.poll()) == [3]
            assert cursor.revision == 3

    run(work)


def test_a_waiting_watch_is_woken() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            cursor = bus.watch("pods", "a")
            waiting = asyncio.create_task(cursor.next())
            await asyncio.sleep(0)
            await store.create(Key("pods", "b", "x"), pod())
            await asyncio.sleep(0)
            assert not waiting.done()
            await store.create(Key("pods", "a", "x"), pod())
            assert revisions(await waiting) == [2]

    run(work)


def test_a_thousand_watches_are_woken_a_few_at_a_turn_and_all_of_them() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            waiting = [asyncio.create_task(bus.watch("pods").next()) for _ in range(1000)]
            await asyncio.sleep(0)
            await store.create(Key("pods", "a", "x"), pod())
            seen = [0]
            while seen[-1] < 1000:
                await asyncio.sleep(0)
                seen.append(sum(task.done() for task in waiting))
            assert max(after - before for before, after in itertools.pairwise(seen)) <= 64
            assert all(revisions(task.result()) == [1] for task in waiting)

    run(work)


def test_closing_a_watch_ends_that_one_and_disturbs_no_other() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            one, other = bus.watch("pods"), bus.watch("pods")
            ended, waits = asyncio.create_task(one.next()), asyncio.create_task(other.next())
            await asyncio.sleep(0)
            handles = list(one._channel.waiting)
            one.close()
            with pytest.raises(Closed):
                await ended
            assert one._channel.waiting == handles[1:]
            await store.create(Key("pods", "a", "x"), pod())
            assert revisions(await waits) == [1]

    run(work)


def test_a_watch_resumes_after_the_given_revision() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            for name in "abc":
                await store.create(Key("pods", "ns", name), pod())
            assert revisions(bus.watch("pods", since=1).poll()) == [2, 3]
            assert revisions(bus.watch("pods", "ns", name="b", since=0).poll()) == [2]
            assert revisions(bus.watch("pods", name="c", since=0).poll()) == [3]
            with pytest.raises(TooNew):
                bus.watch("pods", since=4)

    run(work)


def test_a_field_watch_sees_objects_come_and_leave() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            first = bus.watch("pods", field=("spec.nodeName", "n1"))
            second = bus.watch("pods", "a", field=("spec.nodeName", "n2"))
            unbound = bus.watch("pods", field=("spec.nodeName", ""))
            await store.create(Key("pods", "a", "x"), pod())
            await store.update(Key("pods", "a", "x"), pod("n1"))
            await store.update(Key("pods", "a", "x"), pod("n2"))
            await store.create(Key("pods", "b", "y"), pod("n2"))
            assert revisions(first.poll()) == [2, 3]
            assert revisions(second.poll()) == [3]
            assert revisions(unbound.poll()) == [1, 2]
            with pytest.raises(KeyError):
                bus.watch("pods", field=("spec.unknown", "x"))

    run(work)


def test_a_watcher_that_falls_behind_is_told_to_list_again() -> None:
    async def work() -> None:
        async with cluster(history=8) as (store, bus):
            slow = bus.watch("pods")
            quiet = bus.watch("pods", "elsewhere")
            for number in range(20):
                await store.create(Key("pods", "a", f"{number}"), pod())
            with pytest.raises(TooOld):
                slow.poll()
            assert quiet.poll() == []
            assert quiet.revision == 20
            with pytest.raises(TooOld):
                bus.watch("pods", since=store.oldest - 1)
            assert revisions(bus.watch("pods", since=store.oldest).poll())[-1] == 20

    run(work)


def test_compaction_cuts_off_what_was_not_read() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            behind, ahead = bus.watch("pods"), bus.watch("pods")
            await store.create(Key("pods", "a", "x"), pod())
            await store.create(Key("pods", "a", "y"), pod())
            ahead.poll()
            await store.compact(2)
            with pytest.raises(TooOld):
                await behind.next()
            await store.delete(Key("pods", "a", "x"), pod())
            assert revisions(await ahead.next()) == [3]

    run(work)


def test_a_quiet_watch_outlives_the_history_it_has_read() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            cursors = [bus.watch("pods", "a"), bus.watch("pods", field=("spec.nodeName", "n1"))]
            await store.create(Key("pods", "a", "x"), pod("n1"))
            assert [revisions(cursor.poll()) for cursor in cursors] == [[1], [1]]
            await store.compact(1)
            await store.create(Key("services", "a", "x"), pod())
            await store.update(Key("pods", "a", "x"), pod("n1"))
            assert [revisions(cursor.poll()) for cursor in cursors] == [[3], [3]]

    run(work)


def test_closing_ends_waiting_watches() -> None:
    async def work() -> None:
        async with cluster() as (_, bus):
            one, other = bus.watch("pods"), bus.watch("pods", "x")
            tasks = [asyncio.create_task(cursor.next()) for cursor in (one, other)]
            await asyncio.sleep(0)
            one.close()
            with pytest.raises(Closed):
                await tasks[0]
            assert not tasks[1].done()
            bus.close()
            with pytest.raises(Closed):
                await tasks[1]
            with pytest.raises(Closed):
                bus.watch("pods")

    run(work)


def test_a_cancelled_wait_loses_nothing() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            cursor = bus.watch("pods")
            seen: list[int] = []
            for number in range(10):
                task = asyncio.create_task(cursor.next())
                await asyncio.sleep(0)
                task.cancel()
                if number % 2:
                    await store.create(Key("pods", "a", f"{number}"), pod())
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                if not isinstance(outcome, BaseException):
                    seen += revisions(outcome)
            seen += revisions(cursor.poll())
            assert seen == [1, 2, 3, 4, 5]

    run(work)


def test_a_watch_made_while_events_are_told_gets_them_once() -> None:
    async def work() -> None:
        store = ObjectStore(LogBackend(), VirtualClock())
        made: list[Cursor] = []
        store.subscribe(lambda events: made.append(bus.watch("pods", since=0)))
        bus = WatchBus(store)
        await store.start()
        await store.create(Key("pods", "a", "x"), pod())
        await store.create(Key("pods", "a", "y"), pod())
        assert [revisions(cursor.poll()) for cursor in made] == [[1, 2], [1, 2]]
        await store.stop()

    run(work)


def test_a_getter_that_fails_counts_as_empty() -> None:
    async def work() -> None:
        async with cluster() as (store, bus):
            cursor = bus.watch("pods", field=("spec.nodeName", ""))
            await store.create(Key("pods", "a", "x"), {"kind": "Pod"})
            assert revisions(cursor.poll()) == [1]

    run(work)


class Watcher:
    """What a client does: follows, remembers its revision, resumes there after a restart, lists
    again when it is told that it is too old."""

    def __init__(self, store: ObjectStore, selection: dict[str, Any]) -> None:
        self.selection = selection
        self.since = store.revision
        self.cursor: Cursor | None = None
        self.seen: list[int] = []
        self.from_revision = self.since

    def wants(self, event: Event) -> bool:
        key, selection = event.record.key, self.selection
        if selection.get("namespace") not in (None, key.namespace):
            return False
        if selection.get("name") not in (None, key.name):
            return False
        if field := selection.get("field"):
            states = [event.record] + ([event.previous] if event.previous else [])
            return any(state.obj["spec"].get("nodeName", "") == field[1] for state in states)
        return key.resource == "pods"

    def step(self, store: ObjectStore, bus: WatchBus) -> None:
        told: TooOld | None = None
        events: list[Event] = []
        try:
            if self.cursor is None:
                self.cursor = bus.watch("pods", since=self.since, **self.selection)
            events = self.cursor.poll()
        except TooOld as error:
            told = error
        if told is not None:
            assert self.since < store.oldest, "told too old although nothing was lost"
            assert told.oldest == store.oldest
            self.since = self.from_revision = store.revision
            self.seen = []
            self.cursor = None
            return
        assert self.cursor is not None
        self.seen += revisions(events)
        self.since = self.cursor.revision
        assert not self.seen or self.since >= self.seen[-1]


SELECTIONS: list[dict[str, Any]] = [
    {},
    {"namespace": "a"},
    {"name": "x"},
    {"namespace": "b", "name": "x"},
    {"field": ("spec.nodeName", "n1")},
    {"field": ("spec.nodeName", "")},
    {"namespace": "a", "field": ("spec.nodeName", "n2")},
]

keys = st.builds(
    Key, st.sampled_from(["pods", "pods", "services"]), st.sampled_from("ab"), st.sampled_from("xy")
)
steps = st.one_of(
    st.tuples(
        st.just("write"),
        st.lists(st.tuples(keys, st.sampled_from([None, "n1", "n2", "gone"])), min_size=1, max_size=6),
    ),
    st.tuples(st.just("read"), st.integers(0, len(SELECTIONS) - 1)),
    st.tuples(st.just("bookmark"), st.integers(0, len(SELECTIONS) - 1)),
    st.tuples(st.just("reconnect"), st.integers(0, len(SELECTIONS) - 1)),
    st.tuples(st.just("compact"), st.integers(0, 12)),
    st.tuples(st.just("restart"), st.none()),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(script=st.lists(steps, min_size=8, max_size=60), history=st.sampled_from([4, 16, 1000]))
def test_no_event_is_lost_doubled_or_reordered(script: list[tuple[str, Any]], history: int) -> None:
    async def work() -> None:
        backend = LogBackend()
        everything: list[Event] = []
        present: set[Key] = set()

        async def opened() -> tuple[ObjectStore, WatchBus]:
            store = ObjectStore(backend, VirtualClock(), history=history, freeze=True)
            bus = WatchBus(store)
            bus.index("pods", "spec.nodeName", node_of)
            await store.start()
            store.subscribe(everything.extend)
            return store, bus

        store, bus = await opened()
        watchers = [Watcher(store, selection) for selection in SELECTIONS]
        for action, what in script:
            if action == "write":
                # Together in one group, as a busy backend commits them.
                batch = []
                for key, node in what:
                    obj = b'{"metadata":{"resourceVersion":""},"spec":{%b}}' % (
                        b'"nodeName":"%b"' % node.encode() if node in ("n1", "n2") else b""
                    )
                    if node == "gone" and key in present:
                        present.discard(key)
                        batch.append(Write(key, obj, None, True))
                    else:
                        batch.append(Write(key, obj, None if key in present else 0))
                        present.add(key)
                await backend.commit_all(batch)
            elif action == "read":
                watchers[what].step(store, bus)
            elif action == "bookmark":
                watcher = watchers[what]
                if watcher.cursor is not None:
                    watcher.since = max(watcher.since, watcher.cursor.revision)
            elif action == "reconnect":
                watcher = watchers[what]
                if watcher.cursor is not None:
                    watcher.cursor.close()
                    watcher.cursor = None
            elif action == "compact":
                await store.compact(max(store.revision - what, 0))
            else:
                bus.close()
                await store.stop()
                store, bus = await opened()
                for watcher in watchers:
                    watcher.cursor = None
        for watcher in watchers:
            watcher.step(store, bus)
            watcher.step(store, bus)
            expected = [
                event.revision
                for event in everything
                if event.record.key.resource == "pods"
                and event.revision > watcher.from_revision
                and watcher.wants(event)
            ]
            assert watcher.seen == expected
        bus.close()
        await store.stop()

    asyncio.run(work())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    writers=st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4),
    readers=st.lists(st.lists(st.integers(0, 3), max_size=8), min_size=1, max_size=4),
)
def test_tasks_that_interleave_freely_all_see_the_same_order(
    writers: list[list[int]], readers: list[list[int]]
) -> None:
    """Numbers are how often a task yields before its next step."""

    async def work() -> None:
        async with cluster() as (store, bus):
            total = sum(len(pauses) for pauses in writers)

            async def write(which: int, pauses: list[int]) -> None:
                for number, pause in enumerate(pauses):
                    for _ in range(pause):
                        await asyncio.sleep(0)
                    await store.create(Key("pods", "a", f"{which}-{number}"), pod("n1"))

            async def read(pauses: list[int]) -> list[int]:
                cursor = bus.watch("pods", field=("spec.nodeName", "n1"), since=0)
                seen: list[int] = []
                waits = iter(pauses)
                while len(seen) < total:
                    for _ in range(next(waits, 0)):
                        await asyncio.sleep(0)
                    seen += revisions(await cursor.next())
                return seen

            reading = [asyncio.create_task(read(pauses)) for pauses in readers]
            await asyncio.gather(*(write(which, pauses) for which, pauses in enumerate(writers)))
            for seen in await asyncio.gather(*reading):
                assert seen == list(range(1, total + 1))

    asyncio.run(work())
