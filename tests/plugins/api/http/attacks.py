"""A server in a process of its own, and what hostile clients do to it from another: ``bench/hostile.py`` uses both.

An attack is a coroutine that opens what it opens, tells that it is under way and stays until it is cancelled.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernel.client.kubeconfig import load_kubeconfig

__all__ = ["ATTACKS", "SECRET", "Attack", "Attacked", "Latencies", "Target", "attacked", "others", "server"]

SECRET = "hunter2-" + "s3cr3t" * 3
MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
CHUNK = b"x" * 65536

CONFIGURATION: dict[str, Any] = {
    "apiVersion": "kubernel.dev/v1",
    "kind": "Configuration",
    "cluster": {"port": 0},
    "plugins": {
        "api": [{"http": {"drainTimeout": 1.0, "maxWatchesPerUser": 510}}],
        "node": [],
        "runtime": None,
        "network": None,
        "proxy": None,
        "scheduler": [],
        "controller": ["bootstrap"],
    },
}


@dataclass
class Target:
    """A running server: where, its process, its log, who the administrator is."""

    port: int
    pid: int
    directory: Path
    context: ssl.SSLContext
    anonymous: ssl.SSLContext
    opened: list[asyncio.StreamWriter] = field(default_factory=list)

    @classmethod
    def of(cls, directory: Path, pid: int) -> Target:
        access = load_kubeconfig(directory / "data" / "kubeconfig")
        context = access.ssl_context()
        assert context is not None
        anonymous = ssl.create_default_context(cafile=str(directory / "data" / "pki" / "ca.crt"))
        return cls(int(access.url.rpartition(":")[2]), pid, directory, context, anonymous)

    def logged(self) -> str:
        """Everything that the server has written anywhere but into its store."""
        logs = [self.directory / "server.log", *(self.directory / "data" / "logs").glob("*")]
        return "".join(path.read_text(errors="replace") for path in logs)

    def memory(self) -> int:
        """Bytes of the server that are in memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the server is gone")

    def longest_step(self, since: float) -> float:
        """Seconds of processor time of the loop's longest step after the time ``since``, of a server that is probed."""
        lines = (line.split() for line in (self.directory / "steps").read_text().splitlines())
        return max((float(step) for told, step in lines if float(told) > since), default=0.0)

    async def connect(
        self, *, anonymous: bool = False, small: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raw = socket.socket()
        if small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", self.port))
        context = self.anonymous if anonymous else self.context
        opened = await asyncio.open_connection(sock=raw, ssl=context, server_hostname="localhost", limit=4096)
        self.opened.append(opened[1])
        return opened

    async def drop(self) -> None:
        """No connection of this process is left, not even one that waits for the server's farewell."""
        for writer in self.opened:
            writer.transport.abort()
        self.opened.clear()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        reader, writer = await self.connect()
        try:
            return await ask(reader, writer, method, path, body, headers)
        finally:
            writer.close()


async def ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    data = b"" if body is None else json.dumps(body).encode()
    writer.write(head(method, path, {"Content-Length": str(len(data)), **(headers or {})}) + data)
    return await answer(reader)


def head(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{lines}\r\n".encode()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    status = int((await reader.readline()).split()[1])
    length = 0
    while line := (await reader.readline()).strip():
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, await reader.readexactly(length)


@contextlib.contextmanager
def server(*, probed: bool = False) -> Iterator[Target]:
    """A cluster without nodes, with SQLite, in a process of its own; ``probed``: its loop's steps are measured."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        configuration = directory / "c.yaml"
        configuration.write_text(json.dumps(CONFIGURATION))
        log = directory / "server.log"
        program = [str(Path(__file__).with_name("probed.py"))] if probed else ["-m", "kubernel.cli"]
        command = [sys.executable, *program, "up", "--log-level", "debug"]
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "--config", str(configuration), "--data-dir", str(directory / "data")],
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                env={**os.environ, "KUBERNEL_STEPS": str(directory / "steps")},
            )
        try:
            assert process.stdout is not None
            if "runs at" not in process.stdout.readline():
                raise AssertionError(log.read_text())
            yield Target.of(directory, process.pid)
        finally:
            process.terminate()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


# --- attacks

Ready = Callable[[], None]
Attack = Callable[[Target, Ready], Awaitable[None]]


async def _hold(target: Target, ready: Ready, tasks: list[Any]) -> None:
    """Until cancelled; what single clients run into is theirs."""
    running = [asyncio.ensure_future(task) for task in tasks]
    try:
        ready()
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.Event().wait()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _crowd(
    target: Target, count: int, first: bytes | Callable[[int], bytes], **how: bool
) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """So many connections, each with its first bytes sent."""
    gate = asyncio.Semaphore(50)

    async def one(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await target.connect(**how)
            writer.write(first if isinstance(first, bytes) else first(number))
            return reader, writer

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def _until_dropped(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError, ssl.SSLError):
        while await reader.read(4096):
            pass


async def thousands_of_watches(target: Target, ready: Ready) -> None:
    """2,000 watches of four users; a fifth has 510, which is all, and wants 40 more. What they watch changes twice a
    second."""

    def watch(number: int) -> bytes:
        user = f"watcher-{number % 4}" if number < 2000 else "greedy"
        told = {"Impersonate-User": user, "Impersonate-Group": "system:masters"}
        return head("GET", f"{SECRETS}?watch=1", told)

    crowd = await _crowd(target, 2550, watch)
    statuses = [int((await reader.readline()).split()[1]) for reader, _ in crowd]
    assert statuses[:2000] == [200] * 2000
    assert sorted(statuses[2000:]) == [200] * 510 + [429] * 40

    async def change() -> None:
        for number in range(10_000):
            made = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"s-{number}"}}
            await target.ask("POST", SECRETS, {**made, "stringData": {"a": SECRET}})
            await asyncio.sleep(0.5)

    await _hold(target, ready, [change(), *(_until_dropped(reader) for reader, _ in crowd)])


async def slow_heads(target: Target, ready: Ready) -> None:
    """500 connections that never come to the end of their headers."""
    crowd = await _crowd(target, 500, b"GET /version HTTP/1.1\r\nHost: localhost\r\n", anonymous=True)

    async def drip(writer: asyncio.StreamWriter) -> None:
        for number in range(10_000):
            writer.write(f"X-{number}: y\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.5)

    await _hold(target, ready, [drip(writer) for _, writer in crowd])


async def slow_bodies(target: Target, ready: Ready) -> None:
    """100 bodies of 3 MB of which a third comes at once and the rest does not."""
    size = 3 * 1024 * 1024
    crowd = await _crowd(target, 100, head("POST", MAPS, {"Content-Length": str(size)}))

    async def drip(writer: asyncio.StreamWriter) -> None:
        for _ in range(16):
            writer.write(CHUNK)
            await writer.drain()
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.5)

    await _hold(target, ready, [drip(writer) for _, writer in crowd])


async def oversized_bodies(target: Target, ready: Ready) -> None:
    """Bodies of a gigabyte, told and untold, again and again."""

    async def told() -> None:
        while True:
            reader, writer = await target.connect()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                writer.write(head("POST", MAPS, {"Content-Length": str(1 << 30)}) + CHUNK)
                assert (await answer(reader))[0] == 413
            writer.close()

    async def untold() -> None:
        while True:
            _, writer = await target.connect()
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                writer.write(head("POST", MAPS, {"Transfer-Encoding": "chunked"}))
                for _ in range(100):
                    writer.write(b"10000\r\n" + CHUNK + b"\r\n")
                    await writer.drain()
            writer.close()

    await _hold(target, ready, [told() for _ in range(4)] + [untold() for _ in range(4)])


async def heavy_yaml(target: Target, ready: Ready) -> None:
    """YAML of as many lines and levels as a body holds and is let in with, again and again, by two clients each."""
    lines = "".join(f"- k{number}: x\n" for number in range(99_000)).encode() + b"- x\n" * 400_000
    deep = b"a: " + b"[a, " * 20_000 + b"]" * 20_000

    async def again(body: bytes) -> None:
        reader, writer = await target.connect()
        told = head("POST", MAPS, {"Content-Length": str(len(body))}).replace(b"/json", b"/yaml")
        while True:
            writer.write(told + body)
            await writer.drain()
            assert (await answer(reader))[0] == 400

    await _hold(target, ready, [again(body) for body in (lines, deep) * 2])


async def heavy_json(target: Target, ready: Ready) -> None:
    """Objects of as many fields as a body holds and is let in with, valid, invalid and unreadable ones, again and
    again, by one client each."""
    entries = {f"k{number}": "v" for number in range(180_000)}
    ports = [{"port": 1 + number % 60_000, "name": f"p{number}"} for number in range(80_000)]
    variables = [{"name": f"E{number}", "value": "x"} for number in range(70_000)]
    pod = {"containers": [{"name": "a", "image": "b", "env": variables}]}
    flat = b"[" + b"1," * 1_400_000 + b"1]"
    wanted: list[tuple[str, bytes, int]] = [
        (MAPS, _object("v1", "ConfigMap", {"data": entries}), 201),
        (MAPS, _object("v1", "ConfigMap", {"data": {"a": [1] * 300_000}}), 400),
        (MAPS, _object("v1", "ConfigMap", {"data": {}}, {"annotations": entries}), 422),
        (MAPS.replace("configmaps", "services"), _object("v1", "Service", {"spec": {"ports": ports}}), 422),
        (MAPS.replace("configmaps", "pods"), _object("v1", "Pod", {"spec": pod}), 201),
        (MAPS, flat, 400),
        (MAPS, b"[" + b"{}," * 999_999 + b"{}]", 413),
        (MAPS, b"\x7b" * 3_000_000, 400),
    ]
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    await target.ask("POST", MAPS.replace("configmaps", "serviceaccounts"), account)

    async def again(path: str, body: bytes, status: int) -> None:
        while True:
            reader, writer = await target.connect()
            writer.write(head("POST", f"{path}?dryRun=All", {"Content-Length": str(len(body))}) + body)
            await writer.drain()
            found, told = await answer(reader)
            assert found == status, told[:500]
            writer.close()

    await _hold(target, ready, [again(*each) for each in wanted])


def _object(api_version: str, kind: str, rest: Any, meta: Any = None) -> bytes:
    told = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "heavy", **(meta or {})}}
    return json.dumps({**told, **rest}, separators=(",", ":")).encode()


async def truncated_requests(target: Target, ready: Ready) -> None:
    """Bodies that end in the middle, connections that end in the middle of a header."""

    async def cut(data: bytes) -> None:
        while True:
            _, writer = await target.connect()
            writer.write(data)
            await writer.drain()
            writer.close()
            await asyncio.sleep(0.01)

    half = head("POST", MAPS, {"Content-Length": "1000"}) + b'{"kind":'
    await _hold(target, ready, [cut(half) for _ in range(4)] + [cut(b"GET /ver") for _ in range(4)])


async def slow_readers_of_lists(target: Target, ready: Ready) -> None:
    """40 clients that ask for 10 MB and take none of it."""
    for number in range(100):
        big = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"big-{number}"}}
        await target.ask("POST", MAPS, {**big, "data": {"a": "x" * 100_000}})

    async def again() -> None:
        while True:
            reader, writer = await target.connect(small=True)
            writer.write(head("GET", MAPS, {}))
            with contextlib.suppress(OSError):
                await reader.readline()
                await asyncio.sleep(3)
            writer.transport.abort()

    await _hold(target, ready, [again() for _ in range(40)])


async def slow_readers_of_watches(target: Target, ready: Ready) -> None:
    """200 watches that nobody reads, of an object of 50 KB that changes all the time."""
    crowd = await _crowd(target, 200, head("GET", f"{MAPS}?watch=1", {}), small=True)
    for reader, writer in crowd:
        await reader.readline()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "watched"}}
    reader, writer = await target.connect()
    await ask(reader, writer, "POST", MAPS, made)

    async def change() -> None:
        for number in range(100_000):
            changed = {**made, "data": {"a": f"{number}" + "x" * 50_000}}
            await ask(reader, writer, "PUT", f"{MAPS}/watched", changed)
            await asyncio.sleep(0.02)

    await _hold(target, ready, [change()])


async def malformed_requests(target: Target, ready: Ready) -> None:
    """Smuggled and broken requests, with a token among them, as fast as eight clients can."""
    token = f"Authorization: Bearer {SECRET}\r\n"
    broken = [
        f"POST {MAPS} HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        f"POST {MAPS} HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        f"GET {MAPS} HTTP/1.1\r\nHost: a\r\n{token} folded: {SECRET}\r\n\r\n",
        f"GET {MAPS}?token={SECRET} HTTP/1.1\r\nHost : a\r\n{token}\r\n",
        f"GET /{SECRET} HTTP/9.9\r\n{token}\r\n",
        f"Bearer {SECRET}\r\n\r\n",
    ]

    async def again(text: str) -> None:
        while True:
            reader, writer = await target.connect(anonymous=True)
            with contextlib.suppress(OSError):
                writer.write(text.encode())
                await _until_dropped(reader)
            writer.close()

    await _hold(target, ready, [again(text) for text in broken])


async def handshakes(target: Target, ready: Ready) -> None:
    """Connections that begin TLS and leave it, or speak something else."""

    async def again(data: bytes) -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
            with contextlib.suppress(OSError):
                writer.write(data)
                await asyncio.wait_for(reader.read(), 1)
            writer.close()

    hello = bytes.fromhex("1603010200010001fc0303") + b"\0" * 60
    data = [hello] * 8 + [b"GET / HTTP/1.1\r\n\r\n"] * 2
    await _hold(target, ready, [again(each) for each in data])


async def rejected_tokens(target: Target, ready: Ready) -> None:
    """Guessed tokens, long ones and such that look signed, as fast as eight clients can."""
    parts = [base64.urlsafe_b64encode(os.urandom(60)).decode().rstrip("=") for _ in range(3)]
    guesses = [SECRET, ".".join(parts), "x" * 20_000]

    async def again(guess: str) -> None:
        reader, writer = await target.connect(anonymous=True)
        while True:
            status, _ = await ask(reader, writer, "GET", MAPS, None, {"Authorization": f"Bearer {guess}"})
            assert status == 401

    await _hold(target, ready, [again(guesses[number % 3]) for number in range(8)])


ATTACKS: tuple[Attack, ...] = (
    thousands_of_watches,
    slow_heads,
    slow_bodies,
    oversized_bodies,
    truncated_requests,
    slow_readers_of_lists,
    slow_readers_of_watches,
    malformed_requests,
    handshakes,
    rejected_tokens,
    heavy_yaml,
    heavy_json,
)


# --- what others see


@dataclass
class Latencies:
    """Seconds of others' requests."""

    values: list[float] = field(default_factory=list)

    def percentile(self, part: float) -> float:
        return sorted(self.values)[min(len(self.values) - 1, int(len(self.values) * part))]


@dataclass
class Attacked:
    """What was seen while a server was attacked."""

    others: Latencies
    before: int
    most: int
    """Bytes of the server before and at most."""
    begun: float
    """When the attack was under way."""


async def others(target: Target, seconds: float, rate: float = 100.0) -> Latencies:
    """GETs and writes of a user who has nothing to do with it, on connections of its own, so many a second: one
    that is late does not hold up the next."""
    kept = [await target.connect() for _ in range(8)]
    free: asyncio.Queue[Any] = asyncio.Queue()
    for connection in kept:
        free.put_nowait(connection)
    told = {"Impersonate-User": "jane", "Impersonate-Group": "system:masters"}
    found = Latencies()
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "of-jane"}, "data": {"a": "b"}}
    await target.ask("POST", MAPS, made)

    async def one(number: int) -> None:
        begun = time.perf_counter()
        reader, writer = await free.get()
        if number % 5:
            status, _ = await ask(reader, writer, "GET", f"{MAPS}/of-jane", None, told)
        else:
            changed = {**made, "data": {"a": f"{number}"}}
            status, _ = await ask(reader, writer, "PUT", f"{MAPS}/of-jane", changed, told)
        assert status == 200, status
        found.values.append(time.perf_counter() - begun)
        free.put_nowait((reader, writer))

    begun, running = time.perf_counter(), []
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, begun + number / rate - time.perf_counter()))
        running.append(asyncio.ensure_future(one(number)))
    await asyncio.gather(*running)
    for _, writer in kept:
        writer.close()
    return found


