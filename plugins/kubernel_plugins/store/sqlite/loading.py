"""Reading the file at open: keys at once, values when they are wanted.

Bytes of a large database cost more to allocate than to read, and most are not asked for in the
first second. So an open reads every key, but only the newest values; a thread brings the others
in right afterwards, and one that is wanted sooner is read on the spot.

Checks: an open walks every page of the table, wants revisions without a gap since the last compaction and
verifies the checksum of the values it reads (all of them up to ``EAGER`` bytes, with SQLite's
own ``quick_check`` on top). Of a larger file the rest is verified in the background.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from kubernel.errors import StoreError
from kubernel.store import Change, Key, Snapshot
from kubernel_plugins.store.sqlite.schema import COLUMNS, Rows, connect, corrupt, failure, state

__all__ = ["EAGER", "Values", "background", "changes", "check_rows", "load", "verify"]

EAGER = 16 << 20
"""Bytes of values that are read before an open returns."""

_BLOCK = 256
_Row = tuple[int, str, int, bytes]
_SELECT = "SELECT revision, key, checksum, value FROM revisions WHERE revision BETWEEN ? AND ?"


class Values:
    """Values by revision, brought in by blocks: in the background, or at once when one is wanted.

    A block is read once, whoever comes first, so that wanting everything right after an open costs
    no more than bringing everything in.
    """

    def __init__(self, path: Path, revisions: list[int]) -> None:
        self._path = path
        self._values: dict[int, bytes] = {}
        self._first = revisions[::_BLOCK]
        self._last = [*revisions[_BLOCK - 1 :: _BLOCK], *revisions[-1:]]
        self._here = bytearray(len(self._first))
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._closing = False

    def __call__(self, revision: int) -> bytes:
        """Give the value and forget it. StoreCorrupt when it is damaged."""
        value = self._values.pop(revision, None)
        if value is None:
            self._bring(bisect_right(self._first, revision) - 1)
            value = self._values.pop(revision, None)
            if value is None:
                raise corrupt(self._path, f"revision {revision} is missing")
        return value

    def _bring(self, block: int) -> int:
        """Read one block if it is not here yet; how many bytes that were."""
        with self._lock:
            if self._here[block]:
                return 0
            connection = self._connection or connect(self._path, read_only=True)
            try:
                rows = connection.execute(_SELECT, (self._first[block], self._last[block])).fetchall()
            except sqlite3.Error as error:
                raise failure(self._path, error) from error
            finally:
                if self._closing:
                    connection.close()
                else:
                    self._connection = connection
            check_rows(self._path, rows)
            self._values.update((row[0], row[3]) for row in rows)
            self._here[block] = 1
            return sum(len(row[3]) for row in rows)

    def fill(self, limit: int | None = None) -> bool:
        """Bring in the newest that are missing, ``limit`` bytes of them or all; whether all are here."""
        got = 0
        block = len(self._here)
        while (block := self._here.rfind(0, 0, block)) >= 0:
            if self._closing or (limit is not None and got >= limit):
                return False
            got += self._bring(block)
        return True

    def forget(self, revisions: list[int]) -> None:
        """Nobody wants these any more."""
        for revision in revisions:
            self._values.pop(revision, None)

    def close(self) -> None:
        """Bring in no more: what is still wanted later is read when it is wanted."""
        self._closing = True
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def check_rows(path: Path, rows: list[_Row]) -> None:
    for revision, key, checksum, value in rows:
        # SQLite keeps whatever type it is given, damage included.
        if type(value) is not bytes or crc32(value, crc32(key.encode())) != checksum:
            raise corrupt(path, f"the checksum of {key} at revision {revision} is wrong")


def load(connection: sqlite3.Connection, path: Path) -> tuple[Snapshot, Values, bool]:
    """What the file holds, its values, and whether all of those are here already."""
    try:
        return _load(connection, path)
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):  # text that is not UTF-8
            raise corrupt(path, str(error)) from error
        raise failure(path, error) from error
    except (UnicodeDecodeError, ValueError, TypeError) as error:
        raise corrupt(path, str(error)) from error


def _load(connection: sqlite3.Connection, path: Path) -> tuple[Snapshot, Values, bool]:
    if path.stat().st_size <= EAGER:
        verify(connection, path)
    oldest = state(connection, path, "compacted")
    # Mapped, a page costs no copy; only this pass over every page wants that.
    connection.execute(f"PRAGMA mmap_size = {1 << 40}")
    rows = connection.execute("SELECT revision, key, created FROM revisions ORDER BY revision").fetchall()
    connection.execute("PRAGMA mmap_size = 0")
    values = Values(path, [row[0] for row in rows])
    # A hundred thousand turns of this loop are most of what an open costs.
    intern = {}.setdefault  # type: ignore[var-annotated]
    new = tuple.__new__
    changes: list[Change] = []
    add = changes.append
    for revision, text, created in rows:
        resource, namespace, name = text.split("/", 2)
        key = new(Key, (intern(resource, resource), intern(namespace, namespace), name))
        if created < 0:
            add(Change(revision, -created, key, values, True))
        else:
            add(new(Change, (revision, created, key, values, False, None)))
    latest = max(changes[-1].revision if changes else 0, oldest)
    recent = sum(1 for _ in itertools.takewhile(lambda change: change.revision > oldest, reversed(changes)))
    if recent != latest - oldest:
        raise corrupt(path, f"{latest - oldest - recent} revisions after {oldest} are missing")
    return Snapshot(latest, oldest, changes), values, values.fill(EAGER)


def changes(rows: Rows) -> list[Change]:
    """What the rows of the log say."""
    columns = zip(*(rows[at::COLUMNS] for at in (0, 1, 2, 4)), strict=True)
    return [
        Change(revision, abs(created), Key(*text.split("/", 2)), value, created < 0)
        for revision, text, created, value in columns
    ]


def verify(connection: sqlite3.Connection, path: Path, *, full: bool = False) -> None:
    """Have SQLite check the structure of the file (with ``full`` its indexes too); StoreCorrupt."""
    pragma = "integrity_check" if full else "quick_check"
    try:
        found = [row[0] for row in connection.execute(f"PRAGMA {pragma}(3)")]
    except sqlite3.Error as error:
        raise failure(path, error) from error
    if found != ["ok"]:
        raise corrupt(path, "; ".join(str(line).replace("\n", " ") for line in found))


def background(path: Path, values: Values, failed: Callable[[StoreError], None]) -> None:
    """Bring in and verify what the open left, in the calling thread."""
    try:
        if not values.fill():
            return
        values.close()
        connection = connect(path, read_only=True)
        try:
            verify(connection, path)
        finally:
            connection.close()
    except StoreError as error:
        failed(error)
