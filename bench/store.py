"""The storage backends: puts against etcd, opening a large database, garbage collection.

    python bench/store.py [directory] [rounds]

``directory`` (default: the current one) must be on the disk to measure. Without an ``etcd`` binary its
part is left out. Rounds alternate, so that what else the machine does meets all alike; figures are medians.
The puts, etcd's client among them, are made with the garbage collector as ``kubernel up`` has it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

sys.path.insert(0, str(Path(__file__).parent))

import etcd_puts

from kubernel.clock import RealClock
from kubernel.collector import CollectorPolicy
from kubernel.store import Backend, Key, ObjectStore, Write
from kubernel_plugins.store.memory import MemoryBackend
from kubernel_plugins.store.sqlite import SqliteBackend

SIZE = 2048
TOTALS = {1: 4_000, 64: 64_000}
OBJECTS = 100_000
PODS = 30_000

Figures = tuple[float, float, float]


def value() -> bytes:
    head, tail = b'{"metadata":{"resourceVersion":""},"data":"', b'"}'
    return head + os.urandom(SIZE // 2).hex().encode()[: SIZE - len(head) - len(tail)] + tail


def summary(took: list[float], elapsed: float) -> Figures:
    took.sort()
    return len(took) / elapsed, took[len(took) // 2] * 1000, took[len(took) * 99 // 100] * 1000


async def backend_puts(backend: Backend, writers: int, total: int) -> Figures:
    await backend.open(lambda changes: None)
    data = value()
    took: list[float] = []

    async def write(writer: int) -> None:
        for number in range(total // writers):
            start = time.perf_counter()
            await backend.commit(Write(Key("pods", "default", f"p{writer}-{number}"), data, 0))
            took.append(time.perf_counter() - start)

    start = time.perf_counter()
    await asyncio.gather(*(write(writer) for writer in range(writers)))
    elapsed = time.perf_counter() - start
    await backend.close()
    return summary(took, elapsed)


async def sqlite_puts(directory: Path, writers: int, total: int) -> Figures:
    place = Path(tempfile.mkdtemp(prefix="sqlite-", dir=directory))
    try:
        return await backend_puts(SqliteBackend(place / "kubernel.db"), writers, total)
    finally:
        shutil.rmtree(place)


async def etcd_rate(directory: Path, writers: int, total: int) -> Figures:
    async with etcd_puts.server(directory) as port:
        *took, elapsed = await etcd_puts.puts(port, writers, total, value())
        return summary(took, elapsed)


async def compare(directory: Path, rounds: int) -> None:
    with_etcd = shutil.which("etcd") is not None
    policy = CollectorPolicy()
    policy.loading()
    policy.loaded()
    for writers, total in TOTALS.items():
        found: dict[str, list[Figures]] = {"memory": [], "sqlite": [], "etcd": []}
        for number in range(rounds):
            found["memory"].append(await backend_puts(MemoryBackend(), writers, total))
            # Who comes second finds the disk as the other has left it: each does every other time.
            for name in ("sqlite", "etcd") if number % 2 else ("etcd", "sqlite"):
                if name == "sqlite":
                    found[name].append(await sqlite_puts(directory, writers, total))
                elif with_etcd:
                    found[name].append(await etcd_rate(directory, writers, total))
        medians: dict[str, float] = {}
        for name, figures in found.items():
            if figures:
                rates = sorted(figure[0] for figure in figures)
                medians[name] = statistics.median(rates)
                p50, p99 = (statistics.median(figure[at] for figure in figures) for at in (1, 2))
                print(
                    f"{writers:2} writers, {SIZE} bytes, {name:6}: {medians[name]:9,.0f} puts/s"
                    f"  (p50 {p50:.2f} ms, p99 {p99:.2f} ms; {rates[0]:,.0f} to {rates[-1]:,.0f})"
                )
        if with_etcd:
            ratios = sorted(s[0] / e[0] for s, e in zip(found["sqlite"], found["etcd"], strict=True))
            print(
                f"   sqlite / etcd: {statistics.median(ratios):.2f}, the median of the rounds"
                f" ({', '.join(f'{ratio:.2f}' for ratio in ratios)};"
                f" of the medians {medians['sqlite'] / medians['etcd']:.2f})"
            )
    policy.restore()


async def opening(directory: Path) -> None:
    place = Path(tempfile.mkdtemp(prefix="sqlite-", dir=directory))
    path = place / "kubernel.db"
    try:
        backend = SqliteBackend(path)
        await backend.open(lambda changes: None)
        data = value()
        for base in range(0, OBJECTS, 500):
            await asyncio.gather(
                *(
                    backend.commit(Write(Key("pods", f"ns{number % 100}", f"pod-{number}"), data, 0))
                    for number in range(base, base + 500)
                )
            )
        await backend.compact(OBJECTS)
        await backend.close()
        took, loaded = [], []
        for _ in range(5):
            store = ObjectStore(SqliteBackend(path), RealClock(), retention=0)
            start = time.perf_counter()
            await store.start()
            took.append(time.perf_counter() - start)
            assert sum(len(record.data) for record in store.list("pods")) > OBJECTS * SIZE
            loaded.append(time.perf_counter() - start)
            await store.stop()
            del store
            gc.unfreeze()
            gc.collect()
        print(
            f"opening {OBJECTS:,} objects of {SIZE} bytes ({path.stat().st_size / 1e6:.0f} MB): "
            f"{statistics.median(took):.2f} s ({min(took):.2f} to {max(took):.2f}), until every byte of every"
            f" object was read and verified {statistics.median(loaded):.2f} s"
        )
    finally:
        shutil.rmtree(place)


def named(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"name": f"n{at}", **fields} for at in range(count)]


def pod(number: int) -> dict[str, Any]:
    """About 45 dicts and lists, as many as a pod of a Deployment has with its defaults."""
    container = {
        "name": "c",
        "image": "i",
        "env": named(8, value="v"),
        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
        "volumeMounts": named(3, mountPath="/m"),
    }
    owner = {"kind": "ReplicaSet", "name": "r", "uid": "u"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"p{number}", "labels": {"app": "a"}, "ownerReferences": [owner]},
        "spec": {
            "nodeName": f"n{number % 500}",
            "tolerations": named(3, operator="Exists"),
            "volumes": named(3, configMap={"name": "c", "items": [{"key": "k"}]}),
            "containers": [container],
        },
        "status": {"conditions": named(4, status="True"), "podIPs": [{"ip": "1"}]},
    }


async def pauses(policy: CollectorPolicy | None) -> None:
    """30,000 decoded pods are written, then each is rewritten: the longest stop of the collector."""
    stops: list[tuple[float, float]] = []
    began = (0.0, 0.0)
    what = "Python as it comes" if policy is None else "the policy of kubernel up"

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = (time.perf_counter(), time.thread_time())
        else:
            stops.append((time.perf_counter() - began[0], time.thread_time() - began[1]))

    gc.unfreeze()
    gc.collect()
    store = ObjectStore(MemoryBackend(), RealClock(), retention=0)
    if policy is not None:
        policy.loading()
    await store.start()
    if policy is not None:
        policy.loaded()
    gc.callbacks.insert(0, watch)
    start = time.perf_counter()
    for _ in range(2):
        for number in range(PODS):
            key = Key("pods", "default", f"p{number}")
            if store.get(key) is None:
                await store.create(key, pod(number))
            else:
                await store.update(key, pod(number))
    elapsed = time.perf_counter() - start
    gc.callbacks.remove(watch)
    if policy is not None:
        policy.restore()
    longest = max(stops)
    print(
        f"{PODS:,} pods created and updated, {what}: longest collection {longest[0] * 1000:.1f} ms"
        f" ({max(stop[1] for stop in stops) * 1000:.1f} ms of CPU), all of them"
        f" {sum(stop[0] for stop in stops):.2f} s of {elapsed:.2f} s"
    )
    await store.stop()


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    uvloop.run(compare(directory, rounds))
    uvloop.run(opening(directory))
    uvloop.run(pauses(None))
    uvloop.run(pauses(CollectorPolicy()))


if __name__ == "__main__":
    main()
