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
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

PODS = "/api/v1/namespaces/default/pods"
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


async def serve(directory: str) -> None:
    from kubernel.collector import CollectorPolicy
    from kubernel.config import parse
    from kubernel.kernel import Kernel

    policy = CollectorPolicy()
    policy.loading()
    kernel = Kernel(
        parse(
            {
                "cluster": {"dataDir": directory, "port": 0},
                "plugins": {
                    "admission": ["namespace_lifecycle", "priority", "default_tolerations"],
                    "network": None,
                    "runtime": None,
                    "node": [],
                    "controller": ["bootstrap"],
                    "scheduler": [],
                    "scheduler_policy": [],
                },
            }
        )
    )
    await kernel.start()
    policy.loaded()  # as `kubernel up` does it
    print(kernel.url, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await kernel.stop()


class Server:
    """The server's process, its address and what it uses."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="kubernel-bench-")
        self.path = Path(self._directory.name)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", self._directory.name],
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
        self._directory.cleanup()

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
    """One connection; ``get`` and ``post`` give status and body. Bodies with Content-Length or chunked."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None
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
        buffer += data
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length_at = buffer.find(b"Content-Length: ", 0, end)
        if length_at >= 0:
            size = int(buffer[length_at + 16 : buffer.find(b"\r\n", length_at)])
            if len(buffer) >= end + 4 + size:
                self._done(int(buffer[9:12]), bytes(buffer[end + 4 : end + 4 + size]))
        elif buffer.endswith(b"\r\n0\r\n\r\n"):
            self._done(int(buffer[9:12]), bytes(buffer[end + 4 :]))

    def _done(self, status: int, body: bytes) -> None:
        self._buffer.clear()
        if self._waiting is not None:
            self._waiting.set_result((status, body))

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

    async def work(client: Client, count: int) -> int:
        size = 0
        for _ in range(count):
            status, body = await client.ask(request)
            assert status == 200
            size = len(body)
        return size

    await asyncio.gather(*(work(client, 200) for client in clients))
    cpu, wall = server.cpu(), time.perf_counter()
    size = (await asyncio.gather(*(work(client, 2500) for client in clients)))[0]
    cpu, wall = server.cpu() - cpu, time.perf_counter() - wall
    total = 2500 * len(clients)
    told(
        f"GET a pod of {size} B over TLS, authenticated, authorized",
        f"{total / cpu:,.0f}/CPU-s, {total / wall:,.0f}/s",
        ">= 15,000 on one core",
    )
    for client in clients:
        client.close()


async def bench_list(server: Server, context: ssl.SSLContext) -> None:
    await fill(server, context, 0, 10_000)
    client = await Client.open(server, context)
    request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % PODS.encode()
    best, extra, size = 1e9, 0, 0
    for _ in range(5):
        base = server.reset_peak()
        wall = time.perf_counter()
        status, body = await client.ask(request)
        wall = time.perf_counter() - wall
        assert status == 200
        size = len(body)
        best, extra = min(best, wall), max(extra, server.peak() - base)
    told(
        f"LIST of 10,000 pods, {size / 1e6:.1f} MB over TLS",
        f"{best * 1000:.0f} ms, +{extra / 1e6:.1f} MB ({extra / size:.2f})",
        "<= 50 ms, <= 0.1 of the payload",
    )
    client.close()


async def bench_watch(server: Server, context: ssl.SSLContext) -> None:
    events, watchers = 10_000, 100
    await fill(server, context, 0, 1)
    seen = [0] * watchers
    done = asyncio.Event()

    def reader(number: int) -> Any:
        def on_data(data: bytes) -> None:
            seen[number] += data.count(b'{"type":"')
            if seen[number] >= events and min(seen) >= events:
                done.set()

        return on_data

    clients = []
    for number in range(watchers):
        client = await Client.open(server, context)
        client.on_data = reader(number)
        client.send(b"GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        clients.append(client)
    while min(seen) < 1:
        await asyncio.sleep(0.05)
    seen[:] = [0] * watchers
    alone = server.cpu()
    await fill(server, context, 10, 1000)
    while min(seen) < 1000:
        await asyncio.sleep(0.01)
    seen[:] = [0] * watchers
    cpu, wall = server.cpu(), time.perf_counter()
    await fill(server, context, 100_000, events)
    await asyncio.wait_for(done.wait(), 120)
    cpu, wall = server.cpu() - cpu, time.perf_counter() - wall
    for client in clients:
        client.close()
    await asyncio.sleep(0.5)
    alone = server.cpu()
    await fill(server, context, 200_000, events)
    alone = server.cpu() - alone
    total = events * watchers
    told(
        f"watch: {events:,} creates seen by {watchers} watchers",
        f"{total / max(cpu - alone, 0.01):,.0f} events/CPU-s, {total / wall:,.0f}/s",
        ">= 300,000/CPU-s beside the creates",
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
    if sys.argv[1:2] == ["serve"]:
        uvloop.run(serve(sys.argv[2]))
        return
    for name in sys.argv[1:] or list(BENCHES):
        with Server() as server:
            uvloop.run(BENCHES[name](server, server.context()))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"client: {used.ru_utime + used.ru_stime:.1f} CPU-s")


if __name__ == "__main__":
    main()
