"""The bounded history of events."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from kubernel.store.records import Event

__all__ = ["History"]

_revision = attrgetter("record.revision")


class History:
    """The newest events in revision order, at least ``limit`` of them if there were that many.

    ``oldest`` is the revision after which the history is complete. Events go in blocks, so that
    forgetting costs little and those who follow need not look at each append.
    """

    __slots__ = ("_events", "_limit", "_slack", "oldest")

    def __init__(self, limit: int, oldest: int = 0) -> None:
        self._events: list[Event] = []
        self._limit = limit
        self._slack = limit + max(limit // 8, 1)
        self.oldest = oldest

    def __len__(self) -> int:
        return len(self._events)

    def extend(self, events: Sequence[Event]) -> None:
        self._events += events
        excess = len(self._events) - self._limit
        if len(self._events) > self._slack:
            self.oldest = self._events[excess - 1].revision
            del self._events[:excess]

    def after(self, revision: int) -> list[Event]:
        """A copy of the events later than ``revision``."""
        events = self._events
        if not events or revision >= events[-1].revision:
            return []
        return events[bisect_right(events, revision, key=_revision) :]

    def trim(self, revision: int) -> None:
        """Forget the events up to and including ``revision``."""
        if revision > self.oldest:
            del self._events[: bisect_right(self._events, revision, key=_revision)]
            self.oldest = revision
