"""Fan-out of the watch bus: 10,000 events to 100 watchers, in deliveries per second of CPU time.

python bench/watch.py
"""

from __future__ import annotations

import asyncio
import time

import uvloop

from kubernel.clock import RealClock
from kubernel.store import Key, ObjectStore
from kubernel.watch import WatchBus
from kubernel_plugins.store.memory import MemoryBackend

EVENTS = 10_000
WATCHERS = 100
NODES = 5_000


def pod(node: str) -> dict[str, object]:
    return {"kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": node}}


async def fan_out(frames: bool) -> None:
    store = ObjectStore(MemoryBackend(), RealClock(), retention=0)
    bus = WatchBus(store)
    await store.start()
    delivered = 0
    written = 0

    async def watch() -> None:
        nonlocal delivered, written
        cursor = bus.watch("pods", since=0)
        mine = 0
        while mine < EVENTS:
            events = await cursor.next()
            mine += len(events)
            if frames:
                written += len(b"".join([event.frame(event.type) for event in events]))
        delivered += mine

    async def write() -> None:
        for number in range(EVENTS):
            await store.create(Key("pods", "default", f"p{number}"), pod("n"))

    watchers = [asyncio.create_task(watch()) for _ in range(WATCHERS)]
    await asyncio.sleep(0)
    start = time.process_time()
    await write()
    writing = time.process_time()
    await asyncio.gather(*watchers)
    took = time.process_time() - start
    what = "joined into frames" if frames else "handed out"
    print(
        f"{EVENTS} events to {WATCHERS} watchers, {what}: "
        f"{delivered / took:,.0f} deliveries per CPU-second, writes included ({writing - start:.2f} s until "
        f"the last write, {took:.2f} s in all)"
    )
    await store.stop()


async def narrow() -> None:
    store = ObjectStore(MemoryBackend(), RealClock(), retention=0)
    bus = WatchBus(store)
    bus.index("pods", "spec.nodeName", lambda obj: str(obj["spec"]["nodeName"]))
    await store.start()
    cursors = [bus.watch("pods", field=("spec.nodeName", f"n{number}")) for number in range(NODES)]
    waiting = [asyncio.create_task(cursor.next()) for cursor in cursors]
    await asyncio.sleep(0)
    start = time.process_time()
    for number in range(EVENTS):
        await store.create(Key("pods", "default", f"p{number}"), pod(f"n{number % NODES}"))
    took = time.process_time() - start
    await asyncio.gather(*waiting)
    print(
        f"{EVENTS} pods over {NODES} nodes, one watch by spec.nodeName each: "
        f"{took / EVENTS * 1e6:.1f} us a write, "
        f"its one wake-up included"
    )
    start = time.process_time()
    again = [bus.watch("pods", field=("spec.nodeName", f"n{number}"), since=0) for number in range(NODES)]
    got = sum(len(cursor.poll()) for cursor in again)
    took = time.process_time() - start
    print(f"{NODES} of them resume from the beginning: {took * 1000:.0f} ms, {got} events")
    await store.stop()


if __name__ == "__main__":
    uvloop.run(fan_out(frames=False))
    uvloop.run(fan_out(frames=True))
    uvloop.run(narrow())
