"""SPDY/3.1 frames and streams over any carrier of bytes, as much of it as Kubernetes' clients use.

There is no flow control beyond the carrier's: the clients' library neither grants nor keeps windows, so
WINDOW_UPDATE and SETTINGS are read and left alone. Source: the published SPDY draft 3.1
(www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1).
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple, Protocol

__all__ = ["DICTIONARY", "Carrier", "Frame", "Framer", "SpdyError", "SpdySession", "SpdyStream"]

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
DATA = 0
FIN = 1
PROTOCOL_ERROR, REFUSED_STREAM, CANCEL = 1, 3, 5

_VERSION = 3
_MAX_CONTROL = 64 * 1024
_MAX_HEADERS = 64 * 1024
_MAX_STREAMS = 2000
_QUEUED = 64
"""Chunks that wait for one stream's reader before the whole connection waits."""
_HIGHEST_ID = 0x7FFF_FFFF


def _dictionary() -> bytes:
    """The text that header blocks are compressed against: both sides must have the same, byte for byte."""
    words = (
        "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges "
        "age allow authorization cache-control connection content-base content-encoding content-language "
        "content-length content-location content-md5 content-range content-type date etag expect expires from "
        "host if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location "
        "max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer "
        "transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version "
        "HTTP/1.1 url public set-cookie keep-alive origin"
    )
    tail = (
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
        "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
        "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
        "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
        "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
        "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    listed = b"".join(
        struct.pack(">I", len(word)) + word.replace("_", " ").encode() for word in words.split()
    )
    return listed + tail.encode()


DICTIONARY = _dictionary()


class SpdyError(ConnectionError):
    """The peer does not speak SPDY/3.1: the connection cannot go on."""


class Frame(NamedTuple):
    """A frame that came in. A DATA frame may come in several pieces, the last with its flags."""

    type: int
    stream: int
    fin: bool = False
    data: bytes = b""
    headers: Mapping[str, str] = {}


