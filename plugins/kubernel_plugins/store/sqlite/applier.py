"""Bringing the log into the database, beside the writer: a thread with the writing connection.

It takes portions of some megabytes, each of which is one transaction, and jobs, such as the steps of a compaction.
The write-ahead log of SQLite is not left to itself, which would ignore a failed fsync and then throw away
the log that still has the data.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from kubernel.errors import StoreError
from kubernel_plugins.store.sqlite.schema import COLUMNS, Rows

__all__ = ["Applier", "Job", "Work"]

Work = Callable[[sqlite3.Connection], Any]
Job = tuple[Work, "asyncio.Future[Any]"]

_BLOCK = 64
# By the number of rows: what a connection has prepared it keeps.
_INSERTS = tuple(
    f"INSERT INTO revisions VALUES {','.join(['(?,?,?,?,?)'] * count)}"  # noqa: S608 - constant
    for count in range(_BLOCK + 1)
)


class Applier:
    """``applied``: the latest revision that the database has. ``size``: bytes of values after which SQLite's own log is
    copied. ``judge`` makes of a failure what is told, and decides what it means to later writes."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        applied: int,
        size: int,
        judge: Callable[[Exception], StoreError],
    ) -> None:
        self.applied = applied
        self._connection = connection
        self._size = size
        self._judge = judge
        self._loop = asyncio.get_running_loop()
        self._copied = 0
        """Bytes since the last copying."""
        self._portions: deque[tuple[Rows, int]] = deque()
        self._jobs: deque[Job] = deque()
        self._refusal: StoreError | None = None
        self._stopping = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="kubernel-store-apply", daemon=True)
        self._thread.start()

    # --- from other threads

    def take(self, rows: Rows, size: int) -> None:
        """``rows`` are durable and follow the last ones; ``size``: bytes of their values."""
        with self._changed:
            self._portions.append((rows, size))
            self._refusal = None
            self._changed.notify_all()

    def job(self, job: Job) -> None:
        """Do it after what was taken so far, and also when that could not be brought in."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify_all()

    def wait(self, revision: int) -> None:
        """Return when the database has ``revision``; the StoreError when it cannot get it now."""
        if self.applied >= revision:
            return
        with self._changed:
            self._refusal = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.applied >= revision or self._refusal is not None)
            if self.applied < revision:
                self.settled()

    def stop(self) -> bool:
        """End the thread when it has done what it was given; whether the database has everything."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        return not self._portions

    # --- in the thread

    def settled(self, _: sqlite3.Connection | None = None) -> None:
        """A job: raise the StoreError if something could not be brought in."""
        if self._refusal is not None:
            raise type(self._refusal)(*self._refusal.args)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._due)
                jobs = [*self._jobs]
                self._jobs.clear()
                stopping = self._stopping
            while self._portions and self._apply(*self._portions[0]):
                pass
            for work, future in jobs:
                self._loop.call_soon_threadsafe(_deliver, future, *self._work(work))
            if stopping:
                return

    def _due(self) -> bool:
        waiting = self._portions and self._refusal is None
        return bool(waiting or self._jobs or self._stopping)

    def _apply(self, rows: Rows, size: int) -> bool:
        execute = self._connection.execute
        refusal = None
        try:
            execute("BEGIN IMMEDIATE")
            for at in range(0, len(rows), _BLOCK * COLUMNS):
                block = rows[at : at + _BLOCK * COLUMNS]
                execute(_INSERTS[len(block) // COLUMNS], block)
            execute("COMMIT")
        except sqlite3.Error as error:
            refusal = self._failed(error)
        with self._changed:
            self._refusal = refusal
            if refusal is None:
                self._portions.popleft()
                self.applied = rows[-COLUMNS]  # type: ignore[assignment]
            self._changed.notify_all()
        if refusal is None:
            self._copied += size
            if self._copied >= self._size:
                self._copy()
        return refusal is None

    def _copy(self) -> None:
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self._judge(error)  # what was to be copied stays where it is
        else:
            self._copied = 0

    def _work(self, work: Work) -> tuple[Any, Exception | None]:
        try:
            return work(self._connection), None
        except sqlite3.Error as error:
            return None, self._failed(error)
        except Exception as error:  # the caller's to handle
            return None, error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as second:
            return self._judge(second)
        return self._judge(error)


def _deliver(future: asyncio.Future[Any], outcome: Any, error: Exception | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(outcome)
        else:
            future.set_exception(error)
