"""WebSocket as clients must not speak it, and TLS and paths as they must not be tried."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any

import pytest
from http_harness import PODS, Raw, World, check
from test_http_streams import NodePlugin, Socket, placed

EXEC = f"{PODS}/a/exec?command=cat&stdin=1&stdout=1&container=c"


def masked(first: int, data: bytes) -> bytes:
    length = bytes((0x80 | len(data),)) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
    return bytes((first,)) + length + b"\0\0\0\0" + data


async def opened(world: World, raw: Raw) -> Socket:
    await placed(raw)
    client = Socket(await Raw.open(world))
    assert (await client.open(EXEC, "v5.channel.k8s.io"))[0] == 101
    return client


async def serves(world: World) -> None:
    raw = await Raw.open(world)
    assert (await raw.request("GET", "/version")).status == 200
    await raw.close()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x82\x03\x00hi", id="at-once"),
        pytest.param(masked(0x82, b"\x00hi") + b"\x89\x00", id="after-a-masked-one"),
        pytest.param(
            masked(0x82, b"\x00" * 300) + b"\x82\x01\x00",
            id="after-a-long-one",
        ),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7], ids=["in-one-piece", "byte-by-byte"])
def test_frames_that_are_not_masked_end_the_connection(tmp_path: Any, data: bytes, pieces: int) -> None:
    """RFC 6455, section 5.1."""

    async def main(world: World, raw: Raw) -> None:
        client = await opened(world, raw)
        size = len(data) if pieces == 1 else 1
        for at in range(0, len(data), size):
            client.raw.writer.write(data[at : at + size])
            await asyncio.sleep(0)
        left = await client.raw.closed()
        assert left.endswith(b"\x88\x02\x03\xea")  # 1002: a protocol error
        await serves(world)

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_unmasked_frames_that_come_with_the_handshake_are_refused_too(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await placed(raw)
        one = await Raw.open(world)
        await one.send(
            f"GET {EXEC} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n".encode()
            + b"\x82\x03\x00hi"
        )
        assert (await one.head())[0] == 101
        await one.closed()
        await serves(world)

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_masked_frames_pass_however_they_are_cut(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        client = await opened(world, raw)
        data = masked(0x82, b"\x00ab") + masked(0x82, b"\x00" + b"c" * 500) + masked(0x89, b"ping")
        for byte in data:
            client.raw.writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        while True:
            first, length = await client.raw.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await client.raw.reader.readexactly(2), "big")
            told = await client.raw.reader.readexactly(length)
            if first & 0x0F == 10:
                assert told == b"ping"
                break
        await client.raw.close()

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param(masked(0x89, b"x" * 100), id="pings-whose-pongs-nobody-reads"),
        pytest.param(masked(0x02, b"x" * 100) + masked(0x00, b""), id="a-message-that-begins-twice"),
        pytest.param(masked(0x00, b"x" * 100), id="continuations-of-nothing"),
        pytest.param(masked(0x82, b"\x07x"), id="an-unknown-channel"),
    ],
)
def test_floods_of_frames_hold_up_nobody_and_end(tmp_path: Any, flood: bytes) -> None:
    async def main(world: World, raw: Raw) -> None:
        client = await opened(world, raw)

        async def send() -> None:
            for _ in range(2000):
                client.raw.writer.write(flood * 10)
                await client.raw.writer.drain()

        sending = asyncio.ensure_future(send())
        for _ in range(20):
            assert (await raw.request("GET", "/version")).status == 200
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        client.raw.writer.transport.abort()
        await serves(world)

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_a_message_in_endless_fragments_is_cut_off(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        client = await opened(world, raw)
        client.raw.writer.write(masked(0x02, b"\x00"))
        piece = masked(0x00, b"x" * 60_000)
        try:
            for _ in range(18):  # a little more than may come: what comes after it would reset the connection
                client.raw.writer.write(piece)
                await client.raw.writer.drain()
        except ConnectionError:
            pass
        assert b"\x03\xf1" in await client.raw.closed()  # 1009: too big
        await serves(world)

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_a_subprotocol_that_nobody_speaks_is_refused(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        await placed(raw)
        client = Socket(await Raw.open(world))
        status, chosen = await client.open(EXEC, "v9.channel.k8s.io")
        assert (status, chosen) == (403, "")

    check(main, tmp_path, extra=[("node/fake", NodePlugin())])


def test_tls_is_not_renegotiated(tmp_path: Any) -> None:
    """A client's ``HelloRequest`` in TLS 1.2 would make the server calculate again and again."""

    async def main(world: World, raw: Raw) -> None:
        from kubernel_plugins.api.http.tls import server_context

        pki = world.data_dir / "pki"
        authority = world.hooks.certificate_authority()
        assert authority is not None
        context = server_context(authority, pki / "apiserver.crt", pki / "apiserver.key")
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        weak = world.context()
        weak.maximum_version = ssl.TLSVersion.TLSv1_2
        weak.set_ciphers("AES128-SHA:AES256-SHA:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await world.connect(ssl=weak)
        await serves(world)

    check(main, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/pods/a/proxy/../../../secrets/s",
        "/api/v1/namespaces/default/pods/a/proxy/%2e%2e/%2e%2e/secrets/s",
        "/api/v1/namespaces/default/pods/a:80/proxy/..%2f..%2f..%2fsecrets%2fs",
        "/api/v1/namespaces/default/services/a/proxy/../../secrets/s",
        "/api/v1/nodes/../namespaces/default/secrets/s",
        "/api/v1/nodes/n/proxy/../../namespaces/default/secrets/s",
        "/api/v1/nodes/n%2f..%2f..%2fsecrets/proxy/",
        "/api/v1/namespaces/default/pods/../secrets/s",
        "/apis/../api/v1/namespaces/default/secrets/s",
        "/./api/v1/namespaces/default/secrets/s",
        "//api/v1/namespaces/default/secrets/s",
    ],
)
def test_a_way_round_leads_to_no_secret(tmp_path: Any, path: str) -> None:
    async def main(world: World, raw: Raw) -> None:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aGlkZGVu"}}
        await raw.request("POST", "/api/v1/namespaces/default/secrets", secret)
        reached = await raw.request("GET", path)
        assert b"aGlkZGVu" not in reached.body
        assert reached.status >= 300
        await serves(world)

    check(main, tmp_path)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /version HTTP/1.1\nHost: a\n\n", id="bare-lf"),
        pytest.param(b"GET /version HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n", id="bare-cr"),
        pytest.param(b"GET /version HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", id="nul"),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\n".encode()
            + b"hello\r\n0\r\n\r\n",
            id="chunk-extension-with-bare-lf",
        ),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n".encode(),
            id="negative-chunk",
        ),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n".encode(),
            id="hex-prefix-of-chunk",
        ),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
            "0\r\n\r\n".encode(),
            id="two-encodings",
        ),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello".encode(), id="signed-length"
        ),
        pytest.param(
            f"POST {PODS} HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello".encode(),
            id="list-of-lengths",
        ),
    ],
)
def test_what_two_parsers_would_read_differently_is_refused(tmp_path: Any, request_: bytes) -> None:
    """What follows must not be taken for a request of its own."""
    smuggled = b"GET /api/v1/namespaces/default/configmaps/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

    async def main(world: World, raw: Raw) -> None:
        await raw.send(request_ + smuggled)
        raw.writer.write_eof() if raw.writer.can_write_eof() else None
        told = await raw.closed()
        assert b'"smuggled" not found' not in told
        assert told.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), told[:200]
        await serves(world)

    check(main, tmp_path)


def test_a_handshake_that_is_left_is_no_burden(tmp_path: Any) -> None:
    async def main(world: World, raw: Raw) -> None:
        for _ in range(50):
            left = socket.create_connection(("127.0.0.1", world.port))
            left.sendall(bytes.fromhex("16030100050100000100") + os.urandom(8))
            left.close()
        await serves(world)

    check(main, tmp_path)
