"""In the cases of upstream's taint_eviction_test.go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from workload_kit import events

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.tainteviction import eviction_delay

Obj = dict[str, Any]


@pytest.fixture
def bare(cluster_factory: Callable[..., Cluster]) -> Cluster:
    """A cluster with one node, of which nothing is true but what the test says."""
    own = {"node": [], "controller": ["*", "-nodelifecycle"]}
    cluster = cluster_factory(config={"plugins": own})
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}})
    cluster.patch("nodes", "node1", {"spec": {"taints": []}})
    return cluster


def taint(number: int) -> Obj:
    return {"key": f"testTaint{number}", "value": f"test{number}", "effect": "NoExecute"}


def toleration(number: int, seconds: int | None = None) -> Obj:
    found: Obj = {**taint(number), "operator": "Equal"}
    return found if seconds is None else {**found, "tolerationSeconds": seconds}


def set_taints(cluster: Cluster, *numbers: int) -> None:
    cluster.patch("nodes", "node1", {"spec": {"taints": [taint(number) for number in numbers]}})
    cluster.settle()


def pod(cluster: Cluster, *tolerations: Obj, name: str = "pod1", node: str = "node1") -> None:
    spec = {"containers": [{"name": "c", "image": "x"}], "tolerations": list(tolerations)}
    if node:
        spec["nodeName"] = node
    else:
        spec["schedulerName"] = "nobody"
    cluster.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
    cluster.settle()


def bind(cluster: Cluster, name: str = "pod1") -> None:
    to = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"name": "node1"}}
    cluster.run(cluster.client().create("pods", to, "default", subresource="binding", name=name))
    cluster.settle()


def leaving(cluster: Cluster) -> list[str]:
    return [meta.name(found) for found in cluster.list("pods", "default") if meta.is_deleting(found)]


def told(cluster: Cluster) -> list[str]:
    return [event["message"] for event in events(cluster, "TaintManagerEviction")]


MARKED = "Marking for deletion Pod default/pod1"
CANCELLED = "Cancelling deletion of Pod default/pod1"


@pytest.mark.parametrize(
    ("tolerations", "goes"),
    [
        pytest.param([], True, id="no-toleration"),
        pytest.param([toleration(1, 100)], False, id="finite-toleration"),
        pytest.param([toleration(1)], False, id="infinite-toleration"),
        pytest.param([toleration(2)], True, id="toleration-of-something-else"),
    ],
)
def test_a_pod_made_on_a_tainted_node(bare: Cluster, tolerations: list[Obj], goes: bool) -> None:
    set_taints(bare, 1)
    pod(bare, *tolerations)
    assert leaving(bare) == (["pod1"] if goes else [])


def test_a_pod_that_is_nowhere_stays(bare: Cluster) -> None:
    set_taints(bare, 1)
    pod(bare, node="")
    assert leaving(bare) == []


def test_a_pod_on_an_untainted_node_stays(bare: Cluster) -> None:
    pod(bare)
    bare.clock.advance("10m")
    assert leaving(bare) == []


def test_a_pod_bound_to_a_tainted_node_goes(bare: Cluster) -> None:
    set_taints(bare, 1)
    pod(bare, node="")
    bind(bare)
    assert leaving(bare) == ["pod1"]


def test_a_pod_has_its_time_from_when_it_came_to_the_node_not_from_its_creation(bare: Cluster) -> None:
    set_taints(bare, 1)
    pod(bare, toleration(1, 60), node="")
    bare.clock.advance("10m")
    bind(bare)
    bare.clock.advance(55)
    assert leaving(bare) == []
    bare.clock.advance(6)
    assert leaving(bare) == ["pod1"]


@pytest.mark.parametrize(
    ("before", "tolerations", "after", "goes"),
    [
        pytest.param([], [], [1], True, id="added"),
        pytest.param([], [toleration(1, 100)], [1], False, id="added-and-tolerated"),
        pytest.param([], [toleration(1, 100)], [1, 2], True, id="only-one-tolerated"),
        pytest.param([1], [toleration(1, 1)], [], False, id="removed"),
        pytest.param([], [toleration(1, 1), toleration(2, 100)], [1, 2], True, id="the-shortest-time-counts"),
    ],
)
def test_taints_of_a_node_with_a_pod_change(
    bare: Cluster, before: list[int], tolerations: list[Obj], after: list[int], goes: bool
) -> None:
    set_taints(bare, *before)
    pod(bare, *tolerations)
    set_taints(bare, *after)
    bare.clock.advance(2)
    assert leaving(bare) == (["pod1"] if goes else [])


def test_a_taint_tolerated_for_a_while_that_goes_and_one_tolerated_for_ever_that_stays(bare: Cluster) -> None:
    pod(bare, {**toleration(1)}, toleration(2, 60))
    set_taints(bare, 1)
    set_taints(bare, 1, 2)
    set_taints(bare, 1)
    bare.clock.advance("5m")
    assert leaving(bare) == []
    assert told(bare) == [CANCELLED]


def test_pods_with_different_times_go_at_different_times(bare: Cluster) -> None:
    pod(bare, name="pod1")
    pod(bare, toleration(1, 10), name="pod2")
    pod(bare, toleration(1), name="pod3")
    set_taints(bare, 1)
    assert leaving(bare) == ["pod1"]
    bare.clock.advance(11)
    assert leaving(bare) == ["pod1", "pod2"]
    set_taints(bare, 1, 2)
    assert leaving(bare) == ["pod1", "pod2", "pod3"]


def test_a_longer_time_does_not_help_a_pod_whose_time_is_running(bare: Cluster) -> None:
    set_taints(bare, 1)
    pod(bare, toleration(1, 10))
    bare.patch("pods", "pod1", {"spec": {"tolerations": [toleration(1, 1000)]}})
    bare.clock.advance(11)
    assert leaving(bare) == ["pod1"]


def test_a_shorter_time_of_another_taint_does_not_hurt_a_pod_whose_time_is_running(bare: Cluster) -> None:
    pod(bare, toleration(1, 100), toleration(2, 10))
    set_taints(bare, 1)
    bare.clock.advance(50)
    set_taints(bare, 1, 2)
    bare.clock.advance(20)
    assert leaving(bare) == []
    bare.clock.advance(31)
    assert leaving(bare) == ["pod1"]


def test_a_pod_is_told_that_it_goes_and_why(bare: Cluster) -> None:
    pod(bare)
    set_taints(bare, 1)
    disrupted = conditions.find(bare.get("pods", "pod1"), "DisruptionTarget")
    assert disrupted is not None
    assert {**disrupted, "lastTransitionTime": ""} == {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "observedGeneration": 1,
        "lastTransitionTime": "",
        "lastProbeTime": None,
    }
    (event,) = events(bare, "TaintManagerEviction")
    assert (event["message"], event["type"]) == (MARKED, "Normal")
    assert event["source"] == {"component": "taint-eviction-controller"}
    assert event["involvedObject"] == {
        "kind": "Pod",
        "namespace": "default",
        "name": "pod1",
        "apiVersion": "v1",
    }


def test_a_pod_whose_eviction_is_called_off_is_told_and_has_all_its_time_again(bare: Cluster) -> None:
    pod(bare, toleration(1, 60))
    set_taints(bare, 1)
    bare.clock.advance(30)
    set_taints(bare)
    bare.clock.advance("2m")
    assert told(bare) == [CANCELLED]
    assert leaving(bare) == []
    set_taints(bare, 1)
    bare.clock.advance(59)
    assert leaving(bare) == []
    bare.clock.advance(2)
    assert told(bare) == [CANCELLED, MARKED]


def test_a_pod_that_is_deleted_while_its_time_runs_is_told_that_nothing_comes_of_it(bare: Cluster) -> None:
    pod(bare, toleration(1, 60))
    set_taints(bare, 1)
    bare.delete("pods", "pod1", grace_period=0)
    bare.clock.advance("2m")
    assert told(bare) == [CANCELLED]


def test_a_pod_is_deleted_once_however_its_node_changes(bare: Cluster) -> None:
    bare.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "pod1", "finalizers": ["example.com/hold"]},
            "spec": {
                "nodeName": "node1",
                "containers": [{"name": "c", "image": "x"}],
                "tolerations": [toleration(1, 5)],
            },
        }
    )
    set_taints(bare, 1)
    bare.clock.advance(6)
    bare.patch("nodes", "node1", {"metadata": {"labels": {"a": "b"}}})
    bare.clock.advance("1m")
    assert told(bare) == [MARKED]


def test_a_deletion_that_fails_is_tried_again_and_told_once(bare: Cluster) -> None:
    bare.faults.fail_writes("pods", times=3, verbs=["delete"])
    pod(bare)
    set_taints(bare, 1)
    bare.clock.advance(5)
    assert leaving(bare) == ["pod1"]
    assert told(bare) == [MARKED]


def test_pods_of_a_node_that_is_gone_go_when_their_time_is_up(bare: Cluster) -> None:
    pod(bare, toleration(1, 20))
    set_taints(bare, 1)
    bare.delete("nodes", "node1")
    bare.clock.advance(21)
    assert leaving(bare) == ["pod1"]


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        pytest.param([], 0.0, id="none"),
        pytest.param([{"operator": "Exists"}], None, id="everything"),
        pytest.param(
            [{"key": "testTaint1", "operator": "Exists", "effect": "NoSchedule"}], 0.0, id="other-effect"
        ),
        pytest.param([toleration(1, 7)], 7.0, id="seconds"),
        pytest.param([{**toleration(1, 7), "value": "w"}], 0.0, id="other-value"),
        pytest.param([toleration(1, -1)], 0.0, id="negative"),
        pytest.param([toleration(1), toleration(1, 5)], None, id="the-first-that-fits-counts"),
    ],
)
def test_how_long_a_pod_may_stay(tolerations: list[Obj], expected: float | None) -> None:
    assert eviction_delay({"spec": {"tolerations": tolerations}}, [taint(1)]) == expected


def test_how_many_pods_went_is_counted(bare: Cluster) -> None:
    set_taints(bare, 1)
    pod(bare)
    bare.clock.advance(1)
    text = bare.kernel.hooks.metrics()
    assert "taint_eviction_controller_pod_deletions_total 1\n" in text
    assert "taint_eviction_controller_pod_deletion_duration_seconds_count 1\n" in text
