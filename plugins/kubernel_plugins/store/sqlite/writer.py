"""The writer thread: one record of the log, and so one fsync, for all writes that arrived together.

The loop hands over writes and jobs through a queue; the thread takes all there are, decides
them in order, makes them durable as one group and hands the outcome back in one call on the loop. A
group is kept or refused as a whole. What is durable goes to the applier.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from kubernel.clock import Clock, Timer
from kubernel.errors import StoreError, StoreFull
from kubernel.store import Change, Feed, StoreRefusal, Write
from kubernel.store.ledger import Ledger
from kubernel_plugins.store.sqlite.applier import Applier, Job
from kubernel_plugins.store.sqlite.log import Log
from kubernel_plugins.store.sqlite.schema import Rows, failure

__all__ = ["Writer"]

_T = TypeVar("_T")
_Item = tuple[Write, "asyncio.Future[int]"]
_Outcome = tuple["asyncio.Future[int]", "int | Exception"]

_GROUP = 512
_PORTION = 4
"""The part of a log file that is brought into the database at a time."""
_LAG = 5.0
"""Seconds after which the database gets what the log has, however little: a copy of it that another program
makes is no older."""

# A failure of the database that leaves it as it was: the log still has what was to come into it, and it is tried
# again. After any other nobody knows what the disk holds, and nothing may be acknowledged until the file was
# opened again.
_PASSING = (
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
)
_PASSING_EXTENDED = (sqlite3.SQLITE_IOERR_WRITE,)


class Writer:
    """Owns the writing connection, the log and the ledger from ``start`` to ``stop``. ``rows``: what the log has that
    the database, which is at the revision ``applied``, has not. ``size``: bytes of one file of the log."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        log: Log,
        ledger: Ledger,
        feed: Feed,
        clock: Clock,
        applied: int,
        rows: Rows,
        size: int,
    ) -> None:
        self._path = path
        self._log = log
        self._ledger = ledger
        self._feed = feed
        self._clock = clock
        self._lag: Timer | None = None
        self._loop = asyncio.get_running_loop()
        self._queue: deque[_Item | Job] = deque()
        self._signal = threading.Lock()
        self._signal.acquire()
        self._broken: StoreError | None = None
        self._stopping = False
        self._waking = False
        self._portion = size // _PORTION
        self._rows: Rows = []
        """What the applier was not given yet."""
        self._size = 0
        self._applier = Applier(connection, applied, size, self._judge)
        if rows:
            self._applier.take(rows, size)
        self._thread = threading.Thread(target=self._run, name="kubernel-store", daemon=True)
        self._thread.start()

    # --- on the loop

    def write(self, write: Write) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._loop.create_future()
        self._put((write, future))
        if self._lag is None:
            self._lag = self._clock.call_later(_LAG, self._settle_soon)
        return future

    def job(self, work: Callable[[sqlite3.Connection], _T]) -> asyncio.Future[_T]:
        """Run ``work(connection)`` in the applier's thread after everything written so far."""
        future: asyncio.Future[_T] = self._loop.create_future()
        self._put((work, future))
        return future

    @property
    def applied(self) -> int:
        """The latest revision that the database has."""
        return self._applier.applied

    async def settle(self) -> None:
        """Have the database get everything that was written so far."""
        await self.job(self._applier.settled)

    def fail(self, error: StoreError) -> None:
        """Accept nothing from now on. From any thread."""
        if self._broken is None:
            self._broken = error

    async def stop(self) -> None:
        """Finish what was accepted, then end the threads and close the log."""
        if self._stopping:
            return
        if self._lag is not None:
            self._lag.cancel()
        done: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((lambda connection: None, done))
        # Before the signal: a thread that had already done the job would never look again.
        self._stopping = True
        self._wake()
        await done
        self._thread.join()
        self._log.close(empty=self._applier.stop() and self._broken is None)

    def _settle_soon(self) -> None:
        self._lag = None
        # A failure of this is told to those who need it.
        self._put((lambda connection: None, self._loop.create_future()))

    def _put(self, item: _Item | Job) -> None:
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
                if isinstance(outcome, int):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)

    # --- in the thread

    def _run(self) -> None:
        queue = self._queue
        while True:
            self._signal.acquire()
            while queue:
                group: list[_Item] = []
                job: Job | None = None
                size = 0
                while queue and len(group) < _GROUP and size < self._portion:
                    what, future = queue.popleft()
                    if isinstance(what, Write):
                        group.append((what, future))
                        size += len(what.value)
                    else:
                        job = (what, future)
                        break
                if group:
                    self._loop.call_soon_threadsafe(self._deliver, *self._commit(group, size))
                if job is not None:
                    self._hand_over()
                    self._applier.job(job)
            if self._stopping:
                return

    def _commit(self, group: list[_Item], size: int) -> tuple[list[Change], list[_Outcome]]:
        if self._broken is not None:
            return [], [(future, _again(self._broken)) for _, future in group]
        ledger = self._ledger
        changes: list[Change] = []
        rows: Rows = []
        outcomes: list[_Outcome] = []
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
            changes.append(change)
            outcomes.append((future, change.revision))
        if not rows:
            return changes, outcomes
        try:
            self._keep(rows, size)
        except Exception as error:  # whatever it is: these writers must hear of it
            ledger.undo()
            reason = error if isinstance(error, StoreError) else self._judge(error)
            # Refusals rest on what the group had staged: they are as void as the rest of it.
            return [], [(future, _again(reason)) for _, future in group]
        ledger.keep()
        return changes, outcomes

    def _keep(self, rows: Rows, size: int) -> None:
        log = self._log
        if log.ends(size):
            self._hand_over()
            self._applier.wait(log.spare)
            log.turn()
        log.append(rows)
        self._rows += rows
        self._size += size
        if self._size >= self._portion:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._rows:
            self._applier.take(self._rows, self._size)
            self._rows = []
            self._size = 0

    def _judge(self, error: Exception) -> StoreError:
        """What is told of a failure; when nobody knows what the disk holds, all later writers are. From any thread."""
        passing = False
        if isinstance(error, sqlite3.Error):
            reason = failure(self._path, error)
            code = getattr(error, "sqlite_errorcode", -1)
            passing = code & 0xFF in _PASSING or code in _PASSING_EXTENDED
        elif isinstance(error, OSError):
            reason = StoreError(f"the log of {self._path}: {error.strerror}")
        else:
            return StoreError(str(error))
        if not passing and not isinstance(reason, StoreFull):
            reason = type(reason)(
                f"{reason}; nothing is written or acknowledged any more until the store was restarted"
            )
            self.fail(reason)
        return reason


def _again(error: StoreError) -> StoreError:
    """One of its own for each writer: a raised exception carries its traceback."""
    return type(error)(*error.args)
