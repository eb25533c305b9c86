"""Requests about a 5 KB pod, in-process and over HTTPS: ``python bench/pipeline.py [count]``.

The default admission plugins, the built-in types and the memory store, no controllers. In-process each line is the
median of single requests and its ratio to one decode and encode of the same pod by orjson, which no pipeline can be
without. Over HTTPS the server is a process of its own, with client certificates, RBAC, and priority and fairness; one
client sends one request after the other on one connection, and the ratio is to a round trip that does nothing
(``/livez``).
"""

from __future__ import annotations

import asyncio
import gc
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvloop

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.config import parse
from kubernel.kernel import Kernel
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel_plugins.api.builtin import protobuf_codec

AIM_MS = 1.0
ADMIN = UserInfo("kubernetes-admin", ("system:masters", "system:authenticated"))


def container(number: int) -> dict[str, Any]:
    return {
        "name": f"container-{number}",
        "image": f"registry.example.com/shop/part-{number}:1.{number}.0",
        "command": ["/bin/server", "--port=8080", f"--part={number}"],
        "env": [{"name": f"SETTING_{key}", "value": f"value-{key}-{number}"} for key in range(8)],
        "ports": [{"containerPort": 8080 + number, "name": f"http-{number}", "protocol": "TCP"}],
        "resources": {
            "requests": {"cpu": "100m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "128Mi"},
        },
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080 + number}, "periodSeconds": 5},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/shop"},
            {"name": "scratch", "mountPath": "/tmp"},
        ],
    }


def pod(name: str) -> dict[str, Any]:
    """About 5 KB once it is stored."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"app": "shop", "tier": "front", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {"example.com/team": "shop", "example.com/note": "x" * 200},
        },
        "spec": {
            "serviceAccountName": "default",
            "automountServiceAccountToken": False,
            "containers": [container(number) for number in range(2)],
            "volumes": [
                {"name": "config", "configMap": {"name": "shop"}},
                {"name": "scratch", "emptyDir": {}},
            ],
        },
    }


async def median(count: int, one: Callable[[int], Awaitable[Any]]) -> float:
    """Milliseconds of the median call, after a tenth to warm up."""
    times = []
    gc.collect()
    gc.disable()
    for number in range(count + count // 10):
        begun = time.perf_counter()
        await one(number)
        times.append(time.perf_counter() - begun)
    gc.enable()
    return statistics.median(times[count // 10 :]) * 1000


def settings(directory: str, **plugins: Any) -> Any:
    return parse(
        {
            "cluster": {"dataDir": directory, "port": 0},
            "plugins": {
                "store": "memory",
                "api": [],
                "auth": [],
                "admission": ["namespace_lifecycle", "priority", "default_tolerations"],
                "network": None,
                "runtime": None,
                "proxy": None,
                "node": [],
                "controller": ["bootstrap"],
                "scheduler": [],
                "scheduler_policy": [],
                **plugins,
            },
        }
    )


async def run(directory: str, count: int) -> None:
    kernel = Kernel(settings(directory))
    await kernel.start()
    registry = kernel.registry
    type = registry.lookup("", "v1", "pods")
    assert type is not None
    options = WriteOptions(field_manager="bench", field_validation="Strict")
    bodies = [orjson.dumps(pod(f"pod-{number}")) for number in range(count * 2)]
    size = 0

    async def floor(number: int) -> None:
        orjson.dumps(orjson.loads(stored))

    async def create(number: int) -> None:
        raw = bodies[number]
        nonlocal size
        result = await registry.create(ADMIN, type, "default", orjson.loads(raw), options, raw=raw)
        size = len(result.record.data)

    async def get(number: int) -> None:
        record = registry.get(type, "default", f"pod-{number}")
        assert record.data

    async def update(number: int) -> None:
        record = registry.get(type, "default", f"pod-{number}")
        obj = orjson.loads(record.data)
        obj["metadata"]["labels"]["changed"] = str(number)
        raw = orjson.dumps(obj)
        await registry.update(ADMIN, type, "default", f"pod-{number}", orjson.loads(raw), options, raw=raw)

    async def status(number: int) -> None:
        record = registry.get(type, "default", f"pod-{number}")
        obj = orjson.loads(record.data)
        obj["status"]["podIP"] = "10.0.0.1"
        obj["status"]["podIPs"] = [{"ip": "10.0.0.1"}]
        await registry.update(ADMIN, type, "default", f"pod-{number}", obj, options, subresource="status")

    async def patch(number: int) -> None:
        body = {"metadata": {"labels": {"patched": str(number)}}}
        await registry.patch(ADMIN, type, "default", f"pod-{number}", "strategic", body, options)

    async def apply(number: int) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"pod-{number}", "labels": {"applied": str(number)}},
        }
        applied = WriteOptions(field_manager="applier", force=True)
        await registry.patch(ADMIN, type, "default", f"pod-{number}", "apply", body, applied)

    await create(count * 2 - 1)
    stored = registry.get(type, "default", f"pod-{count * 2 - 1}").data
    least = await median(count, floor)
    print(f"decode and encode a stored pod of {len(stored)} B     {least:7.3f} ms")
    for name, one in (
        ("create", create),
        ("get", get),
        ("update (PUT)", update),
        ("update of status", status),
        ("strategic patch", patch),
        ("server-side apply", apply),
    ):
        took = await median(count, one)
        aim = f"   {took / AIM_MS:.2f} of the aim of {AIM_MS:.0f} ms" if one is create else ""
        print(f"{name:<18} p50                      {took:7.3f} ms   {took / least:5.1f} x{aim}")
    await kernel.stop()


# --- over HTTPS

PODS = "/api/v1/namespaces/default/pods"
PROTOBUF = "application/vnd.kubernetes.protobuf"


async def serve(directory: str) -> None:
    """The server's process: until its input ends."""
    kernel = Kernel(settings(directory, api=["http"], auth=["x509", "rbac"]))
    await kernel.start()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await kernel.stop()


