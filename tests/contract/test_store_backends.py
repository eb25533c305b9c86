"""One black-box suite for every storage backend, through the ObjectStore and directly."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubernel.clock import VirtualClock
from kubernel.errors import StoreError
from kubernel.store import (
    AlreadyExistsInStore,
    Backend,
    Change,
    Compacted,
    FutureRevision,
    Key,
    MissingKey,
    ObjectStore,
    StaleRevision,
    Write,
)
from kubernel_plugins.store.encryption import EncryptedBackend, Encryption
from kubernel_plugins.store.encryption.ciphers import AesGcm
from kubernel_plugins.store.encryption.configuration import Providers
from kubernel_plugins.store.memory import MemoryBackend
from kubernel_plugins.store.sqlite import SqliteBackend

Factory = Callable[[], Backend]
A = Key("pods", "default", "a")
B = Key("pods", "default", "b")
NODE = Key("nodes", "", "n1")


def value(text: str) -> bytes:
    return b'{"metadata":{"resourceVersion":""},"data":"%b"}' % text.encode()


def pod(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **fields}


@pytest.fixture(params=["memory", "sqlite", "encrypted"])
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Factory:
    """Gives the same storage each time: what a restart sees."""
    if request.param == "memory":
        backend = MemoryBackend(retention=0)
        return lambda: backend
    path = tmp_path / "store" / "kubernel.db"
    if request.param == "encrypted":
        everything = Encryption([(("*.*",), Providers((AesGcm("k", bytes(32)),)))])
        return lambda: EncryptedBackend(SqliteBackend(path, retention=0), lambda: everything)
    return lambda: SqliteBackend(path, retention=0)


@contextlib.asynccontextmanager
async def started(factory: Factory, **options: Any) -> AsyncIterator[ObjectStore]:
    store = ObjectStore(factory(), VirtualClock(), freeze=True, **options)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_write_is_readable_with_its_revision_when_it_returns(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            record = await store.create(A, pod("a"))
            assert record.obj["metadata"]["resourceVersion"] == "1"
            assert store.get(A) is record
            assert store.revision == 1
            updated = await store.update(A, pod("a", spec={"x": 1}), expect=1)
            assert (updated.revision, updated.created) == (2, 1)
            deleted = await store.delete(A, updated.obj)
            assert deleted.obj["metadata"]["resourceVersion"] == "3"
            assert store.get(A) is None

    run(work())


def test_preconditions_refuse_and_change_nothing(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            with pytest.raises(MissingKey):
                await store.update(A, pod("a"))
            with pytest.raises(MissingKey):
                await store.delete(A, pod("a"), expect=7)
            await store.create(A, pod("a"))
            with pytest.raises(AlreadyExistsInStore):
                await store.create(A, pod("a"))
            await store.update(A, pod("a"))
            with pytest.raises(StaleRevision) as caught:
                await store.update(A, pod("a"), expect=1)
            assert caught.value.current == 2
            assert store.revision == 2
            assert [event.revision for event in store.history(0)] == [1, 2]

    run(work())


def test_writes_in_flight_together_are_decided_in_their_order(factory: Factory) -> None:
    async def work() -> None:
        seen: list[Change] = []
        backend = factory()
        await backend.open(seen.extend)
        outcomes = await asyncio.gather(
            backend.commit(Write(A, value("1"), 0)),
            backend.commit(Write(A, value("2"), 0)),
            backend.commit(Write(A, value("3"), 1)),
            backend.commit(Write(A, value("4"), 1)),
            backend.commit(Write(A, value("5"), None, True)),
            backend.commit(Write(A, value("6"), None)),
            backend.commit(Write(A, value("7"), 0)),
            return_exceptions=True,
        )
        kinds = [item if isinstance(item, int) else type(item) for item in outcomes]
        assert kinds == [1, AlreadyExistsInStore, 2, StaleRevision, 3, MissingKey, 4]
        assert [change.revision for change in seen] == [1, 2, 3, 4]
        assert [change.created for change in seen] == [1, 1, 1, 4]
        await backend.close()

    run(work())


def test_the_feed_has_a_change_before_its_writer_hears_of_it(factory: Factory) -> None:
    async def work() -> None:
        seen: list[int] = []
        backend = factory()
        await backend.open(lambda changes: seen.extend(change.revision for change in changes))

        async def write(number: int) -> None:
            revision = await backend.commit(Write(Key("pods", "x", str(number)), value(""), 0))
            assert revision in seen

        await asyncio.gather(*(write(number) for number in range(200)))
        assert seen == list(range(1, 201))
        await backend.close()

    run(work())


def test_a_cancelled_writer_disturbs_nobody(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            tasks = [asyncio.create_task(store.create(Key("pods", "", f"{n}"), pod("x"))) for n in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for key, outcome in enumerate(done):
                if not isinstance(outcome, BaseException):
                    assert store.get(Key("pods", "", f"{key}")) is outcome
            assert [event.revision for event in store.history(0)] == list(range(1, store.revision + 1))

    run(work())


def test_a_restart_finds_objects_history_and_revision(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            await store.create(A, pod("a"))
            await store.create(NODE, pod("n1"))
            await store.update(A, pod("a", spec={"é": "ü"}))
            await store.delete(NODE, pod("n1"))
        async with started(factory) as store:
            assert store.revision == 4
            record = store.get(A)
            assert record is not None
            assert (record.revision, record.created) == (3, 1)
            assert record.obj == pod("a", spec={"é": "ü"}) | {
                "metadata": {"name": "a", "resourceVersion": "3"}
            }
            assert store.resources() == ["pods"]
            assert [(event.type, event.revision) for event in store.history(1)] == [
                ("ADDED", 2),
                ("MODIFIED", 3),
                ("DELETED", 4),
            ]
            previous = store.history(2)[0].previous
            assert previous is not None
            assert previous.revision == 1
            assert (await store.create(NODE, pod("n1"))).revision == 5

    run(work())


def test_the_past_is_readable_until_it_is_compacted(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            await store.create(A, pod("a", v=1))
            await store.create(B, pod("b", v=1))
            await store.update(A, pod("a", v=2))
            await store.delete(B, pod("b"))
            await store.compact(3)
            assert [record.key for record in await store.list_at("pods", None, 3)] == [A, B]
            with pytest.raises(Compacted):
                await store.list_at("pods", None, 2)
            with pytest.raises(Compacted):
                await store.get_at(A, 2)
            with pytest.raises(FutureRevision):
                await store.get_at(A, 5)
            with pytest.raises(Compacted):
                store.history(2)
            assert [event.revision for event in store.history(3)] == [4]
        async with started(factory) as store:
            assert store.oldest == 3
            at = await store.get_at(B, 3)
            assert at is not None
            assert at.revision == 2
            assert await store.get_at(B, 4) is None

    run(work())


def test_compaction_up_to_a_deletion_keeps_the_revision(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory) as store:
            await store.create(A, pod("a"))
            await store.delete(A, pod("a"))
            await store.compact(2)
        async with started(factory) as store:
            assert (store.revision, store.oldest) == (2, 2)
            assert (await store.create(A, pod("a"))).revision == 3

    run(work())


def test_a_history_shorter_than_what_is_stored_is_read_from_the_backend(factory: Factory) -> None:
    async def work() -> None:
        async with started(factory, history=8) as store:
            for number in range(40):
                key = Key("pods", f"ns{number % 2}", f"p{number % 5}")
                if store.get(key) is None:
                    await store.create(key, pod("x", v=number))
                else:
                    await store.update(key, pod("x", v=number))
            assert store.oldest > 20
            past = await store.list_at("pods", "ns1", 12)
            assert past.revision == 12
            assert [(record.key.name, record.revision) for record in past] == [
                ("p0", 6),
                ("p1", 12),
                ("p2", 8),
                ("p3", 4),
                ("p4", 10),
            ]
            got = await store.get_at(Key("pods", "ns1", "p1"), 11)
            assert got is not None
            assert got.revision == 2
            oldest = store.oldest
        async with started(factory, history=8) as store:
            assert store.oldest >= oldest
            assert len(store.history(store.oldest)) == 8

    run(work())


def test_a_backup_is_made_once_and_is_private(factory: Factory, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(factory) as store:
            await store.create(A, pod("a"))
            target = tmp_path / "backup"
            await store.backup(target)
            assert stat.S_IMODE(target.stat().st_mode) == 0o600
            assert target.stat().st_size > 0
            with pytest.raises(FileExistsError):
                await store.backup(target)

    run(work())


def test_a_closed_backend_refuses_writes(factory: Factory) -> None:
    async def work() -> None:
        store = ObjectStore(factory(), VirtualClock())
        await store.start()
        await store.stop()
        with pytest.raises(StoreError):
            await store.create(A, pod("a"))
        await store.stop()

    run(work())


def test_old_versions_go_after_one_to_two_retentions(factory: Factory) -> None:
    async def work() -> None:
        clock = VirtualClock()
        store = ObjectStore(factory(), clock, retention=300)
        await store.start()

        async def settle() -> None:
            while store._compaction is not None and not store._compaction.done():
                await asyncio.sleep(0.001)

        await store.create(A, pod("a"))
        await store.update(A, pod("a"))
        await clock.advance(299, settle)
        assert store.oldest == 0
        await clock.advance(302, settle)
        assert store.oldest == 2
        with pytest.raises(Compacted):
            await store.get_at(A, 1)
        await store.stop()

    run(work())


class StoreMachine(RuleBasedStateMachine):
    """The store against a model: a dict for each revision."""

    make: Factory

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.states: list[dict[Key, tuple[int, int]]] = [{}]
        self.compacted = 0
        self.store = self.opened()
        self.events: list[int] = []
        self.store.subscribe(lambda events: self.events.extend(event.revision for event in events))

    def opened(self) -> ObjectStore:
        store = ObjectStore(self.make(), VirtualClock(), history=10, freeze=True)
        self.do(store.start())
        return store

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.store.stop())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    keys = st.builds(
        Key, st.sampled_from(["pods", "podsx"]), st.sampled_from(["", "a", "ab"]), st.sampled_from("xyz")
    )

    @rule(key=keys, deleted=st.booleans(), expect=st.sampled_from(["create", "any", "current", "stale"]))
    def write(self, key: Key, deleted: bool, expect: str) -> None:
        now = self.states[-1]
        head = now.get(key)
        revision = len(self.states)
        obj = pod(key.name, v=revision)
        wanted = {"any": None, "current": head[0] if head else 3, "stale": (head[0] if head else 9) + 1}
        fault: type[Exception] | None = None
        if expect == "create":
            work = self.store.create(key, obj)
            fault = AlreadyExistsInStore if head else None
            deleted = False
        else:
            method = self.store.delete if deleted else self.store.update
            work = method(key, obj, wanted[expect])
            fault = MissingKey if head is None else StaleRevision if expect == "stale" else None
        if fault is not None:
            with pytest.raises(fault):
                self.do(work)
            return
        record = self.do(work)
        created = head[1] if head else revision
        assert (record.revision, record.created) == (revision, created)
        assert record.obj["v"] == revision
        state = dict(now)
        if deleted:
            del state[key]
        else:
            state[key] = (revision, created)
        self.states.append(state)

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        revision = data.draw(st.integers(0, len(self.states) - 1))
        self.do(self.store.compact(revision))
        self.compacted = max(self.compacted, revision)

    @rule()
    def restart(self) -> None:
        self.do(self.store.stop())
        self.store = self.opened()

    @precondition(lambda self: len(self.states) > 1)
    @rule(data=st.data(), key=keys, namespace=st.sampled_from([None, "", "a", "ab"]))
    def look_back(self, data: st.DataObject, key: Key, namespace: str | None) -> None:
        revision = data.draw(st.integers(0, len(self.states) - 1))
        if revision < self.compacted:
            with pytest.raises(Compacted):
                self.do(self.store.get_at(key, revision))
            with pytest.raises(Compacted):
                self.do(self.store.list_at(key.resource, namespace, revision))
            return
        state = self.states[revision]
        record = self.do(self.store.get_at(key, revision))
        assert (None if record is None else (record.revision, record.created)) == state.get(key)
        listing = self.do(self.store.list_at(key.resource, namespace, revision))
        self.compare(listing, state, key.resource, namespace)

    def compare(
        self, listing: Any, state: dict[Key, tuple[int, int]], resource: str, namespace: str | None
    ) -> None:
        expected = sorted(
            (key, *head)
            for key, head in state.items()
            if key.resource == resource and namespace in (None, key.namespace)
        )
        assert [(record.key, record.revision, record.created) for record in listing] == expected
        for record in listing:
            assert record.obj["metadata"]["resourceVersion"] == str(record.revision)
            assert record.obj["v"] == record.revision

    @invariant()
    def agrees(self) -> None:
        state = self.states[-1]
        assert self.store.revision == len(self.states) - 1
        for resource in ("pods", "podsx"):
            for namespace in (None, "", "a", "ab"):
                listing = self.store.list(resource, namespace)
                self.compare(listing, state, resource, namespace)
                assert self.store.count(resource, namespace) == len(listing)
        assert self.store.resources() == sorted({key.resource for key in state})
        history = self.store.history(self.store.oldest)
        assert [event.revision for event in history] == list(range(self.store.oldest + 1, len(self.states)))
        for event in history:
            before = self.states[event.revision - 1].get(event.record.key)
            after = self.states[event.revision].get(event.record.key)
            assert event.type == ("DELETED" if after is None else "MODIFIED" if before else "ADDED")
            assert (event.previous.revision if event.previous else None) == (before[0] if before else None)


_QUICK = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


class MemoryMachine(StoreMachine):
    def __init__(self) -> None:
        backend = MemoryBackend(retention=0)
        self.make = lambda: backend
        super().__init__()


class SqliteMachine(StoreMachine):
    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "kubernel.db"
        self.make = lambda: SqliteBackend(path, retention=0, log_size=3000)
        super().__init__()

    def teardown(self) -> None:
        super().teardown()
        self.directory.cleanup()


TestMemoryAgainstTheModel = MemoryMachine.TestCase
TestMemoryAgainstTheModel.settings = _QUICK
TestSqliteAgainstTheModel = SqliteMachine.TestCase
TestSqliteAgainstTheModel.settings = _QUICK
