"""Watches, logs and exec: what stays open."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from http_harness import PODS, Raw, World, check, hookimpl, pod, run, serving

from kubernel.errors import Forbidden, InternalError
from kubernel.registry.request import Request
from kubernel_plugins.api import http


async def events(raw: Raw, path: str) -> AsyncIterator[dict[str, Any]]:
    await raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, _, _ = await raw.head()
    assert status == 200
    async for chunk in raw.chunks():
        for line in chunk.splitlines():
            yield json.loads(line)


def test_watch_sends_what_is_there_then_what_changes(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        other = await Raw.open(world)
        seen = events(other, "/api/v1/pods?watch=true")
        first = await anext(seen)
        assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "a")
        await raw.request("POST", PODS, pod("b"))
        await raw.request("DELETE", f"{PODS}/a")
        assert [
            (e["type"], e["object"]["metadata"]["name"]) for e in [await anext(seen), await anext(seen)]
        ] == [
            ("ADDED", "b"),
            ("DELETED", "a"),
        ]
        await other.close()

    check(body, tmp_path)


def test_watch_ends_after_its_time(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        assert [event async for event in events(raw, "/api/v1/pods?watch=1&timeoutSeconds=1")] == []
        assert (await raw.request("GET", "/version")).status == 200

    check(body, tmp_path)


def test_streaming_list_ends_with_its_bookmark(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        other = await Raw.open(world)
        seen = events(other, f"{PODS}?{query}")
        assert (await anext(seen))["type"] == "ADDED"
        end = await anext(seen)
        assert end["type"] == "BOOKMARK"
        assert end["object"]["kind"] == "Pod"
        assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await other.close()

    check(body, tmp_path)


def test_watch_of_tables_names_columns_once(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for name in "ab":
            await raw.request("POST", PODS, pod(name))
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        answer = await raw.request("GET", f"{PODS}?watch=1&timeoutSeconds=1", headers={"Accept": accept})
        first, second = [json.loads(line)["object"] for line in answer.body.splitlines()]
        assert (first["kind"], second["kind"]) == ("Table", "Table")
        assert len(first["columnDefinitions"]) == 2
        assert second["columnDefinitions"] is None
        assert second["rows"][0]["cells"][0] == "b"

    check(body, tmp_path)


def test_stopping_the_server_ends_watches_properly(tmp_path: Any) -> None:
    async def main() -> None:
        async with serving(tmp_path) as world:
            raw = await Raw.open(world)
            await raw.send(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await raw.head()
            await world.plugin("api/http").stop()
            assert await raw.closed() == b"0\r\n\r\n"
            await raw.close()

    run(main())


class Process:
    def __init__(self, code: int, command: list[str]) -> None:
        self.code = code
        self.command = command
        self.stdin: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.sizes: list[tuple[int, int]] = []
        self.closed = False

    async def write(self, data: bytes) -> None:
        await self.stdin.put(data)

    async def close_stdin(self) -> None:
        await self.stdin.put(None)

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        yield 1, b"out"
        yield 2, b"err"
        if self.command == ["cat"]:
            while (data := await self.stdin.get()) is not None:
                yield 1, data

    async def wait(self) -> int:
        return self.code

    async def close(self) -> None:
        self.closed = True


class Streams:
    def __init__(self) -> None:
        self.processes: list[Process] = []
        self.port = 0

    async def logs(self, pod: Any, container: str, options: Any) -> AsyncIterator[bytes]:
        yield f"{container} {sorted(options.items())}\n".encode()
        if options.get("follow") == "true":
            yield b"more\n"

    async def exec(self, pod: Any, container: str, command: Any, *, stdin: bool, tty: bool) -> Process:
        process = Process(3 if command == ["false"] else 0, list(command))
        self.processes.append(process)
        return process

    async def dial(self, pod: Any, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if port != 80:
            raise InternalError("Internal error occurred: nobody listens")
        return await asyncio.open_connection("127.0.0.1", self.port)


class NodePlugin:
    def __init__(self) -> None:
        self.streams = Streams()

    @hookimpl
    def kubernel_node_streams(self, node: str) -> Any:
        return self.streams if node == "node-1" else None


async def placed(raw: Raw, name: str = "a", node: str = "node-1") -> None:
    obj = pod(name)
    obj["spec"]["nodeName"] = node
    assert (await raw.request("POST", PODS, obj)).status == 201


def test_logs_are_streamed_with_checked_options(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        answer = await raw.request("GET", f"{PODS}/a/log?tailLines=5&follow=1")
        assert answer.headers["content-type"] == "text/plain"
        assert answer.body == b"c [('follow', 'true'), ('tailLines', '5')]\nmore\n"
        for query, status in (("tailLines=-1", 422), ("limitBytes=0", 422), ("sinceSeconds=x", 400)):
            assert (await raw.request("GET", f"{PODS}/a/log?{query}")).status == status
        wrong = await raw.request("GET", f"{PODS}/a/log?container=nope")
        assert (wrong.status, wrong.json["message"]) == (400, "container nope is not valid for pod a")
        await raw.request("POST", PODS, pod("waiting"))
        assert (await raw.request("GET", f"{PODS}/waiting/log")).body == b""
        await placed(raw, "far", "node-2")
        assert (await raw.request("GET", f"{PODS}/far/log")).status == 503

    check(body, tmp_path, extra=[("node/fake", NodePlugin())])


class Socket:
    """A WebSocket client: masked frames out, binary frames in."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    async def open(self, path: str, protocol: str) -> tuple[int, str]:
        key = base64.b64encode(os.urandom(16)).decode()
        await self.raw.send(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
        )
        status, headers, _ = await self.raw.head()
        return status, headers.get("sec-websocket-protocol", "")

    async def send(self, data: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        await self.raw.send(bytes((0x82, 0x80 | len(data))) + mask + masked)

    async def receive(self) -> bytes | None:
        first, length = await self.raw.reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await self.raw.reader.readexactly(2), "big")
        data = await self.raw.reader.readexactly(length)
        return None if first & 0x0F == 8 else data

    async def rest(self) -> list[bytes]:
        frames = []
        while (frame := await self.receive()) is not None:
            frames.append(frame)
        return frames


