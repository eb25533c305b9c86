"""The log: changes that are durable already and not in the database yet.

One durable write for a group of changes, in place once the files have their length: a transaction of SQLite
writes whole pages several times instead. Two files take turns; each is begun anew when the database has
all of what is in it.

A record starts at a multiple of 512 bytes: header, names (JSON: keys, revisions of creation, checksums, lengths of
values, each a list), values. The header names the database (``identity``) and the first revision; its checksum is
of itself and the names, whose checksums are those of the rows. Revisions go on from record to record without a
gap, so a record that was torn can only be the last one: one that is missing before another is damage.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import orjson

from kubernel.errors import StoreError
from kubernel_plugins.store.sqlite.schema import COLUMNS, Rows, corrupt, full, sync_directory

__all__ = ["Log"]

_MAGIC = b"knl1"
_HEAD = struct.Struct("<4sI")
_REST = struct.Struct("<QQII")  # identity, first revision, bytes of names, bytes of values
_START = _HEAD.size + _REST.size
_STEP = 512
_AHEAD = 1 << 20
"""Bytes by which a file grows: a write that changes its length as well takes twice as long."""
_PIECE, _PIECES = 1 << 16, 1024
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _File:
    """``last``: the latest revision in it. ``length``: bytes that may be written without growing it. What a write to it
    writes is durable when it returns: a call of its own for that would wait for the interpreter once more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_DSYNC, 0o600)
        self.length = os.fstat(self.descriptor).st_size
        self.last = 0


class Log:
    """``path``: that of the database. ``size``: bytes from which on the other file is taken."""

    def __init__(self, path: Path, identity: int, size: int) -> None:
        self._path = path
        self._identity = identity
        self._size = size
        self._at = 0
        self._files: list[_File] = []

    def open(self, after: int) -> Rows:
        """The rows of the revisions after ``after``, the latest that the database has. StoreCorrupt, StoreError."""
        paths = [self._path.with_name(f"{self._path.name}-log{number}") for number in (1, 2)]
        new = not all(path.exists() for path in paths)
        found = []
        for path in paths:
            file = _File(path)
            self._files.append(file)
            for first, end, rows in _records(path.read_bytes(), path, self._identity):
                last = first + len(rows) // COLUMNS - 1
                if last > after:
                    file.last = last
                    found.append((first, last, file, end, rows))
        if new:
            sync_directory(self._path.parent)
        for file in self._files if found else ():
            # One that died may have written a record that is not durable yet: from now on it counts.
            os.fdatasync(file.descriptor)
        found.sort(key=lambda record: record[0])
        wanted = after + 1
        rows_after: Rows = []
        for first, last, file, end, rows in found:
            if first != wanted:
                raise corrupt(self._path, f"revisions {wanted} to {first - 1} are missing from its log")
            wanted = last + 1
            rows_after += rows
            self._at = end
            if file is not self._files[0]:
                self._files.reverse()
        return rows_after

    def close(self, *, empty: bool) -> None:
        """``empty``: the database has everything."""
        for file in self._files:
            if empty:
                with contextlib.suppress(OSError):
                    os.ftruncate(file.descriptor, 0)
            os.close(file.descriptor)
        self._files.clear()

    def ends(self, length: int) -> bool:
        """Whether ``length`` more bytes belong into the other file."""
        return self._at > 0 and self._at + length > self._size

    @property
    def spare(self) -> int:
        """The revision that the database must have before ``turn``."""
        return self._files[1].last

    def turn(self) -> None:
        """Begin the other file anew."""
        self._files.reverse()
        self._at = 0

    def append(self, rows: Rows) -> None:
        """Make a group durable. StoreFull: nothing of it was kept. OSError: nobody knows what the disk holds."""
        values: list[bytes] = rows[4::COLUMNS]  # type: ignore[assignment]
        lengths = [len(value) for value in values]
        names = orjson.dumps((rows[1::COLUMNS], rows[2::COLUMNS], rows[3::COLUMNS], lengths))
        rest = _REST.pack(self._identity, rows[0], len(names), sum(lengths))
        head = _HEAD.pack(_MAGIC, crc32(names, crc32(rest)))
        length = _START + len(names) + sum(lengths)
        file = self._files[0]
        if self._at + length > file.length:
            self._grow(file, length)
        try:
            _write(file.descriptor, [head, rest, names, *values], length, self._at)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._void(file.descriptor)
            raise full(self._path) from error
        file.length = max(file.length, self._at + length)
        file.last = rows[-COLUMNS]  # type: ignore[assignment]
        self._at = _aligned(self._at + length)

    def _grow(self, file: _File, length: int) -> None:
        more = max(_AHEAD, self._at + length - file.length)
        pieces = [bytes(_PIECE)] * min(more // _PIECE, _PIECES)
        # Without room for that there may be enough for the record.
        with contextlib.suppress(OSError):
            file.length += os.pwritev(file.descriptor, pieces, file.length)

    def _void(self, descriptor: int) -> None:
        """What was refused must not be found later, however much of it was written."""
        if os.pread(descriptor, len(_MAGIC), self._at):
            os.pwrite(descriptor, bytes(len(_MAGIC)), self._at)


def _aligned(at: int) -> int:
    return (at + _STEP - 1) & -_STEP


def _write(descriptor: int, parts: list[bytes], length: int, at: int) -> None:
    written = os.pwritev(descriptor, parts, at)
    if written < length:
        left = memoryview(b"".join(parts))[written:]
        while left:
            written = os.pwrite(descriptor, left, at + length - len(left))
            left = left[written:]


def _records(data: bytes, path: Path, identity: int) -> Iterator[tuple[int, int, Rows]]:
    """Every whole record: its first revision, where the next one may start, its rows."""
    at = 0
    while (at := data.find(_MAGIC, at)) >= 0:
        record = _record(data, at, path, identity) if at % _STEP == 0 else None
        if record is None:
            at += 1
        else:
            yield record
            at = record[1]


def _record(data: bytes, at: int, path: Path, identity: int) -> tuple[int, int, Rows] | None:
    if at + _START > len(data):
        return None
    _, checksum = _HEAD.unpack_from(data, at)
    owner, first, names_length, length = _REST.unpack_from(data, at + _HEAD.size)
    start = at + _START + names_length
    if start + length > len(data) or crc32(data[at + _HEAD.size : start]) != checksum:
        return None
    if owner != identity:
        raise StoreError(f"{path} belongs to another database: move it away")
    end = _aligned(start + length)
    rows: Rows = []
    columns = zip(*orjson.loads(data[at + _START : start]), strict=True)
    for revision, (key, created, expected, size) in enumerate(columns, first):
        value = data[start : start + size]
        start += size
        if crc32(value, crc32(key.encode())) != expected:
            return None
        rows += (revision, key, created, expected, value)
    return first, end, rows
