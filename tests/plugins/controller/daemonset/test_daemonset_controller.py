from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from workload_kit import take_revision

from kubernel.objects import conditions, meta
from kubernel.objects.names import pod_hash
from kubernel.testing import Cluster
from kubernel_plugins.controller.daemonset.placement import Fit, fit, pod_for, target, tolerations

LABELS = {"app": "agent"}
SETS = "daemonsets.v1.apps"
REVISIONS = "controllerrevisions.v1.apps"


def daemonset(image: str = "agent:1", *, update: dict[str, Any] | None = None, **pod: Any) -> dict[str, Any]:
    annotations = pod.pop("annotations", None)
    spec: dict[str, Any] = {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS, **({"annotations": annotations} if annotations else {})},
            "spec": {"containers": [{"name": "c", "image": image}], **pod},
        },
    }
    if update:
        spec["updateStrategy"] = update
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}


@pytest.fixture
def nodes(cluster_factory: Callable[..., Cluster]) -> Callable[..., Cluster]:
    def start(count: int, **settings: Any) -> Cluster:
        return cluster_factory(config={"plugins": {"node": [{"simulated": {"nodes": count, **settings}}]}})

    return start


def pods(cluster: Cluster) -> list[Any]:
    return [pod for pod in cluster.list("pods", "default") if not meta.is_deleting(pod)]


def on(cluster: Cluster) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in pods(cluster))


def images(cluster: Cluster) -> Counter[str]:
    return Counter(pod["spec"]["containers"][0]["image"] for pod in pods(cluster))


def status(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.get(SETS, "agent")["status"])


def events(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in cluster.list("events", "default") if event["reason"] == reason]


def twice_on_a_node(found: list[Any]) -> list[str]:
    counts = Counter(target(pod) for pod in found if not meta.is_deleting(pod))
    return [node for node, count in counts.items() if count > 1]


def test_each_node_runs_one_pod_and_the_status_counts_them(
    nodes: Callable[..., Cluster], always: Any
) -> None:
    cluster = nodes(3)
    always(cluster, "pods", twice_on_a_node)
    cluster.apply(daemonset())
    cluster.clock.advance(5)
    assert on(cluster) == ["node-1", "node-2", "node-3"]
    assert status(cluster) == {
        "currentNumberScheduled": 3,
        "desiredNumberScheduled": 3,
        "numberMisscheduled": 0,
        "numberReady": 3,
        "numberAvailable": 3,
        "updatedNumberScheduled": 3,
        "observedGeneration": 1,
    }
    (pod, *_) = pods(cluster)
    (revision,) = cluster.list(REVISIONS, "default")
    assert revision["revision"] == 1
    assert revision["data"]["spec"]["template"]["$patch"] == "replace"
    assert meta.name(revision) == f"agent-{meta.labels(pod)['controller-revision-hash']}"
    assert meta.labels(revision)["controller-revision-hash"] == meta.labels(pod)["controller-revision-hash"]


def test_a_pod_that_was_deleted_or_has_failed_is_replaced(nodes: Callable[..., Cluster], always: Any) -> None:
    cluster = nodes(2)
    always(cluster, "pods", twice_on_a_node)
    cluster.apply(daemonset())
    cluster.clock.advance(5)
    victim, failed = pods(cluster)
    cluster.delete("pods", meta.name(victim))
    cluster.clock.advance(5)
    assert on(cluster) == ["node-1", "node-2"]
    cluster.patch("pods", meta.name(failed), {"status": {"phase": "Failed"}}, subresource="status")
    cluster.clock.advance(5)
    assert on(cluster) == ["node-1", "node-2"]
    assert cluster.find("pods", meta.name(failed)) is None
    assert any("will try to kill it" in text for text in events(cluster, "FailedDaemonPod"))