QUERY = "command={}&stdin=1&stdout=1&stderr=1"


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io"])
def test_exec_copies_streams_and_tells_the_exit_code(tmp_path: Any, protocol: str) -> None:
    node = NodePlugin()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        socket = Socket(raw)
        assert await socket.open(f"{PODS}/a/exec?{QUERY.format('false')}", protocol) == (101, protocol)
        out, err, end = await socket.rest()
        assert (out, err) == (b"\x01out", b"\x02err")
        status = json.loads(end[1:])
        assert end[0] == 3
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]

    check(body, tmp_path, extra=[("node/fake", node)])


def test_exec_takes_input_resizes_and_the_end_of_input(tmp_path: Any) -> None:
    node = NodePlugin()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        socket = Socket(raw)
        await socket.open(f"{PODS}/a/exec?{QUERY.format('cat')}", "v5.channel.k8s.io")
        await socket.send(b'\x04{"Width":80,"Height":25}')
        await socket.send(b"\x04nonsense")
        await socket.send(b"\x00hello")
        assert [await socket.receive() for _ in range(3)] == [b"\x01out", b"\x02err", b"\x01hello"]
        await socket.send(b"\xff\x00")
        (end,) = await socket.rest()
        assert json.loads(end[1:])["status"] == "Success"
        assert node.streams.processes[0].sizes == [(80, 25)]

    check(body, tmp_path, extra=[("node/fake", node)])


def test_plain_channel_protocol_says_nothing_about_success(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        socket = Socket(raw)
        await socket.open(f"{PODS}/a/exec?command=true&stdout=1", "channel.k8s.io")
        assert await socket.rest() == [b"\x01out"]

    check(body, tmp_path, extra=[("node/fake", NodePlugin())])


def test_client_that_hangs_up_ends_its_process(tmp_path: Any) -> None:
    node = NodePlugin()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        other = await Raw.open(world)
        await Socket(other).open(f"{PODS}/a/exec?{QUERY.format('cat')}", "v5.channel.k8s.io")
        await other.close()
        for _ in range(1000):
            if node.streams.processes[0].closed:
                break
            await raw.request("GET", "/version")
        assert node.streams.processes[0].closed

    check(body, tmp_path, extra=[("node/fake", node)])


def test_ports_are_forwarded_over_channels(tmp_path: Any) -> None:
    node = NodePlugin()

    async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read(100)).upper())
        writer.close()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        server = await asyncio.start_server(upper, "127.0.0.1", 0)
        node.streams.port = server.sockets[0].getsockname()[1]
        async with server:
            socket = Socket(raw)
            protocol = "v4.channel.k8s.io"
            assert await socket.open(f"{PODS}/a/portforward?ports=80,81", protocol) == (101, protocol)
            opened = [await socket.receive() for _ in range(4)]
            assert opened == [b"\x00P\0", b"\x01P\0", b"\x02Q\0", b"\x03Q\0"]
            failed = await socket.receive()
            assert failed is not None
            assert failed.startswith(b"\x03error forwarding port 81 to pod a")
            await socket.send(b"\x00hello")
            assert await socket.rest() == [b"\x00HELLO"]
        other = await Raw.open(world)
        refused = await other.request("GET", f"{PODS}/a/portforward?ports=99999")
        assert refused.status == 400
        await other.close()

    check(body, tmp_path, extra=[("node/fake", node)])


