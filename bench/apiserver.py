"""The API server over TLS: cached GETs, a large LIST, watch fan-out, durable creates.

    python bench/apiserver.py [get list watch create …]

The server runs in a process of its own (SQLite store, built-in types, x509 and RBAC, no controllers), the
client in another, both on this machine: rates are given by the server's CPU seconds where that is the question.
Each line ends with the figure aimed at.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

PODS = "/api/v1/namespaces/default/pods"
WAVE = 64
"""Writes that arrive together."""
HZ = os.sysconf("SC_CLK_TCK")


def pod(name: str, pad: int = 0) -> dict[str, Any]:
    """A small real pod: about 1.5 KB stored, plus ``pad`` bytes of annotation."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "shop", "tier": "front", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"example.com/pad": "x" * pad},
        },
        "spec": {
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example.com/shop/web:1.2.3",
                    "command": ["/bin/server", "--port=8080"],
                    "env": [{"name": "MODE", "value": "production"}, {"name": "LEVEL", "value": "info"}],
                    "ports": [{"containerPort": 8080, "name": "http"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}},
                }
            ],
        },
    }


# --- the server's process

API_ALONE: dict[str, Any] = {
    "admission": ["namespace_lifecycle", "priority", "default_tolerations"],
    "network": None,
    "runtime": None,
    "node": [],
    "controller": ["bootstrap"],
    "scheduler": [],
    "scheduler_policy": [],
}


async def serve(directory: str, whole: bool) -> None:
    from kubernel.collector import CollectorPolicy
    from kubernel.config import parse
    from kubernel.kernel import Kernel
    from kubernel.store import Key

    plugins: dict[str, Any] = {} if whole else API_ALONE
    kernel = Kernel(parse({"cluster": {"dataDir": directory, "port": 0}, "plugins": plugins}))
    policy = CollectorPolicy()
    policy.loading()
    await kernel.start()
    policy.loaded()
    print(kernel.url, flush=True)
    store, total = kernel.registry.store, 0
    while line := await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        # So many writes straight to the store, beside the pipeline: for those who measure what comes after it.
        (some,) = store.list("pods").records[:1]
        for first in range(total, total + int(line), WAVE):
            names = [f"burst-{number}" for number in range(first, first + WAVE)]
            await asyncio.gather(
                *(
                    store.create(
                        Key("pods", "default", name),
                        {**some.obj, "metadata": {**some.obj["metadata"], "name": name}},
                    )
                    for name in names
                )
            )
        total += int(line)
        print("done", flush=True)
    await kernel.stop()


