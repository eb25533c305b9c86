"""What the ObjectStore promises beside what the backends' own suite asks of it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.clock import VirtualClock
from kubernel.store import (
    Change,
    Compacted,
    Event,
    Feed,
    FrozenDict,
    FrozenList,
    Key,
    ObjectStore,
    Snapshot,
    StoredRecord,
    Write,
    freeze,
)
from kubernel.store.encoding import encode, splice
from kubernel.store.ledger import Ledger

A = Key("pods", "default", "a")


class EchoBackend:
    """Shared storage as an outsider would write it: its changes do not say whose write they were,
    and those of another server come in between."""

    retention = 0.0

    def __init__(self, revision: int = 0) -> None:
        self.ledger = Ledger(revision, revision)
        self.feed: Feed | None = None

    async def open(self, feed: Feed) -> Snapshot:
        self.feed = feed
        return Snapshot(self.ledger.revision, self.ledger.compacted, [])

    async def close(self) -> None:
        self.feed = None

    async def commit(self, write: Write) -> int:
        change = self.ledger.stage(write)
        self.ledger.keep()
        assert self.feed is not None
        self.feed([change._replace(origin=None)])
        other = self.ledger.stage(Write(Key("other", "", str(change.revision)), b"{}", 0))
        self.ledger.keep()
        self.feed([other])
        return change.revision

    async def get_at(self, key: Key, revision: int) -> Change | None:
        raise Compacted(revision, revision)

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        raise Compacted(revision, revision)

    async def compact(self, revision: int) -> None: ...

    async def backup(self, path: Path) -> None: ...


def run(work: Callable[[ObjectStore], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        store = ObjectStore(EchoBackend(), VirtualClock(), **options)
        await store.start()
        try:
            await work(store)
        finally:
            await store.stop()

    asyncio.run(main())


def test_a_shared_backend_whose_changes_come_without_origin_works_the_same() -> None:
    async def work(store: ObjectStore) -> None:
        record = await store.create(A, {"metadata": {"name": "a"}})
        assert (record.revision, record.created) == (1, 1)
        assert record.obj["metadata"]["resourceVersion"] == "1"
        record = await store.update(A, {"metadata": {"name": "a"}}, expect=1)
        assert (record.revision, record.created) == (3, 1)
        final = await store.delete(A, record.obj)
        assert (final.revision, final.created) == (5, 1)

    run(work)


def test_the_object_given_is_not_changed_and_the_one_kept_is_not_shared_with_it() -> None:
    async def work(store: ObjectStore) -> None:
        obj = {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "9"}}
        await store.create(A, obj)
        assert obj == {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "9"}}

    run(work)


def test_a_listing_is_not_disturbed_by_later_writes() -> None:
    async def work(store: ObjectStore) -> None:
        for name in "cab":
            await store.create(Key("pods", "ns", name), {"metadata": {}})
        before, one = store.list("pods"), store.list("pods", "ns")
        await store.update(Key("pods", "ns", "a"), {"metadata": {}, "new": True})
        await store.delete(Key("pods", "ns", "b"), {"metadata": {}})
        assert [record.key.name for record in before] == ["a", "b", "c"]
        assert [record.revision for record in before] == [record.revision for record in one]
        assert [record.key.name for record in store.list("pods")] == ["a", "c"]
        assert store.list("pods").records is store.list("pods").records

    run(work)


def test_a_listener_that_fails_is_reported_and_stops_nobody() -> None:
    async def work(store: ObjectStore) -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        seen: list[Event] = []

        def fail(events: list[Event]) -> None:
            raise ValueError("broken")

        store.subscribe(fail)
        store.subscribe(seen.extend)
        await store.create(A, {"metadata": {}})
        assert [event.record.key for event in seen[:1]] == [A]
        assert "listener" in reported[0]["message"]

    run(work)


def test_frozen_objects_refuse_every_change_and_encode_like_plain_ones() -> None:
    async def work(store: ObjectStore) -> None:
        given = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}
        record = await store.create(A, given)
        obj = record.obj
        for attempt in (
            lambda: obj.update(x=1),
            lambda: obj["spec"].pop("containers"),
            lambda: obj["spec"]["containers"].append(1),
            lambda: obj["spec"]["containers"][0].__setitem__("name", "d"),
            lambda: obj["metadata"].setdefault("uid", "1"),
            lambda: obj["spec"]["containers"].sort(),
        ):
            with pytest.raises(TypeError, match="shared"):
                attempt()
        assert orjson.loads(orjson.dumps(obj)) == obj
        thawed = copy.deepcopy(obj)
        thawed["spec"]["containers"].append({})
        assert len(obj["spec"]["containers"]) == 1
        assert type({**obj}) is dict
        assert type(obj.copy()) is dict

    run(work, freeze=True)


def test_freezing_shares_what_is_frozen_already() -> None:
    once = freeze({"a": [{"b": 1}]})
    assert isinstance(once, FrozenDict)
    assert isinstance(once["a"], FrozenList)
    again = freeze({"x": once["a"]})
    assert again["x"] is once["a"]


text = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | text
    | st.just('"metadata":{"resourceVersion":"'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    before=st.dictionaries(text.filter(lambda name: name != "metadata"), values, max_size=4),
    metadata=st.none() | st.dictionaries(text | st.just("resourceVersion"), values, max_size=4),
    after=st.dictionaries(text.filter(lambda name: name != "metadata"), values, max_size=4),
    revision=st.integers(1, 2**62),
)
def test_the_revision_lands_in_metadata_whatever_the_object_looks_like(
    before: dict[str, Any], metadata: dict[str, Any] | None, after: dict[str, Any], revision: int
) -> None:
    obj = {**before, **({} if metadata is None else {"metadata": metadata}), **after}
    stored, meta, raw = encode(obj)
    expected = {**obj, "metadata": {**(metadata or {}), "resourceVersion": str(revision)}}
    assert orjson.loads(splice(raw, revision)) == expected
    meta["resourceVersion"] = str(revision)
    assert stored == expected


def test_an_object_that_is_not_json_is_refused_before_anything_happens() -> None:
    async def work(store: ObjectStore) -> None:
        with pytest.raises(TypeError):
            await store.create(A, {"metadata": {}, "x": object()})
        assert store.revision == 0

    run(work)


def test_a_record_reads_its_value_when_it_is_first_wanted() -> None:
    asked: list[int] = []

    def load(revision: int) -> bytes:
        asked.append(revision)
        return encode({"kind": "Pod"})[2]

    record = StoredRecord(A, 7, 7, load)
    assert asked == []
    assert record.obj == {"kind": "Pod", "metadata": {"resourceVersion": "7"}}
    assert record.data == b'{"kind":"Pod","metadata":{"resourceVersion":"7"}}'
    assert asked == [7]
