"""How long clients are told to stay away, the longer the more are turned away.

Source: k8s.io/apiserver/pkg/util/flowcontrol/dropped_requests_tracker.go.
"""

from __future__ import annotations

__all__ = ["RetryAfter"]

MOST = 32


class RetryAfter:
    """Of one level; times are whole epoch seconds."""

    def __init__(self) -> None:
        self.seconds = 1
        self._history: list[tuple[int, int]] = []
        self._now = 0
        self._count = 0
        self._updated = 0

    def dropped(self, now: int) -> int:
        """One more was turned away; gives the seconds to tell it."""
        if now == self._now:
            self._count += 1
            return self.seconds
        self._history.append((self._now, self._count))
        kept = min(2 * self.seconds, MOST)
        self._history = [(when, count) for when, count in self._history if self._now - when <= kept]
        self._now, self._count = now, 1
        recent = sum(count for when, count in self._history if now - when <= self.seconds and when < now)
        if now - self._updated >= self.seconds and recent >= 3 * self.seconds:
            self.seconds = min(2 * self.seconds, MOST)
            self._updated = now
        elif recent < self.seconds and self.seconds > 1:
            self.seconds -= 1
        return self.seconds
