"""The writer thread: one connection, one transaction and one fsync for all writes that arrived together.

The loop hands over writes and jobs through a queue; the thread takes all there are, decides
them in order, commits them as one group and hands the outcome back in one call on the loop. A
group is kept or refused as a whole.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from kubernel.errors import StoreError, StoreFull
from kubernel.store import Change, Feed, StoreRefusal, Write
from kubernel.store.ledger import Ledger
from kubernel_plugins.store.sqlite.checkpoint import Checkpoint
from kubernel_plugins.store.sqlite.schema import failure

__all__ = ["Writer"]

_T = TypeVar("_T")
_Job = tuple[Callable[[sqlite3.Connection], Any], "asyncio.Future[Any]"]
_Item = tuple[Write, "asyncio.Future[int]"]
_Outcome = tuple["asyncio.Future[Any]", Any]

_GROUP = 512
_PAGE = 16384
_BLOCK = 64
_COLUMNS = 5
# By the number of rows: what a connection has prepared it keeps, so most groups are one known statement.
_INSERTS = tuple(
    f"INSERT INTO revisions VALUES {','.join(['(?,?,?,?,?)'] * count)}"  # noqa: S608 - constant
    for count in range(_BLOCK + 1)
)

# A write that failed before anything was made durable can be refused alone; after any other failure
# nobody knows what the disk holds, and nothing may be acknowledged until the file was opened again.
_REFUSABLE = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_NOMEM,
)
_REFUSABLE_EXTENDED = (sqlite3.SQLITE_IOERR_WRITE,)


class Writer:
    """Owns the writing connection and the ledger from ``start`` to ``stop``."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        ledger: Ledger,
        feed: Feed,
        checkpoint_pages: int,
    ) -> None:
        self._path = path
        self._connection = connection
        self._ledger = ledger
        self._feed = feed
        self._checkpoint = Checkpoint(path, connection, checkpoint_pages, self._judge)
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item | _Job] = deque()
        self._signal = threading.Lock()
        self._signal.acquire()
        self._broken: StoreError | None = None
        self._stopping = False
        self._waking = False
        self._thread = threading.Thread(target=self._run, name="kubernel-store", daemon=True)
        self._thread.start()

    # --- on the loop

    def write(self, write: Write) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        self._put((write, future))
        return future

    def job(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Run ``work(connection)`` in the thread, between two groups."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._put((work, future))
        return future

    def fail(self, error: StoreError) -> None:
        """Accept nothing from now on. From any thread."""
        if self._broken is None:
            self._broken = error

    async def stop(self) -> None:
        """Finish what was accepted, then end the thread."""
        if self._stopping:
            return
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((lambda connection: None, done))
        # Before the signal: a thread that had already done the job would never look again.
        self._stopping = True
        self._wake()
        await done
        self._thread.join()

    def _put(self, item: _Item | _Job) -> None:
        if self._stopping:
            item[1].set_exception(StoreError(f"{self._path} is closed"))
            return
        self._queue.append(item)
        if not self._waking:
            # What the loop's turn brings is one group: a thread woken by the first write would fight for the
            # interpreter with those who are about to make the others.
            self._waking = True
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        # Only this side opens the lock, so it cannot be opened twice.
        if self._signal.locked():
            self._signal.release()

    def _deliver(self, changes: list[Change], outcomes: list[_Outcome]) -> None:
        if changes:
            self._feed(changes)
        for future, outcome in outcomes:
            if not future.done():
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    # --- in the thread

    def _run(self) -> None:
        queue = self._queue
        while True:
            self._signal.acquire()
            while queue:
                group: list[_Item] = []
                job: _Job | None = None
                while queue and len(group) < _GROUP:
                    what, future = queue.popleft()
                    if isinstance(what, Write):
                        group.append((what, future))
                    else:
                        job = (what, future)
                        break
                if group:
                    self._loop.call_soon_threadsafe(self._deliver, *self._commit(group))
                    self._checkpoint.step()
                if job is not None:
                    outcome = self._work(job[0])
                    self._loop.call_soon_threadsafe(self._deliver, [], [(job[1], outcome)])
            if self._stopping:
                self._checkpoint.end()
                return

    def _commit(self, group: list[_Item]) -> tuple[list[Change], list[_Outcome]]:
        if self._broken is not None:
            return [], [(future, _again(self._broken)) for _, future in group]
        ledger = self._ledger
        changes: list[Change] = []
        rows: list[int | str | bytes] = []
        outcomes: list[_Outcome] = []
        size = 0
        for write, future in group:
            try:
                key = "/".join(write.key)
                checksum = crc32(write.value, crc32(key.encode()))
                change = ledger.stage(write)
            except (StoreRefusal, UnicodeError) as refusal:
                outcomes.append((future, refusal))
                continue
            created = -change.created if write.deleted else change.created
            rows += (change.revision, key, created, checksum, write.value)
            size += len(write.value)
            changes.append(change)
            outcomes.append((future, change.revision))
        if not rows:
            return changes, outcomes
        try:
            self._insert(rows, len(changes))
        except Exception as error:  # whatever it is: these writers must hear of it
            ledger.undo()
            reason = self._refused(error)
            # Refusals rest on what the group had staged: they are as void as the rest of it.
            return [], [(future, _again(reason)) for _, future in group]
        ledger.keep()
        self._checkpoint.grown(size // _PAGE + 2)
        return changes, outcomes

    def _insert(self, rows: list[int | str | bytes], count: int) -> None:
        """One transaction. Each statement hands the interpreter lock over and back: a single one, which is a
        transaction by itself, does that once, and the disk's work is part of it."""
        execute = self._connection.execute
        if count <= _BLOCK:
            execute(_INSERTS[count], rows)
            return
        execute("BEGIN IMMEDIATE")
        for at in range(0, count, _BLOCK):
            block = rows[at * _COLUMNS : (at + _BLOCK) * _COLUMNS]
            execute(_INSERTS[len(block) // _COLUMNS], block)
        execute("COMMIT")

    def _work(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            return self._refused(error)
        except Exception as error:  # the caller's to handle
            return error

    def _refused(self, error: Exception) -> StoreError:
        """End the failed transaction; decide whether the file may still be written."""
        ended = True
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            ended = False
        return self._judge(error, ended)

    def _judge(self, error: Exception, ended: bool = True) -> StoreError:
        """What a writer is told; when nobody knows what the disk holds, all later ones. From any thread."""
        reason = failure(self._path, error) if isinstance(error, sqlite3.Error) else StoreError(str(error))
        code = getattr(error, "sqlite_errorcode", -1)
        safe = ended and (code & 0xFF in _REFUSABLE or code in _REFUSABLE_EXTENDED or code == -1)
        if not safe and not isinstance(reason, StoreFull):
            reason = type(reason)(
                f"{reason}; nothing is written or acknowledged any more until the store was restarted"
            )
            self.fail(reason)
        return reason


def _again(error: StoreError) -> StoreError:
    """One of its own for each writer: a raised exception carries its traceback."""
    return type(error)(*error.args)
