"""Reading container logs in the CRI format, as ``kubectl logs`` wants them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kubernel.clock import Clock
from kubernel.objects import times

__all__ = ["LogOptions", "read_log", "tail_of"]

_BLOCK = 64 * 1024
_POLL = 0.1
_FALLBACK_BYTES = 2048
_FALLBACK_LINES = 80


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query parameters of ``pods/log``; ``since`` is epoch seconds, -1 stands for no limit."""

    follow: bool = False
    tail: int = -1
    limit: int = -1
    since: float = 0.0
    timestamps: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str], now: float) -> LogOptions:
        since = 0.0
        if options.get("sinceSeconds"):
            since = now - int(options["sinceSeconds"])
        elif options.get("sinceTime"):
            since = times.parse(options["sinceTime"])
        return cls(
            follow=options.get("follow") in ("true", "1"),
            tail=int(options["tailLines"]) if options.get("tailLines") else -1,
            limit=int(options["limitBytes"]) if options.get("limitBytes") else -1,
            since=since,
            timestamps=options.get("timestamps") in ("true", "1"),
        )


def _text(line: bytes, options: LogOptions) -> bytes:
    """What one record shows: nothing when it is older than ``since`` or malformed."""
    parts = line.rstrip(b"\n").split(b" ", 3)
    if len(parts) < 4:
        return b""
    if options.since and times.parse(parts[0].decode()) < options.since:
        return b""
    text = parts[3] + (b"\n" if parts[2] == b"F" else b"")
    return parts[0] + b" " + text if options.timestamps else text


def _tail_start(file: BinaryIO, lines: int) -> int:
    """Offset of the last ``lines`` records, read from the end."""
    position = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return position
    wanted = lines + 1  # the newline that ends the last record does not begin one
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        count = block.count(b"\n")
        if count >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rindex(b"\n", 0, at)
            return position + at + 1
        wanted -= count
    return 0


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Complete records from where the file stands; leaves it before one that is still being written."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line


async def read_log(
    path: Path, options: LogOptions, clock: Clock, ended: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The log's text. Following goes on, also across rotation, until ``ended()`` and all is read.

    A log that is not there (yet) is empty.
    """
    left = options.limit
    file = _open(path)
    try:
        if file is not None and options.tail >= 0:
            file.seek(_tail_start(file, options.tail))
        while True:
            # Asked before reading: what was written before the end or the rotation is then certainly seen.
            over = not options.follow or ended()
            moved = file is None or _rotated(file, path)
            while file is not None:
                chunk, more = _chunk(file, options)
                if left >= 0:
                    chunk = chunk[:left]
                    left -= len(chunk)
                if chunk:
                    yield chunk
                if left == 0:
                    return
                if not more:
                    break
            if moved:
                fresh = _open(path)
                if fresh is not None:
                    if file is not None:
                        file.close()
                    file = fresh
                    continue
            if over:
                return
            await clock.sleep(_POLL)
    finally:
        if file is not None:
            file.close()


def _chunk(file: BinaryIO, options: LogOptions) -> tuple[bytes, bool]:
    parts: list[bytes] = []
    size = 0
    for line in _records(file):
        text = _text(line, options)
        parts.append(text)
        size += len(text)
        if size >= _BLOCK:
            return b"".join(parts), True
    return b"".join(parts), False


def _open(path: Path) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except OSError:
        return None


def _rotated(file: BinaryIO, path: Path) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(file.fileno()).st_ino
    except OSError:
        return False


def tail_of(path: Path) -> str:
    """The end of a log as a termination message: at most 2048 bytes or 80 lines
    (``FallbackToLogsOnError``)."""
    file = _open(path)
    if file is None:
        return ""
    with file:
        file.seek(_tail_start(file, _FALLBACK_LINES))
        text = b"".join(_text(line, LogOptions()) for line in _records(file))
    return text[-_FALLBACK_BYTES:].decode(errors="replace")
