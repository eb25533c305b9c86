"""The memory backend: a log of changes in a dict."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from kubernel.errors import StoreError
from kubernel.store import Change, Compacted, Feed, Key, Load, Snapshot, Write
from kubernel.store.ledger import Ledger

__all__ = ["MemoryBackend"]

_STEP = 1000


class MemoryBackend:
    """Keeps everything as long as the instance lives: it may be closed and opened again."""

    def __init__(self, *, retention: float = 300.0) -> None:
        self.retention = retention
        self._ledger = Ledger()
        self._log: dict[int, Change] = {}
        self._feed: Feed | None = None

    async def open(self, feed: Feed) -> Snapshot:
        if self._feed is not None:
            raise StoreError("the memory backend is open already")
        self._feed = feed
        return Snapshot(self._ledger.revision, self._ledger.compacted, list(self._log.values()))

    async def close(self) -> None:
        self._feed = None

    async def commit(self, write: Write) -> int:
        if self._feed is None:
            raise StoreError("the memory backend is not open")
        change = self._ledger.stage(write)
        self._ledger.keep()
        # The log must not keep the writer's decoded object alive.
        self._log[change.revision] = change._replace(origin=None)
        self._feed((change,))
        await asyncio.sleep(0)  # a writer in a loop must not starve everyone else
        return change.revision

    async def get_at(self, key: Key, revision: int) -> Change | None:
        found: Change | None = None
        for change in self._past(revision):
            if change.key == key:
                found = change
        return None if found is None or found.deleted else found

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        found: dict[Key, Change] = {}
        for change in self._past(revision):
            key = change.key
            if key.resource == resource and (namespace is None or key.namespace == namespace):
                found[key] = change
        return [change for change in found.values() if not change.deleted]

    def _past(self, revision: int) -> list[Change]:
        if revision < self._ledger.compacted:
            raise Compacted(revision, self._ledger.compacted)
        return [change for at, change in self._log.items() if at <= revision]

    async def compact(self, revision: int) -> None:
        if revision <= self._ledger.compacted:
            return
        self._ledger.compacted = revision
        while garbage := self._ledger.garbage(_STEP):
            for at in garbage:
                del self._log[at]
            await asyncio.sleep(0)

    async def backup(self, path: Path) -> None:
        """One JSON object a line, as stored, in revision order: for a look, not to be opened again."""
        values = [change.value for change in self._log.values() if not change.deleted]
        await asyncio.to_thread(_write_lines, path, values)


def _write_lines(path: Path, lines: list[bytes | Load]) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for line in lines:
            assert isinstance(line, bytes)  # noqa: S101 - this backend has no others
            file.write(line + b"\n")
