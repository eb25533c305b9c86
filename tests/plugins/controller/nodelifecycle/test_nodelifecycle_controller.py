from __future__ import annotations

from typing import Any

import pytest
from workload_kit import events

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.nodelifecycle.taints import desired, eviction_delay

NODE = "node-1"


def template(**spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "x", "command": ["sleep", "100000"]}
    return {"containers": [container], "nodeName": NODE, **spec}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template(**spec)}


def taints(cluster: Cluster) -> set[tuple[str, str]]:
    spec = cluster.get("nodes", NODE).get("spec") or {}
    return {(taint["key"], taint["effect"]) for taint in spec.get("taints") or ()}


def running(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.wait(lambda: conditions.is_true(found := cluster.get("pods", name), "Ready") and found)


def test_a_node_that_lives_stays_ready_and_untainted(cluster: Cluster) -> None:
    cluster.clock.advance("10m")
    assert conditions.is_true(cluster.get("nodes", NODE), "Ready")
    assert taints(cluster) == set()


def test_a_silent_node_is_unknown_after_forty_seconds_and_tainted(cluster: Cluster) -> None:
    cluster.apply(pod("p"))
    running(cluster, "p")
    cluster.faults.crash("node", "simulated")
    cluster.clock.advance(25)
    assert conditions.is_true(cluster.get("nodes", NODE), "Ready")
    cluster.clock.advance(20)
    ready = conditions.find(cluster.get("nodes", NODE), "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"], ready["message"]) == (
        "Unknown",
        "NodeStatusUnknown",
        "Kubelet stopped posting node status.",
    )
    assert taints(cluster) == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }
    assert not conditions.is_true(cluster.get("pods", "p"), "Ready")


def test_a_node_that_comes_back_is_ready_and_loses_the_taints(cluster: Cluster) -> None:
    with cluster.faults.outage("node", "simulated"):
        cluster.clock.advance("1m")
        assert taints(cluster)
    cluster.wait(lambda: conditions.is_true(cluster.get("nodes", NODE), "Ready"))
    assert taints(cluster) == set()


def test_pods_of_a_silent_node_are_evicted_after_their_tolerations_are_used_up(cluster: Cluster) -> None:
    brief = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    cluster.apply(pod("usual"))
    cluster.apply(pod("brief", tolerations=[{**brief, "tolerationSeconds": 30}]))
    cluster.apply(pod("patient", tolerations=[brief]))
    for name in ("usual", "brief", "patient"):
        running(cluster, name)
    cluster.faults.crash("node", "simulated")
    cluster.clock.advance(90)

    def leaving() -> set[str]:
        return {meta.name(found) for found in cluster.list("pods", "default") if meta.is_deleting(found)}

    assert leaving() == {"brief"}
    cluster.clock.advance(270)
    assert leaving() == {"brief", "usual"}
    disrupted = conditions.find(cluster.get("pods", "usual"), "DisruptionTarget")
    assert disrupted is not None
    assert disrupted["reason"] == "DeletionByTaintManager"
    cluster.clock.advance("1h")
    assert "patient" not in leaving()


def test_a_bare_pod_of_a_node_that_is_gone_is_deleted_and_not_made_again(cluster: Cluster) -> None:
    cluster.apply(pod("bare"))
    running(cluster, "bare")
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", NODE)
    cluster.clock.advance("2m")
    assert cluster.list("pods", "default") == []


def test_a_pod_of_a_replica_set_whose_node_is_gone_is_made_again(cluster: Cluster) -> None:
    labels = {"app": "web"}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": template()},
            },
        }
    )
    cluster.clock.advance(10)
    (before,) = cluster.list("pods", "default")
    cluster.faults.crash("node", "simulated")
    cluster.clock.advance("10m")
    pods = cluster.list("pods", "default")
    assert {meta.name(found) for found in pods if meta.is_deleting(found)} >= {meta.name(before)}
    assert any(not meta.is_deleting(found) for found in pods)


def said(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in events(cluster, reason)]


def test_a_node_is_told_when_it_is_looked_after_and_when_no_more(cluster: Cluster) -> None:
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "late"}})
    cluster.settle()
    assert sorted(said(cluster, "RegisteredNode"), reverse=True) == [
        f"Node {name} event: Registered Node {name} in Controller" for name in (NODE, "late")
    ]
    cluster.delete("nodes", "late")
    cluster.settle()
    assert said(cluster, "RemovingNode") == ["Node late event: Removing Node late from Controller"]
    (event,) = events(cluster, "RemovingNode")
    assert event["source"]["component"] == "node-controller"


def test_a_pod_whose_eviction_is_called_off_is_told(cluster: Cluster) -> None:
    key = {"key": "example.com/maintenance", "effect": "NoExecute"}
    cluster.apply(pod("p", tolerations=[{**key, "operator": "Exists", "tolerationSeconds": 60}]))
    running(cluster, "p")
    cluster.patch("nodes", NODE, {"spec": {"taints": [key]}})
    cluster.clock.advance(30)
    cluster.patch("nodes", NODE, {"spec": {"taints": []}})
    cluster.clock.advance("2m")
    assert said(cluster, "TaintManagerEviction") == ["Cancelling deletion of Pod default/p"]
    assert not meta.is_deleting(cluster.get("pods", "p"))
    cluster.patch("nodes", NODE, {"spec": {"taints": [key]}})
    cluster.clock.advance(61)
    assert said(cluster, "TaintManagerEviction")[-1] == "Marking for deletion Pod default/p"


def node(*conditions: tuple[str, str], **spec: Any) -> dict[str, Any]:
    found = [{"type": type, "status": status} for type, status in conditions]
    return {"spec": spec, "status": {"conditions": found}}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(node(("Ready", "True")), [], id="ready"),
        pytest.param(
            node(("Ready", "False")),
            [("not-ready", "NoSchedule"), ("not-ready", "NoExecute")],
            id="not-ready",
        ),
        pytest.param(
            node(("Ready", "True"), ("MemoryPressure", "True")),
            [("memory-pressure", "NoSchedule")],
            id="pressure",
        ),
        pytest.param(
            node(("Ready", "True"), unschedulable=True), [("unschedulable", "NoSchedule")], id="cordoned"
        ),
        pytest.param(
            node(
                ("Ready", "True"),
                taints=[
                    {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"},
                    {"key": "node.kubernetes.io/mine", "effect": "NoSchedule"},
                ],
            ),
            [("mine", "NoSchedule")],
            id="others-stay",
        ),
    ],
)
def test_taints_follow_from_conditions(given: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    found = [
        (taint["key"].removeprefix("node.kubernetes.io/"), taint["effect"]) for taint in desired(given, "t")
    ]
    assert found == expected


TAINT = {"key": "a", "value": "v", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        pytest.param([], 0.0, id="none"),
        pytest.param([{"operator": "Exists"}], None, id="everything"),
        pytest.param([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}], 0.0, id="other-effect"),
        pytest.param([{"key": "a", "value": "v", "tolerationSeconds": 7}], 7.0, id="seconds"),
        pytest.param([{"key": "a", "value": "w", "tolerationSeconds": 7}], 0.0, id="other-value"),
        pytest.param([{"key": "a", "operator": "Exists", "tolerationSeconds": -1}], 0.0, id="negative"),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[dict[str, Any]], expected: float | None) -> None:
    assert eviction_delay({"spec": {"tolerations": tolerations}}, [TAINT]) == expected