class Client:
    """One connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, directory: str) -> Client:
        access = load_kubeconfig(Path(directory) / "kubeconfig")
        host, _, port = access.url.removeprefix("https://").rpartition(":")
        context: ssl.SSLContext = access.ssl_context()
        return cls(*await asyncio.open_connection(host, int(port), ssl=context, limit=1 << 20))

    async def ask(
        self, method: str, path: str, body: bytes = b"", media: str = "", accept: str = ""
    ) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept or 'application/json'}\r\n"
        if body:
            head += f"Content-Type: {media or 'application/json'}\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        content = await self.reader.readexactly(length)
        assert answer[9:10] == b"2", answer + content
        return content


async def remote(directory: str, count: int) -> None:
    client = await Client.open(directory)
    bodies = [orjson.dumps(pod(f"pod-{number}")) for number in range(count * 2)]
    codec = protobuf_codec()
    packed = []
    for number in range(count * 2):
        obj = pod(f"packed-{number}")
        packed.append(codec.envelope("v1", "Pod", codec.message("v1", "Pod", obj)))

    async def nothing(number: int) -> None:
        await client.ask("GET", "/livez")

    async def create(number: int) -> None:
        await client.ask("POST", PODS, bodies[number])

    async def create_packed(number: int) -> None:
        await client.ask("POST", PODS, packed[number], PROTOBUF, PROTOBUF)

    async def get(number: int) -> None:
        await client.ask("GET", f"{PODS}/pod-{number}")

    async def get_packed(number: int) -> None:
        await client.ask("GET", f"{PODS}/packed-{number}", accept=PROTOBUF)

    async def update(number: int) -> None:
        await client.ask("PUT", f"{PODS}/pod-{number}", changed[number])

    async def patch(number: int) -> None:
        body = b'{"metadata":{"labels":{"patched":"%d"}}}' % number
        await client.ask("PATCH", f"{PODS}/pod-{number}", body, "application/strategic-merge-patch+json")

    async def apply(number: int) -> None:
        meta = {"name": f"pod-{number}", "labels": {"applied": str(number)}}
        body = orjson.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": meta})
        path = f"{PODS}/pod-{number}?fieldManager=applier&force=true"
        await client.ask("PATCH", path, body, "application/apply-patch+yaml")

    least = await median(count, nothing)
    print(f"GET of /livez      p50 over HTTPS           {least:7.3f} ms")
    changed: list[bytes] = []
    for name, one in (
        ("create", create),
        ("create, protobuf", create_packed),
        ("get", get),
        ("get, protobuf", get_packed),
        ("update (PUT)", update),
        ("strategic patch", patch),
        ("server-side apply", apply),
    ):
        if one is update:
            for number in range(count + count // 10):
                obj = orjson.loads(await client.ask("GET", f"{PODS}/pod-{number}"))
                obj["metadata"]["labels"]["changed"] = str(number)
                changed.append(orjson.dumps(obj))
        took = await median(count, one)
        print(f"{name:<18} p50 over HTTPS           {took:7.3f} ms   {took / least:5.1f} x")
    client.writer.close()


def main(count: int = 1000) -> None:
    with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
        asyncio.run(run(str(Path(directory)), count))
    with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
        command = [sys.executable, __file__, "--serve", directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            asyncio.run(remote(directory, count))
            assert server.stdin is not None
            server.stdin.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        uvloop.run(serve(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
