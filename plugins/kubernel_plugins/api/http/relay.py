"""Reading an HTTP/1.1 answer from a pod: its head, then its body in whatever framing it has, or whatever it speaks
after an upgrade."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .transport import Tunnel

__all__ = ["Answer", "carry", "not_switched", "read_answer"]

_HEAD_LINES = 256
_PIECE = 64 * 1024


class Answer:
    """``length`` is the body's when it is known; ``body`` may be iterated once."""

    def __init__(
        self, reader: asyncio.StreamReader, status: int, headers: list[tuple[str, str]], empty: bool
    ) -> None:
        self._reader = reader
        self.status = status
        self.headers = headers
        found = {name.lower(): value for name, value in headers}
        self._chunked = "chunked" in found.get("transfer-encoding", "").lower()
        self.length: int | None = None
        if empty:
            self.length = 0
        elif not self._chunked and "content-length" in found:
            self.length = int(found["content-length"])
            if self.length < 0:
                raise ValueError("malformed HTTP response: negative Content-Length")

    async def body(self) -> AsyncIterator[bytes]:
        """ConnectionError or EOFError for one that is broken off."""
        if self.length is not None:
            async for piece in self._exactly(self.length):
                yield piece
        elif self._chunked:
            while size := int((await _line(self._reader)).partition(";")[0], 16):
                async for piece in self._exactly(size):
                    yield piece
                await self._reader.readexactly(2)
        else:
            while piece := await self._reader.read(_PIECE):
                yield piece

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            piece = await self._reader.read(min(size, _PIECE))
            if not piece:
                raise ConnectionResetError("unexpected EOF")
            size -= len(piece)
            yield piece


async def _line(reader: asyncio.StreamReader) -> str:
    """A line without its end; ValueError for one that is too long."""
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("EOF")
    return line.decode("latin-1").rstrip("\r\n")


async def read_answer(reader: asyncio.StreamReader, method: str, *, switches: bool = False) -> Answer:
    """The answer to a request with ``method``; 101 is one where the client ``switches`` protocols. ValueError for
    what is no HTTP, ConnectionError for its end."""
    while True:
        line = await _line(reader)
        version, _, rest = line.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise ValueError(f'malformed HTTP response "{line[:80]}"')
        headers: list[tuple[str, str]] = []
        while field := await _line(reader):
            name, _, value = field.partition(":")
            headers.append((name.strip(), value.strip()))
            if len(headers) > _HEAD_LINES:
                raise ValueError("malformed HTTP response: too many headers")
        status = int(code)
        if status >= 200 or (status == 101 and switches):
            return Answer(reader, status, headers, method == "HEAD" or status in (101, 204, 304))


def not_switched(answer: Answer) -> str:
    """What is wrong with an answer to a request for another protocol: only an error is passed on to the client."""
    return f"invalid upgrade response: status code {answer.status}" if answer.status < 400 else ""


async def carry(tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes both ways until one side has no more."""

    async def up() -> None:
        while data := await tunnel.read():
            writer.write(data)
            await writer.drain()

    async def down() -> None:
        while data := await reader.read(_PIECE):
            await tunnel.write(data)

    tasks = [asyncio.ensure_future(up()), asyncio.ensure_future(down())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