class Framer:
    """Both directions of one connection: the compression of headers has a memory."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self._data_left = 0
        self._data_stream = 0
        self._data_fin = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes; SpdyError for what is none."""
        buffer = self._buffer
        buffer += data
        while True:
            if self._data_left:
                if not buffer:
                    return
                piece = bytes(buffer[: self._data_left])
                del buffer[: len(piece)]
                self._data_left -= len(piece)
                yield Frame(DATA, self._data_stream, self._data_fin and not self._data_left, piece)
                continue
            if len(buffer) < 8:
                return
            first, second = struct.unpack_from(">II", buffer)
            flags, length = second >> 24, second & 0xFFFFFF
            if not first & 0x8000_0000:
                del buffer[:8]
                if not first:
                    raise SpdyError("data for stream 0")
                self._data_stream, self._data_left, self._data_fin = first, length, bool(flags & FIN)
                if not length:
                    yield Frame(DATA, first, self._data_fin)
                continue
            if first >> 16 & 0x7FFF != _VERSION:
                raise SpdyError(f"version {first >> 16 & 0x7FFF} is not supported")
            if length > _MAX_CONTROL:
                raise SpdyError("control frame too large")
            if len(buffer) < 8 + length:
                return
            body = bytes(buffer[8 : 8 + length])
            del buffer[: 8 + length]
            yield self._control(first & 0xFFFF, flags, body)

    def _control(self, kind: int, flags: int, body: bytes) -> Frame:
        if kind in (SETTINGS, WINDOW_UPDATE):
            return Frame(kind, 0)
        if len(body) < 4:
            raise SpdyError("truncated frame")
        number = int.from_bytes(body[:4], "big")
        if kind == PING:
            return Frame(PING, number)
        number &= _HIGHEST_ID
        if kind in (RST_STREAM, GOAWAY):
            return Frame(kind, number)
        start = {SYN_STREAM: 10, SYN_REPLY: 4, HEADERS: 4}.get(kind)
        if start is None:
            raise SpdyError(f"unknown frame type {kind}")
        return Frame(kind, number, bool(flags & FIN), headers=self._read_headers(body[start:]))

    def _read_headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, _MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"broken header block: {error}") from None
        if self._inflate.unconsumed_tail:
            raise SpdyError("header block too large")
        found: dict[str, str] = {}
        at = 4
        try:
            for _ in range(struct.unpack_from(">I", text)[0]):
                pair = []
                for _ in range(2):
                    (length,) = struct.unpack_from(">I", text, at)
                    if at + 4 + length > len(text):
                        raise SpdyError("truncated header block")
                    pair.append(text[at + 4 : at + 4 + length].decode("latin-1"))
                    at += 4 + length
                found[pair[0].lower()] = pair[1]
        except struct.error:
            raise SpdyError("truncated header block") from None
        return found

    def header_frame(self, kind: int, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """SYN_STREAM, SYN_REPLY or HEADERS, to be sent in the order in which they were made."""
        text = [struct.pack(">I", len(headers))]
        for pair in headers.items():
            text += [struct.pack(">I", len(part)) + part.encode("latin-1") for part in pair]
        block = self._deflate.compress(b"".join(text)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        fixed = struct.pack(">IIH", stream, 0, 0) if kind == SYN_STREAM else struct.pack(">I", stream)
        return _head(kind, FIN if fin else 0, len(fixed) + len(block)) + fixed + block


def _head(kind: int, flags: int, length: int) -> bytes:
    return struct.pack(">HHI", 0x8000 | _VERSION, kind, flags << 24 | length)


def data_frame(stream: int, data: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data


def number_frame(kind: int, *numbers: int) -> bytes:
    """RST_STREAM (stream, status), PING (id), GOAWAY (last good stream, status)."""
    return _head(kind, 0, 4 * len(numbers)) + struct.pack(f">{len(numbers)}I", *numbers)


class Carrier(Protocol):
    """What the frames travel in: a WebSocket, say."""

    async def send(self, data: bytes) -> None: ...

    def messages(self) -> AsyncIterator[bytes]: ...


class SpdyStream:
    """One stream that the client has opened."""

    def __init__(self, session: SpdySession, number: int, headers: Mapping[str, str]) -> None:
        self.number = number
        self.headers = headers
        self._session = session
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED)
        self.gone = False
        """Reset by one of the two."""
        self.client_done = False
        self._deaf = False
        self._finished = False

    async def write(self, data: bytes, *, fin: bool = False) -> None:
        if not self._finished:
            self._finished = fin
            await self._session.carrier.send(data_frame(self.number, data, fin=fin))
            if fin:
                self._session.settle(self)

    async def finish(self) -> None:
        """Nothing more will be written."""
        await self.write(b"", fin=True)

    async def reset(self, status: int = CANCEL) -> None:
        if not self.gone:
            self.drop()
            await self._session.carrier.send(number_frame(RST_STREAM, self.number, status))

    @property
    def finished(self) -> bool:
        return self._finished

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends, until it finishes or resets the stream."""
        while True:
            if self._chunks.empty() and (self.client_done or self.gone):
                return
            chunk = await self._chunks.get()
            if chunk:
                yield chunk

    async def deliver(self, data: bytes, fin: bool) -> None:
        if self.gone or self.client_done:
            return
        self.client_done = fin
        if (data or fin) and not self._deaf:
            await self._chunks.put(data)

    def discard(self) -> None:
        """What the client still sends is dropped: nobody reads it, and it must not hold up other streams."""
        self._deaf = True
        while self._chunks.qsize():
            self._chunks.get_nowait()

    def drop(self) -> None:
        self.gone = self._finished = True
        self.discard()
        self._chunks.put_nowait(b"")
        self._session.settle(self)


class SpdySession:
    """The server's side of a connection."""

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier
        self._framer = Framer()
        self._streams: dict[int, SpdyStream] = {}
        self._last = 0

    async def accept(self) -> AsyncIterator[SpdyStream]:
        """The streams that the client opens, until it leaves. Reading goes on only while this is iterated.
        SpdyError after GOAWAY for a client that breaks the protocol."""
        try:
            async for message in self.carrier.messages():
                for frame in self._framer.feed(message):
                    opened = await self._take(frame)
                    if opened is not None:
                        yield opened
                    if frame.type == GOAWAY:
                        return
        except SpdyError:
            await self.carrier.send(number_frame(GOAWAY, self._last, PROTOCOL_ERROR))
            raise
        finally:
            for stream in tuple(self._streams.values()):
                stream.drop()

    async def _take(self, frame: Frame) -> SpdyStream | None:
        if frame.type == SYN_STREAM:
            return await self._open(frame)
        if frame.type == PING:
            if frame.stream & 1:
                await self.carrier.send(number_frame(PING, frame.stream))
            return None
        stream = self._streams.get(frame.stream)
        if stream is None:
            return None
        if frame.type == DATA:
            await stream.deliver(frame.data, frame.fin)
        elif frame.type == RST_STREAM:
            stream.drop()
        elif frame.fin:
            await stream.deliver(b"", True)
        self.settle(stream)
        return None

    async def _open(self, frame: Frame) -> SpdyStream | None:
        number = frame.stream
        if number <= self._last or not number & 1:
            await self.carrier.send(number_frame(RST_STREAM, number or 1, PROTOCOL_ERROR))
            return None
        self._last = number
        if len(self._streams) >= _MAX_STREAMS:
            await self.carrier.send(number_frame(RST_STREAM, number, REFUSED_STREAM))
            return None
        stream = self._streams[number] = SpdyStream(self, number, frame.headers)
        await self.carrier.send(self._framer.header_frame(SYN_REPLY, number, {}))
        if frame.fin:
            await stream.deliver(b"", True)
        return stream

    def settle(self, stream: SpdyStream) -> None:
        """Forget a stream that both sides have finished."""
        if stream.gone or (stream.client_done and stream.finished):
            self._streams.pop(stream.number, None)

    async def close(self) -> None:
        """Say goodbye."""
        await self.carrier.send(number_frame(GOAWAY, self._last, 0))
