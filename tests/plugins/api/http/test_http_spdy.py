"""SPDY/3.1 as clients' connections tunnel it: frames, streams and what is no SPDY."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator

import pytest

from kubernel_plugins.api.http.spdy import (
    DATA,
    DICTIONARY,
    GOAWAY,
    PING,
    RST_STREAM,
    SYN_REPLY,
    SYN_STREAM,
    Framer,
    SpdyError,
    SpdySession,
    data_frame,
    number_frame,
)


class Pipe:
    """A carrier whose other end is a test."""

    def __init__(self, *messages: bytes) -> None:
        self.inward = list(messages)
        self.sent = b""

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def messages(self) -> AsyncIterator[bytes]:
        for message in self.inward:
            yield message


def test_the_dictionary_is_the_published_one() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_frames_are_read_however_the_bytes_are_cut() -> None:
    client = Framer()
    data = (
        client.header_frame(SYN_STREAM, 1, {"streamtype": "error", "port": "80"})
        + client.header_frame(SYN_STREAM, 3, {"streamtype": "data", "port": "80"}, fin=True)
        + data_frame(1, b"hello", fin=True)
        + number_frame(PING, 7)
    )
    for size in (1, 3, 1000):
        server = Framer()
        frames = [frame for at in range(0, len(data), size) for frame in server.feed(data[at : at + size])]
        assert frames[0].headers == {"streamtype": "error", "port": "80"}
        assert (frames[1].headers["streamtype"], frames[1].fin) == ("data", True)
        assert b"".join(frame.data for frame in frames if frame.type == DATA) == b"hello"
        assert [frame.fin for frame in frames if frame.type == DATA][-1]
        assert (frames[-1].type, frames[-1].stream) == (PING, 7)


def head(kind: int, length: int, version: int = 3) -> bytes:
    return struct.pack(">HHI", 0x8000 | version, kind, length)


def bomb() -> bytes:
    block = zlib.compressobj(zdict=DICTIONARY)
    text = block.compress(struct.pack(">II", 1, 1 << 24) + bytes(1 << 24)) + block.flush(zlib.Z_SYNC_FLUSH)
    return head(SYN_STREAM, len(text) + 10) + struct.pack(">IIH", 1, 0, 0) + text


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n"[:8].replace(b"G", b"\x80"), id="another protocol"),
        pytest.param(head(SYN_STREAM, 10, version=2) + bytes(10), id="version 2"),
        pytest.param(head(SYN_STREAM, 1 << 20), id="too large"),
        pytest.param(head(SYN_STREAM, 14) + struct.pack(">IIH", 1, 0, 0) + b"junk", id="no zlib"),
        pytest.param(head(GOAWAY, 2) + b"ab", id="truncated"),
        pytest.param(head(77, 4) + bytes(4), id="unknown type"),
        pytest.param(data_frame(0, b"x"), id="stream 0"),
        pytest.param(bomb(), id="headers that grow"),
    ],
)
def test_what_is_no_spdy_ends_the_connection_with_goaway(data: bytes) -> None:
    async def check() -> None:
        pipe = Pipe(data)
        with pytest.raises(SpdyError):
            await anext(SpdySession(pipe).accept())
        (frame,) = Framer().feed(pipe.sent)
        assert frame.type == GOAWAY

    asyncio.run(check())


def test_a_stream_is_answered_read_to_its_end_and_finished() -> None:
    async def check() -> None:
        client = Framer()
        pipe = Pipe(
            client.header_frame(SYN_STREAM, 1, {"a": "b"}),
            data_frame(1, b"one"),
            number_frame(PING, 5) + data_frame(1, b"two", fin=True),
        )
        streams = [stream async for stream in SpdySession(pipe).accept()]
        assert [stream.headers for stream in streams] == [{"a": "b"}]
        frames = list(client.feed(pipe.sent))
        assert [frame.type for frame in frames] == [SYN_REPLY, PING]

    asyncio.run(check())


def test_wrong_stream_numbers_are_reset() -> None:
    async def check() -> None:
        client = Framer()
        pipe = Pipe(*(client.header_frame(SYN_STREAM, number, {}) for number in (3, 2, 3, 1)))
        streams = [stream.number async for stream in SpdySession(pipe).accept()]
        assert streams == [3]
        kinds = [(frame.type, frame.stream) for frame in Framer().feed(pipe.sent)]
        assert kinds == [(SYN_REPLY, 3), (RST_STREAM, 2), (RST_STREAM, 3), (RST_STREAM, 1)]

    asyncio.run(check())


def test_a_stream_that_nobody_reads_does_not_hold_up_the_others() -> None:
    async def check() -> None:
        client = Framer()
        pipe = Pipe(
            client.header_frame(SYN_STREAM, 1, {}),
            *(data_frame(1, b"x") for _ in range(500)),
            client.header_frame(SYN_STREAM, 3, {}),
            data_frame(3, b"y", fin=True),
        )
        last = None
        async for stream in SpdySession(pipe).accept():
            if stream.number == 1:
                stream.discard()
            last = stream
        assert last is not None
        assert last.number == 3

    asyncio.run(check())
