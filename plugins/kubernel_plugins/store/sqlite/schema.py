"""The file: its lock, its layout, its connections.

One table, written only at its end and compacted at its start, without secondary indexes: the
index of current objects lives in memory. ``created`` is negative for a removal. ``value`` is the
object without its revision, ``checksum`` the CRC-32 of key and value. ``state`` has the revision up to which the past
was forgotten and ``log``, the identity that the records of this database's log carry. Layout 1 had no log.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from pathlib import Path

from kubernel.errors import StoreCorrupt, StoreError, StoreFull

__all__ = [
    "COLUMNS",
    "VERSION",
    "Lock",
    "Rows",
    "connect",
    "corrupt",
    "failure",
    "full",
    "new_identity",
    "prepare",
    "state",
    "sync_directory",
]

VERSION = 2
"""``PRAGMA user_version`` of the layout below."""

Rows = list[int | str | bytes]
"""The values of rows of ``revisions``, one after the other: ``COLUMNS`` for each row."""

COLUMNS = 5

_APPLICATION = 0x6B75626E  # "kubn"
_PAGE = 65536
"""Bytes: each page that a transaction changes costs two calls, for SQLite's log, and a third for the database."""

_LAYOUT = """
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    created INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    value BLOB NOT NULL
);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('compacted', 0);
"""

_IDENTITY = "INSERT OR REPLACE INTO state VALUES ('log', ?)"

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)


class Lock:
    """Held while the database is open; a second opener is refused, a dead one's lock is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._file: int | None = None

    def acquire(self) -> None:
        """StoreError when another process (or another backend in this one) has it."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(file, 32, 0).decode("ascii", "replace").strip()
            os.close(file)
            raise StoreError(
                f"{self._path.with_suffix('')} is in use"
                + (f" by process {owner}" if owner else "")
                + ": a data directory serves one cluster at a time"
            ) from None
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def corrupt(path: Path, what: str) -> StoreCorrupt:
    """The error for damaged data: names the file and the way out."""
    return StoreCorrupt(
        f"{path} is damaged ({what}): move it and its -wal file away and put a backup in its place"
    )


def full(path: Path) -> StoreFull:
    return StoreFull(f"no space left for {path}: nothing of this write was kept")


def failure(path: Path, error: sqlite3.Error) -> StoreError:
    """What an error of SQLite means to a caller."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return full(path)
    if code in _CORRUPT:
        return corrupt(path, str(error))
    return StoreError(f"{path}: {error}")


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, to be used by one thread at a time."""
    mode = "ro" if read_only else "rwc"
    quoted = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = sqlite3.connect(
        f"file:{quoted}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA busy_timeout = 10000")
    return connection


def prepare(path: Path) -> sqlite3.Connection:
    """Open the file for writing, making it if it is not there. StoreCorrupt, StoreError."""
    if not path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = connect(path)
    try:
        application, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application not in (0, _APPLICATION) or (application == 0 and tables):
            raise StoreError(f"{path} is a database of another program: choose another path")
        if version > VERSION:
            raise StoreError(
                f"{path} has layout {version}, written by a newer kubernel;"
                f" this one knows layouts up to {VERSION}"
            )
        if version == 0:
            connection.execute(f"PRAGMA page_size = {_PAGE}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA journal_size_limit = 268435456")
        if version < VERSION:
            connection.execute("BEGIN IMMEDIATE")
            if version == 0:
                for statement in _LAYOUT.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            new_identity(connection)
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        if version == 0:
            sync_directory(path.parent)
    except sqlite3.Error as error:
        connection.close()
        raise failure(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def new_identity(connection: sqlite3.Connection) -> None:
    """A log made for the database as it was before is not taken for this one's."""
    connection.execute(_IDENTITY, (secrets.randbits(63),))


def state(connection: sqlite3.Connection, path: Path, name: str) -> int:
    """StoreCorrupt when it is not there."""
    found = connection.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
    if found is None:
        raise corrupt(path, "its state is missing")
    value: int = found[0]
    return value


def sync_directory(path: Path) -> None:
    """A new file's name must survive a power cut as well."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(directory)
    finally:
        os.close(directory)
