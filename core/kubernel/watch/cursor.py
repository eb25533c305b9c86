"""A watcher's place in the shared history."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernel.watch.errors import Closed, TooOld
from kubernel.watch.topic import wake

if TYPE_CHECKING:
    from kubernel.store import Event
    from kubernel.watch.bus import WatchBus
    from kubernel.watch.topic import Channel

__all__ = ["Cursor"]


class Cursor:
    """Follows one channel. Made by ``WatchBus.watch``; for one task at a time."""

    __slots__ = ("_accept", "_bus", "_channel", "_closed", "_handle", "_position", "_seen")

    def __init__(
        self,
        bus: WatchBus,
        channel: Channel,
        position: int,
        since: int,
        accept: Callable[[Event], bool] | None,
    ) -> None:
        self._bus = bus
        self._channel = channel
        self._position = position
        self._seen = since
        self._accept = accept
        self._closed = False
        self._handle: asyncio.Future[None] | None = None
        channel.cursors += 1

    @property
    def revision(self) -> int:
        """Everything up to here was handed out or does not concern this cursor: what a bookmark says."""
        channel = self._channel
        at = self._position - channel.dropped
        if at < 0:
            return self._seen
        if at < len(channel.events):
            return max(self._seen, channel.events[at].record.revision - 1)
        return max(self._seen, self._bus.store.revision)

    def poll(self) -> list[Event]:
        """What is ready now, possibly nothing; the list is shared and must not be changed. Raises TooOld, Closed."""
        bus = self._bus
        if self._closed or bus.closed:
            raise Closed
        if bus.swept != bus.store.oldest:
            bus.sweep()
        channel = self._channel
        at = self._position - channel.dropped
        if at < 0:
            raise TooOld(self._seen, bus.store.oldest)
        events = channel.after(self._position)
        if events:
            self._position += len(events)
            self._seen = events[-1].record.revision
            if self._accept is not None:
                return list(filter(self._accept, events))
        return events

    async def next(self) -> list[Event]:
        """At least one event, waiting for it if need be. Raises TooOld, Closed."""
        while not (events := self.poll()):
            # The wake-up handle is in place before the loop can run anything else, and the next scan
            # comes after it: no event can slip in between.
            handle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._handle = handle
            self._channel.waiting.append(handle)
            try:
                await handle
            except BaseException:
                self._leave(handle)
                raise
            finally:
                self._handle = None
        return events

    def close(self) -> None:
        """Let go; a waiting ``next`` raises Closed. May be called more than once."""
        if not self._closed:
            self._closed = True
            self._channel.cursors -= 1
            if self._handle is not None:
                self._leave(self._handle)
                wake(self._handle)

    def _leave(self, handle: asyncio.Future[None]) -> None:
        with contextlib.suppress(ValueError):
            self._channel.waiting.remove(handle)
