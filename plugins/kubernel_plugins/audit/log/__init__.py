"""Audit events as lines of JSON in a file, which is rotated."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel_plugins.audit.queue import Overflow
from kubernel_plugins.audit.sink import Sink

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["Plugin", "Settings"]

_BATCH = 1024
_LINGER = 0.01
"""Seconds in which more events may come: a thread is woken for many of them, not for each."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``path`` is relative to the data directory. A file of ``max_size`` MB is put aside; ``max_backups`` of those
    are kept, none longer than ``max_age`` days. ``buffer`` events may wait; ``overflow`` says what happens then."""

    path: str = "logs/audit.log"
    max_size: int = 100
    max_backups: int = 10
    max_age: int = 30
    buffer: int = 10_000
    overflow: Overflow = "drop"

    def __post_init__(self) -> None:
        if self.max_size < 1 or self.buffer < 1:
            raise ValueError(f"{'maxSize' if self.max_size < 1 else 'buffer'}: must be at least 1")


class Plugin(Sink):
    """Writes in a thread, so that no request waits for the disk."""

    Settings = Settings
    name = "log"

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._path = Path(handle.data_dir) / settings.path
        self._file: int | None = None
        self._lock = threading.Lock()

    async def start(self) -> None:
        self._open()
        self.handle.spawn(self._keep(), "audit log")

    async def stop(self) -> None:
        left = self._queue.take(self.settings.buffer)
        try:
            self._append(left)
        except OSError as error:
            self._failed(left, error)
        with self._lock:
            self._close()

    async def _keep(self) -> None:
        while True:
            await self._queue.wait()
            await self.handle.clock.sleep(_LINGER)
            batch = self._queue.take(_BATCH)
            try:
                await asyncio.to_thread(self._append, batch)
            except OSError as error:
                self._failed(batch, error)
            self._tell_overflow()

    def _failed(self, batch: list[bytes], error: OSError) -> None:
        self._lost(len(batch), f"the audit log cannot be written: {error.strerror or error}")

    # --- the file

    def _open(self) -> int:
        if self._file is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def _append(self, lines: list[bytes]) -> None:
        """All of the lines or, when the disk has no room for that, none. Raises OSError."""
        if not lines:
            return
        with self._lock:
            file = self._open()
            size = os.fstat(file).st_size
            left = memoryview(b"\n".join(lines) + b"\n")
            try:
                while left:
                    left = left[os.write(file, left) :]
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise
            if os.fstat(file).st_size >= self.settings.max_size << 20:
                self._rotate()

    def _rotate(self) -> None:
        self._close()
        now = self.handle.clock.time()
        aside = self._path.with_name(f"{self._path.stem}-{int(now * 1000)}{self._path.suffix}")
        self._path.rename(aside)
        self._open()
        backups = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        for number, backup in enumerate(backups):
            age = now - backup.stat().st_mtime
            if number >= self.settings.max_backups or age > self.settings.max_age * 86400:
                backup.unlink(missing_ok=True)
