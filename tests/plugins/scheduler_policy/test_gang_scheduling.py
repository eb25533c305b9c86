"""Pods of a group get their nodes together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.errors import Invalid
from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]


@pytest.fixture
def cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:
    plugins = {
        "types": [{"builtin": {"serve": ["scheduling.k8s.io/v1beta1"]}}],
        "node": [{"simulated": {"nodes": 2, "cpu": "2"}}],
        "scheduler_policy": ["*", "gang_scheduling"],
    }
    return cluster_factory(config={"plugins": plugins})


def group(name: str, count: int | None) -> Obj:
    policy: Obj = {"basic": {}} if count is None else {"gang": {"minCount": count}}
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": {"name": name},
        "spec": {"schedulingPolicy": policy},
    }


def member(name: str, of: str, cpu: str = "1", **spec: Any) -> Obj:
    containers = [{"name": "m", "image": "x", "resources": {"requests": {"cpu": cpu}}}]
    return pod(name, containers=containers, schedulingGroup={"podGroupName": of}, **spec)


def placed(cluster: Cluster) -> list[str]:
    cluster.settle()
    return sorted(p["metadata"]["name"] for p in cluster.list("pods") if p["spec"].get("nodeName"))


def said(cluster: Cluster, name: str) -> str:
    found = conditions.find(cluster.get("pods", name), "PodScheduled") or {}
    return str(found.get("message", ""))


def condition(cluster: Cluster, name: str) -> tuple[str, str, str]:
    cluster.settle()
    found = conditions.find(cluster.get("podgroups", name), "PodGroupInitiallyScheduled") or {}
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def test_pods_wait_for_their_group_and_for_each_other(cluster: Cluster) -> None:
    cluster.create(member("a", "ring"))
    cluster.create(member("b", "ring"))
    cluster.clock.advance(30)
    assert placed(cluster) == []
    cluster.create(group("ring", 3))
    cluster.clock.advance(30)
    assert placed(cluster) == []
    cluster.create(member("c", "ring"))
    assert placed(cluster) == ["a", "b", "c"]
    assert condition(cluster, "ring") == ("True", "Scheduled", "")
    assert events(cluster, "FailedScheduling") == []


def test_a_gang_that_does_not_fit_takes_no_room_and_says_why(cluster: Cluster) -> None:
    cluster.create(group("ring", 5))
    for number in range(5):
        cluster.create(member(f"m{number}", "ring"))
    assert placed(cluster) == []
    refusal = (
        "minCount (5) cannot be satisfied: 4 scheduled, 0 remaining, pod group preemption: No preemption victims found "
        "for incoming preemptor"
    )
    assert condition(cluster, "ring") == ("False", "Unschedulable", refusal)
    texts = sorted(said(cluster, f"m{number}") for number in range(5))
    unschedulable = f"pod group is unschedulable, {refusal}"
    assert texts == ["0/2 nodes are available: 2 Insufficient cpu.", *[unschedulable] * 4]
    # What was looked at for the gang is free for others.
    for number in range(4):
        cluster.create(pod(f"other{number}", containers=member("x", "y")["spec"]["containers"]))
    assert placed(cluster) == [f"other{number}" for number in range(4)]


def test_a_gang_is_tried_again_as_a_whole_when_there_is_room(cluster: Cluster) -> None:
    cluster.create(pod("blocker", containers=member("x", "y", "2")["spec"]["containers"]))
    cluster.settle()
    cluster.create(group("ring", 4))
    for number in range(4):
        cluster.create(member(f"m{number}", "ring"))
    assert placed(cluster) == ["blocker"]
    cluster.delete("pods", "blocker")
    cluster.clock.advance(11)
    assert placed(cluster) == ["m0", "m1", "m2", "m3"]
    assert condition(cluster, "ring")[:2] == ("True", "Scheduled")


def test_more_than_the_minimum_get_what_there_is(cluster: Cluster) -> None:
    cluster.create(group("ring", 2))
    cluster.create(member("a", "ring"))
    cluster.create(member("b", "ring"))
    assert placed(cluster) == ["a", "b"]
    for name in ("c", "d", "e"):
        cluster.create(member(name, "ring"))
    cluster.settle()
    assert len(placed(cluster)) == 4
    assert condition(cluster, "ring")[:2] == ("True", "Scheduled")


def test_a_smaller_minimum_lets_a_gang_go(cluster: Cluster) -> None:
    cluster.create(group("ring", 3))
    cluster.create(member("a", "ring"))
    cluster.create(member("b", "ring"))
    assert placed(cluster) == []
    cluster.patch("podgroups", "ring", {"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}})
    assert placed(cluster) == ["a", "b"]


def test_pods_of_a_basic_group_go_by_themselves(cluster: Cluster) -> None:
    cluster.create(group("loose", None))
    cluster.create(member("a", "loose"))
    cluster.create(member("huge", "loose", "64"))
    assert placed(cluster) == ["a"]
    assert condition(cluster, "loose")[:2] == ("True", "Scheduled")


def test_two_gangs_that_fit_one_at_a_time_do_not_block_each_other(cluster: Cluster) -> None:
    for name in ("red", "blue"):
        cluster.create(group(name, 3))
    for number in range(3):
        for name in ("red", "blue"):
            cluster.create(member(f"{name}{number}", name))
    cluster.clock.advance(60)
    assert [name.rstrip("012") for name in placed(cluster)] in (["red"] * 3, ["blue"] * 3)


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        pytest.param(
            {}, 'spec.schedulingPolicy: Invalid value: "": must specify one of: `basic`, `gang`', id="none"
        ),
        pytest.param(
            {"basic": {}, "gang": {"minCount": 1}},
            'spec.schedulingPolicy: Invalid value: "{basic, gang}": must specify exactly one of: `basic`, `gang`',
            id="both",
        ),
        pytest.param(
            {"gang": {"minCount": 0}},
            "spec.schedulingPolicy.gang.minCount: Required value",
            id="nobody",
        ),
    ],
)
def test_a_group_has_one_policy(cluster: Cluster, policy: Obj, text: str) -> None:
    made = group("g", 1)
    made["spec"]["schedulingPolicy"] = policy
    with pytest.raises(Invalid) as refused:
        cluster.create(made)
    assert text in str(refused.value)


def test_the_kind_of_a_policy_stays(cluster: Cluster) -> None:
    cluster.create(group("g", 2))
    with pytest.raises(Invalid, match="field is immutable"):
        cluster.patch("podgroups", "g", {"spec": {"schedulingPolicy": {"gang": None, "basic": {}}}})


def high_class(**more: Any) -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 10,
        **more,
    }


def high_group(name: str, count: int) -> Obj:
    made = group(name, count)
    made["spec"].update(priorityClassName="high", priority=10)
    return made


def low(cluster: Cluster, *names: str) -> None:
    for name in names:
        containers = [{"name": "m", "image": "x", "resources": {"requests": {"cpu": "1"}}}]
        cluster.create(pod(name, containers=containers, terminationGracePeriodSeconds=0))
    cluster.settle()


def test_a_gang_takes_the_room_of_pods_of_lower_priority(cluster: Cluster) -> None:
    cluster.create(high_class())
    low(cluster, "l1", "l2", "l3", "l4")
    cluster.create(high_group("ring", 2))
    for name in ("a", "b"):
        cluster.create(member(name, "ring", "2", priorityClassName="high"))
    cluster.settle()
    cluster.clock.advance("1m")
    assert placed(cluster) == ["a", "b"]
    assert cluster.find("pods", "l1") is None
    notes = [each["message"] for each in events(cluster, "Preempted")]
    assert len(notes) == 4


def test_a_gang_spares_who_is_not_in_its_way(cluster: Cluster) -> None:
    cluster.create(high_class())
    low(cluster, "l1", "l2", "l3")
    cluster.create(high_group("ring", 2))
    for name in ("a", "b"):
        cluster.create(member(name, "ring", "1", priorityClassName="high"))
    cluster.clock.advance("1m")
    left = placed(cluster)
    assert {"a", "b"} < set(left)
    assert len(left) == 4


def test_a_gang_for_which_nobody_can_make_room_is_told(cluster: Cluster) -> None:
    cluster.create(high_class())
    low(cluster, "l1")
    cluster.create(high_group("ring", 3))
    for name in ("a", "b", "c"):
        cluster.create(member(name, "ring", "2", priorityClassName="high"))
    cluster.clock.advance(5)
    cannot = "minCount (3) cannot be satisfied: 1 scheduled, 1 remaining"
    least = "minCount (3) cannot be satisfied: 2 scheduled, 0 remaining"
    assert condition(cluster, "ring")[2] == f"{cannot}, pod group preemption: {least}"
    assert cluster.find("pods", "l1") is not None


def test_a_gang_that_is_not_to_preempt_says_so(cluster: Cluster) -> None:
    cluster.create(high_class(preemptionPolicy="Never"))
    low(cluster, "l1", "l2", "l3", "l4")
    cluster.create(high_group("ring", 1))
    cluster.create(member("a", "ring", "1", priorityClassName="high"))
    assert condition(cluster, "ring")[2] == (
        "minCount (1) cannot be satisfied: 0 scheduled, 0 remaining, "
        "pod group preemption: not eligible due to preemptionPolicy=Never."
    )
    assert said(cluster, "a") == "0/2 nodes are available: 2 Insufficient cpu."


def test_pods_of_another_priority_than_their_group_are_an_error(cluster: Cluster) -> None:
    cluster.create(high_class())
    cluster.create(high_group("ring", 1))
    cluster.create(member("a", "ring"))
    why = "all pods in a single pod group should have the same priority as the pod group's priority, got 0 and 10"
    assert condition(cluster, "ring") == ("False", "SchedulerError", why)
    found = conditions.find(cluster.get("pods", "a"), "PodScheduled") or {}
    assert (found["reason"], found["message"]) == ("SchedulerError", why)


def _with_mode(made: Obj, mode: str, value: int) -> Obj:
    spec = {**made["spec"], "disruptionMode": {mode: {}}, "priority": value}
    return {**made, "spec": spec}


@pytest.mark.parametrize(("mode", "left"), [("all", []), ("single", ["b"])])
def test_a_group_that_only_goes_as_a_whole_makes_room_with_all_its_pods(
    cluster: Cluster, mode: str, left: list[str]
) -> None:
    metadata = {"name": "high"}
    cluster.create(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": 9}
    )
    cluster.create(_with_mode(group("ring", 2), mode, 0))
    for name in ("a", "b"):
        cluster.create(member(name, "ring", cpu="2", terminationGracePeriodSeconds=0))
    assert placed(cluster) == ["a", "b"]
    where = {cluster.get("pods", name)["spec"]["nodeName"]: name for name in ("a", "b")}
    containers = [{"name": "m", "image": "x", "resources": {"requests": {"cpu": "2"}}}]
    needy = next(node for node, name in where.items() if name == "a")
    here = {"kubernetes.io/hostname": needy}
    cluster.create(pod("high", containers=containers, priorityClassName="high", nodeSelector=here))
    assert placed(cluster) == sorted([*left, "high"])


def test_attempts_for_groups_are_counted(cluster: Cluster) -> None:
    cluster.create(group("ring", 2))
    for name in ("a", "b"):
        cluster.create(member(name, "ring", cpu="2"))
    assert placed(cluster) == ["a", "b"]
    text = cluster.kernel.hooks.metrics()
    line = 'scheduler_podgroup_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1'
    assert line in text
    bound = 'extension_point="Bind",profile="default-scheduler",status="Success"'
    assert f"scheduler_framework_extension_point_duration_seconds_count{{{bound}}} 2" in text


def test_what_is_wrong_with_one_pod_has_the_whole_group_tried_again(cluster: Cluster) -> None:
    cluster.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": "node-1"},
            "spec": {"drivers": [{"name": "disk.csi.azure.com", "nodeID": "n", "allocatable": {"count": 1}}]},
        }
    )
    cluster.create(group("ring", 2))
    cluster.create(member("a", "ring"))
    disk = {"diskName": "d", "diskURI": "https://x.blob.core.windows.net/vhds/d.vhd", "kind": "Dedicated"}
    cluster.create(member("b", "ring", volumes=[{"name": "d", "azureDisk": disk}]))
    assert placed(cluster) == []
    why = (
        'running "NodeVolumeLimits" filter plugin: converting volume(d) from inline to csi: '
        "kind(Dedicated) is not supported in csi migration"
    )
    assert said(cluster, "b") == why
    assert said(cluster, "a") == f"failed to schedule other pod from a pod group: {why}"
    assert condition(cluster, "ring")[:2] == ("False", "SchedulerError")