@pytest.mark.parametrize("switches", [True, False])
def test_an_upgrade_goes_through_the_proxy_to_a_pod(tmp_path: Any, switches: bool) -> None:
    node = NodePlugin()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("get /ws?a=b ")
        assert "\r\nupgrade: websocket\r\n" in head
        assert "\r\nsec-websocket-key: k\r\n" in head
        if not switches:
            writer.write(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
            writer.close()
            return
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"
        )
        writer.write((await reader.readexactly(5)).upper())
        writer.close()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        node.streams.port = server.sockets[0].getsockname()[1]
        async with server:
            await raw.send(
                f"GET {PODS}/a:80/proxy/ws?a=b HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n"
                "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n".encode()
            )
            if not switches:
                answer = await raw.answer()
                assert (answer.status, answer.body) == (426, b"no")
                return
            status, headers, _ = await raw.head()
            assert (status, headers["upgrade"]) == (101, "websocket")
            await raw.send(b"world")
            assert await raw.closed() == b"helloWORLD"

    check(body, tmp_path, extra=[("node/fake", node)])


class Doorman:
    """An admission plugin that lets nobody connect, and tells who tried."""

    def __init__(self) -> None:
        self.seen: list[Request] = []

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        if request.operation == "CONNECT":
            self.seen.append(request)
            raise Forbidden.for_object("pods", "", request.name, "not today")


@pytest.mark.parametrize(
    ("sub", "query", "kind", "told"),
    [
        ("exec", "command=ls&command=-l&stdout=1", "PodExecOptions", {"command": ["ls", "-l"], "stdout": True}),
        ("attach", "stdin=1&container=c", "PodAttachOptions", {"stdin": True, "stdout": False, "container": "c"}),
        ("portforward", "ports=80", "PodPortForwardOptions", {"ports": [80]}),
        ("proxy/a/b", "x=1", "PodProxyOptions", {"path": "/a/b"}),
    ],
)  # fmt: skip
def test_admission_is_asked_about_connects_with_their_options(
    tmp_path: Any, sub: str, query: str, kind: str, told: dict[str, Any]
) -> None:
    doorman = Doorman()

    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        answer = await raw.request("GET", f"{PODS}/a/{sub}?{query}", headers=upgrade)
        assert (answer.status, answer.json["message"]) == (403, 'pods "a" is forbidden: not today')
        (request,) = doorman.seen
        assert (request.subresource, request.name, request.namespace) == (
            sub.partition("/")[0],
            "a",
            "default",
        )
        assert request.obj is not None
        assert {name: request.obj.get(name, False) for name in told} == told
        assert (request.obj["kind"], request.obj["apiVersion"]) == (kind, "v1")
        dry = await raw.request("GET", f"{PODS}/a/{sub}?{query}&dryRun=All", headers=upgrade)
        assert (dry.status, dry.json["message"]) == (400, "dryRun is not supported")

    check(body, tmp_path, extra=[("node/fake", NodePlugin()), ("admission/doorman", doorman)])


def test_spdy_is_refused_readably(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await placed(raw)
        answer = await raw.request(
            "POST",
            f"{PODS}/a/exec?command=x&stdout=1",
            None,
            {"Connection": "Upgrade", "Upgrade": "SPDY/3.1"},
        )
        assert answer.status == 400
        assert "WebSocket" in answer.json["message"]

    check(body, tmp_path, extra=[("node/fake", NodePlugin())], settings=http.Settings(shutdown_grace=0.1))
