"""A container's log in the CRI format, with rotation.

Each line is ``2026-01-02T03:04:05.000000006Z stdout F text``; ``P`` instead of ``F`` says that the line
goes on in the next record (CRI: kubelet's container log format). The limits are kubelet's
``containerLogMaxSize`` and ``containerLogMaxFiles``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["LogFile", "nano_time"]

_LONGEST = 16 * 1024
"""Bytes of a line after which a partial record is written, as containerd does."""


def nano_time(seconds: float) -> str:
    """``2026-01-02T03:04:05.000000006Z``."""
    whole = int(seconds)
    nanos = int((seconds - whole) * 1e9)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


class LogFile:
    """Appends what a container says. One instance a container, used from the loop only."""

    def __init__(self, path: Path, now: Callable[[], float], max_bytes: int, max_files: int) -> None:
        self.path = path
        self._now = now
        self._max_bytes = max_bytes
        self._max_files = max_files
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._fd = self._open()
        self._size = os.fstat(self._fd).st_size
        self._partial: dict[str, bytes] = {}

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, stream: str, data: bytes) -> None:
        """Take a chunk of ``stdout`` or ``stderr``; an unfinished line waits for its rest. A full disk loses
        the chunk, never the container."""
        pending = self._partial.pop(stream, b"") + data
        head = f"{nano_time(self._now())} {stream} ".encode()
        *lines, rest = pending.split(b"\n")
        records: list[bytes] = []
        for line in lines:
            while len(line) > _LONGEST:
                records.append(b"%bP %b\n" % (head, line[:_LONGEST]))
                line = line[_LONGEST:]
            records.append(b"%bF %b\n" % (head, line))
        while len(rest) > _LONGEST:
            records.append(b"%bP %b\n" % (head, rest[:_LONGEST]))
            rest = rest[_LONGEST:]
        if rest:
            self._partial[stream] = rest
        self._append_all(records)

    def close(self) -> None:
        """Write unfinished lines as partial records and close; further writes are ignored."""
        if self._fd < 0:
            return
        for stream, rest in self._partial.items():
            self._append(f"{nano_time(self._now())} {stream} P ".encode() + rest + b"\n")
        self._partial.clear()
        os.close(self._fd)
        self._fd = -1

    def _append_all(self, records: list[bytes]) -> None:
        """In pieces no larger than a file may be: a chunk of short lines becomes much more text."""
        piece: list[bytes] = []
        size = 0
        for record in records:
            if piece and size + len(record) > max(self._max_bytes - self._size, 0):
                self._append(b"".join(piece))
                piece, size = [], 0
            piece.append(record)
            size += len(record)
        if piece:
            self._append(b"".join(piece))

    def _append(self, data: bytes) -> None:
        if self._fd < 0:
            return
        if self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
        except OSError:
            return

    def _rotate(self) -> None:
        stamp = datetime.fromtimestamp(int(self._now()), UTC).strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.path.name}.{stamp}")
        # After all of the same second, those that are gone among them, so that names stay in order.
        if same := sorted(self.path.parent.glob(f"{target.name}*")):
            number = int(same[-1].suffix[1:]) + 1 if same[-1] != target else 1
            target = target.with_name(f"{target.name}.{number:04d}")
        try:
            os.rename(self.path, target)
            fresh = self._open()
        except OSError:
            return
        os.close(self._fd)
        self._fd = fresh
        self._size = 0
        old = sorted(self.path.parent.glob(f"{self.path.name}.*"))
        for path in old[: max(len(old) - (self._max_files - 1), 0)]:
            path.unlink(missing_ok=True)
