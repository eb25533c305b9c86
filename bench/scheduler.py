"""The scheduler on upstream's scheduler_perf workloads: the algorithm alone, and through API and store.

    python bench/scheduler.py [WORKLOAD …] [--nodes 5000] [--pods 2000] [--end-to-end] [--store memory]

Names and shapes of the workloads are those of k8s.io/kubernetes/test/integration/scheduler_perf. The ratio is to the
threshold of each workload, in pods a second: upstream's are for API server and store together, so it says
how much room the algorithm leaves, not who is faster.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kubernel.clock import RealClock

ZONES = 3
COLOR = {"color": "green"}


@dataclass(frozen=True)
class Workload:
    """``initial`` pods a node-less cluster of ``nodes`` starts with, then ``measured`` ones."""

    name: str
    threshold: float
    measured: Callable[[int], dict[str, Any]]
    initial: Callable[[int], dict[str, Any]] | None = None
    initial_per_node: float = 0.2
    initial_fits: bool = True


def plain(number: int, **spec: Any) -> dict[str, Any]:
    container = {
        "name": "pause",
        "image": "registry.k8s.io/pause:3.10",
        "ports": [{"containerPort": 80}],
        "resources": {
            "limits": {"cpu": "100m", "memory": "500Mi"},
            "requests": {"cpu": "100m", "memory": "500Mi"},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "namespace": "default", "uid": f"uid-{number}"},
        "spec": {"containers": [container], **spec},
    }


def labelled(number: int, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    pod = plain(number, **spec)
    pod["metadata"]["labels"] = labels
    return pod


def term(key: str, labels: dict[str, str] = COLOR) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": labels}, "topologyKey": key, "namespaces": ["default"]}


CREATORS = 64
"""Of pods, end to end."""
PRIORITY = "high"
"""The PriorityClass of pods with a priority, end to end."""
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def anti_affine(number: int) -> dict[str, Any]:
    labels = {**COLOR, "name": "test"}
    return labelled(number, labels, affinity={"podAntiAffinity": {REQUIRED: [term(HOST)]}})


def affine(number: int) -> dict[str, Any]:
    return labelled(
        number, {"color": "blue"}, affinity={"podAffinity": {REQUIRED: [term(ZONE, {"color": "blue"})]}}
    )


def prefers(kind: str) -> Callable[[int], dict[str, Any]]:
    def make(number: int) -> dict[str, Any]:
        entry = {"weight": 1, "podAffinityTerm": term(HOST, {"color": "red"})}
        return labelled(number, {"color": "red"}, affinity={kind: {PREFERRED: [entry]}})

    return make


def node_affine(number: int) -> dict[str, Any]:
    expression = {"key": ZONE, "operator": "In", "values": ["zone-1", "zone-2"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return plain(number, affinity={"nodeAffinity": {REQUIRED: terms}})


def spread(action: str) -> Callable[[int], dict[str, Any]]:
    def make(number: int) -> dict[str, Any]:
        constraint = {
            "maxSkew": 5,
            "topologyKey": ZONE,
            "whenUnsatisfiable": action,
            "labelSelector": {"matchLabels": {"color": "blue"}},
        }
        return labelled(number, {"color": "blue"}, topologySpreadConstraints=[constraint])

    return make


def huge(number: int) -> dict[str, Any]:
    pod = plain(number)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "9", "memory": "500Mi"}}
    return pod


def low(number: int) -> dict[str, Any]:
    # No kubelet is there to end them.
    pod = plain(number, terminationGracePeriodSeconds=0)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "900m", "memory": "500Mi"}}
    return pod


def high(number: int) -> dict[str, Any]:
    pod = plain(number, priority=10)
    pod["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "3", "memory": "500Mi"}}
    return pod


def mixed(number: int) -> dict[str, Any]:
    makers = (plain, affine, anti_affine, prefers("podAffinity"), prefers("podAntiAffinity"))
    return makers[number % len(makers)](number)


WORKLOADS = (
    Workload("SchedulingBasic", 680, plain, plain),
    Workload("SchedulingPodAntiAffinity", 180, anti_affine, anti_affine),
    Workload("SchedulingPodAffinity", 70, affine, affine, 1.0),
    Workload("SchedulingPreferredPodAffinity", 160, prefers("podAffinity"), prefers("podAffinity"), 1.0),
    Workload(
        "SchedulingPreferredPodAntiAffinity", 190, prefers("podAntiAffinity"), prefers("podAntiAffinity"), 1.0
    ),
    Workload("SchedulingNodeAffinity", 540, node_affine, node_affine, 1.0),
    Workload("TopologySpreading", 460, spread("DoNotSchedule"), plain, 1.0),
    Workload("PreferredTopologySpreading", 340, spread("ScheduleAnyway"), plain, 1.0),
    Workload("MixedSchedulingBasePod", 540, plain, mixed, 2.0),
    Workload("Unschedulable", 590, plain, huge, 0.04, initial_fits=False),
    Workload("PreemptionBasic", 0, high, low, 4.0),
)
"""Thresholds are those of upstream's performance-config.yaml (v1.37) at 5,000 nodes; PreemptionBasic has none (upstream
does not run it at that size)."""


def node(number: int) -> dict[str, Any]:
    name = f"node-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {HOST: name, ZONE: f"zone-{number % ZONES + 1}"}},
        "status": {
            "allocatable": {"cpu": "4", "memory": "32Gi", "pods": "110"},
            "capacity": {"cpu": "4", "memory": "32Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


class _Quiet:
    """A client of an API in which nothing happens but what the benchmark says."""

    def __init__(self) -> None:
        self.informers: dict[str, _Still] = {}

    def informer(self, resource: str, *rest: Any, **more: Any) -> _Still:
        return self.informers.setdefault(resource, _Still())


class _Still:
    def add_listener(self, listener: Any) -> Any:
        return lambda: None

    async def synced(self) -> None: ...

    def add_index(self, name: str, index: Any) -> None: ...

    def get(self, *key: str) -> None: ...

    def by(self, index: str, value: str) -> list[Any]:
        return []

    def list(self, namespace: str = "") -> list[Any]:
        return []


class _Recorder:
    controller = "default-scheduler"


class _Handle:
    def __init__(self) -> None:
        self.clock, self.rng, self.log = RealClock(), random.Random(1), None


def scheduler() -> Any:
    """The real scheduler with the default policies, on a still API."""
    from importlib import import_module

    from kubernel.config.configuration import DEFAULT_PLUGINS
    from kubernel.plugin.scheduling import overrides
    from kubernel_plugins.scheduler.default.configuration import parse
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

    factories = [
        import_module(f"kubernel_plugins.scheduler_policy.{name}")
        .Plugin(None, None)
        .kubernel_scheduler_policy()
        for name in DEFAULT_PLUGINS["scheduler_policy"]
    ]
    classes = {factory.name: factory.build for factory in factories}
    settings = parse({}, "default-scheduler", factories, lambda name, point: overrides(classes[name], point))
    client: Any = _Quiet()
    recorder: Any = _Recorder()
    return Scheduler(_Handle(), client, settings, factories, lambda name: recorder, 64)


async def algorithm(workload: Workload, nodes: int, pods: int) -> tuple[float, int]:
    """(pods a second, how many found a node): queue, filters, scores, the table's update; no API."""
    from kubernel_plugins.scheduler.default.pods import pod_state

    made = scheduler()
    await made.follow()
    for number in range(nodes):
        made.table.set_node(node(number))
    rng = random.Random(2)
    count = 0
    if workload.initial is not None:
        for number in range(int(nodes * workload.initial_per_node)):
            state = pod_state(workload.initial(number))
            row = made.evaluation(state).choose(state, rng, made.nominations)
            if row is not None:
                made.table.place(state, made.table.name(row))
            count = number + 1
    states = [pod_state(workload.measured(count + number)) for number in range(pods)]
    placed = 0
    begun = time.process_time()
    for state in states:
        made.queue.add(state)
    while (state := made.queue.pop_now()) is not None:
        evaluation = made.evaluation(state)
        row = evaluation.choose(state, rng, made.nominations)
        if row is None:
            row = await preempt(made, evaluation, state)
        if row is not None:
            made.table.place(state, made.table.name(row))
            placed += 1
        made.queue.remove(state.uid)
    return pods / (time.process_time() - begun), placed


