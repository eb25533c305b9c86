"""What takes long is done beside the event loop: the steps of a large body, one after the other, in one thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

__all__ = ["LARGE", "Beside"]

LARGE = 64 * 1024
"""Bytes of JSON from which on a step may take longer than others should wait: a hundredth of a second."""

P = ParamSpec("P")
T = TypeVar("T")


class Beside:
    """Calls functions that touch nothing but what they are given. Large bodies wait for each other, and nobody
    waits for them."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """End the thread, after the step it is at; what waits for it is cancelled."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``step`` gives or raises."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "beside")
        return await asyncio.wrap_future(self._thread.submit(step, *args, **kwargs))
