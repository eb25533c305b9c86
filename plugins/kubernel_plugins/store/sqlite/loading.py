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
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from kubernel.errors import StoreError
from kubernel.store import Change, Key, Snapshot
from kubernel_plugins.store.sqlite.schema import connect, corrupt, failure

__all__ = ["EAGER", "Values", "background", "check_rows", "load", "verify"]

EAGER = 16 << 20
"""Bytes of values that are read before an open returns."""

_CHUNK = 256
_Row = tuple[int, str, int, bytes]
_SELECT = "SELECT revision, key, checksum, value FROM revisions"


class Values:
    """Values by revision: those brought in, and a way to read those that are not yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[int, bytes] = {}
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._read: set[int] = set()
        self.size = 0
        self._closing = False

    def __call__(self, revision: int) -> bytes:
        """StoreCorrupt when the value is damaged."""
        value = self._values.pop(revision, None)
        if value is None:
            with self._lock:
                value = self._values.pop(revision, None) or self._read_now(revision)
        return value

    def _read_now(self, revision: int) -> bytes:
        connection = self._connection or connect(self._path, read_only=True)
        try:
            rows = connection.execute(f"{_SELECT} WHERE revision = ?", (revision,)).fetchall()
        except sqlite3.Error as error:
            raise failure(self._path, error) from error
        finally:
            if self._closing:
                connection.close()
            else:
                self._connection = connection
        if not rows:
            raise corrupt(self._path, f"revision {revision} is missing")
        check_rows(self._path, rows)
        self._read.add(revision)
        value: bytes = rows[0][3]
        return value

    def fill(self, revisions: list[int]) -> None:
        """Bring in these (ascending), in the calling thread; StoreCorrupt, StoreError."""
        connection = connect(self._path, read_only=True)
        try:
            at = 0
            while at < len(revisions) and not self._closing:
                chunk = revisions[at : at + _CHUNK]
                at += len(chunk)
                rows = connection.execute(
                    f"{_SELECT} WHERE revision BETWEEN ? AND ?", (chunk[0], chunk[-1])
                ).fetchall()
                check_rows(self._path, rows)
                self.size += sum(len(row[3]) for row in rows)
                with self._lock:
                    self._values.update((row[0], row[3]) for row in rows if row[0] not in self._read)
        except sqlite3.Error as error:
            raise failure(self._path, error) from error
        finally:
            connection.close()

    @property
    def closed(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Bring in no more: what is wanted later is read when it is wanted."""
        self._closing = True
        with self._lock:
            self._read.clear()
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def check_rows(path: Path, rows: list[_Row]) -> None:
    for revision, key, checksum, value in rows:
        # SQLite keeps whatever type it is given, damage included.
        if type(value) is not bytes or crc32(value, crc32(key.encode())) != checksum:
            raise corrupt(path, f"the checksum of {key} at revision {revision} is wrong")


def load(connection: sqlite3.Connection, path: Path) -> tuple[Snapshot, Values, list[int]]:
    """What the file holds, its values, and the revisions of those still to be brought in."""
    try:
        return _load(connection, path)
    except sqlite3.Error as error:
        if not hasattr(error, "sqlite_errorcode"):  # text that is not UTF-8
            raise corrupt(path, str(error)) from error
        raise failure(path, error) from error
    except (UnicodeDecodeError, ValueError, TypeError) as error:
        raise corrupt(path, str(error)) from error


def _load(connection: sqlite3.Connection, path: Path) -> tuple[Snapshot, Values, list[int]]:
    if path.stat().st_size <= EAGER:
        verify(connection, path)
    compacted = connection.execute("SELECT value FROM state WHERE name = 'compacted'").fetchone()
    if compacted is None:
        raise corrupt(path, "its state is missing")
    oldest: int = compacted[0]
    values = Values(path)
    # Mapped, a page costs no copy; only this pass over every page wants that.
    connection.execute(f"PRAGMA mmap_size = {1 << 40}")
    rows = connection.execute("SELECT revision, key, created FROM revisions ORDER BY revision").fetchall()
    connection.execute("PRAGMA mmap_size = 0")
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
    rest = [change.revision for change in changes]
    while rest and values.size < EAGER:
        values.fill(rest[-_CHUNK:])
        del rest[-_CHUNK:]
    return Snapshot(latest, oldest, changes), values, rest


def verify(connection: sqlite3.Connection, path: Path, *, full: bool = False) -> None:
    """Have SQLite check the structure of the file (with ``full`` its indexes too); StoreCorrupt."""
    pragma = "integrity_check" if full else "quick_check"
    try:
        found = [row[0] for row in connection.execute(f"PRAGMA {pragma}(3)")]
    except sqlite3.Error as error:
        raise failure(path, error) from error
    if found != ["ok"]:
        raise corrupt(path, "; ".join(str(line).replace("\n", " ") for line in found))


def background(path: Path, values: Values, rest: list[int], failed: Callable[[StoreError], None]) -> None:
    """Bring in and verify what the open left, in the calling thread."""
    try:
        values.fill(rest)
        if values.closed:
            return
        values.close()
        connection = connect(path, read_only=True)
        try:
            verify(connection, path)
        finally:
            connection.close()
    except StoreError as error:
        failed(error)
