from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from fleet_kit import LEASES, Fleet
from workload_kit import events

from kubernel.clock import micro_time
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.nodelifecycle import taints

THREE = ("n1", "n2", "n3")


@pytest.fixture
def bare(cluster_factory: Callable[..., Cluster]) -> Cluster:
    """A cluster whose nodes are a fleet's."""
    return cluster_factory(config={"plugins": {"node": []}})


def pod_on(cluster: Cluster, node: str, name: str = "p", ready: str = "True", **spec: Any) -> None:
    containers = [{"name": "c", "image": "x"}]
    spec = {"nodeName": node, "containers": containers, **spec}
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready, "reason": "R"}]}
    cluster.patch("pods", name, {"status": status}, subresource="status")


def said(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in events(cluster, reason)]


# --- signs of life


def test_a_node_that_lives_stays_ready_and_untainted(cluster: Cluster) -> None:
    cluster.clock.advance("10m")
    node = cluster.get("nodes", "node-1")
    assert conditions.is_true(node, "Ready")
    assert not node["spec"].get("taints")


def test_a_silent_node_is_unknown_after_fifty_seconds(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.live(30)
    fleet.silence("n1")
    fleet.live(35)
    assert fleet.ready("n1")["status"] == "True"
    fleet.live(15)
    ready = fleet.ready("n1")
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "Unknown",
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )
    assert fleet.ready("n2")["status"] == "True"
    assert said(bare, "NodeNotReady") == ["Node n1 status is now: NodeNotReady"]


