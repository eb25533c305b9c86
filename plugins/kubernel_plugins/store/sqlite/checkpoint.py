"""Copying the write-ahead log into the database, beside the writer.

SQLite begins the log anew when all of it was copied, which it never is while the writer adds to it.
So a thread copies what is there, and the writer, between two groups, the little that came meanwhile.
Not left to SQLite itself, which would ignore a failed fsync and then throw away the log that still has
the data.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from kubernel_plugins.store.sqlite.schema import connect

__all__ = ["Checkpoint"]

_PASSES = 2
"""The first takes long enough for a fifth as much to come; after the second next to nothing is left."""

_BOUND = 4
"""A log this many times the wanted size holds the writer up until it was copied."""


class Checkpoint:
    """Of the writer's thread. ``limit``: pages of the log from which on it is copied. ``failed`` is told
    of errors, in either thread; what the log holds stays there."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        limit: int,
        failed: Callable[[sqlite3.Error], object],
    ) -> None:
        self._path = path
        self._connection = connection
        self._limit = limit
        self._failed = failed
        self._pages = 0
        self._copying: threading.Thread | None = None

    def grown(self, pages: int) -> None:
        self._pages += pages

    def step(self) -> None:
        """Do what is due between two groups."""
        if self._pages < self._limit:
            return
        if self._copying is None:
            self._copying = threading.Thread(target=self._copy, name="kubernel-store-checkpoint", daemon=True)
            self._copying.start()
        elif self._pages > self._limit * _BOUND or not self._copying.is_alive():
            self.end()
            self._pages = 0
            self._run(self._connection, 1)

    def end(self) -> None:
        """Returns when no thread is copying any more."""
        if self._copying is not None:
            self._copying.join()
            self._copying = None

    def _copy(self) -> None:
        try:
            with contextlib.closing(connect(self._path)) as connection:
                connection.execute("PRAGMA synchronous = FULL")
                # A connection that has read nothing yet does not know of the log.
                connection.execute("PRAGMA schema_version").fetchone()
                self._run(connection, _PASSES)
        except sqlite3.Error as error:
            self._failed(error)

    def _run(self, connection: sqlite3.Connection, passes: int) -> None:
        try:
            for _ in range(passes):
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self._failed(error)
