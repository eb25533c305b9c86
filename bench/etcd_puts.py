"""A minimal etcd client for comparison: gRPC ``Put`` over HTTP/2, frames made by hand.

Real gRPC libraries for Python spend more time on a request than etcd does, which would flatter
whatever etcd is compared with. This one costs a few microseconds for each put: the request headers are
encoded once, responses are only looked at as far as counting needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

__all__ = ["puts", "server"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _text(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\x00" + _text(name) + _text(value)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class _Connection(asyncio.Protocol):
    """Up to 16 puts of 2 KB at a time fit the server's initial window, so no window is counted."""

    def __init__(self, port: int) -> None:
        self._headers = (
            b"\x83\x86"
            + _literal(b":path", b"/etcdserverpb.KV/Put")
            + _literal(b":authority", b"127.0.0.1:%d" % port)
            + _literal(b"content-type", b"application/grpc")
            + _literal(b"te", b"trailers")
        )
        self._buffer = b""
        self._stream = 1
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._answered: set[int] = set()
        self._received = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))

    def put(self, key: bytes, value: bytes) -> asyncio.Future[None]:
        message = b"\x0a" + _varint(len(key)) + key + b"\x12" + _varint(len(value)) + value
        stream, self._stream = self._stream, self._stream + 2
        body = b"\x00" + struct.pack(">I", len(message)) + message
        future = self._waiting[stream] = asyncio.get_running_loop().create_future()
        self._transport.write(
            _frame(_HEADERS, _END_HEADERS, stream, self._headers) + _frame(_DATA, _END_STREAM, stream, body)
        )
        return future

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data
        at = 0
        while len(buffer) - at >= 9:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < 9 + size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            if kind == _DATA:
                self._answered.add(stream)
                self._received += size
                if self._received > 16384:
                    self._transport.write(_frame(_WINDOW, 0, 0, struct.pack(">I", self._received)))
                    self._received = 0
            elif kind == _HEADERS and flags & _END_STREAM:
                future = self._waiting.pop(stream)
                # A failed call has no message, only trailers.
                if stream in self._answered:
                    self._answered.discard(stream)
                    future.set_result(None)
                else:
                    future.set_exception(RuntimeError("etcd refused a put"))
            elif kind == _SETTINGS and not flags & _ACK:
                self._transport.write(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._transport.write(_frame(_PING, _ACK, 0, buffer[at + 9 : at + 17]))
            elif kind in (_RST, _GOAWAY):
                raise RuntimeError("etcd ended a stream")
            at += 9 + size
        self._buffer = buffer[at:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def server(directory: Path) -> AsyncIterator[int]:
    """A fresh single-member etcd with its data below ``directory``; gives its client port."""
    data = Path(tempfile.mkdtemp(prefix="etcd-", dir=directory))
    port, peer = _free_port(), _free_port()
    process = subprocess.Popen(
        [
            "etcd", "--data-dir", str(data), "--log-level", "error", "--quota-backend-bytes", str(8 << 30),
            "--listen-client-urls", f"http://127.0.0.1:{port}", "--advertise-client-urls", f"http://127.0.0.1:{port}",
            "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", f"default=http://127.0.0.1:{peer}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            with contextlib.suppress(OSError, RuntimeError):
                await puts(port, 1, 1, b"x")
                break
            await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(data)


async def puts(port: int, writers: int, total: int, value: bytes) -> list[float]:
    """Make ``total`` puts of new keys from ``writers`` at once; gives each one's seconds, and last
    the seconds of them all."""
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range((writers + 15) // 16):
        _, protocol = await loop.create_connection(lambda: _Connection(port), "127.0.0.1", port)
        connections.append(protocol)
    took: list[float] = []

    async def write(writer: int) -> None:
        connection = connections[writer % len(connections)]
        for number in range(total // writers):
            start = time.perf_counter()
            await asyncio.wait_for(
                connection.put(b"/registry/pods/default/p%d-%d" % (writer, number), value), 10
            )
            took.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(write(writer) for writer in range(writers)))
    elapsed = time.perf_counter() - start
    for connection in connections:
        connection._transport.close()
    return [*took, elapsed]