@contextlib.contextmanager
def under(target: Target, attack: Attack) -> Iterator[None]:
    """While another process attacks, with the processor's lower priority: attackers have machines of their own."""
    name = attack.__name__  # type: ignore[attr-defined]
    command = ["nice", sys.executable, __file__, name, str(target.directory), str(target.pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdout is not None
        assert attacker.stdin is not None
        try:
            assert attacker.stdout.readline() == "ready\n", "the attack failed"
            yield
            assert attacker.poll() is None, "the attack ended"
        finally:
            attacker.terminate()


async def attacked(target: Target, attack: Attack, seconds: float, rate: float = 100.0) -> Attacked:
    """Others' requests during an attack, and the server's memory."""
    before = most = target.memory()

    async def look() -> None:
        nonlocal most
        while True:
            most = max(most, target.memory())
            await asyncio.sleep(0.1)

    looking = asyncio.ensure_future(look())
    try:
        with under(target, attack):
            begun = time.time()
            found = await others(target, seconds, rate)
    finally:
        looking.cancel()
        await target.drop()
    return Attacked(found, before, max(most, target.memory()), begun)


def _ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    chosen: Any = next(each for each in ATTACKS if each.__name__ == sys.argv[1])  # type: ignore[attr-defined]
    asyncio.run(chosen(Target.of(Path(sys.argv[2]), int(sys.argv[3])), _ready))
