"""What a watch can run into."""

from __future__ import annotations

from kubernel.errors import KubernelError

__all__ = ["Closed", "TooNew", "TooOld", "WatchError"]


class WatchError(KubernelError):
    """Base of the below."""


class TooOld(WatchError):
    """Events after ``since`` are gone; the history is complete only after ``oldest``: list again."""

    def __init__(self, since: int, oldest: int) -> None:
        super().__init__(f"too old resource version: {since} ({oldest})")
        self.since = since
        self.oldest = oldest


class TooNew(WatchError):
    """``since`` is later than ``latest``, the latest revision there is."""

    def __init__(self, since: int, latest: int) -> None:
        super().__init__(f"Too large resource version: {since}, current: {latest}")
        self.since = since
        self.latest = latest


class Closed(WatchError):
    """The cursor or the bus was closed."""

    def __init__(self) -> None:
        super().__init__("the watch is closed")