class Stub(asyncio.Protocol):
    """The least that a TLS server on these libraries does for the same bytes: no parsing, fixed answers.

    ``GET``: ``size`` bytes; ``LIST``: ``size`` bytes in pieces of 256 KiB; ``WATCH``: from now on gets the bytes
    that each ``POST`` sends to all who watch.
    """

    def __init__(self, watchers: list[asyncio.Transport], size: int) -> None:
        self._watchers = watchers
        self._body = b"x" * min(size, 1 << 18)
        self._left = 0
        self._size = size
        self._paused = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def resume_writing(self) -> None:
        self._paused = False
        while self._left > 0 and not self._paused:
            piece = self._body[: self._left]
            self._left -= len(piece)
            self._transport.write(piece)

    def pause_writing(self) -> None:
        self._paused = True

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._size + self._body)
        elif data.startswith(b"LIST"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._size)
            self._left = self._size
            self.resume_writing()
        elif data.startswith(b"WATCH"):
            self._watchers.append(self._transport)
            self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            for watcher in self._watchers:
                watcher.write(self._body)
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def serve_stub(directory: str, size: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{directory}/pki/apiserver.crt", f"{directory}/pki/apiserver.key")
    watchers: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Stub(watchers, size), "127.0.0.1", 0, ssl=context
    )
    print(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


class Server:
    """A server's process, its address and what it uses."""

    def __init__(self, kind: str, path: Path, *more: str) -> None:
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, __file__, kind, str(path), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        url = self._process.stdout.readline().strip()
        if not url:
            raise SystemExit("the server did not start")
        self.port = int(url.rsplit(":", 1)[1])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(20)

    async def burst(self, count: int) -> None:
        """``count`` writes to the store, 64 at a time."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        await asyncio.get_running_loop().run_in_executor(None, self._process.stdout.readline)

    def cpu(self) -> float:
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    def peak(self) -> int:
        """Most resident bytes so far."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0

    def reset_peak(self) -> int:
        """Resident bytes now; the peak counts from here."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self.peak()

    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.path / "pki/ca.crt"))
        context.load_cert_chain(self.path / "pki/admin.crt", self.path / "pki/admin.key")
        return context


# --- a client light enough not to be what is measured


class Client(asyncio.Protocol):
    """One connection; ``ask`` and ``post`` give status and body, ``size`` status and the body's length alone.
    Bodies with Content-Length or chunked."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
        self._received = self._total = 0
        self._expected = -1
        self._counting = False
        self.on_data: Any = None

    @classmethod
    async def open(cls, server: Server, context: ssl.SSLContext) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(
            cls, "127.0.0.1", server.port, ssl=context, server_hostname="localhost"
        )
        return client

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.on_data is not None:
            self.on_data(data)
            return
        buffer = self._buffer
        if not self._received:
            end = data.index(b"\r\n\r\n")
            at = data.find(b"Content-Length: ", 0, end)
            self._expected = end + 4 + int(data[at + 16 : data.index(b"\r\n", at)]) if at >= 0 else -1
        self._received += len(data)
        if self._counting and self._received > len(data):
            # What came before is let go of: keeping 30 MB would cost the client more than the server.
            buffer[24:] = buffer[-8:] + data[-8:]
        else:
            buffer += data
        if self._received >= self._expected if self._expected >= 0 else buffer.endswith(b"\r\n0\r\n\r\n"):
            self._done()

    def _done(self) -> None:
        answer = int(self._buffer[9:12]), bytes(self._buffer[self._buffer.find(b"\r\n\r\n") + 4 :])
        self._buffer.clear()
        self._total, self._received = self._received, 0
        if self._waiting is not None:
            self._waiting.set_result(answer)

    async def size(self, data: bytes) -> int:
        """Send ``data``; the length of the answer, which must be a 200."""
        self._counting = True
        status, _ = await self.ask(data)
        assert status == 200
        self._counting = False
        return self._total

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(data)

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        self._waiting = asyncio.get_running_loop().create_future()
        self.send(data)
        return await self._waiting

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        return await self.ask(
            b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (path.encode(), len(body), body)
        )

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def told(what: str, figure: str, aim: str) -> None:
    print(f"{what:<58} {figure:>30}   (aim {aim})", flush=True)


async def fill(server: Server, context: ssl.SSLContext, first: int, count: int, pad: int = 0) -> None:
    clients = [await Client.open(server, context) for _ in range(32)]
    numbers = iter(range(first, first + count))

    async def work(client: Client) -> None:
        for number in numbers:
            status, body = await client.post(PODS, json.dumps(pod(f"pod-{number:06}", pad)).encode())
            assert status == 201, body

    await asyncio.gather(*(work(client) for client in clients))
    for client in clients:
        client.close()


async def bench_get(server: Server, context: ssl.SSLContext) -> None:
    await fill(server, context, 0, 1, 500)
    clients = [await Client.open(server, context) for _ in range(16)]
    request = (
        f"GET {PODS}/pod-000000 HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n".encode()
    )
    size = len((await clients[0].ask(request))[1])

    async def work(client: Client, count: int) -> None:
        for _ in range(count):
            status, _body = await client.ask(request)
            assert status == 200

    async def rate(server: Server, clients: list[Client], count: int) -> tuple[float, float]:
        cpu, wall = server.cpu(), time.perf_counter()
        await asyncio.gather(*(work(client, count) for client in clients))
        cpu, wall = server.cpu() - cpu, time.perf_counter() - wall
        return count * len(clients) / cpu, count * len(clients) / wall

    with Server("stub", server.path, str(size)) as stub:
        stubbed = [await Client.open(stub, context) for _ in range(16)]
        ours, least = (0.0, 0.0), (0.0, 0.0)
        await rate(server, clients, 200)
        for _ in range(3):
            ours = max(ours, await rate(server, clients, 1000))
            least = max(least, await rate(stub, stubbed, 1000))
        for client in (*clients, *stubbed):
            client.close()
    told(
        f"GET a pod of {size} B over TLS, authenticated, authorized",
        f"{ours[0]:,.0f}/CPU-s, {ours[1]:,.0f}/s",
        ">= 15,000 on one core",
    )
    print(f"    {ours[0] / least[0]:.2f} of a stub that answers fixed bytes: {least[0]:,.0f}/CPU-s")


async def bench_list(server: Server, context: ssl.SSLContext) -> None:
    await fill(server, context, 0, 10_000)
    client = await Client.open(server, context)
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % PODS.encode()
    best, extra, rounds = 1e9, 0, 8
    size = await client.size(request)
    base = server.reset_peak()
    cpu = server.cpu()
    for _ in range(rounds):
        wall = time.perf_counter()
        await client.size(request)
        best = min(best, time.perf_counter() - wall)
    cpu = (server.cpu() - cpu) / rounds
    extra = server.peak() - base
    client.close()
    with Server("stub", server.path, str(size)) as stub:
        client = await Client.open(stub, context)
        least, stub_cpu = 1e9, stub.cpu()
        for _ in range(rounds):
            wall = time.perf_counter()
            await client.size(b"LIST")
            least = min(least, time.perf_counter() - wall)
        stub_cpu = (stub.cpu() - stub_cpu) / rounds
        client.close()
    told(
        f"LIST of 10,000 pods, {size / 1e6:.1f} MB over TLS",
        f"{best * 1000:.0f} ms, +{extra / 1e6:.1f} MB ({extra / size:.2f})",
        "<= 50 ms for 15 MB, <= 0.1 of the payload",
    )
    print(
        f"    {cpu * 1000:.0f} ms of CPU; a stub sends as much in {least * 1000:.0f} ms, "
        f"{stub_cpu * 1000:.0f} ms of CPU"
    )


class Taker(asyncio.BufferedProtocol):
    """The receiving end of a watch that counts bytes as they came over the wire. A client that deciphers what
    100 watchers are sent needs more CPU than the server, and one that lags is measured instead of it."""

    buffer = bytearray(1 << 20)

    def __init__(self) -> None:
        self.total = 0
        self.last = 0.0

    @classmethod
    async def open(cls, server: Server, context: ssl.SSLContext, ask: bytes) -> Taker:
        sock = context.wrap_socket(
            socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost"
        )
        sock.sendall(ask)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(4096)
        raw = socket.socket(fileno=sock.detach())
        raw.setblocking(False)
        _, taker = await asyncio.get_running_loop().create_connection(cls, sock=raw)
        return taker

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.total += nbytes
        self.last = time.perf_counter()

    def close(self) -> None:
        self._transport.abort()


async def bench_watch(server: Server, context: ssl.SSLContext) -> None:
    events, watchers = 10_048, 100
    await fill(server, context, 0, 1)
    seen = bytearray()

    async def open_all(server: Server, ask: bytes) -> tuple[Client, list[Taker]]:
        checked = await Client.open(server, context)
        checked.on_data = seen.extend
        checked.send(ask)
        takers = [await Taker.open(server, context, ask) for _ in range(watchers - 1)]
        await asyncio.sleep(1.0)
        seen.clear()
        for taker in takers:
            taker.total = 0
        return checked, takers

    async def all_taken(takers: list[Taker], size: int) -> float:
        """When the last byte came; ``size``: what one watcher is sent at least."""
        while len(seen) < size or min(taker.total for taker in takers) < size:
            await asyncio.sleep(0.02)
        while time.perf_counter() - (last := max(taker.last for taker in takers)) < 0.3:
            await asyncio.sleep(0.02)
        return last

    ask = await Client.open(server, context)
    await server.burst(WAVE)
    answer = await ask.ask(b"GET %b/burst-0 HTTP/1.1\r\nHost: localhost\r\n\r\n" % PODS.encode())
    ask.close()
    size = len(answer[1]) + len(b'{"type":"ADDED","object":}\n')
    checked, takers = await open_all(server, b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    cpu, wall = server.cpu(), time.perf_counter()
    await server.burst(events)
    wall = await all_taken(takers, events * size) - wall
    cpu = server.cpu() - cpu
    assert seen.count(b"}\n") == events, "the watcher that looks did not see every event once"
    for client in (checked, *takers):
        client.close()
    await asyncio.sleep(0.5)
    alone = server.cpu()
    await server.burst(events)
    alone = server.cpu() - alone
    with Server("stub", server.path, str(size * WAVE)) as stub:
        checked, takers = await open_all(stub, b"WATCH")
        sender = await Client.open(stub, context)
        least = stub.cpu()
        for _ in range(events // WAVE):
            await sender.ask(b"POST")
        await all_taken(takers, events * size)
        least = stub.cpu() - least
        for client in (checked, *takers, sender):
            client.close()
    total = events * watchers
    told(
        f"watch: {events:,} writes of {size} B seen by {watchers} watchers",
        f"{total / max(cpu - alone, 0.01):,.0f} events/CPU-s, {total / wall:,.0f}/s",
        ">= 300,000/CPU-s beside the writes",
    )
    print(
        f"    writes alone {alone:.1f} CPU-s, seen by all {cpu:.1f} CPU-s; a stub that sends the same bytes: "
        f"{total / least:,.0f} events/CPU-s"
    )


async def bench_create(server: Server, context: ssl.SSLContext) -> None:
    client = await Client.open(server, context)
    times = []
    for number in range(600):
        body = json.dumps(pod(f"single-{number}")).encode()
        wall = time.perf_counter()
        status, answer = await client.post(PODS, body)
        times.append(time.perf_counter() - wall)
        assert status == 201, answer
    times = sorted(times[100:])
    told("durable create of a pod, one client", f"p50 {times[len(times) // 2] * 1000:.2f} ms", "p50 <= 1 ms")
    clients = [await Client.open(server, context) for _ in range(64)]
    bodies = iter([json.dumps(pod(f"many-{number}")).encode() for number in range(12_800)])
    times = []

    async def work(client: Client) -> None:
        for body in bodies:
            wall = time.perf_counter()
            status, answer = await client.post(PODS, body)
            times.append(time.perf_counter() - wall)
            assert status == 201, answer

    cpu, wall = server.cpu(), time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    cpu, wall = server.cpu() - cpu, time.perf_counter() - wall
    times.sort()
    told(
        "durable creates of pods, 64 clients",
        f"{len(times) / wall:,.0f}/s, p99 {times[int(len(times) * 0.99)] * 1000:.1f} ms",
        ">= 5,000/s, p99 <= 20 ms",
    )
    print(f"    {len(times) / cpu:,.0f} creates a CPU second of the server")
    for other in (client, *clients):
        other.close()


BENCHES = {"get": bench_get, "list": bench_list, "watch": bench_watch, "create": bench_create}


def main() -> None:
    if sys.argv[1:2] in (["serve"], ["serve-all"]):
        uvloop.run(serve(sys.argv[2], sys.argv[1] == "serve-all"))
        return
    if sys.argv[1:2] == ["stub"]:
        uvloop.run(serve_stub(sys.argv[2], int(sys.argv[3])))
        return
    whole = "--all" in sys.argv
    print(
        "all plugins on" if whole else "the API alone: no scheduler, node, network, controllers but bootstrap"
    )
    for name in [name for name in sys.argv[1:] if name != "--all"] or list(BENCHES):
        with (
            tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory,
            Server("serve-all" if whole else "serve", Path(directory)) as server,
        ):
            uvloop.run(BENCHES[name](server, server.context()))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"client: {used.ru_utime + used.ru_stime:.1f} CPU-s")


if __name__ == "__main__":
    main()
