"""The contract of a storage backend: an ordered, durable log of changes.

A backend knows keys, bytes and revisions; it never looks into an object. It is the only
authority on preconditions and the only source of revisions, so that several servers can share
one. Everything a backend tells, it tells through the feed, in revision order, on the loop it was
opened on.

Revisions are positive, strictly increasing, one for each change, and need not be contiguous.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from kubernel.store.records import Key

__all__ = ["Backend", "Change", "Feed", "Load", "Snapshot", "Write"]

Load = Callable[[int], bytes]
"""Gives the value of a revision that was not read yet; called on the loop, at most once for each."""


class Write:
    """One wanted change.

    ``expect`` is the precondition: 0, there is no object at ``key``; a revision, the object is
    there and has exactly that one; None, the object is there. ``deleted`` makes it a removal and
    ``value`` the object's final state.
    """

    __slots__ = ("deleted", "expect", "key", "value")

    def __init__(self, key: Key, value: bytes, expect: int | None, deleted: bool = False) -> None:
        self.key = key
        self.value = value
        self.expect = expect
        self.deleted = deleted


class Change(NamedTuple):
    """One committed change. ``created`` is the revision that created the object. ``origin`` is the
    ``Write`` it came from when that was made by this process and the backend still knows it.
    In a ``Snapshot`` the value may be a function that reads it."""

    revision: int
    created: int
    key: Key
    value: bytes | Load
    deleted: bool = False
    origin: Write | None = None


Feed = Callable[[Sequence[Change]], None]
"""Takes committed changes: on the loop, in revision order, each once. Never raises."""


class Snapshot:
    """What an opened backend holds.

    ``changes`` are in revision order: those that lead to the state at ``oldest`` (at least each
    object's newest one; what a compaction left behind may be among them), then every one after
    ``oldest``. ``revision`` is the latest ever given out, ``oldest`` the oldest one from which the past can
    be told completely.
    """

    __slots__ = ("changes", "oldest", "revision")

    def __init__(self, revision: int, oldest: int, changes: Sequence[Change]) -> None:
        self.revision = revision
        self.oldest = oldest
        self.changes = changes


class Backend(Protocol):
    """Driver below the ObjectStore. Every method is called on one loop."""

    @property
    def retention(self) -> float:
        """Seconds for which the past is to be kept; 0 keeps it until ``compact`` is called."""
        ...

    async def open(self, feed: Feed) -> Snapshot:
        """Make ready and tell what is there; every later change goes to ``feed``.

        Raises StoreCorrupt when the data is damaged, StoreError when it cannot be used (locked by
        another process, written by a newer version).
        """
        ...

    async def close(self) -> None:
        """Finish the accepted writes and release everything. Tolerates not being open."""
        ...

    def commit(self, write: Write) -> Awaitable[int]:
        """Make one change durable; the result is its revision, and the change has gone to the
        feed before the result is there.

        Writes are decided in the order of the calls, each seeing the ones before it. Raises
        AlreadyExistsInStore, MissingKey or StaleRevision for a failed precondition, StoreFull when
        there was no room (later writes may succeed), StoreError when the storage failed. A refused
        write leaves nothing behind.
        """
        ...

    async def get_at(self, key: Key, revision: int) -> Change | None:
        """The object as it was at ``revision``; Compacted when that is older than the oldest."""
        ...

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        """All objects of a resource as they were, in any order; ``namespace`` None is all of them.
        Compacted as for ``get_at``."""
        ...

    async def compact(self, revision: int) -> None:
        """Forget what only the time before ``revision`` needs; the state at ``revision`` itself stays
        readable. Returns when that is durable; the space may be reclaimed later. A revision that is
        already compacted is ignored."""
        ...

    async def backup(self, path: Path) -> None:
        """Write a consistent copy, as of some moment during the call, to the new file ``path`` while
        writes go on. FileExistsError when it is there."""
        ...