async def preempt(made: Any, evaluation: Any, state: Any) -> int | None:
    """The decision of preemption and its effect on the table, without the API."""
    from kubernel_plugins.scheduler.default.context import Supposed
    from kubernel_plugins.scheduler_policy.default_preemption.victims import best

    policy = made.profile(state).policies["DefaultPreemption"]
    found = evaluation.diagnose(state)
    cycle = Supposed(made, state, evaluation, found.lasting, ())
    candidates = list(policy._candidates(cycle, Counter()))
    if not candidates:
        return None
    chosen = best(candidates)
    for victim in chosen.victims:
        made.table.take_off(victim.uid)
    return made.table.row(chosen.node)


async def bound(client: Any, wanted: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
    """Create pods and wait until those that are ``wanted`` have a node."""
    informer = client.informer("pods")
    await informer.synced()
    done, left = asyncio.Event(), {pod["metadata"]["name"] for pod in wanted}

    def look(kind: str, obj: Any, old: Any) -> None:
        if obj["spec"].get("nodeName"):
            left.discard(obj["metadata"]["name"])
        if not left:
            done.set()

    remove = informer.add_listener(look)
    waiting = iter(pods)

    async def create() -> None:
        for pod in waiting:
            await client.create("pods", pod, "default")

    await asyncio.gather(*(create() for _ in range(CREATORS)))
    if wanted:
        await done.wait()
    remove()


def end_to_end(workload: Workload, nodes: int, pods: int, store: str) -> Iterator[tuple[str, float, float]]:
    """(what, pods a second, pods a second of the processor): through the API of one process and its store, with
    bindings and events, garbage collected as in a server. First of pods that are all there when the scheduler starts,
    its start included; then of pods while the same process creates them."""
    from kubernel.collector import CollectorPolicy
    from kubernel.testing import Cluster

    collector = CollectorPolicy()
    collector.loading()
    config = {
        "plugins": {
            "store": store,
            "node": [],
            "controller": ["bootstrap", "namespace", "serviceaccount"],
        }
    }
    contents = [
        {**node(number), "metadata": {**node(number)["metadata"], "uid": f"node-{number}"}}
        for number in range(nodes)
    ]
    with Cluster(config, real_time=True, freeze=False, contents=contents) as cluster:
        time.sleep(0.5)
        client = cluster.client()
        initial = int(nodes * workload.initial_per_node) if workload.initial is not None else 0
        made = [named(workload.initial, number) for number in range(initial)] if workload.initial else []
        cluster.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": PRIORITY},
                "value": 10,
            }
        )
        cluster.run(bound(client, made if workload.initial_fits else [], made))
        collector.loaded()
        cluster.faults.crash("scheduler", "default")
        measured = [named(workload.measured, initial + number) for number in range(2 * pods)]
        cluster.run(bound(client, [], measured[:pods]))
        begun, busy = time.perf_counter(), time.process_time()
        cluster.faults.restart("scheduler", "default")
        cluster.run(bound(client, measured[:pods], []))
        yield "waiting", pods / (time.perf_counter() - begun), pods / (time.process_time() - busy)
        begun, busy = time.perf_counter(), time.process_time()
        cluster.run(bound(client, measured[pods:], measured[pods:]))
        yield "while created", pods / (time.perf_counter() - begun), pods / (time.process_time() - busy)
    collector.restore()


