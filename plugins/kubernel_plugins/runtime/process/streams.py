"""Bytes between file descriptors and the loop: reading with backpressure, writing without blocking."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections import deque
from collections.abc import AsyncIterator, Callable

__all__ = ["OutputQueue", "Reader", "Writer", "resize_terminal"]

_CHUNK = 64 * 1024
_HIGH = 1024 * 1024
_LOW = 256 * 1024


class OutputQueue:
    """Chunks of output on their way to one consumer, who may be slow."""

    def __init__(self, on_drained: Callable[[], None] | None = None) -> None:
        self._chunks: deque[tuple[int, bytes]] = deque()
        self._wake: asyncio.Event = asyncio.Event()
        self._size = 0
        self._closed = False
        self._on_drained = on_drained

    @property
    def full(self) -> bool:
        return self._size >= _HIGH

    def put(self, stream: int, data: bytes) -> None:
        if not self._closed:
            self._chunks.append((stream, data))
            self._size += len(data)
            self._wake.set()

    def close(self) -> None:
        """No more will come; what is queued is still delivered."""
        self._closed = True
        self._wake.set()

    async def drain(self) -> AsyncIterator[tuple[int, bytes]]:
        while True:
            while self._chunks:
                stream, data = self._chunks.popleft()
                self._size -= len(data)
                if self._on_drained is not None and self._size <= _LOW:
                    self._on_drained()
                yield stream, data
            if self._closed:
                return
            self._wake.clear()
            await self._wake.wait()


class Reader:
    """Reads a descriptor that it owns, calling ``on_data`` for each chunk, until its end."""

    def __init__(self, fd: int, on_data: Callable[[bytes], None]) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._on_data = on_data
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._loop.add_reader(fd, self._ready)

    @property
    def open(self) -> bool:
        return self._fd >= 0

    def _ready(self) -> None:
        data = self._read()
        if data:
            self._on_data(data)

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, _CHUNK)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:  # EIO: the last process has let go of the terminal
            data = b""
        if not data:
            self.close()
        return data

    def pause(self) -> None:
        if self.open and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if self.open and self._paused:
            self._paused = False
            self._loop.add_reader(self._fd, self._ready)

    def finish(self) -> None:
        """Deliver what is there already, then close."""
        while self.open and (data := self._read()):
            self._on_data(data)
        self.close()

    def close(self) -> None:
        if self.open:
            if not self._paused:
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1


class Writer:
    """Writes to a descriptor that it owns; a peer that has gone is not an error."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lock = asyncio.Lock()
        self._writable: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        """Returns when the kernel has taken all of it."""
        async with self._lock:
            view = memoryview(data)
            while view and self._fd >= 0:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._wait()
                except OSError:
                    self.close()

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        fd = self._fd
        self._writable = future = loop.create_future()
        loop.add_writer(fd, _wake, future)
        try:
            await future
        finally:
            self._writable = None
            if self._fd == fd:
                loop.remove_writer(fd)

    def close(self) -> None:
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if self._writable is not None:
            asyncio.get_running_loop().remove_writer(fd)
            if not self._writable.done():
                self._writable.set_result(None)
        os.close(fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def resize_terminal(fd: int, width: int, height: int) -> None:
    """Tell the terminal behind ``fd`` its size in characters; the foreground group gets SIGWINCH."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
