"""Driving a cluster's event loop from plain, synchronous code.

``VirtualDriver`` runs a private loop in the caller's thread, only while it is asked something, and
moves a virtual clock; ``RealDriver`` runs the loop in a thread of its own with the machine's clock, as
sockets and other programs need it.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from kubernel.clock import Clock, RealClock, VirtualClock

__all__ = ["Driver", "RealDriver", "VirtualDriver", "seconds"]

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_TURNS = 200_000
_PATIENCE = 86_400.0


def seconds(duration: float | str) -> float:
    """``90``, ``"90s"``, ``"1h30m"``, ``"250ms"``, ``"2d"`` in seconds; ValueError for anything else."""
    if not isinstance(duration, str):
        return float(duration)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f'not a duration: "{duration}"; write something like 90, "90s" or "1h30m"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


class Driver(Protocol):
    @property
    def clock(self) -> Clock: ...

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, run on the cluster's loop."""
        ...

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a plain function on the cluster's loop."""
        ...

    def settle(self) -> None:
        """Let the loop run until nothing is left that could run now."""
        ...

    def advance(self, delay: float) -> None: ...

    def step(self, limit: float) -> bool:
        """Let time pass to the next thing that is due, by at most ``limit`` seconds; False when nothing
        is due by then."""
        ...

    def close(self) -> None: ...


class VirtualDriver:
    """Time stands still unless it is moved, or ``run`` is waiting and nothing else can happen."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        # Not the policy's loop: uvloop does not tell whether callbacks are ready.
        self._loop: Any = asyncio.SelectorEventLoop()
        self.busy: Callable[[], bool] = lambda: False
        """Whether something outside of the loop, a writer thread, is about to call back."""

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        result: T = self._loop.run_until_complete(self._complete(work))
        return result

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def settle(self) -> None:
        self._loop.run_until_complete(self._settle())

    def advance(self, delay: float) -> None:
        self._loop.run_until_complete(self.clock.advance(delay, self._settle))

    def step(self, limit: float) -> bool:
        due = self.clock.next_due()
        if due is None or due > self.clock.time() + limit:
            return False
        self.advance(max(due - self.clock.time(), 0.0))
        return True

    def close(self) -> None:
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _complete(self, work: Coroutine[Any, Any, T]) -> T:
        task = self._loop.create_task(work)
        begun = self.clock.time()
        try:
            while True:
                await self._settle(task)
                if task.done():
                    return task.result()  # type: ignore[no-any-return]
                due = self.clock.next_due()
                if due is None or due > begun + _PATIENCE:
                    raise TimeoutError("it waits for something that will not happen in this cluster")
                await self.clock.advance(max(due - self.clock.time(), 0.0), self._settle)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _settle(self, task: asyncio.Task[Any] | None = None) -> None:
        ready = self._loop._ready
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            if task is not None and task.done():
                return
            if not ready:
                if not self.busy():
                    return
                # Leaves the processor to the thread that is awaited.
                await asyncio.sleep(0.0001)
        raise RuntimeError(f"the cluster does not come to rest: still busy after {_TURNS} turns of its loop")


class RealDriver:
    """The machine's clock; the loop lives in a daemon thread until ``close``."""

    def __init__(self) -> None:
        self.clock = RealClock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kernel cluster", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        async def work() -> T:
            return function(*arguments)

        return self.run(work())

    def settle(self) -> None:
        self.run(asyncio.sleep(0.01))

    def advance(self, delay: float) -> None:
        raise RuntimeError("this cluster follows the machine's clock, which cannot be advanced")

    def step(self, limit: float) -> bool:
        self.run(asyncio.sleep(min(0.02, max(limit, 0.0))))
        return limit > 0

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