def beside(rate: float, threshold: float) -> str:
    return (
        f"{rate / threshold:7.1f} x upstream's threshold of {threshold:g}"
        if threshold
        else "no threshold published"
    )


def named(make: Callable[[int], dict[str, Any]], number: int) -> dict[str, Any]:
    pod = make(number)
    del pod["metadata"]["uid"]
    if pod["spec"].pop("priority", None):
        pod["spec"]["priorityClassName"] = PRIORITY
    return pod


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workloads", nargs="*")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--end-to-end", action="store_true", help="through API and store as well")
    parser.add_argument("--store", default="memory", help="of --end-to-end: memory (default) or sqlite")
    args = parser.parse_args()
    for workload in WORKLOADS:
        if args.workloads and workload.name not in args.workloads:
            continue
        pods = min(args.pods, 200) if workload.name == "PreemptionBasic" else args.pods
        rate, placed = asyncio.run(algorithm(workload, args.nodes, pods))
        told = beside(rate, workload.threshold)
        print(
            f"{workload.name:36} {args.nodes} nodes, {placed}/{pods} pods placed: {rate:9,.0f} pods/CPU-s, {told}"
        )
        if args.end_to_end:
            for what, wall, busy in end_to_end(workload, args.nodes, pods, args.store):
                told = beside(busy, workload.threshold)
                print(
                    f"    end to end, {args.store}, {what}: {wall:,.0f} pods/s, {busy:,.0f} pods/CPU-s, {told}"
                )


if __name__ == "__main__":
    main()
