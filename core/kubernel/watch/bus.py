"""WatchBus: see the package docstring for its public surface."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING

from kubernel.watch.cursor import Cursor
from kubernel.watch.errors import Closed, TooNew, TooOld
from kubernel.watch.topic import Channel, Split, Topic, wake

if TYPE_CHECKING:
    from kubernel.store import Event, Obj, ObjectStore, Record

__all__ = ["WatchBus"]

_PATIENCE = 8
_WOKEN = 64
"""Cursors that are woken in one turn of the loop: however many there are, others have their turn in between."""

Getter = Callable[["Obj"], str]


class WatchBus:
    """Feeds the cursors from the store's history. The store may be started later."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._topics: dict[str, Topic] = {}
        self._getters: dict[tuple[str, str], Getter] = {}
        self.swept = 0
        self.closed = False
        self._touched: dict[Channel, None] = {}
        self._flushing = False
        self._due: deque[asyncio.Future[None]] = deque()
        """Cursors that are still to be woken."""
        self._waves = 0
        store.subscribe(self._dispatch)

    def index(self, resource: str, field: str, getter: Getter) -> None:
        """Declare an indexed field. ``getter(obj)`` gives its value for every object of the resource;
        where it raises the value is empty."""
        self._getters[resource, field] = getter

    def watch(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        name: str | None = None,
        field: tuple[str, str] | None = None,
        since: int | None = None,
    ) -> Cursor:
        """A cursor over the events after ``since``. Raises TooOld, TooNew, Closed; KeyError for a
        field that was not declared."""
        if self.closed:
            raise Closed
        revision = self.store.revision
        if since is None:
            since = revision
        elif since > revision:
            raise TooNew(since, revision)
        elif since < self.store.oldest:
            raise TooOld(since, self.store.oldest)
        self.sweep()
        topic = self._topics.get(resource)
        if topic is None:
            events = [
                event
                for event in self.store.history(self.store.oldest)
                if event.record.key.resource == resource
            ]
            topic = self._topics[resource] = Topic(revision, events)
        channel = self._channel(topic, resource, namespace, name, field)
        # What the choice of the channel did not already see to is left to the cursor.
        accept: Callable[[Event], bool] | None = None
        if field is not None and (namespace is not None or name is not None):

            def accept(event: Event) -> bool:
                key = event.record.key
                return namespace in (None, key.namespace) and name in (None, key.name)

        return Cursor(self, channel, channel.position_after(since), since, accept)

    def close(self) -> None:
        """End every cursor: a waiting ``next`` raises Closed."""
        self.closed = True
        for topic in self._topics.values():
            topic.all.wake()
            for split in topic.splits.values():
                for channel in split.channels.values():
                    channel.wake()

    # --- for cursors

    def sweep(self) -> None:
        """Let go of what the store has forgotten: due when ``swept`` is not the store's ``oldest``."""
        oldest = self.store.oldest
        if oldest != self.swept:
            self.swept = oldest
            for topic in self._topics.values():
                topic.trim(oldest)

    # --- inside

    def _channel(
        self,
        topic: Topic,
        resource: str,
        namespace: str | None,
        name: str | None,
        field: tuple[str, str] | None,
    ) -> Channel:
        split: Split
        if field is not None:
            getter = self._getters[resource, field[0]]
            split = topic.split(("field", field[0]), _by_field(getter))
            return split.channel(field[1])
        if name is not None and namespace is not None:
            return topic.split("key", _by_key).channel((namespace, name))
        if name is not None:
            return topic.split("name", _by_name).channel(name)
        if namespace is not None:
            return topic.split("namespace", _by_namespace).channel(namespace)
        return topic.all

    def _dispatch(self, events: list[Event]) -> None:
        self.sweep()
        topics = self._topics
        touched = self._touched
        if len(events) == 1:
            groups = {events[0].record.key.resource: events}
        else:
            groups = {}
            for event in events:
                resource = event.record.key.resource
                if resource in topics:
                    groups.setdefault(resource, []).append(event)
        for resource, group in groups.items():
            topic = topics.get(resource)
            # A topic made by another listener during this very dispatch has the events already.
            if topic is not None and topic.revision < group[0].record.revision:
                topic.append(group, touched)
                topic.revision = group[-1].record.revision
        self._waves += 1
        if touched and not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush, self._waves, _PATIENCE)

    def _flush(self, waves: int, patience: int) -> None:
        """Wake those concerned. While more keeps coming they wait a few turns of the loop, so that under
        load each wake-up brings several events; when it is quiet they wait for one turn."""
        if self._waves != waves and patience:
            asyncio.get_running_loop().call_soon(self._flush, self._waves, patience - 1)
            return
        self._flushing = False
        touched, self._touched = self._touched, {}
        waking = bool(self._due)
        for channel in touched:
            self._due.extend(channel.due())
        if not waking:
            self._wake()

    def _wake(self) -> None:
        due = self._due
        for _ in range(min(len(due), _WOKEN)):
            wake(due.popleft())
        if due:
            asyncio.get_running_loop().call_soon(self._wake)


def _by_namespace(event: Event) -> Iterable[Hashable]:
    return (event.record.key.namespace,)


def _by_name(event: Event) -> Iterable[Hashable]:
    return (event.record.key.name,)


def _by_key(event: Event) -> Iterable[Hashable]:
    return (event.record.key[1:],)


def _by_field(getter: Getter) -> Callable[[Event], Iterable[Hashable]]:
    def value(record: Record) -> str:
        try:
            return getter(record.obj)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError):
            return ""

    def values(event: Event) -> Iterable[Hashable]:
        new = value(event.record)
        if event.previous is None:
            return (new,)
        old = value(event.previous)
        return (new,) if old == new else (old, new)

    return values
