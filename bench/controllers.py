"""600 Deployments of one simulated pod each, created to all Ready: ``python bench/controllers.py [count]``.

Prints seconds in-process, in real time, for the memory and the SQLite store, and the ratio to the two minutes
that kwok needs; then the share of a processor that a cluster takes which has nothing to do.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from typing import Any

KWOK_SECONDS = 120.0
IDLE_SECONDS = 8.0
IDLE_LIMIT = 0.005
_CREATORS = 64


def deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


async def create_all(client: Any, count: int) -> None:
    names = iter(range(count))

    async def one() -> None:
        for number in names:
            await client.create("deployments.v1.apps", deployment(f"app-{number}"), "default")

    await asyncio.gather(*(one() for _ in range(_CREATORS)))


async def all_ready(client: Any, count: int) -> None:
    informer = client.informer("deployments.v1.apps")
    done = asyncio.Event()
    ready: set[str] = set()

    def look(kind: str, obj: Any, old: Any) -> None:
        if (obj.get("status") or {}).get("readyReplicas") == 1:
            ready.add(obj["metadata"]["name"])
            if len(ready) == count:
                done.set()

    remove = informer.add_listener(look)
    await done.wait()
    remove()


async def both(client: Any, count: int) -> None:
    await client.informer("deployments.v1.apps").synced()
    await asyncio.gather(create_all(client, count), all_ready(client, count))


def roll_out(store: str, count: int) -> None:
    from kubernel.testing import Cluster

    with (
        tempfile.TemporaryDirectory() as folder,
        Cluster(
            config={"plugins": {"store": store}}, real_time=True, data_dir=folder, freeze=False
        ) as cluster,
    ):
        time.sleep(0.5)
        gc.collect()
        cpu, begun = time.process_time(), time.perf_counter()
        cluster.run(both(cluster.client(), count))
        taken, busy = time.perf_counter() - begun, time.process_time() - cpu
        revision = cluster.kernel.registry.store.revision
    print(
        f"{count} Deployments, {store:<7} {taken:8.2f} s   {KWOK_SECONDS / taken:6.1f} times kwok   "
        f"processor {busy:6.2f} s, revision {revision}"
    )


def idle() -> None:
    """A default in-process cluster, then one that holds 100 Deployments."""
    from kubernel.testing import Cluster

    with Cluster(real_time=True, freeze=False) as cluster:
        for count in (0, 100):
            if count:
                cluster.run(both(cluster.client(), count))
            # Events of the roll-out are still being written for a moment.
            time.sleep(3)
            cpu = time.process_time()
            time.sleep(IDLE_SECONDS)
            share = (time.process_time() - cpu) / IDLE_SECONDS
            told = f"idle, {count:>3} Deployments      {share * 100:8.2f} % of a core"
            print(f"{told}   {share / IDLE_LIMIT:.2f} of the limit")


def main(count: int = 600) -> None:
    for store in ("memory", "sqlite"):
        roll_out(store, count)
    idle()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
