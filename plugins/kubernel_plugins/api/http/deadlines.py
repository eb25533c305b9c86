"""How long requests may take, where all may take equally long: one timer for the one that came first."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.clock import Clock

    from .transport import Exchange

__all__ = ["Deadlines"]


class Deadlines:
    """``late(exchange, stamp)`` is called for each that has begun and not ended ``seconds`` later."""

    def __init__(self, clock: Clock, seconds: float, late: Callable[[Exchange, bytes], None]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._late = late
        self._running: dict[Exchange, tuple[float, bytes]] = {}
        """In the order in which they began."""
        self._waiting = False

    def begin(self, exchange: Exchange, stamp: bytes) -> None:
        self._running[exchange] = self._clock.monotonic() + self._seconds, stamp
        if not self._waiting:
            self._waiting = True
            self._clock.call_later(self._seconds, self._look)

    def end(self, exchange: Exchange) -> None:
        self._running.pop(exchange, None)

    def _look(self) -> None:
        self._waiting = False
        now = self._clock.monotonic()
        while self._running:
            exchange, (due, stamp) = next(iter(self._running.items()))
            if due > now:
                self._waiting = True
                self._clock.call_later(due - now, self._look)
                return
            del self._running[exchange]
            self._late(exchange, stamp)
