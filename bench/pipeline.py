"""The write pipeline in-process, a 5 KB pod: ``python bench/pipeline.py [count]``.

The default admission plugins, the built-in types and the memory store, no server and no controllers.
Each line is the median of single requests and its ratio to one decode and encode of the same pod by orjson,
which no pipeline can be without.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson

from kubernel.config import parse
from kubernel.kernel import Kernel
from kubernel.registry.request import UserInfo, WriteOptions

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


async def run(directory: str, count: int) -> None:
    kernel = Kernel(
        parse(
            {
                "cluster": {"dataDir": directory},
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
                },
            }
        )
    )
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


def main(count: int = 1000) -> None:
    with tempfile.TemporaryDirectory(prefix="kubernel-bench-") as directory:
        asyncio.run(run(str(Path(directory)), count))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
