"""The bounded queue between requests and a sink."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Literal

__all__ = ["Overflow", "Queue"]

Overflow = Literal["drop", "block"]
"""What happens when the sink does not keep up: ``drop`` loses events, and counts them; ``block`` lets requests wait."""


class Queue:
    """Takes encoded events; gives them in batches."""

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self._limit = limit
        self._overflow = overflow
        self._events: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self.dropped = 0

    def put(self, event: bytes) -> Awaitable[None] | None:
        """An awaitable when there is no room and nothing may be lost."""
        if len(self._events) < self._limit:
            self._events.append(event)
            self._ready.set()
            return None
        if self._overflow == "drop":
            self.dropped += 1
            return None
        return self._wait(event)

    async def _wait(self, event: bytes) -> None:
        while len(self._events) >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._events.append(event)
        self._ready.set()

    def __len__(self) -> int:
        return len(self._events)

    async def wait(self) -> None:
        """Returns when there is an event."""
        while not self._events:
            self._ready.clear()
            await self._ready.wait()

    def take(self, most: int) -> list[bytes]:
        """What is there now, up to ``most``."""
        taken = [self._events.popleft() for _ in range(min(most, len(self._events)))]
        self._room.set()
        return taken
