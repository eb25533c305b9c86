"""Work that waits to be done at the same time, but one after the other for each object."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["Lanes"]

_T = TypeVar("_T")

_LANES = 32


class _Lane(Generic[_T]):
    __slots__ = ("waiting", "worker")

    def __init__(self) -> None:
        self.waiting: deque[_T] = deque()
        self.worker: asyncio.Task[None] | None = None


class Lanes(Generic[_T]):
    """Calls ``work(item)`` for what is put in; up to ``_LANES`` at a time, those of one key in order.

    Lanes and their tasks exist only while something waits. When ``limit`` items wait the oldest make room.
    """

    def __init__(self, name: str, work: Callable[[_T], Awaitable[None]], limit: int) -> None:
        self._name, self._work, self._limit = name, work, limit
        self._lanes: dict[int, _Lane[_T]] = {}
        self._waiting = 0

    def put(self, key: str, item: _T) -> None:
        number = zlib.crc32(key.encode()) % _LANES
        lane = self._lanes.get(number)
        if self._waiting < self._limit:
            self._waiting += 1
        elif lane is not None and lane.waiting:
            lane.waiting.popleft()
        else:
            return
        if lane is None:
            lane = self._lanes[number] = _Lane()
        if lane.worker is None:
            lane.worker = asyncio.get_running_loop().create_task(self._drain(number, lane), name=self._name)
        lane.waiting.append(item)

    async def close(self) -> None:
        """Drop what waits, stop what is being done."""
        lanes = list(self._lanes.values())
        workers = [lane.worker for lane in lanes if lane.worker is not None]
        for lane in lanes:
            lane.waiting.clear()
        self._waiting = 0
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _drain(self, number: int, lane: _Lane[_T]) -> None:
        try:
            while lane.waiting:
                self._waiting -= 1
                await self._work(lane.waiting.popleft())
        finally:
            lane.worker = None
            if not lane.waiting:
                self._lanes.pop(number, None)
