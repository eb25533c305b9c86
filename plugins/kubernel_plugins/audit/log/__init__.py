"""Audit events as lines of JSON in a file, which is rotated."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel_plugins.audit.queue import Overflow, Queue

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["Plugin", "Settings"]

_BATCH = 1024


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


class Plugin(BasePlugin):
    """Writes in a thread, so that no request waits for the disk."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._path = Path(handle.data_dir) / settings.path
        self._queue = Queue(settings.buffer, settings.overflow)
        self._file: Any = None
        self._lock = threading.Lock()
        self._told = 0

    async def start(self) -> None:
        self._open()
        self.handle.spawn(self._write(), "audit log")

    async def stop(self) -> None:
        self._append(self._queue.take(self.settings.buffer))
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    @hookimpl
    def kubernel_audit(self, event: Mapping[str, Any]) -> Awaitable[None] | None:
        return self._queue.put(orjson.dumps(event))

    @hookimpl
    def kubernel_metrics(self) -> str:
        return (
            "# HELP apiserver_audit_error_total Counter of audit events that failed to be audited properly.\n"
            "# TYPE apiserver_audit_error_total counter\n"
            f'apiserver_audit_error_total{{plugin="log"}} {self._queue.dropped}\n'
        )

    async def _write(self) -> None:
        while True:
            batch = await self._queue.batch(_BATCH)
            try:
                await asyncio.to_thread(self._append, batch)
            except OSError as error:
                self._queue.dropped += len(batch)
                self.handle.log.error("the audit log cannot be written: {}", error.strerror or error)
            if self._queue.dropped > self._told:
                self.handle.log.warning("{} audit events were lost", self._queue.dropped - self._told)
                self._told = self._queue.dropped

    # --- the file

    def _open(self) -> None:
        if self._file is not None and not self._file.closed:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self._file = os.fdopen(descriptor, "ab")

    def _append(self, lines: list[bytes]) -> None:
        with self._lock:
            if not lines or self._file is None:
                return
            self._file.write(b"\n".join(lines) + b"\n")
            self._file.flush()
            if self._file.tell() >= self.settings.max_size << 20:
                self._rotate()

    def _rotate(self) -> None:
        self._file.close()
        now = self.handle.clock.time()
        aside = self._path.with_name(f"{self._path.stem}-{int(now * 1000)}{self._path.suffix}")
        self._path.rename(aside)
        self._open()
        backups = sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}"), reverse=True)
        for number, backup in enumerate(backups):
            age = now - backup.stat().st_mtime
            if number >= self.settings.max_backups or age > self.settings.max_age * 86400:
                backup.unlink(missing_ok=True)
