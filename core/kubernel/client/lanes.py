"""Work that waits to be done at the same time, but one after the other for each object."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Lanes"]

_T = TypeVar("_T")

_LANES = 32


@dataclass(slots=True)
class _Lane(Generic[_T]):
    waiting: deque[_T] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None


class Lanes(Generic[_T]):
    """Calls ``work(item)`` for what is put in; up to ``_LANES`` at a time, those of one key in order.

    Tasks exist only while something waits. When ``limit`` items wait the oldest make room.
    """

    def __init__(self, name: str, work: Callable[[_T], Awaitable[None]], limit: int) -> None:
        self._name, self._work, self._limit = name, work, limit
        self._lanes: list[_Lane[_T]] = [_Lane() for _ in range(_LANES)]
        self._waiting = 0

    def put(self, key: str, item: _T) -> None:
        lane = self._lanes[zlib.crc32(key.encode()) % _LANES]
        if self._waiting < self._limit:
            self._waiting += 1
        elif lane.waiting:
            lane.waiting.popleft()
        else:
            return
        lane.waiting.append(item)
        if lane.worker is None:
            lane.worker = asyncio.get_running_loop().create_task(self._drain(lane), name=self._name)

    async def close(self) -> None:
        """Drop what waits, stop what is being done."""
        workers = [lane.worker for lane in self._lanes if lane.worker is not None]
        for lane in self._lanes:
            lane.waiting.clear()
        self._waiting = 0
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _drain(self, lane: _Lane[_T]) -> None:
        try:
            while lane.waiting:
                self._waiting -= 1
                await self._work(lane.waiting.popleft())
        finally:
            lane.worker = None
