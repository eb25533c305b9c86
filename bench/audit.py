"""What audit costs requests over HTTPS: ``python bench/audit.py [rounds]``.

Three servers run at once, each in a process of its own: without a sink, and with the ``log`` sink (lines of JSON in a
file) under a policy that tells everything at the level Metadata or RequestResponse, one event a request. One client
asks them in turn for a 5 KB pod, creates and patches some. Latency is the median, processor time that of the server
with the thread that writes; the ratio of each is to the server without audit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).parent))

from pipeline import PODS, Client, pod, settings

from kubernel.kernel import Kernel

WITHOUT = "no audit"
LEVELS = (WITHOUT, "Metadata", "RequestResponse")
BATCH = 400
"""Requests of one kind to each server before the next kind."""
HZ = os.sysconf("SC_CLK_TCK")


async def serve(directory: str, level: str) -> None:
    """The server's process: until its input ends."""
    plugins: dict[str, Any] = {"api": ["http"], "auth": ["x509", "rbac"]}
    if level != WITHOUT:
        policy = Path(directory).with_suffix(".policy")
        rules = [{"level": level, "omitStages": ["RequestReceived"]}]
        policy.write_text(json.dumps({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}))
        plugins.update(api=[{"http": {"auditPolicy": str(policy)}}], audit=["log"])
    kernel = Kernel(settings(directory, **plugins))
    await kernel.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await kernel.stop()


class Server:
    """One of the servers, its client, and what was measured: seconds by kind of request."""

    def __init__(self, directory: str, level: str) -> None:
        self.directory = directory
        self.level = level
        self.latency: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}
        command = [sys.executable, __file__, "--serve", directory, level]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    async def connect(self) -> None:
        self.client = await Client.open(self.directory)
        await self.client.ask("POST", PODS, orjson.dumps(pod("asked")))

    def used(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / HZ

    async def lost(self) -> int:
        """Events that the sink did not keep."""
        metrics = (await self.client.ask("GET", "/metrics")).decode()
        return int(metrics.partition('apiserver_audit_error_total{plugin="log"} ')[2].split("\n")[0] or 0)

    def end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


async def get(client: Client, number: int) -> None:
    await client.ask("GET", f"{PODS}/asked")


async def create(client: Client, number: int) -> None:
    await client.ask("POST", PODS, orjson.dumps(pod(f"pod-{number}")))


async def patch(client: Client, number: int) -> None:
    body = b'{"metadata":{"labels":{"patched":"%d"}}}' % number
    await client.ask("PATCH", f"{PODS}/pod-{number}", body, "application/strategic-merge-patch+json")


async def run(servers: list[Server], rounds: int) -> None:
    for server in servers:
        await server.connect()
    for at in range(rounds + 1):
        for one in (get, create, patch):
            used = [server.used() for server in servers]
            for number in range(at * BATCH, (at + 1) * BATCH):
                for server in servers:
                    begun = time.perf_counter()
                    await one(server.client, number)
                    server.latency.setdefault(one.__name__, []).append(time.perf_counter() - begun)
            for server, before in zip(servers, used, strict=True):
                server.cpu.setdefault(one.__name__, []).append((server.used() - before) / BATCH)
        if not at:  # the first warms up
            for server in servers:
                server.latency.clear()
                server.cpu.clear()
    without = servers[0]
    for kind in without.latency:
        for server in servers:
            latency, cpu = (
                statistics.median(server.latency[kind]),
                statistics.mean(server.cpu[kind]),
            )
            ratio = latency / statistics.median(without.latency[kind])
            of_cpu = cpu / statistics.mean(without.cpu[kind])
            print(
                f"{kind:<7} {server.level:<16} p50 {latency * 1000:6.3f} ms  {ratio:5.2f} x"
                f"   {cpu * 1e6:6.0f} us of CPU  {of_cpu:5.2f} x"
            )
    for server in servers:
        if await server.lost():
            print(f"{server.level}: {await server.lost()} events were lost")
        server.client.writer.close()


def main(rounds: int) -> None:
    with contextlib.ExitStack() as stack:
        servers = []
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kubernel-bench-")))
        for level in LEVELS:
            directory = str(place / level.replace(" ", "-"))
            servers.append(Server(directory, level))
            stack.callback(servers[-1].end)
        asyncio.run(run(servers, rounds))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve(*sys.argv[2:4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