def test_pods_that_keep_failing_on_a_node_are_replaced_more_and_more_slowly(cluster: Cluster) -> None:
    cluster.apply(daemonset())
    made: set[str] = set()
    for _ in range(6):
        cluster.clock.advance(1)
        for pod in pods(cluster):
            made.add(meta.name(pod))
            if pod["status"]["phase"] != "Failed":
                cluster.patch("pods", meta.name(pod), {"status": {"phase": "Failed"}}, subresource="status")
    # After the first: 1 s, 2 s, 4 s.
    assert 3 <= len(made) <= 4


def test_pods_follow_the_labels_of_nodes(nodes: Callable[..., Cluster]) -> None:
    cluster = nodes(3)
    cluster.apply(daemonset(nodeSelector={"disk": "ssd"}))
    cluster.clock.advance(2)
    assert on(cluster) == []
    assert status(cluster)["desiredNumberScheduled"] == 0
    cluster.patch("nodes", "node-2", {"metadata": {"labels": {"disk": "ssd"}}})
    cluster.clock.advance(2)
    assert on(cluster) == ["node-2"]
    cluster.patch("nodes", "node-2", {"metadata": {"labels": {"disk": "hdd"}}})
    cluster.clock.advance(2)
    assert on(cluster) == []


def test_a_taint_drives_away_or_only_keeps_away_by_its_effect(nodes: Callable[..., Cluster]) -> None:
    cluster = nodes(2)
    cluster.patch("nodes", "node-1", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
    cluster.apply(daemonset())
    cluster.clock.advance(2)
    assert on(cluster) == ["node-2"]
    cluster.patch("nodes", "node-2", {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}})
    cluster.clock.advance(2)
    assert on(cluster) == ["node-2"]
    assert status(cluster)["numberMisscheduled"] == 1
    cluster.patch("nodes", "node-2", {"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}})
    cluster.clock.advance(2)
    assert on(cluster) == []


def test_a_cordoned_node_gets_its_pod_and_one_that_is_gone_loses_it(nodes: Callable[..., Cluster]) -> None:
    cluster = nodes(2)
    cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
    cluster.apply(daemonset())
    cluster.clock.advance(2)
    assert on(cluster) == ["node-1", "node-2"]
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", "node-1")
    cluster.clock.advance("3m")
    assert on(cluster) == ["node-2"]


@pytest.mark.parametrize("limit", [1, 2, "50%"])
def test_a_rolling_update_keeps_within_max_unavailable(
    nodes: Callable[..., Cluster], always: Any, limit: int | str
) -> None:
    cluster = nodes(4, startDelay=2.0, stopDelay=1.0)
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": limit}}
    cluster.apply(daemonset("agent:1", update=update))
    cluster.clock.advance(20)
    assert status(cluster)["numberAvailable"] == 4
    allowed = 2 if limit == "50%" else int(limit)

    def too_few(found: list[Any]) -> str:
        up = sum(conditions.is_true(pod, "Ready") and not meta.is_deleting(pod) for pod in found)
        return "" if up >= 4 - allowed else f"{up} of 4 available"

    always(cluster, "pods", too_few)
    always(cluster, "pods", twice_on_a_node)
    cluster.apply(daemonset("agent:2", update=update))
    cluster.clock.advance("2m")
    assert images(cluster) == {"agent:2": 4}
    assert status(cluster)["updatedNumberScheduled"] == 4
    assert always.looked > 8


def test_a_surging_update_never_has_a_node_without_an_available_pod(
    nodes: Callable[..., Cluster], always: Any
) -> None:
    cluster = nodes(3, startDelay=2.0, stopDelay=1.0)
    update = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    cluster.apply(daemonset("agent:1", update=update))
    cluster.clock.advance(20)

    def down(found: list[Any]) -> str:
        up = {pod["spec"].get("nodeName") for pod in found if conditions.is_true(pod, "Ready")}
        surging = sum(not meta.is_deleting(pod) for pod in found) - 3
        return "" if len(up) == 3 and surging <= 1 else f"up {up}, surging {surging}"

    always(cluster, "pods", down)
    cluster.apply(daemonset("agent:2", update=update))
    cluster.clock.advance("2m")
    assert images(cluster) == {"agent:2": 3}
    assert always.looked > 6


def test_on_delete_waits_until_somebody_deletes_the_pod(nodes: Callable[..., Cluster]) -> None:
    cluster = nodes(2)
    cluster.apply(daemonset("agent:1", update={"type": "OnDelete"}))
    cluster.clock.advance(5)
    cluster.apply(daemonset("agent:2", update={"type": "OnDelete"}))
    cluster.clock.advance("5m")
    assert images(cluster) == {"agent:1": 2}
    assert status(cluster).get("updatedNumberScheduled", 0) == 0
    cluster.delete("pods", meta.name(pods(cluster)[0]))
    cluster.clock.advance(5)
    assert images(cluster) == {"agent:1": 1, "agent:2": 1}


def test_a_rollback_takes_the_old_revision_up_again_and_leaves_good_pods_running(
    nodes: Callable[..., Cluster],
) -> None:
    cluster = nodes(2)
    cluster.apply(daemonset("good"))
    cluster.clock.advance(5)
    cluster.apply(daemonset("bad", annotations={"simulated.kubernel.dev/refuse": "ErrImagePull"}))
    cluster.clock.advance(10)
    kept = {meta.uid(pod) for pod in pods(cluster) if pod["spec"]["containers"][0]["image"] == "good"}
    assert len(kept) == 1
    cluster.apply(daemonset("good"))
    cluster.patch(SETS, "agent", {"spec": {"template": {"metadata": {"annotations": None}}}})
    cluster.clock.advance(10)
    assert images(cluster) == {"good": 2}
    assert kept <= {meta.uid(pod) for pod in pods(cluster)}
    numbers = sorted(one["revision"] for one in cluster.list(REVISIONS, "default"))
    assert numbers == [2, 3]


def test_old_revisions_go_beyond_the_limit(cluster: Cluster) -> None:
    for number in range(6):
        wanted = daemonset(f"agent:{number}")
        wanted["spec"]["revisionHistoryLimit"] = 2
        cluster.apply(wanted)
        cluster.clock.advance(5)
    assert sorted(one["revision"] for one in cluster.list(REVISIONS, "default")) == [4, 5, 6]


def test_another_template_of_the_same_hash_is_a_collision_that_is_counted(cluster: Cluster) -> None:
    cluster.apply(daemonset("agent:1"))
    cluster.clock.advance(5)
    taken, template = take_revision(cluster, SETS, "agent", "agent:2")
    cluster.apply(daemonset("agent:2"))
    cluster.clock.advance(30)
    assert status(cluster)["collisionCount"] == 1
    (pod,) = pods(cluster)
    assert meta.labels(pod)["controller-revision-hash"] == pod_hash(template, 1)
    assert cluster.get(REVISIONS, taken)["data"] == {"other": True}


def test_the_same_template_twice_in_the_history_becomes_one(cluster: Cluster) -> None:
    cluster.apply(daemonset())
    cluster.clock.advance(5)
    (known,) = cluster.list(REVISIONS, "default")
    labels = {**meta.labels(known), "controller-revision-hash": "copy"}
    metadata = {
        "name": "copy",
        "labels": labels,
        "ownerReferences": known["metadata"]["ownerReferences"],
    }
    cluster.create({**known, "metadata": metadata, "revision": 5})
    cluster.clock.advance(5)
    (left,) = cluster.list(REVISIONS, "default")
    assert meta.name(left) == "copy"
    (pod,) = pods(cluster)
    assert meta.labels(pod)["controller-revision-hash"] == "copy"


def test_min_ready_seconds_delay_availability(cluster: Cluster) -> None:
    wanted = daemonset()
    wanted["spec"]["minReadySeconds"] = 30
    cluster.apply(wanted)
    cluster.clock.advance(20)
    assert status(cluster)["numberReady"] == 1
    assert status(cluster)["numberUnavailable"] == 1
    cluster.clock.advance(15)
    assert status(cluster)["numberAvailable"] == 1


def test_orphans_are_adopted_and_relabelled_pods_let_go(cluster: Cluster) -> None:
    cluster.apply(daemonset())
    cluster.clock.advance(2)
    (first,) = pods(cluster)
    cluster.patch("pods", meta.name(first), {"metadata": {"labels": {"app": "other"}}})
    cluster.clock.advance(2)
    assert meta.controller_of(cluster.get("pods", meta.name(first))) is None
    assert len(pods(cluster)) == 2
    cluster.delete(SETS, "agent", propagation="Orphan")
    cluster.clock.advance(2)
    assert len(pods(cluster)) == 2
    cluster.apply(daemonset())
    cluster.clock.advance(2)
    adopted = [pod for pod in pods(cluster) if meta.controller_of(pod)]
    assert [meta.labels(pod)["app"] for pod in adopted] == ["agent"]


def test_a_lost_watch_and_a_restart_in_mid_update_change_nothing(
    nodes: Callable[..., Cluster], always: Any
) -> None:
    cluster = nodes(3, startDelay=1.0)
    cluster.apply(daemonset("agent:1"))
    cluster.clock.advance(10)
    always(cluster, "pods", twice_on_a_node)
    cluster.apply(daemonset("agent:2"))
    cluster.clock.advance(1)
    cluster.faults.drop_watches(forget=True)
    with cluster.faults.outage("controller", "daemonset"):
        cluster.clock.advance(3)
    cluster.clock.advance("1m")
    assert images(cluster) == {"agent:2": 3}


NODE = {"metadata": {"name": "n", "labels": {"a": "b"}}}


@pytest.mark.parametrize(
    ("spec", "taints", "expected"),
    [
        pytest.param({}, [], Fit(True, True), id="anywhere"),
        pytest.param({"nodeName": "n"}, [], Fit(True, True), id="named"),
        pytest.param({"nodeName": "m"}, [], Fit(False, False), id="other-name"),
        pytest.param({"nodeSelector": {"a": "c"}}, [], Fit(False, False), id="other-label"),
        pytest.param({}, [{"key": "x", "effect": "PreferNoSchedule"}], Fit(True, True), id="preference"),
        pytest.param({}, [{"key": "x", "effect": "NoSchedule"}], Fit(False, True), id="no-schedule"),
        pytest.param({}, [{"key": "x", "effect": "NoExecute"}], Fit(False, False), id="no-execute"),
        pytest.param(
            {},
            [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}],
            Fit(False, True),
            id="no-network",
        ),
        pytest.param(
            {"hostNetwork": True},
            [{"key": "node.kubernetes.io/network-unavailable", "effect": "NoSchedule"}],
            Fit(True, True),
            id="no-network-needed",
        ),
    ],
)
def test_where_a_pod_belongs(spec: dict[str, Any], taints: list[Any], expected: Fit) -> None:
    assert fit({"spec": {"template": {"spec": spec}}}, {**NODE, "spec": {"taints": taints}}) == expected


def test_a_pod_names_its_node_and_tolerates_a_troubled_one() -> None:
    wanted = daemonset(tolerations=[{"operator": "Exists", "key": "mine"}])
    pod = pod_for({**wanted, "metadata": {"name": "agent", "uid": "u"}}, "n", "abc")
    assert target(pod) == "n"
    assert meta.labels(pod) == {**LABELS, "controller-revision-hash": "abc"}
    keys = [entry["key"].removeprefix("node.kubernetes.io/") for entry in pod["spec"]["tolerations"]]
    assert keys == [
        "mine",
        "not-ready",
        "unreachable",
        "disk-pressure",
        "memory-pressure",
        "pid-pressure",
        "unschedulable",
    ]
    assert len(tolerations({"hostNetwork": True})) == 7
