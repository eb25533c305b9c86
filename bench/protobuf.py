"""Protobuf beside JSON: ``python bench/protobuf.py [count]``.

One 5 KB pod encoded and decoded, as a ratio to orjson; then what a LIST of many costs to put together, cold (nobody has
asked in protobuf before) and warm, as a ratio to the same in JSON; and how long the answers are. Processor time.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson
from pipeline import pod

from kubernel.clock import RealClock
from kubernel.registry.operations import Page
from kubernel.registry.registry import Registry
from kubernel.registry.schema import Node
from kubernel.registry.types import ResourceType
from kubernel.store import ObjectStore
from kubernel.store.records import Key
from kubernel.watch import WatchBus
from kubernel_plugins.api.builtin import protobuf_codec
from kubernel_plugins.api.http.protobuf import MessageShape
from kubernel_plugins.api.http.shapes import Shape
from kubernel_plugins.store.memory import MemoryBackend


def spent(one: Callable[[], Any], rounds: int) -> float:
    """Microseconds of processor time a call, after one to warm up."""
    one()
    begun = time.process_time()
    for _ in range(rounds):
        one()
    return (time.process_time() - begun) / rounds * 1e6


class _Nobody:
    async def admit(self, request: Any) -> None:
        return

    async def validate(self, request: Any) -> None:
        return


async def main(count: int) -> None:
    codec = protobuf_codec()
    store = ObjectStore(MemoryBackend(), RealClock())
    await store.start()
    registry = Registry(store, WatchBus(store), RealClock(), random.Random(1), _Nobody())
    registry.protobuf = codec
    type = ResourceType("", "v1", "Pod", "pods", lambda: Node("object"))
    for number in range(count):
        await store.create(Key("pods", "default", f"pod-{number}"), pod(f"pod-{number}"))
    records = store.list("pods").records
    page = Page(records, store.revision)

    text = records[0].data
    obj = orjson.loads(text)
    body = codec.envelope("v1", "Pod", codec.message("v1", "Pod", obj))
    for name, ours, theirs in (
        ("encode", lambda: codec.message("v1", "Pod", obj), lambda: orjson.dumps(obj)),
        ("decode", lambda: codec.decode(body), lambda: orjson.loads(text)),
    ):
        took, peer = spent(ours, 500), spent(theirs, 5000)
        print(f"{name} a pod of {len(text)} B       {took:8.1f} us   {took / peer:6.1f} x orjson")

    def listed(shape: Shape) -> bytes:
        return b"".join(shape.pieces(page))

    plain, packed = Shape(registry, type), MessageShape(registry, type)
    for record in records:
        assert record.data
    peer = spent(lambda: listed(plain), 5)
    begun = time.process_time()
    whole = listed(packed)
    cold = (time.process_time() - begun) * 1e6
    warm = spent(lambda: listed(packed), 5)
    print(f"LIST of {count} in JSON            {peer:8.0f} us")
    print(f"LIST of {count} in protobuf, cold  {cold:8.0f} us   {cold / peer:6.1f} x JSON")
    print(f"LIST of {count} in protobuf, warm  {warm:8.0f} us   {warm / peer:6.1f} x JSON")
    print(f"length of the answer          {len(whole) / len(listed(plain)):8.1%}    of JSON's")
    await store.stop()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
