"""ObjectStore: see the package docstring for its public surface."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.errors import StoreError
from kubernel.store.backend import Backend, Change, Write
from kubernel.store.encoding import FrozenRecord, StoredRecord, encode
from kubernel.store.errors import Compacted, FutureRevision
from kubernel.store.history import History
from kubernel.store.index import Index, Listing
from kubernel.store.records import ADDED, DELETED, MODIFIED, Event, Key, Obj, Record

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer

__all__ = ["ObjectStore"]

Listener = Callable[[list[Event]], object]

_LARGE = 10_000
"""From this many loaded changes on they are kept out of the garbage collector's sight."""


class _Pending(Write):
    """A write with its decoded object, so that the record made from it need not decode."""

    __slots__ = ("meta", "obj", "record")

    def __init__(self, key: Key, obj: Obj, expect: int | None, deleted: bool) -> None:
        self.obj, self.meta, self.value = encode(obj)
        self.record: Record | None = None
        self.key = key
        self.expect = expect
        self.deleted = deleted


class ObjectStore:
    """The objects, their order of change, and who wants to know.

    ``history`` is the number of events kept in memory for watches. ``retention`` is the time in seconds
    after which the past may be forgotten (it is after at most twice that); None takes the
    backend's, 0 forgets only when ``compact`` is called.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Clock,
        *,
        history: int = 32_768,
        retention: float | None = None,
        freeze: bool = False,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._limit = history
        self._retention = retention
        self._record: type[StoredRecord] = FrozenRecord if freeze else StoredRecord
        self._index = Index()
        self._history = History(history)
        self.revision = 0
        """The latest revision in the index."""
        self.oldest = 0
        """The oldest revision a watch may resume after."""
        self._compacted = 0
        self._listeners: list[Listener] = []
        self._started = False
        self._timer: Timer | None = None
        self._mark = 0
        self._compaction: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the backend and load the current objects and the retained history."""
        enabled = gc.isenabled()
        gc.disable()  # nothing of what is loaded becomes garbage, however often it is looked at
        try:
            snapshot = await self._backend.open(self._apply)
            self._load(snapshot.changes, snapshot.oldest)
            if len(snapshot.changes) >= _LARGE:
                gc.freeze()
        finally:
            if enabled:
                gc.enable()
        self.revision = snapshot.revision
        self._compacted = snapshot.oldest
        self._started = True
        self._mark = self.revision
        if self._retention is None:
            self._retention = self._backend.retention
        if self._retention > 0:
            self._timer = self._clock.call_later(self._retention, self._forget)

    async def stop(self) -> None:
        """Finish the accepted writes and close the backend."""
        self._started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._compaction is not None:
            self._compaction.cancel()  # what it did not get to is done by a later one
            await asyncio.wait([self._compaction])
        await self._backend.close()

    # --- reading

    def get(self, key: Key) -> Record | None:
        return self._index.get(key)

    def list(self, resource: str, namespace: str | None = None) -> Listing:
        return Listing(self.revision, self._index.list(resource, namespace))

    def count(self, resource: str, namespace: str | None = None) -> int:
        return self._index.count(resource, namespace)

    def resources(self) -> Sequence[str]:
        return list(self._index.resources())

    def history(self, after: int) -> Sequence[Event]:
        """The retained events later than ``after``; Compacted when some of those are gone."""
        if after < self.oldest:
            raise Compacted(after, self.oldest)
        return self._history.after(after)

    async def get_at(self, key: Key, revision: int) -> Record | None:
        """The object as it was at ``revision``; Compacted, FutureRevision."""
        if self._in_memory(revision):
            for event in self._history.after(revision):
                if event.record.key == key:
                    return event.previous
            return self._index.get(key)
        change = await self._backend.get_at(key, revision)
        return None if change is None else self._from_change(change)

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Listing:
        """The list as it was at ``revision``; Compacted, FutureRevision."""
        if not self._in_memory(revision):
            changes = await self._backend.list_at(resource, namespace, revision)
            records = [self._from_change(change) for change in changes]
            records.sort(key=_key)
            return Listing(revision, records)
        replaced: dict[Key, Record | None] = {}
        for event in self._history.after(revision):
            key = event.record.key
            if key.resource == resource and (namespace is None or key.namespace == namespace):
                replaced.setdefault(key, event.previous)
        current = self._index.list(resource, namespace)
        if not replaced:
            return Listing(revision, current)
        past = [record for record in current if record.key not in replaced]
        past += [record for record in replaced.values() if record is not None]
        past.sort(key=_key)
        return Listing(revision, past)

    def subscribe(self, listener: Listener) -> None:
        """``listener(events)`` is called on the loop, in revision order, after the index and the
        history have them and before the writes return. It must be quick and must not raise."""
        self._listeners.append(listener)

    # --- writing

    def create(self, key: Key, obj: Obj) -> Coroutine[Any, Any, Record]:
        return self._write(_Pending(key, obj, 0, False))

    def update(self, key: Key, obj: Obj, expect: int | None = None) -> Coroutine[Any, Any, Record]:
        return self._write(_Pending(key, obj, expect, False))

    def delete(self, key: Key, obj: Obj, expect: int | None = None) -> Coroutine[Any, Any, Record]:
        return self._write(_Pending(key, obj, expect, True))

    async def compact(self, revision: int) -> None:
        """Forget the past before ``revision``: the state at ``revision`` and every later change stay."""
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision <= self._compacted:
            return
        before, self._compacted = self._compacted, revision
        self._history.trim(revision)
        self.oldest = self._history.oldest
        try:
            await self._backend.compact(revision)
        except StoreError:
            self._compacted = before
            raise

    async def backup(self, path: Path) -> None:
        """Write a consistent copy to the new file ``path`` while the store works on."""
        await self._backend.backup(path)

    # --- inside

    async def _write(self, write: _Pending) -> Record:
        if not self._started:
            raise StoreError("the store is not running")
        revision = await self._backend.commit(write)
        if write.record is None:
            # The feed did not say whose change it was; it is the one with the revision.
            write.record = next(
                event.record for event in self._history.after(revision - 1) if event.revision == revision
            )
        return write.record

    def _in_memory(self, revision: int) -> bool:
        if revision > self.revision:
            raise FutureRevision(revision, self.revision)
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        return revision >= self.oldest

    def _from_change(self, change: Change) -> Record:
        return self._record(change.key, change.revision, change.created, change.value)

    def _load(self, changes: Sequence[Change], oldest: int) -> None:
        make = self._record
        records: dict[Key, Record] = {}
        events: list[Event] = []
        # No more events than the history would keep; what comes before them only counts.
        first = max(len(changes) - self._limit, 0)
        while first < len(changes) and changes[first].revision <= oldest:
            first += 1
        for revision, created, key, value, deleted, _ in changes[:first]:
            if deleted:
                records.pop(key, None)
            else:
                records[key] = make(key, revision, created, value)
        for revision, created, key, value, deleted, _ in changes[first:]:
            record = make(key, revision, created, value)
            previous = records.get(key)
            if deleted:
                events.append(Event(DELETED, record, previous))
                records.pop(key, None)
            else:
                events.append(Event(ADDED if previous is None else MODIFIED, record, previous))
                records[key] = record
        if first and changes[first - 1].revision > oldest:
            oldest = changes[first - 1].revision
        self._history = History(self._limit, oldest)
        self._history.extend(events)
        self.oldest = self._history.oldest
        self._index = Index()
        self._index.load(records)

    def _apply(self, changes: Sequence[Change]) -> None:
        index = self._index
        make = self._record
        events: list[Event] = []
        for change in changes:
            origin = change.origin
            if isinstance(origin, _Pending):
                origin.meta["resourceVersion"] = str(change.revision)
                record = make(change.key, change.revision, change.created, change.value, origin.obj)
                origin.record = record
            else:
                record = make(change.key, change.revision, change.created, change.value)
            if change.deleted:
                events.append(Event(DELETED, record, index.remove(change.key)))
            else:
                previous = index.put(record)
                events.append(Event(ADDED if previous is None else MODIFIED, record, previous))
        if not events:
            return
        self.revision = events[-1].record.revision
        self._history.extend(events)
        self.oldest = self._history.oldest
        for listener in self._listeners:
            try:
                listener(events)
            except Exception as error:  # a listener's bug must not stop the others or the writers
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a listener of the store failed", "exception": error}
                )

    def _forget(self) -> None:
        """Compact to where the store was one retention ago."""
        mark, self._mark = self._mark, self.revision
        if mark > self._compacted and (self._compaction is None or self._compaction.done()):
            self._compaction = asyncio.get_running_loop().create_task(self._compact_quietly(mark))
        self._timer = self._clock.call_later(self._retention or 0, self._forget)

    async def _compact_quietly(self, revision: int) -> None:
        """A failure is kept for nobody: the next round tries again, and a broken backend says so
        to every writer."""
        with contextlib.suppress(StoreError):
            await self.compact(revision)


def _key(record: Record) -> Any:
    return record.key
