"""Large workloads on simulated nodes: ``python bench/workloads.py [share]``, a share of 1 being the full sizes.

1,000 Deployments of five pods to Ready, a rolling update of 5,000 pods, a namespace of 10,000 objects deleted, and
20,000 pods that nothing happens to: what their controllers' resync costs, and what the cluster takes when idle.
In-process, real time, memory store. Prints seconds, seconds of processor, and processor time for each pod or object
as a multiple of one create of a pod in the same process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

_CREATORS = 64
_APPS = "deployments.v1.apps"
_IDLE_SECONDS = 10.0


def template(app: str, image: str = "app:1") -> dict[str, Any]:
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "app", "image": image}]}}


def deployment(name: str, replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(name),
        },
    }


async def many(count: int, make: Callable[[int], Awaitable[Any]]) -> None:
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            await make(number)

    await asyncio.gather(*(one() for _ in range(_CREATORS)))


async def until(client: Any, resource: str, enough: Callable[[Any], bool], count: int) -> None:
    """Wait until so many objects of a resource are as they should be."""
    informer = client.informer(resource)
    done, good = asyncio.Event(), set()

    def look(_kind: str, obj: Any, _old: Any) -> None:
        if enough(obj):
            good.add(obj["metadata"]["uid"])
            if len(good) >= count:
                done.set()

    remove = informer.add_listener(look)
    await done.wait()
    remove()


def all_updated(obj: Any) -> bool:
    wanted, status = obj["spec"]["replicas"], obj.get("status") or {}
    return (
        status.get("observedGeneration") == obj["metadata"]["generation"]
        and status.get("replicas") == wanted
        and status.get("updatedReplicas") == wanted
        and status.get("readyReplicas") == wanted
    )


def measure(cluster: Any, work: Awaitable[Any]) -> tuple[float, float]:
    """Seconds and processor seconds of some work."""
    gc.collect()
    cpu, begun = time.process_time(), time.perf_counter()
    cluster.run(work)
    return time.perf_counter() - begun, time.process_time() - cpu


def one_create(cluster: Any) -> float:
    """Processor seconds of one create of a pod that nobody schedules."""
    client, count = cluster.client(), 500
    pod: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"peer": "yes"}}}
    pod["spec"] = {**template("x")["spec"], "schedulerName": "nobody"}

    async def work() -> None:
        for number in range(count):
            metadata = {**pod["metadata"], "name": f"peer-{number}"}
            await client.create("pods", {**pod, "metadata": metadata}, "default")

    taken = measure(cluster, work())[1]

    async def away() -> None:
        await many(count, lambda number: client.delete("pods", f"peer-{number}", "default", grace_period=0))

    cluster.run(away())
    return taken / count


def told(what: str, taken: float, busy: float, count: int, unit: str, peer: float) -> None:
    each = busy / count
    print(
        f"{what:<44} {taken:7.2f} s   processor {busy:7.2f} s, {each * 1000:6.3f} ms {unit}, "
        f"{each / peer:5.1f} creates",
        flush=True,
    )


def roll_out(cluster: Any, count: int, replicas: int, peer: float) -> None:
    client = cluster.client()

    async def work() -> None:
        await client.informer(_APPS).synced()
        await asyncio.gather(
            many(
                count, lambda number: client.create(_APPS, deployment(f"app-{number}", replicas), "default")
            ),
            until(client, _APPS, all_updated, count),
        )

    taken, busy = measure(cluster, work())
    told(f"{count} Deployments of {replicas} pods to Ready", taken, busy, count * replicas, "a pod", peer)


def rolling_update(cluster: Any, replicas: int, peer: float) -> None:
    client = cluster.client()

    async def begin() -> None:
        await client.create(_APPS, deployment("large", replicas), "default")
        await until(client, _APPS, all_updated, 1)

    async def update() -> None:
        patch = {"spec": {"template": template("large", "app:2")}}
        await client.patch(_APPS, "large", patch, "default")
        await until(client, _APPS, lambda obj: all_updated(obj) and obj["metadata"]["generation"] == 2, 1)

    taken, busy = measure(cluster, begin())
    told(f"one Deployment of {replicas} pods to Ready", taken, busy, replicas, "a pod", peer)
    taken, busy = measure(cluster, update())
    told(f"rolling update of {replicas} pods", taken, busy, replicas, "a pod", peer)


def namespace_deletion(cluster: Any, count: int, peer: float) -> None:
    """A third each of config maps, secrets and pods."""
    client = cluster.client()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "full"}}

    def obj(number: int) -> tuple[str, dict[str, Any]]:
        metadata = {"name": f"object-{number}"}
        if number % 3 == 0:
            return "configmaps", {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata,
                "data": {"a": "b"},
            }
        if number % 3 == 1:
            return "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
        return "pods", {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": template("x")["spec"],
        }

    async def fill() -> None:
        await client.create("namespaces", namespace)
        await many(count, lambda number: client.create(*obj(number), "full"))
        informer = client.informer("pods")
        await informer.synced()
        while any((pod.get("status") or {}).get("phase") != "Running" for pod in informer.list()):
            await asyncio.sleep(0.1)

    async def delete() -> None:
        informer = client.informer("namespaces")
        await informer.synced()
        gone = asyncio.Event()

        def look(kind: str, obj: Any, _old: Any) -> None:
            if kind == "DELETED" and obj["metadata"]["name"] == "full":
                gone.set()

        informer.add_listener(look)
        await client.delete("namespaces", "full")
        await gone.wait()

    cluster.run(fill())
    taken, busy = measure(cluster, delete())
    told(f"namespace of {count} objects deleted", taken, busy, count, "an object", peer)


def resync(cluster: Any, count: int, peer: float) -> None:
    """Nothing happens; then every watch is lost and listed again; then the controllers start anew."""
    client = cluster.client()
    of_each = 50

    async def begin() -> None:
        await client.informer(_APPS).synced()
        apps = count // of_each
        await asyncio.gather(
            many(apps, lambda number: client.create(_APPS, deployment(f"idle-{number}", of_each), "default")),
            until(client, _APPS, all_updated, apps),
        )

    cluster.run(begin())
    time.sleep(3)
    before = cluster.kernel.registry.store.revision

    def spent(work: Callable[[], Any]) -> float:
        gc.collect()
        cpu = time.process_time()
        work()
        time.sleep(_IDLE_SECONDS)
        return time.process_time() - cpu

    def restart() -> None:
        for name in ("deployment", "replicaset", "garbage", "endpointslice"):
            cluster.faults.crash("controller", name)
            cluster.faults.restart("controller", name)

    rest = spent(lambda: None)
    written = cluster.kernel.registry.store.revision - before
    share = rest / _IDLE_SECONDS * 100
    print(f"{f'{count} idle pods':<44} {share:7.2f} % of a core, {written} writes in {_IDLE_SECONDS:.0f} s")
    before += written
    for what, work in (
        ("every watch lost", lambda: cluster.faults.drop_watches(forget=True)),
        ("controllers anew", restart),
    ):
        busy = spent(work) - rest
        told(f"{count} idle pods, {what}", busy, busy, count, "a pod", peer)
    written = cluster.kernel.registry.store.revision - before
    print(f"{'':<44} {written} writes in {2 * _IDLE_SECONDS:.0f} s", flush=True)


def main(share: float = 1.0) -> None:
    from kubernel.testing import Cluster

    config = {"plugins": {"node": [{"simulated": {"nodes": 10, "pods": 10000}}]}}
    for part, size in (
        (roll_out, (int(1000 * share), 5)),
        (rolling_update, (int(5000 * share),)),
        (namespace_deletion, (int(10000 * share),)),
        (resync, (int(20000 * share),)),
    ):
        with Cluster(config=config, real_time=True, freeze=False) as cluster:
            time.sleep(0.5)
            part(cluster, *size, one_create(cluster))


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
