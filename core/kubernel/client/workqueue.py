"""The queue between changes and work: keys, de-duplicated, one worker at a time for each.

A key added while it waits is one piece of work; a key added while it is being worked on is worked on
again afterwards. So nothing that happened is lost and no two workers ever hold the same key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from kubernel.clock import Clock, Timer

__all__ = ["WorkQueue"]

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """``key = await get()``, work, ``done(key)``; ``retry(key)`` or ``forget(key)`` before that.

    ``retry`` waits ``base * 2**n`` seconds, at most ``limit``, after the nth failure in a row
    (client-go's item exponential failure rate limiter).
    """

    def __init__(self, clock: Clock, *, base: float = 0.005, limit: float = 1000.0) -> None:
        self._clock = clock
        self._base = base
        self._limit = limit
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._waiting: dict[K, tuple[float, Timer]] = {}
        self._closed = False

    def add(self, key: K, after: float = 0.0) -> None:
        """Ask for ``key`` to be worked on, in ``after`` seconds. Of several delayed requests for a key
        the earliest counts."""
        if self._closed:
            return
        if after > 0:
            due = self._clock.monotonic() + after
            held = self._waiting.get(key)
            if held is not None:
                if held[0] <= due:
                    return
                held[1].cancel()
            self._waiting[key] = (due, self._clock.call_later(after, self._due, key))
        elif key not in self._dirty:
            self._dirty.add(key)
            if key not in self._working:
                self._ready.put_nowait(key)

    def _due(self, key: K) -> None:
        self._waiting.pop(key, None)
        self.add(key)

    async def get(self) -> K:
        """The next key; it is the caller's alone until ``done``."""
        key = await self._ready.get()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._dirty:
            self._ready.put_nowait(key)

    def retry(self, key: K) -> float:
        """Add ``key`` again after its back-off, which is returned in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(self._base * 2.0 ** min(failures, 64), self._limit)
        self.add(key, delay)
        return delay

    def failures(self, key: K) -> int:
        """How many times in a row ``key`` was retried."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """``key`` went well: its next failure starts at the shortest back-off."""
        self._failures.pop(key, None)

    def __len__(self) -> int:
        """Keys ready and not yet taken."""
        return self._ready.qsize()

    @property
    def idle(self) -> bool:
        """Nothing ready and nothing being worked on; delayed keys may wait."""
        return not self._dirty and not self._working

    def close(self) -> None:
        """Take no more keys and drop all timers."""
        self._closed = True
        for _, timer in self._waiting.values():
            timer.cancel()
        self._waiting.clear()
