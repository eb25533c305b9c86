"""The scheduler in a whole cluster: who goes where, when, and what is said when nobody can."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from workload_kit import deployment, events, pod, pods_of, rolled_out, template, view, watch

from kubernel.errors import ApiError, Conflict, ServiceUnavailable
from kubernel.objects import conditions, meta
from kubernel.objects.quantity import to_int_milli
from kubernel.testing import Cluster

Start = Callable[..., Cluster]
GATE = [{"name": "example.com/wait"}]
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"


@pytest.fixture
def start(cluster_factory: Any) -> Start:
    def begin(nodes: dict[str, Any] | None = None) -> Cluster:
        simulated = [{"simulated": nodes or {"cpu": "2", "memory": "4Gi"}}]
        made: Cluster = cluster_factory(config={"plugins": {"node": simulated}})
        return made

    return begin


def asking(name: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    requests = {"requests": {"cpu": cpu}}
    return pod(name, {"app": name}, containers=[{"name": "m", "image": "x", "resources": requests}], **spec)


def node_of(cluster: Cluster, name: str) -> str:
    cluster.settle()
    return str(cluster.get("pods", name)["spec"].get("nodeName", ""))


def scheduled(cluster: Cluster, name: str) -> tuple[str, str, str]:
    found = conditions.find(cluster.get("pods", name), "PodScheduled") or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def metric(cluster: Cluster, line: str) -> float:
    """The value of the metric ``line`` names with its labels."""
    text = cluster.kernel.plugin("scheduler", "default").kubernel_metrics()
    found = [each.rpartition(" ")[2] for each in text.splitlines() if each.rpartition(" ")[0] == line]
    return float(found[0]) if found else 0.0


def attempts(cluster: Cluster) -> int:
    """How often it was tried in vain to find a node."""
    line = 'scheduler_schedule_attempts_total{profile="default-scheduler",result="unschedulable"}'
    return int(metric(cluster, line))


def test_a_pod_is_bound_and_it_is_told(start: Start) -> None:
    cluster = start()
    cluster.create(asking("a"))
    assert node_of(cluster, "a") == "node-1"
    assert scheduled(cluster, "a")[0] == "True"
    (event,) = events(cluster, "Scheduled")
    assert event["message"] == "Successfully assigned default/a to node-1"
    assert (event["reportingComponent"], event["action"], event["source"]) == (
        "default-scheduler",
        "Binding",
        {},
    )
    assert event["eventTime"]
    assert "count" not in event


def test_what_does_not_fit_waits_and_says_why_in_the_usual_words(start: Start) -> None:
    cluster = start({"nodes": 3, "cpu": "2"})
    small = {"status": {"allocatable": {"cpu": "500m"}}}
    cluster.patch("nodes", "node-3", small, subresource="status")
    for number in range(2):
        cluster.create(asking(f"fill-{number}", "2"))
    cluster.create(asking("late", "1"))
    message = (
        "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are "
        f"available: 1 {NOT_HELPFUL}, 2 {NO_VICTIMS}."
    )
    assert node_of(cluster, "late") == ""
    assert scheduled(cluster, "late") == ("False", "Unschedulable", message)
    (event,) = events(cluster, "FailedScheduling")
    assert (event["type"], event["message"]) == ("Warning", message)


def test_each_reason_is_counted_by_node(start: Start) -> None:
    cluster = start({"nodes": 5, "cpu": "2"})
    taint = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
    cluster.patch("nodes", "node-1", {"spec": {"taints": taint}})
    cluster.patch("nodes", "node-2", {"spec": {"unschedulable": True}})
    cluster.patch("nodes", "node-3", {"metadata": {"labels": {"disk": "ssd"}}})
    cluster.patch("nodes", "node-4", {"metadata": {"labels": {"disk": "ssd"}}})
    cluster.settle()
    cluster.create(asking("picky", "64", nodeSelector={"disk": "ssd"}))
    cluster.settle()
    assert scheduled(cluster, "picky")[2] == (
        "0/5 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 Insufficient cpu. "
        f"preemption: 0/5 nodes are available: 5 {NOT_HELPFUL}."
    )


def test_without_nodes_that_is_the_reason(cluster_factory: Any) -> None:
    cluster = cluster_factory(config={"plugins": {"node": []}})
    cluster.create(asking("a"))
    cluster.settle()
    assert scheduled(cluster, "a") == ("False", "Unschedulable", "no nodes available to schedule pods")


def test_pods_that_wait_go_as_soon_as_there_is_room(start: Start) -> None:
    cluster = start()
    cluster.create(asking("first", "2"))
    cluster.create(asking("second", "2"))
    assert node_of(cluster, "second") == ""
    cluster.delete("pods", "first")
    cluster.clock.advance(2)
    assert node_of(cluster, "second") == "node-1"
    assert scheduled(cluster, "second")[0] == "True"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"spec": {"unschedulable": False}}, id="uncordoned"),
        pytest.param({"metadata": {"labels": {"disk": "ssd"}}}, id="labelled"),
        pytest.param({"spec": {"taints": None}}, id="untainted"),
    ],
)
def test_a_changed_node_is_tried_again(start: Start, change: dict[str, Any]) -> None:
    cluster = start()
    spec: dict[str, Any] = {}
    if "unschedulable" in change.get("spec", {}):
        cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    elif "taints" in change.get("spec", {}):
        cluster.patch("nodes", "node-1", {"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}})
    else:
        spec = {"nodeSelector": {"disk": "ssd"}}
    cluster.create(asking("a", **spec))
    cluster.clock.advance("1m")
    assert node_of(cluster, "a") == ""
    cluster.patch("nodes", "node-1", change)
    cluster.clock.advance(2)
    assert node_of(cluster, "a") == "node-1"


def test_heartbeats_do_not_try_again(start: Start) -> None:
    cluster = start()
    cluster.create(asking("a", "64"))
    cluster.clock.advance("4m")
    assert attempts(cluster) == 1
    cluster.clock.advance("2m")
    assert attempts(cluster) == 2, "after five minutes all the same"


def test_a_cordoned_node_gets_no_pods_but_keeps_its_own(start: Start) -> None:
    cluster = start()
    cluster.create(asking("before", "100m"))
    cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    cluster.create(asking("after", "100m"))
    tolerant = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"}
    cluster.create(asking("tolerant", "100m", tolerations=[tolerant]))
    assert [node_of(cluster, name) for name in ("before", "after", "tolerant")] == ["node-1", "", "node-1"]


def test_pods_behind_a_gate_are_not_looked_at_until_it_is_gone(start: Start) -> None:
    cluster = start()
    cluster.create(asking("a", schedulingGates=GATE))
    cluster.clock.advance("10m")
    assert cluster.get("pods", "a")["status"]["phase"] == "Pending"
    assert scheduled(cluster, "a") == (
        "False",
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )
    assert events(cluster, "FailedScheduling") == []
    cluster.patch("pods", "a", {"spec": {"schedulingGates": None}})
    assert node_of(cluster, "a") == "node-1"


def test_another_schedulers_pods_are_left_to_it(start: Start) -> None:
    cluster = start()
    cluster.create(asking("a", schedulerName="mine"))
    cluster.clock.advance("10m")
    assert node_of(cluster, "a") == ""
    assert scheduled(cluster, "a") == ("", "", "")


def test_pods_that_were_deleted_while_waiting_are_forgotten(start: Start) -> None:
    cluster = start()
    cluster.create(asking("a", "64"))
    cluster.delete("pods", "a")
    cluster.create(asking("a", "1"))
    assert node_of(cluster, "a") == "node-1"


def test_the_higher_priority_goes_first(start: Start) -> None:
    cluster = start()
    for name, value in (("low", 1), ("high", 100)):
        cluster.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
            }
        )
    cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    for name in ("low-1", "low-2", "high-1"):
        cluster.create(asking(name, "1500m", priorityClassName=name.partition("-")[0]))
    cluster.clock.advance(20)
    cluster.patch("nodes", "node-1", {"spec": {"unschedulable": False}})
    cluster.clock.advance(15)
    assert [node_of(cluster, name) for name in ("low-1", "low-2", "high-1")] == ["", "", "node-1"]


def test_pods_spread_over_equal_nodes(start: Start) -> None:
    cluster = start({"nodes": 4, "cpu": "8"})
    cluster.apply(deployment(replicas=8))
    cluster.wait(lambda: rolled_out(cluster))
    nodes = [found["spec"]["nodeName"] for found in pods_of(cluster)]
    assert sorted(nodes.count(name) for name in set(nodes)) == [2, 2, 2, 2]


def test_init_containers_sidecars_and_overhead_count(start: Start) -> None:
    cluster = start({"cpu": "1"})

    def container(name: str, cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "image": "x", "resources": {"requests": {"cpu": cpu}}, **more}

    made = pod("big", containers=[container("m", "100m")], initContainers=[container("i", "2")])
    cluster.create(made)
    assert node_of(cluster, "big") == ""
    made = pod(
        "sidecar",
        containers=[container("m", "600m")],
        initContainers=[container("s", "600m", restartPolicy="Always")],
    )
    cluster.create(made)
    assert node_of(cluster, "sidecar") == ""
    made = pod("fits", containers=[container("m", "500m")], initContainers=[container("i", "1")])
    cluster.create(made)
    assert node_of(cluster, "fits") == "node-1"


def test_extended_resources_and_the_number_of_pods_are_limits(start: Start) -> None:
    cluster = start({"cpu": "8", "pods": 3})
    gpu = {"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}}
    made = pod("gpu", containers=[{"name": "m", "image": "x", "resources": gpu}])
    cluster.create(made)
    assert "1 Insufficient example.com/gpu" in scheduled(cluster, "gpu")[2]
    capacity = {"example.com/gpu": "1"}
    cluster.patch(
        "nodes", "node-1", {"status": {"capacity": capacity, "allocatable": capacity}}, subresource="status"
    )
    cluster.clock.advance(2)
    assert node_of(cluster, "gpu") == "node-1"
    for name in ("b", "c", "d"):
        cluster.create(asking(name, "1m"))
    cluster.settle()
    assert "1 Too many pods" in scheduled(cluster, "d")[2]


def test_finished_pods_take_no_room(start: Start) -> None:
    cluster = start()
    for number in range(5):
        made = asking(f"p{number}", "2", restartPolicy="Never")
        made["metadata"]["annotations"] = {"simulated.kubernel.dev/run-for": "5s"}
        cluster.create(made)
    cluster.clock.advance("2m")
    assert {found["status"]["phase"] for found in cluster.list("pods", "default")} == {"Succeeded"}


@pytest.mark.parametrize("seed", range(5))
def test_a_storm_of_pods_never_takes_more_than_there_is(cluster_factory: Any, seed: int) -> None:
    rng = random.Random(seed)
    nodes = [{"simulated": {"nodes": 3, "cpu": "4", "pods": 12, "stopDelay": 1.0}}]
    cluster: Cluster = cluster_factory(config={"plugins": {"node": nodes}}, seed=seed)
    pods = view(cluster, "pods")

    def look() -> None:
        used: dict[str, int] = {}
        count: dict[str, int] = {}
        for one in pods():
            name = one["spec"].get("nodeName")
            if name and one["status"]["phase"] not in ("Succeeded", "Failed"):
                cpu = one["spec"]["containers"][0]["resources"]["requests"]["cpu"]
                used[name] = used.get(name, 0) + to_int_milli(cpu)
                count[name] = count.get(name, 0) + 1
        assert all(value <= 4000 for value in used.values())
        assert all(value <= 12 for value in count.values())

    watch(cluster, "pods", look)
    cluster.faults.slow_store(0.05)
    for step in range(60):
        choice = rng.randrange(8)
        if choice < 5:
            for number in range(rng.randrange(1, 5)):
                with contextlib.suppress(ApiError):
                    cluster.create(asking(f"p{step}-{number}", f"{rng.randrange(100, 2000)}m"))
        elif choice == 5 and (live := cluster.list("pods", "default")):
            cluster.delete("pods", meta.name(rng.choice(live)))
        elif choice == 6:
            error = rng.choice([Conflict("no"), ServiceUnavailable("no")])
            cluster.faults.fail_writes("pods", error, times=3, verbs=["create"])
            cluster.faults.drop_watches(forget=bool(step % 2))
        else:
            with cluster.faults.outage("scheduler", "default"):
                cluster.clock.advance(1)
        cluster.clock.advance(rng.uniform(0, 1))
    cluster.faults.clear()
    cluster.clock.advance("6m")
    waiting = [one for one in cluster.list("pods", "default") if not one["spec"].get("nodeName")]
    placed = [one for one in cluster.list("pods", "default") if one["spec"].get("nodeName")]
    assert placed
    free = {f"node-{number}": 4000 for number in (1, 2, 3)}
    slots = dict.fromkeys(free, 12)
    for one in placed:
        free[one["spec"]["nodeName"]] -= to_int_milli(
            one["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        )
        slots[one["spec"]["nodeName"]] -= 1
    for one in waiting:
        asked = to_int_milli(one["spec"]["containers"][0]["resources"]["requests"]["cpu"])
        assert all(free[name] < asked or slots[name] == 0 for name in free), "it would have fitted"


def test_a_binding_that_fails_is_tried_again(start: Start) -> None:
    cluster = start()
    fail = ServiceUnavailable("the store is away")
    cluster.create(asking("gated", "2", schedulingGates=GATE))
    cluster.faults.fail_writes("pods", fail, times=2, verbs=["create"])
    cluster.patch("pods", "gated", {"spec": {"schedulingGates": None}})
    assert node_of(cluster, "gated") == ""
    cluster.clock.advance(5)
    assert node_of(cluster, "gated") == "node-1"
    assert "the store is away" in events(cluster, "FailedScheduling")[0]["message"]


def test_pods_bound_while_the_scheduler_was_away_are_counted(start: Start) -> None:
    cluster = start()
    with cluster.faults.outage("scheduler", "default"):
        cluster.create(asking("mine", "1500m", nodeName="node-1"))
        cluster.create(asking("waits", "1"))
    cluster.settle()
    assert node_of(cluster, "waits") == ""
    cluster.delete("pods", "mine")
    cluster.clock.advance(2)
    assert node_of(cluster, "waits") == "node-1"


def test_a_removed_node_takes_no_more_pods_and_a_new_one_does(start: Start) -> None:
    cluster = start({"nodes": 2, "cpu": "2"})
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", "node-2")
    for number in range(3):
        cluster.create(asking(f"p{number}", "1"))
    assert [node_of(cluster, f"p{number}") for number in range(3)] == ["node-1", "node-1", ""]
    cluster.faults.restart("node", "simulated")
    cluster.clock.advance(5)
    assert node_of(cluster, "p2") == "node-2"


def test_a_template_that_cannot_be_placed_leaves_its_deployment_waiting(start: Start) -> None:
    cluster = start()
    cluster.apply(deployment(replicas=2, pod_template=template({"app": "web"}, nodeSelector={"no": "such"})))
    cluster.clock.advance("1m")
    assert [found["status"]["phase"] for found in pods_of(cluster)] == ["Pending", "Pending"]
    cluster.patch("nodes", "node-1", {"metadata": {"labels": {"no": "such"}}})
    cluster.wait(lambda: rolled_out(cluster))


def test_metrics_have_upstreams_names(start: Start) -> None:
    cluster = start()
    cluster.create(asking("fits"))
    cluster.create(asking("huge", "64"))
    cluster.create(asking("gated", schedulingGates=[{"name": "example.com/wait"}]))
    cluster.clock.advance(1)
    profile = 'profile="default-scheduler"'
    for line, value in {
        f'scheduler_schedule_attempts_total{{{profile},result="scheduled"}}': 1,
        f'scheduler_schedule_attempts_total{{{profile},result="unschedulable"}}': 1,
        'scheduler_pending_pods{queue="active"}': 0,
        'scheduler_pending_pods{queue="gated"}': 1,
        'scheduler_pending_pods{queue="unschedulable"}': 1,
        f'scheduler_unschedulable_pods{{plugin="NodeResourcesFit",{profile}}}': 1,
        f'scheduler_unschedulable_pods{{plugin="SchedulingGates",{profile}}}': 1,
        'scheduler_queue_incoming_pods_total{event="UnscheduledPodAdd",queue="active"}': 2,
        'scheduler_queue_incoming_pods_total{event="ScheduleAttemptFailure",queue="unschedulable"}': 1,
        'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"}': 1,
        'scheduler_cache_size{type="nodes"}': 1,
        'scheduler_cache_size{type="pods"}': 1,
        f'scheduler_scheduling_attempt_duration_seconds_count{{{profile},result="scheduled"}}': 1,
        "scheduler_scheduling_algorithm_duration_seconds_count": 2,
        "scheduler_pod_scheduling_attempts_count": 1,
        "scheduler_preemption_attempts_total": 1,
    }.items():
        assert metric(cluster, line) == value, line