def test_conditions_that_a_silent_node_never_had_are_unknown_since_it_was_made(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    made = bare.get("nodes", "n1")["metadata"]["creationTimestamp"]
    fleet.silence("n1")
    fleet.live(70)
    node = bare.get("nodes", "n1")
    for type in ("MemoryPressure", "DiskPressure", "PIDPressure"):
        found = conditions.find(node, type)
        assert found is not None
        assert (found["status"], found["reason"], found["message"], found["lastHeartbeatTime"]) == (
            "Unknown",
            "NodeStatusNeverUpdated",
            "Kubelet never posted node status.",
            made,
        )
    assert conditions.find(node, "NetworkUnavailable") is None


def test_a_node_that_never_said_anything_has_sixty_seconds_from_its_creation(bare: Cluster) -> None:
    Fleet(bare, {"": THREE})
    bare.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "mute"}})
    bare.clock.advance(55)
    assert conditions.find(bare.get("nodes", "mute"), "Ready") is None
    bare.clock.advance(15)
    ready = conditions.find(bare.get("nodes", "mute"), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusNeverUpdated")


def test_the_grace_period_can_be_set(cluster_factory: Callable[..., Cluster]) -> None:
    own = {"controller": ["*", {"nodelifecycle": {"nodeMonitorGracePeriod": "20s"}}], "node": []}
    cluster = cluster_factory(config={"plugins": own})
    fleet = Fleet(cluster, {"": THREE})
    fleet.silence("n1")
    fleet.live(30)
    assert fleet.ready("n1")["status"] == "Unknown"


def test_nodes_that_fall_silent_within_five_seconds_are_noticed_together(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    bare.clock.advance(1.5)
    fleet.beat()
    bare.clock.advance(2.5)
    fleet.silence("n1")
    fleet.beat()
    fleet.silence("n2")
    fleet.live(70)
    assert fleet.ready("n1")["lastTransitionTime"] == fleet.ready("n2")["lastTransitionTime"]


def test_a_node_whose_lease_is_renewed_unseen_is_not_called_silent(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.silence("n1")
    fleet.live(40)
    bare.faults.drop_watches()
    renewed = {"spec": {"renewTime": micro_time(bare.clock.time())}}
    bare.patch(LEASES, "n1", renewed, "kube-node-lease")
    fleet.live(20)
    assert fleet.ready("n1")["status"] == "True"


def test_a_node_that_said_not_ready_before_it_fell_silent_is_told_of_once(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    pod_on(bare, "n1")
    fleet.say("n1", "False")
    fleet.silence("n1")
    fleet.live(70)
    assert fleet.ready("n1")["status"] == "Unknown"
    assert said(bare, "NodeNotReady") == []


# --- pods


def test_pods_of_a_silent_node_are_not_ready_for_the_reason_that_they_had(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    pod_on(bare, "n1")
    pod_on(bare, "n2", "other")
    pod_on(bare, "n1", "never", ready="False")
    fleet.silence("n1")
    fleet.live(70)
    ready = conditions.find(bare.get("pods", "p"), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("False", "R")
    assert conditions.is_true(bare.get("pods", "other"), "Ready")
    told = [event for event in events(bare, "NodeNotReady") if event["involvedObject"]["kind"] == "Pod"]
    assert [(event["type"], event["message"], event["involvedObject"]["name"]) for event in told] == [
        ("Warning", "Node is not ready", "p")
    ]


def test_marking_the_pods_of_a_silent_node_is_tried_again(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    pod_on(bare, "n1")
    bare.faults.fail_writes("pods", times=2, verbs=["update", "patch"])
    fleet.silence("n1")
    fleet.live(70)
    assert not conditions.is_true(bare.get("pods", "p"), "Ready")


def test_a_pod_that_comes_to_a_node_that_is_not_ready_is_not_ready(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.silence("n1")
    fleet.live(70)
    tolerant = {"tolerations": [{"operator": "Exists"}], "schedulerName": "nobody"}
    spec = {"containers": [{"name": "c", "image": "x"}], **tolerant}
    bare.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late"}, "spec": spec})
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    bare.patch("pods", "late", {"status": status}, subresource="status")
    bind_to = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "late"}, "target": {"name": "n1"}}
    bare.run(bare.client().create("pods", bind_to, "default", subresource="binding", name="late"))
    bare.settle()
    assert not conditions.is_true(bare.get("pods", "late"), "Ready")


# --- taints


def test_a_node_is_tainted_for_what_its_conditions_say(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.say("n1", "True", MemoryPressure="True", NetworkUnavailable="True")
    fleet.say("n2", "False")
    bare.patch("nodes", "n3", {"spec": {"unschedulable": True}})
    bare.settle()
    assert fleet.tainted("NoSchedule") == {
        "n1": ["memory-pressure", "network-unavailable"],
        "n2": ["not-ready"],
        "n3": ["unschedulable"],
    }
    for node in bare.list("nodes"):
        assert all(taint["timeAdded"] for taint in node["spec"]["taints"])
    fleet.say("n1", "True", MemoryPressure="False", NetworkUnavailable="Unknown")
    fleet.say("n2", "True")
    bare.patch("nodes", "n3", {"spec": {"unschedulable": None}})
    bare.settle()
    assert fleet.tainted("NoSchedule") == {}


def test_an_unready_node_becomes_unreachable_without_waiting_its_turn(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.live(10)
    fleet.say("n1", "False")
    fleet.live(1)
    assert fleet.tainted() == {"n1": ["not-ready"]}
    fleet.silence("n1")
    fleet.live(60)
    assert fleet.tainted() == {"n1": ["unreachable"]}
    assert fleet.tainted("NoSchedule") == {"n1": ["unreachable"]}
    fleet.say("n1", "False")
    bare.settle()
    assert fleet.tainted() == {"n1": ["not-ready"]}


def test_a_node_that_comes_back_is_ready_and_loses_its_taints(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.silence("n1")
    fleet.live(70)
    assert fleet.tainted() == {"n1": ["unreachable"]}
    fleet.revive("n1")
    bare.settle()
    assert (fleet.tainted(), fleet.tainted("NoSchedule")) == ({}, {})


def test_taints_of_others_stay(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    mine = {"key": "node.kubernetes.io/mine", "effect": "NoExecute"}
    bare.patch("nodes", "n1", {"spec": {"taints": [mine]}})
    fleet.live(10)
    fleet.say("n1", "False")
    fleet.live(1)
    assert fleet.tainted() == {"n1": ["mine", "not-ready"]}
    fleet.say("n1", "True")
    bare.settle()
    assert fleet.tainted() == {"n1": ["mine"]}


def test_a_taint_that_somebody_takes_off_comes_back(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.live(10)
    fleet.say("n1", "False")
    fleet.live(1)
    bare.patch("nodes", "n1", {"spec": {"taints": []}})
    fleet.live(11)
    assert fleet.tainted() == {"n1": ["not-ready"]}
    assert fleet.tainted("NoSchedule") == {"n1": ["not-ready"]}


def test_a_new_controller_gives_every_node_the_benefit_of_the_doubt_once(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    fleet.live(10)
    fleet.say("n1", "False")
    fleet.live(1)
    with bare.faults.outage("controller", "nodelifecycle"):
        pass
    bare.settle()
    assert fleet.tainted() == {}
    fleet.live(1)
    assert fleet.tainted() == {"n1": ["not-ready"]}


def node(*conditions: tuple[str, str], **spec: Any) -> dict[str, Any]:
    found = [{"type": type, "status": status} for type, status in conditions]
    return {"spec": spec, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(node(("Ready", "True")), [], id="ready"),
        pytest.param(node(("Ready", "False")), ["not-ready"], id="not-ready"),
        pytest.param(node(("Ready", "Unknown")), ["unreachable"], id="unknown"),
        pytest.param(node(("Ready", "True"), ("MemoryPressure", "True")), ["memory-pressure"], id="memory"),
        pytest.param(
            node(("DiskPressure", "True"), ("PIDPressure", "True")),
            ["disk-pressure", "pid-pressure"],
            id="more",
        ),
        pytest.param(node(("NetworkUnavailable", "True")), ["network-unavailable"], id="network"),
        pytest.param(node(("MemoryPressure", "Unknown")), [], id="unknown-pressure-is-none"),
        pytest.param(node(unschedulable=True), ["unschedulable"], id="cordoned"),
        pytest.param(
            node(
                ("Ready", "True"),
                taints=[
                    {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
                    {"key": "node.kubernetes.io/mine", "effect": "NoSchedule"},
                ],
            ),
            ["mine"],
            id="others-stay",
        ),
    ],
)
def test_no_schedule_taints_follow_from_conditions(given: dict[str, Any], expected: list[str]) -> None:
    found = taints.scheduling(given, "t")
    assert [taint["key"].removeprefix("node.kubernetes.io/") for taint in found] == expected


# --- labels


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({"other": "x"}, {"other": "x"}, id="nothing-to-copy"),
        pytest.param(
            {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
            {"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "amd64"},
            id="added",
        ),
        pytest.param(
            {"kubernetes.io/os": "linux", "beta.kubernetes.io/os": "windows"},
            {"beta.kubernetes.io/os": "linux"},
            id="corrected",
        ),
        pytest.param({"beta.kubernetes.io/os": "linux"}, {"beta.kubernetes.io/os": "linux"}, id="left-alone"),
    ],
)
def test_old_labels_follow_the_new_ones(
    bare: Cluster, given: dict[str, str], expected: dict[str, str]
) -> None:
    bare.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": given}})
    bare.settle()
    assert meta.labels(bare.get("nodes", "n")) == {**given, **expected}


# --- events


def test_a_node_is_told_when_it_is_looked_after_and_when_no_more(bare: Cluster) -> None:
    made = bare.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}})
    bare.settle()
    assert said(bare, "RegisteredNode") == ["Node late event: Registered Node late in Controller"]
    bare.delete("nodes", "late")
    bare.settle()
    assert said(bare, "RemovingNode") == ["Node late event: Removing Node late from Controller"]
    (event,) = events(bare, "RemovingNode")
    assert event["source"]["component"] == "node-controller"
    assert event["involvedObject"] == {
        "kind": "Node",
        "name": "late",
        "uid": meta.uid(made),
        "apiVersion": "v1",
    }


# --- zones


def test_nodes_are_tainted_one_in_ten_seconds(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": [f"n{i}" for i in range(8)]})
    fleet.live(10)
    fleet.silence("n0", "n1", "n2")
    fleet.live(35)
    counts = []
    for _ in range(8):
        fleet.live(5)
        counts.append(len(fleet.tainted()))
    assert counts[-1] == 3
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(counts))
    assert 1 in counts


def test_no_node_of_a_small_zone_is_tainted_while_too_many_of_it_are_down(bare: Cluster) -> None:
    fleet = Fleet(bare, {"a": [f"a{i}" for i in range(5)], "b": ["b0"]})
    fleet.live(10)
    fleet.silence("a0", "a1", "a2")
    fleet.live(600)
    assert {fleet.ready(name)["status"] for name in ("a0", "a1", "a2")} == {"Unknown"}
    assert fleet.tainted() == {}
    assert set(fleet.tainted("NoSchedule")) == {"a0", "a1", "a2"}
    fleet.revive("a0")
    fleet.live(60)
    assert set(fleet.tainted()) == {"a1", "a2"}


def test_a_zone_that_is_all_down_is_tainted_node_by_node_while_another_is_up(bare: Cluster) -> None:
    fleet = Fleet(bare, {"a": [f"a{i}" for i in range(4)], "b": ["b0"]})
    for name in ("a0", "a1", "a2", "a3"):
        pod_on(bare, name, f"p-{name}")
    fleet.live(10)
    fleet.silence("a0", "a1", "a2", "a3")
    fleet.live(65)
    assert 1 <= len(fleet.tainted()) <= 2
    fleet.live(45)
    assert set(fleet.tainted()) == {"a0", "a1", "a2", "a3"}
    fleet.live(310)
    assert all(meta.is_deleting(pod) for pod in bare.list("pods", "default"))


def test_when_no_node_is_heard_nobody_is_evicted_until_one_is(bare: Cluster) -> None:
    fleet = Fleet(bare, {"a": ("a0", "a1"), "b": ("b0", "b1")})
    for name in list(fleet.alive):
        pod_on(bare, name, f"p-{name}")
    fleet.live(10)
    fleet.silence("a0", "a1", "b0", "b1")
    fleet.live(3600)
    assert {fleet.ready(name)["status"] for name in ("a0", "a1", "b0", "b1")} == {"Unknown"}
    assert fleet.tainted() == {}
    assert not any(meta.is_deleting(pod) for pod in bare.list("pods", "default"))
    fleet.revive("a0", "a1", "b0")
    fleet.live(5)
    assert fleet.tainted() == {}
    fleet.live(20)
    assert fleet.tainted() == {"b1": ["unreachable"]}
    fleet.live(310)
    assert [meta.name(pod) for pod in bare.list("pods", "default") if meta.is_deleting(pod)] == ["p-b1"]


def test_the_last_zone_to_fall_takes_the_taints_of_the_others_away(bare: Cluster) -> None:
    fleet = Fleet(bare, {"a": ("a0",), "b": ("b0",)})
    fleet.live(10)
    fleet.silence("a0")
    fleet.live(70)
    assert fleet.tainted() == {"a0": ["unreachable"]}
    fleet.silence("b0")
    fleet.live(70)
    assert fleet.tainted() == {}
    assert set(fleet.tainted("NoSchedule")) == {"a0", "b0"}


def test_the_only_node_of_a_cluster_keeps_its_pods(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": ("n1",)})
    pod_on(bare, "n1")
    fleet.silence("n1")
    fleet.live(1200)
    assert fleet.ready("n1")["status"] == "Unknown"
    assert fleet.tainted() == {}
    assert not meta.is_deleting(bare.get("pods", "p"))


def test_a_pod_of_a_replica_set_whose_node_is_silent_is_made_again(bare: Cluster) -> None:
    fleet = Fleet(bare, {"": THREE})
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    bare.apply({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web"}, "spec": spec})
    bare.patch("nodes", "n1", {"status": {"allocatable": {"pods": "10"}}}, subresource="status")
    fleet.live(10)
    (before,) = bare.list("pods", "default")
    fleet.silence("n1")
    fleet.live(400)
    pods = bare.list("pods", "default")
    assert {meta.name(found) for found in pods if meta.is_deleting(found)} == {meta.name(before)}
    assert any(not meta.is_deleting(found) for found in pods)
