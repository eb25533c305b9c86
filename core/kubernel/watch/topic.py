"""Channels: the parts of the shared history that cursors follow.

A topic is the history of one resource. It is split by namespace, by name and by indexed
field, each split made when the first cursor asks for it and kept up to date from then on, so
that a cursor reads nothing but slices of a list that holds exactly its events.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable
from operator import attrgetter

from kubernel.store.records import Event

__all__ = ["Channel", "Split", "Topic", "wake"]

_SHARED = 1024
"""Events in a slice that is kept for the next cursor; a longer one is a single cursor catching up."""

_revision = attrgetter("record.revision")


class Channel:
    """Events in revision order, with positions that stay valid when old ones are dropped.

    ``dropped`` is how many are gone; the position of ``events[0]``. ``cursors`` counts those who follow.
    """

    __slots__ = ("_slice", "_slice_at", "cursors", "dropped", "events", "waiting")

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.dropped = 0
        self.cursors = 0
        self.waiting: list[asyncio.Future[None]] = []
        self._slice: list[Event] = []
        self._slice_at = -1

    def after(self, position: int) -> list[Event]:
        """The events from ``position`` on, which nobody may change: all who ask at the same position before the
        next event comes get the same list, so that what is made of it can be shared as well."""
        at = position - self.dropped
        count = len(self.events) - at
        if self._slice_at == position and len(self._slice) == count:
            return self._slice
        found = self.events[at:]
        if 0 < count <= _SHARED:
            self._slice, self._slice_at = found, position
        return found

    @property
    def end(self) -> int:
        return self.dropped + len(self.events)

    def position_after(self, revision: int) -> int:
        return self.dropped + bisect_right(self.events, revision, key=_revision)

    def trim(self, oldest: int) -> None:
        """Drop the events up to and including revision ``oldest``."""
        events = self.events
        if events and events[0].record.revision <= oldest:
            count = bisect_right(events, oldest, key=_revision)
            del events[:count]
            self.dropped += count
            self._slice, self._slice_at = [], -1

    def due(self) -> list[asyncio.Future[None]]:
        """Those who wait, for the caller to wake."""
        waiting, self.waiting = self.waiting, []
        return waiting

    def wake(self) -> None:
        for handle in self.due():
            wake(handle)


def wake(handle: asyncio.Future[None]) -> None:
    if not handle.done():
        handle.set_result(None)


class Split:
    """A resource's events by a value that ``values(event)`` gives: one, or for an event whose old
    and new state differ in it, both."""

    __slots__ = ("channels", "values")

    def __init__(self, values: Callable[[Event], Iterable[Hashable]]) -> None:
        self.values = values
        self.channels: dict[Hashable, Channel] = {}

    def append(self, events: Iterable[Event], touched: dict[Channel, None]) -> None:
        channels = self.channels
        for event in events:
            for value in self.values(event):
                channel = channels.get(value)
                if channel is None:
                    channel = channels[value] = Channel()
                channel.events.append(event)
                if channel.waiting:
                    touched[channel] = None

    def channel(self, value: Hashable) -> Channel:
        channel = self.channels.get(value)
        if channel is None:
            channel = self.channels[value] = Channel()
        return channel

    def trim(self, oldest: int) -> None:
        unused = []
        for value, channel in self.channels.items():
            channel.trim(oldest)
            if not channel.events and not channel.cursors:
                unused.append(value)
        for value in unused:
            del self.channels[value]


class Topic:
    """One resource's history, complete up to ``revision``."""

    __slots__ = ("all", "revision", "splits")

    def __init__(self, revision: int, events: Iterable[Event]) -> None:
        self.revision = revision
        self.all = Channel()
        self.all.events = list(events)
        self.splits: dict[Hashable, Split] = {}

    def append(self, events: list[Event], touched: dict[Channel, None]) -> None:
        self.all.events += events
        if self.all.waiting:
            touched[self.all] = None
        for split in self.splits.values():
            split.append(events, touched)

    def split(self, name: Hashable, values: Callable[[Event], Iterable[Hashable]]) -> Split:
        split = self.splits.get(name)
        if split is None:
            split = self.splits[name] = Split(values)
            split.append(self.all.events, {})
        return split

    def trim(self, oldest: int) -> None:
        self.all.trim(oldest)
        for split in self.splits.values():
            split.trim(oldest)
