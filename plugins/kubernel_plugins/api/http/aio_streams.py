"""What a connection carries after its head: chunks of a response, WebSocket messages, another protocol's bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.web_ws import WebSocketResponse

    from .aio import AioExchange
    from .transport import Shared

__all__ = ["COPIED", "ChunkStream", "MaskedFrames", "RawTunnel", "Turns", "WebSocket"]

COPIED = 64 * 1024
"""Copying less than this is cheaper than sending a head and its body one by one."""
_LONGER, _MASK = 126, 4
"""From this length on a WebSocket frame has an extended one; the size of its mask."""
_PROTOCOL_ERROR = b"\x88\x02\x03\xea"
"""A frame that closes, with the code 1002."""
_TUNNEL = 256 * 1024
"""What a client has sent after an upgrade and nobody has taken: more is not read."""


class Turns:
    """What connections send and take in one step of the loop, all together: ``STEP`` bytes, and ``EACH`` for what a
    piece costs besides. Who comes later waits for its turn in one of the next steps, so that however many read a list
    or watch the same object, whoever asks for something else is answered in between."""

    __slots__ = ("_left", "_next", "_waiting")

    STEP = 512 * 1024
    EACH = 8 * 1024

    def __init__(self) -> None:
        self._left = self.STEP
        self._next = False
        """The next step is asked for."""
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    def take(self, size: int) -> bool:
        """Whether it is now the turn of who has ``size`` bytes; if not, ``wait``."""
        if not self._next:
            self._next = True
            asyncio.get_running_loop().call_soon(self._step)
        if self._waiting or self._left <= 0:
            return False
        self._left -= size + self.EACH
        return True

    async def wait(self, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, size))
        await turn

    def _step(self) -> None:
        self._left, waiting = self.STEP, self._waiting
        while waiting and self._left > 0:
            turn, size = waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= size + self.EACH
        self._next = bool(waiting)
        if waiting:
            asyncio.get_running_loop().call_soon(self._step)


class ChunkStream:
    __slots__ = ("_waits", "chunked", "closed", "exchange", "silent")

    def __init__(self, exchange: AioExchange, chunked: bool, silent: bool) -> None:
        self.exchange = exchange
        self.chunked = chunked
        self.silent = silent
        self.closed = False
        self._waits = False

    async def _turn(self, size: int) -> None:
        turns = self.exchange.server.turns
        if not turns.take(size):
            self._waits = True
            await turns.wait(size)
            self._waits = False

    async def write(self, data: bytes) -> None:
        await self._turn(len(data))
        self.push(data)
        if self.exchange.protocol.writing_paused:
            await self.exchange.drain()

    async def share(self, piece: Shared) -> None:
        await self._turn(len(piece.data))
        if self.chunked and piece.data:
            framed = piece.framed
            if framed is None:
                framed = piece.framed = b"%x\r\n%b\r\n" % (len(piece.data), piece.data)
            self._send(framed)
        else:
            self.push(piece.data)
        if self.exchange.protocol.writing_paused:
            await self.exchange.drain()

    def push(self, data: bytes) -> None:
        size = len(data)
        if not size or not self.chunked:
            self._send(data)
        elif size < COPIED:
            self._send(b"%x\r\n%b\r\n" % (size, data))
        else:
            self._send(b"%x\r\n" % size, data, b"\r\n")

    def _send(self, *pieces: bytes) -> None:
        transport = self.exchange.protocol.transport
        if transport is None:
            raise ConnectionResetError("client is gone")
        if self.silent:
            return
        if len(pieces) == 1:
            transport.write(pieces[0])
        else:
            transport.writelines(pieces)

    @property
    def congested(self) -> bool:
        return self._waits or self.exchange.protocol.writing_paused

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        transport = self.exchange.protocol.transport
        if transport is not None and not transport.is_closing() and self.chunked:
            transport.write(b"0\r\n\r\n")


class WebSocket:
    __slots__ = ("protocol", "socket")

    def __init__(self, socket: WebSocketResponse) -> None:
        self.socket = socket
        self.protocol = socket.ws_protocol or ""

    async def send(self, data: bytes) -> None:
        await self.socket.send_bytes(data)

    async def send_text(self, text: str) -> None:
        await self.socket.send_str(text)

    async def messages(self) -> AsyncIterator[bytes]:
        from aiohttp.http import WSMsgType

        async for message in self.socket:
            if message.type is WSMsgType.BINARY:
                yield message.data
            elif message.type is WSMsgType.TEXT:
                yield message.data.encode()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.socket.close(code=code, message=reason.encode()[:120])


class MaskedFrames:
    """In front of aiohttp's parser of WebSocket frames, which takes unmasked ones: a server has to end the connection
    of a client that does not mask (RFC 6455, section 5.1)."""

    __slots__ = ("_head", "_left", "_protocol", "_reader")

    def __init__(self, reader: Any, protocol: BaseProtocol) -> None:
        self._reader = reader
        self._protocol = protocol
        self._head = b""
        """What has come of a frame's head."""
        self._left = 0
        """Bytes to come of a frame whose head was seen."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        if self._masked(data):
            fed: tuple[bool, bytes] = self._reader.feed_data(data)
            return fed
        transport = self._protocol.transport
        if transport is not None:
            transport.write(_PROTOCOL_ERROR)
            transport.close()
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()

    def _masked(self, data: bytes) -> bool:
        if self._left >= len(data):
            self._left -= len(data)
            return True
        data = self._head + data[self._left :]
        at = self._left = 0
        while at + 2 <= len(data):
            second = data[at + 1]
            if not second & 0x80:
                return False
            length, more = second & 0x7F, 0
            if length >= _LONGER:
                more = 2 if length == _LONGER else 8
                if at + 2 + more > len(data):
                    break
                length = int.from_bytes(data[at + 2 : at + 2 + more], "big")
            at += 2 + more + _MASK + length
        self._head = data[at:]
        self._left = max(0, at - len(data))
        return True


class RawTunnel:
    """``transport.Tunnel``; to aiohttp it is the parser of what comes after an upgrade."""

    __slots__ = ("_arrived", "_ended", "_exchange", "_paused", "_pieces", "_size")

    def __init__(self, exchange: AioExchange) -> None:
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._size = 0
        self._arrived = asyncio.Event()
        self._ended = self._paused = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._pieces.append(data)
        self._size += len(data)
        self._arrived.set()
        if self._size > _TUNNEL and not self._paused:
            self._paused = True
            self._exchange.protocol.pause_reading()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._arrived.set()

    async def read(self) -> bytes:
        if not self._pieces and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data, self._pieces, self._size = b"".join(self._pieces), [], 0
        if self._paused:
            self._paused = False
            self._exchange.protocol.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        transport = self._exchange.protocol.transport
        if transport is None:
            raise ConnectionResetError("client is gone")
        transport.write(data)
        if self._exchange.protocol.writing_paused:
            await self._exchange.drain()
