"""Time, always injected: nothing in kubernel reads the wall clock by itself.

``RealClock`` follows the machine. ``VirtualClock`` stands still until a test advances it; timers
then fire in order of their due time, and the event loop runs until it has nothing left to do
before time moves on, so hours of cluster life take milliseconds and are deterministic.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time as _time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Protocol

__all__ = ["Clock", "RealClock", "Timer", "VirtualClock", "micro_time", "rfc3339"]


class Timer(Protocol):
    """What ``call_later`` hands out."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Source of time and of every wait. All durations are seconds."""

    def time(self) -> float:
        """Seconds since the Unix epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...

    async def sleep(self, delay: float) -> None:
        """Return after ``delay`` seconds; at once, but yielding, when it is not positive."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call ``callback(*args)`` on the running loop in ``delay`` seconds."""
        ...

    def timeout(self, delay: float | None) -> contextlib.AbstractAsyncContextManager[None]:
        """Cancel the body and raise ``TimeoutError`` after ``delay`` seconds; None never does."""
        ...


def rfc3339(seconds: float) -> str:
    """``2026-01-02T03:04:05Z``: metav1.Time."""
    return _second(int(seconds))


# Each write has several time stamps of the same second.
@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")[:19] + "Z"


def micro_time(seconds: float) -> str:
    """``2026-01-02T03:04:05.000006Z``: metav1.MicroTime."""
    whole, micros = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_second(whole)[:19]}.{micros:06d}Z"


class RealClock:
    """The machine's clock and the running loop's timers."""

    # Asked a dozen times in each request: as they are, without a method around them.
    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.monotonic)

    async def sleep(self, delay: float) -> None:
        await asyncio.sleep(max(delay, 0.0))

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        return asyncio.get_running_loop().call_later(max(delay, 0.0), callback, *args)

    @contextlib.asynccontextmanager
    async def timeout(self, delay: float | None) -> AsyncIterator[None]:
        async with asyncio.timeout(delay):
            yield


class _VirtualTimer:
    __slots__ = ("args", "callback", "cancelled")

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """A clock that only ``advance`` moves.

    ``settle`` is awaited before each step of time; the test kit passes a function that returns
    when the loop has no ready callback left.
    """

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self._now = start
        self._start = start
        self._timers: list[tuple[float, int, _VirtualTimer]] = []
        self._sequence = itertools.count()

    def time(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    async def sleep(self, delay: float) -> None:
        if delay <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.call_later(delay, wake)
        try:
            await future
        finally:
            timer.cancel()

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = _VirtualTimer(callback, args)
        heapq.heappush(self._timers, (self._now + max(delay, 0.0), next(self._sequence), timer))
        return timer

    @contextlib.asynccontextmanager
    async def timeout(self, delay: float | None) -> AsyncIterator[None]:
        task = asyncio.current_task()
        if delay is None or task is None:
            yield
            return
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = self.call_later(delay, expire)
        try:
            yield
        except asyncio.CancelledError:
            if expired and task.uncancel() <= 0:
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def next_due(self) -> float | None:
        """When the next live timer is due, in epoch seconds."""
        while self._timers and self._timers[0][2].cancelled:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def advance(self, seconds: float, settle: Callable[[], Any]) -> None:
        """Move time on by ``seconds``, firing what falls due, settling the loop in between."""
        until = self._now + seconds
        await settle()
        while (due := self.next_due()) is not None and due <= until:
            self._now = max(self._now, due)
            while self._timers and self._timers[0][0] <= self._now:
                timer = heapq.heappop(self._timers)[2]
                if not timer.cancelled:
                    timer.callback(*timer.args)
            await settle()
        self._now = until
        await settle()
