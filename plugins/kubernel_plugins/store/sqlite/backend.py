"""The sqlite backend: opens the file, hands writes to the writer thread, reads the past."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from kubernel.clock import Clock, RealClock
from kubernel.errors import StoreError, StoreFull
from kubernel.store import Change, Compacted, Feed, Key, Snapshot, Write
from kubernel.store.ledger import Ledger
from kubernel_plugins.store.sqlite import loading, schema
from kubernel_plugins.store.sqlite.log import Log
from kubernel_plugins.store.sqlite.writer import Writer

__all__ = ["SqliteBackend"]

_T = TypeVar("_T")
_Row = tuple[int, str, int, int, bytes]

_STEP = 256
"""Rows that one step of a compaction removes: some milliseconds between two groups of writes."""


class SqliteBackend:
    """Keeps everything in the file ``path`` (mode 0600, its directory 0700 if it is made here).

    ``retention`` is what the ObjectStore compacts by, in seconds. ``log_size`` is the size in bytes at which one
    of the two files of the log is full, so that writers go on with the other; the database gets what the log has
    in portions of a quarter of that.
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: float = 300.0,
        log_size: int = 8 << 20,
        clock: Clock | None = None,
    ) -> None:
        self.path = path
        self.retention = retention
        self._log_size = log_size
        self._clock = clock or RealClock()
        self._lock = schema.Lock(path)
        self._connection: sqlite3.Connection | None = None
        self._log: Log | None = None
        self._writer: Writer | None = None
        self._ledger = Ledger()
        self._values: loading.Values | None = None
        self._filling: threading.Thread | None = None
        self._removed: list[int] = []

    async def open(self, feed: Feed) -> Snapshot:
        if self._writer is not None:
            raise StoreError(f"{self.path} is open already")
        snapshot, complete, applied, rows = await asyncio.to_thread(self._open)
        assert self._connection is not None  # noqa: S101 - set by _open
        assert self._log is not None  # noqa: S101 - set by _open
        assert self._values is not None  # noqa: S101 - set by _open
        self._writer = Writer(
            self.path,
            self._connection,
            self._log,
            self._ledger,
            feed,
            self._clock,
            applied,
            rows,
            self._log_size,
        )
        self._log = None
        if complete:
            self._values.close()
        else:
            self._filling = threading.Thread(
                target=loading.background,
                args=(self.path, self._values, self._writer.fail),
                name="kubernel-store-load",
                daemon=True,
            )
            # Not before the caller has taken in the snapshot: they would contend for the interpreter.
            asyncio.get_running_loop().call_soon(self._filling.start)
        return snapshot

    def _open(self) -> tuple[Snapshot, bool, int, schema.Rows]:
        """What is there, whether all values are, the revision of the database and what the log has after it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        try:
            self._connection = schema.prepare(self.path)
            snapshot, self._values, complete = loading.load(self._connection, self.path)
            self._log = Log(self.path, schema.state(self._connection, self.path, "log"), self._log_size)
            applied = snapshot.revision
            rows = self._log.open(applied)
            logged = loading.changes(rows)
            snapshot = Snapshot(applied + len(logged), snapshot.oldest, [*snapshot.changes, *logged])
            self._ledger = Ledger(snapshot.revision, snapshot.oldest)
            self._ledger.replay(snapshot.changes)
        except BaseException:
            self._close()
            raise
        return snapshot, complete, applied, rows

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.stop()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if self._values is not None:
            self._values.close()
        if self._filling is not None:
            self._filling.join()
            self._filling = None
        if self._log is not None:
            self._log.close(empty=False)
            self._log = None
        if self._connection is not None:
            # Closing the last connection copies the write-ahead log into the file; it may fail, the log
            # then stays and is read at the next open.
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
        self._lock.release()

    def commit(self, write: Write) -> Awaitable[int]:
        return self._open_writer().write(write)

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise StoreError(f"{self.path} is not open")
        return self._writer

    # --- the past

    async def get_at(self, key: Key, revision: int) -> Change | None:
        changes = await self._past(
            revision,
            "key = ? AND revision <= ? ORDER BY revision DESC LIMIT 1",
            ("/".join(key), revision),
        )
        return changes[0] if changes and not changes[0].deleted else None

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        prefix = f"{resource}/" if namespace is None else f"{resource}/{namespace}/"
        end = prefix[:-1] + chr(ord("/") + 1)
        changes = await self._past(
            revision, "key >= ? AND key < ? AND revision <= ? ORDER BY revision", (prefix, end, revision)
        )
        newest = {change.key: change for change in changes}
        return [change for change in newest.values() if not change.deleted]

    async def _past(self, revision: int, where: str, arguments: tuple[Any, ...]) -> list[Change]:
        writer = self._open_writer()
        self._refuse_compacted(revision)
        if revision > writer.applied:
            await writer.settle()
        rows = await self._read(lambda connection: _select(connection, self.path, where, arguments))
        # A compaction that began meanwhile may have taken some of them.
        self._refuse_compacted(revision)
        return rows

    def _refuse_compacted(self, revision: int) -> None:
        if revision < self._ledger.compacted:
            raise Compacted(revision, self._ledger.compacted)

    async def _read(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run ``work`` on a connection of its own, in a thread: writers are not held up."""

        def run() -> _T:
            with contextlib.closing(schema.connect(self.path, read_only=True)) as connection:
                try:
                    return work(connection)
                except sqlite3.Error as error:
                    raise schema.failure(self.path, error) from error

        return await asyncio.to_thread(run)

    # --- upkeep

    async def compact(self, revision: int) -> None:
        writer = self._open_writer()
        if revision <= self._ledger.compacted:
            return
        if revision > writer.applied:
            try:
                await writer.settle()
            except StoreFull:
                # What can be forgotten makes room.
                revision = min(revision, writer.applied)
        if self._filling is not None:
            await asyncio.sleep(0)  # it may be about to start
            await asyncio.to_thread(self._filling.join)

        # Someone may have been reading an old version when it was removed; by the next compaction
        # nobody is any more.
        if self._values is not None:
            self._values.forget(self._removed)
        self._removed = []

        def begin(connection: sqlite3.Connection) -> None:
            if revision > self._ledger.compacted:
                before, self._ledger.compacted = self._ledger.compacted, revision
                try:
                    connection.execute("UPDATE state SET value = ? WHERE name = 'compacted'", (revision,))
                except sqlite3.Error:
                    self._ledger.compacted = before
                    raise

        await writer.job(begin)
        while await writer.job(self._compact_step):
            pass

    def _compact_step(self, connection: sqlite3.Connection) -> bool:
        garbage = self._ledger.garbage(_STEP)
        if not garbage:
            return False
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM revisions WHERE revision = ?", [(at,) for at in garbage])
            connection.execute("COMMIT")
        except sqlite3.Error:
            self._ledger.restore(garbage)
            raise
        self._removed += garbage
        return True

    async def backup(self, path: Path) -> None:
        """The copy is a complete database file, mode 0600, durable when this returns. Restore it by
        putting it in the place of the file while the cluster is down."""
        await self._open_writer().settle()

        def copy(connection: sqlite3.Connection) -> None:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            try:
                with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as target:
                    connection.backup(target)
                    target.execute("PRAGMA journal_mode = DELETE")
                    schema.new_identity(target)
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise

        await self._read(copy)

    async def check(self) -> None:
        """The full check: SQLite's ``integrity_check`` and every checksum. Raises StoreCorrupt."""
        await self._open_writer().settle()

        def run(connection: sqlite3.Connection) -> None:
            schema_rows = connection.execute("SELECT revision, key, checksum, value FROM revisions")
            loading.verify(connection, self.path, full=True)
            while rows := schema_rows.fetchmany(_STEP):
                loading.check_rows(self.path, rows)

        await self._read(run)


def _select(
    connection: sqlite3.Connection, path: Path, where: str, arguments: tuple[Any, ...]
) -> list[Change]:
    found: list[_Row] = connection.execute(
        f"SELECT revision, key, created, checksum, value FROM revisions WHERE {where}",  # noqa: S608 - own text
        arguments,
    ).fetchall()
    changes = []
    for revision, text, created, checksum, value in found:
        if crc32(value, crc32(text.encode())) != checksum:
            raise schema.corrupt(path, f"the checksum of {text} at revision {revision} is wrong")
        key = Key(*text.split("/", 2))
        changes.append(Change(revision, abs(created), key, value, created < 0))
    return changes
