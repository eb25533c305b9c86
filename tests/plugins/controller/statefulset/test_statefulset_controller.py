from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from workload_kit import take_revision

from kubernel.errors import Forbidden
from kubernel.objects import conditions, meta
from kubernel.objects.names import pod_hash
from kubernel.testing import Cluster

LABELS = {"app": "db"}
SETS = "statefulsets.v1.apps"
REVISIONS = "controllerrevisions.v1.apps"
SLOW = {"plugins": {"node": [{"simulated": {"nodes": 2, "startDelay": 2.0, "stopDelay": 1.0}}]}}


def statefulset(
    replicas: int = 3, image: str = "db:1", *, annotations: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS, **({"annotations": annotations} if annotations else {})},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


def rolling(**limits: Any) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": limits}}


@pytest.fixture
def slow(cluster_factory: Callable[..., Cluster]) -> Cluster:
    """Pods take 2 s to start and 1 s to stop."""
    return cluster_factory(config=SLOW)


def pods(cluster: Cluster) -> list[Any]:
    return [pod for pod in cluster.list("pods", "default") if not meta.is_deleting(pod)]


def names(cluster: Cluster) -> list[str]:
    return sorted(meta.name(pod) for pod in pods(cluster))


def images(cluster: Cluster) -> dict[str, str]:
    return {meta.name(pod): pod["spec"]["containers"][0]["image"] for pod in pods(cluster)}


def status(cluster: Cluster) -> dict[str, Any]:
    return dict(cluster.get(SETS, "db")["status"])


def number(pod: Any) -> int:
    return int(meta.name(pod).rpartition("-")[2])


def up(pod: Any) -> bool:
    return conditions.is_true(pod, "Ready") and not meta.is_deleting(pod)


def gap(found: list[Any]) -> str:
    """In order: a pod is only there when all before it are, and only the last one may not be ready."""
    numbers = sorted(number(pod) for pod in found)
    if numbers != list(range(len(numbers))):
        return f"there are {numbers}"
    behind = [number(pod) for pod in found if not up(pod) and number(pod) != len(numbers) - 1]
    return f"{behind} not ready of {numbers}" if behind else ""


def test_pods_are_created_one_after_the_other_with_their_identity(slow: Cluster, always: Any) -> None:
    always(slow, "pods", gap)
    slow.apply(statefulset(3))
    slow.clock.advance(1)
    assert names(slow) == ["db-0"]
    slow.clock.advance(30)
    assert names(slow) == ["db-0", "db-1", "db-2"]
    pod = slow.get("pods", "db-2")
    (revision,) = slow.list(REVISIONS, "default")
    assert meta.labels(pod) == {
        **LABELS,
        "statefulset.kubernetes.io/pod-name": "db-2",
        "apps.kubernetes.io/pod-index": "2",
        "controller-revision-hash": meta.name(revision),
    }
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("db-2", "db")
    assert status(slow) == {
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "currentReplicas": 3,
        "updatedReplicas": 3,
        "currentRevision": meta.name(revision),
        "updateRevision": meta.name(revision),
        "collisionCount": 0,
        "observedGeneration": 1,
    }
    told = [e["message"] for e in slow.list("events", "default") if e["reason"] == "SuccessfulCreate"]
    assert "Create Pod db-0 in StatefulSet db successful" in told


def test_another_template_of_the_same_hash_is_a_collision_that_is_counted(cluster: Cluster) -> None:
    cluster.apply(statefulset(1))
    cluster.clock.advance(5)
    _, template = take_revision(cluster, SETS, "db", "db:2")
    cluster.apply(statefulset(1, "db:2"))
    cluster.clock.advance(30)
    status = cluster.get(SETS, "db")["status"]
    assert status["collisionCount"] == 1
    assert status["currentRevision"] == status["updateRevision"] == f"db-{pod_hash(template, 1)}"


def test_scaling_down_goes_from_the_highest_ordinal_and_waits_for_each(slow: Cluster, always: Any) -> None:
    slow.apply(statefulset(4))
    slow.clock.advance(60)
    always(slow, "pods", gap)
    slow.apply(statefulset(1))
    slow.clock.advance(0.5)
    assert sorted(meta.name(pod) for pod in slow.list("pods", "default") if meta.is_deleting(pod)) == ["db-3"]
    slow.clock.advance(30)
    assert names(slow) == ["db-0"]


def test_an_unready_pod_stops_scaling_in_both_directions(cluster: Cluster) -> None:
    cluster.apply(statefulset(2))
    cluster.clock.advance(5)
    unready = [{"type": "Ready", "status": "False"}]
    cluster.patch("pods", "db-0", {"status": {"conditions": unready}}, subresource="status")
    cluster.apply(statefulset(3))
    cluster.clock.advance(60)
    assert names(cluster) == ["db-0", "db-1"]
    cluster.apply(statefulset(1))
    cluster.clock.advance(60)
    assert names(cluster) == ["db-0", "db-1"]


def test_parallel_sets_do_everything_at_once(slow: Cluster) -> None:
    slow.apply(statefulset(5, podManagementPolicy="Parallel"))
    slow.clock.advance(0.5)
    assert len(names(slow)) == 5
    slow.clock.advance(10)
    slow.apply(statefulset(1, podManagementPolicy="Parallel"))
    slow.clock.advance(0.5)
    assert names(slow) == ["db-0"]


def test_a_rolling_update_goes_down_from_the_highest_one_at_a_time(slow: Cluster, always: Any) -> None:
    slow.apply(statefulset(3))
    slow.clock.advance(30)
    first = status(slow)["currentRevision"]

    def disorder(found: list[Any]) -> str:
        down = sum(not up(pod) for pod in found) + 3 - len(found)
        new = {number(pod) for pod in found if pod["spec"]["containers"][0]["image"] == "db:2"}
        ordered = new == set(range(3 - len(new), 3))
        # Between the end of a pod and its successor the new ones are still those above it.
        return "" if down <= 1 and ordered else f"{down} down, new {new}"

    always(slow, "pods", disorder)
    slow.apply(statefulset(3, "db:2"))
    slow.clock.advance(2)
    now = status(slow)
    assert now["currentRevision"] == first
    assert now["updateRevision"] != first
    slow.clock.advance(60)
    assert set(images(slow).values()) == {"db:2"}
    now = status(slow)
    assert now["currentRevision"] == now["updateRevision"] != first
    assert now["currentReplicas"] == now["updatedReplicas"] == 3
    assert always.looked > 10


def test_a_partition_holds_the_lower_ordinals_back(cluster: Cluster) -> None:
    cluster.apply(statefulset(3))
    cluster.clock.advance(10)
    cluster.apply(statefulset(3, "db:2", **rolling(partition=2)))
    cluster.clock.advance(30)
    assert images(cluster) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
    now = status(cluster)
    assert (now["currentReplicas"], now["updatedReplicas"]) == (2, 1)
    cluster.delete("pods", "db-0")
    cluster.delete("pods", "db-2")
    cluster.clock.advance(30)
    assert images(cluster) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
    cluster.apply(statefulset(3, "db:2", **rolling(partition=0)))
    cluster.clock.advance(30)
    assert set(images(cluster).values()) == {"db:2"}


@pytest.mark.parametrize(("limit", "allowed"), [(2, 2), ("50%", 2), ("1%", 1)])
def test_an_update_takes_as_many_down_as_may_be_unavailable(
    slow: Cluster, always: Any, limit: int | str, allowed: int
) -> None:
    slow.apply(statefulset(4, podManagementPolicy="Parallel", **rolling(maxUnavailable=limit)))
    slow.clock.advance(30)
    most: Counter[str] = Counter()

    def too_many(found: list[Any]) -> str:
        down = 4 - sum(up(pod) for pod in found)
        most["down"] = max(most["down"], down)
        return "" if down <= allowed else f"{down} down"

    always(slow, "pods", too_many)
    slow.apply(statefulset(4, "db:2", podManagementPolicy="Parallel", **rolling(maxUnavailable=limit)))
    slow.clock.advance(60)
    assert set(images(slow).values()) == {"db:2"}
    assert most["down"] == allowed


def test_on_delete_updates_only_what_is_deleted(cluster: Cluster) -> None:
    strategy = {"updateStrategy": {"type": "OnDelete"}}
    cluster.apply(statefulset(2, **strategy))
    cluster.clock.advance(10)
    cluster.apply(statefulset(2, "db:2", **strategy))
    cluster.clock.advance(60)
    assert set(images(cluster).values()) == {"db:1"}
    cluster.delete("pods", "db-0")
    cluster.clock.advance(10)
    assert images(cluster) == {"db-0": "db:2", "db-1": "db:1"}


def test_a_template_that_comes_back_uses_its_old_revision(cluster: Cluster) -> None:
    cluster.apply(statefulset(1))
    cluster.clock.advance(5)
    first = status(cluster)["currentRevision"]
    cluster.apply(statefulset(1, "db:2"))
    cluster.clock.advance(5)
    cluster.apply(statefulset(1, "db:1"))
    cluster.clock.advance(5)
    assert status(cluster)["currentRevision"] == first
    assert {meta.name(one): one["revision"] for one in cluster.list(REVISIONS, "default")}[first] == 3
    assert len(cluster.list(REVISIONS, "default")) == 2


def test_old_revisions_beyond_the_limit_go(cluster: Cluster) -> None:
    for version in range(5):
        cluster.apply(statefulset(1, f"db:{version}", revisionHistoryLimit=1))
        cluster.clock.advance(10)
    assert sorted(one["revision"] for one in cluster.list(REVISIONS, "default")) == [4, 5]


def test_a_deleted_pod_comes_back_only_when_it_is_fully_gone(slow: Cluster, always: Any) -> None:
    slow.apply(statefulset(2))
    slow.clock.advance(20)
    before = meta.uid(slow.get("pods", "db-0"))
    slow.patch("pods", "db-0", {"metadata": {"finalizers": ["example.com/wait"]}})
    slow.delete("pods", "db-0")
    slow.clock.advance("10m")
    assert meta.uid(slow.get("pods", "db-0")) == before
    slow.patch("pods", "db-0", {"metadata": {"finalizers": None}})
    slow.clock.advance(10)
    assert meta.uid(slow.get("pods", "db-0")) != before


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_has_ended_is_replaced_under_its_name(cluster: Cluster, phase: str) -> None:
    cluster.apply(statefulset(2))
    cluster.clock.advance(10)
    before = meta.uid(cluster.get("pods", "db-1"))
    cluster.patch("pods", "db-1", {"status": {"phase": phase}}, subresource="status")
    cluster.clock.advance(10)
    assert meta.uid(cluster.get("pods", "db-1")) != before
    assert status(cluster)["readyReplicas"] == 2


def test_ordinals_may_start_elsewhere(cluster: Cluster) -> None:
    cluster.apply(statefulset(2, ordinals={"start": 5}))
    cluster.clock.advance(10)
    assert names(cluster) == ["db-5", "db-6"]
    cluster.apply(statefulset(2, ordinals={"start": 6}))
    cluster.clock.advance(30)
    assert names(cluster) == ["db-6", "db-7"]


def test_min_ready_seconds_hold_the_next_pod_back(cluster: Cluster) -> None:
    cluster.apply(statefulset(2, minReadySeconds=20))
    cluster.clock.advance(15)
    assert names(cluster) == ["db-0"]
    assert status(cluster)["availableReplicas"] == 0
    cluster.clock.advance(10)
    assert names(cluster) == ["db-0", "db-1"]


CLAIM = {
    "metadata": {"name": "data", "labels": {"tier": "disk"}},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def claims(cluster: Cluster) -> dict[str, list[str]]:
    return {
        meta.name(claim): [reference["kind"] for reference in meta.owners(claim)]
        for claim in cluster.list("persistentvolumeclaims", "default")
        if not meta.is_deleting(claim)
    }


def test_each_pod_has_its_claims_which_outlive_it(cluster: Cluster) -> None:
    cluster.apply(statefulset(2, volumeClaimTemplates=[CLAIM]))
    cluster.clock.advance(10)
    assert claims(cluster) == {"data-db-0": [], "data-db-1": []}
    claim = cluster.get("persistentvolumeclaims", "data-db-1")
    assert meta.labels(claim) == {"tier": "disk", **LABELS}
    volumes = {one["name"]: one for one in cluster.get("pods", "db-1")["spec"]["volumes"]}
    assert volumes["data"] == {"name": "data", "persistentVolumeClaim": {"claimName": "data-db-1"}}
    cluster.apply(statefulset(0, volumeClaimTemplates=[CLAIM]))
    cluster.clock.advance(10)
    cluster.delete(SETS, "db")
    cluster.clock.advance(10)
    assert claims(cluster) == {"data-db-0": [], "data-db-1": []}


def test_claims_go_with_what_the_retention_policy_says(cluster: Cluster) -> None:
    def wanted(replicas: int) -> dict[str, Any]:
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        return statefulset(
            replicas, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy
        )

    cluster.apply(wanted(3))
    cluster.clock.advance(20)
    assert claims(cluster) == {key: ["StatefulSet"] for key in ("data-db-0", "data-db-1", "data-db-2")}
    cluster.apply(wanted(1))
    cluster.clock.advance(20)
    assert claims(cluster) == {"data-db-0": ["StatefulSet"]}
    cluster.apply(wanted(2))
    cluster.clock.advance(20)
    assert set(claims(cluster)) == {"data-db-0", "data-db-1"}
    cluster.delete(SETS, "db")
    cluster.clock.advance(30)
    assert claims(cluster) == {}


def test_a_refused_pod_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.faults.fail_writes("pods", Forbidden("exceeded quota"), times=3, verbs=("create",))
    cluster.apply(statefulset(1))
    cluster.clock.advance(5)
    assert names(cluster) == ["db-0"]
    told = [e["message"] for e in cluster.list("events", "default") if e["reason"] == "FailedCreate"]
    assert told[0] == "Create Pod db-0 in StatefulSet db failed error: exceeded quota"


def test_a_namesake_pod_is_not_taken_over(cluster: Cluster) -> None:
    stranger = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other-0", "labels": LABELS},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    cluster.apply(stranger)
    cluster.apply(statefulset(1))
    cluster.clock.advance(10)
    assert meta.controller_of(cluster.get("pods", "other-0")) is None
    assert status(cluster)["replicas"] == 1


def test_orphans_of_the_right_name_are_adopted(cluster: Cluster) -> None:
    cluster.apply(statefulset(2))
    cluster.clock.advance(10)
    kept = {meta.uid(pod) for pod in pods(cluster)}
    cluster.delete(SETS, "db", propagation="Orphan")
    cluster.clock.advance(5)
    cluster.apply(statefulset(2))
    cluster.clock.advance(10)
    assert {meta.uid(pod) for pod in pods(cluster)} == kept
    assert all(meta.controller_of(pod) for pod in pods(cluster))


def test_faults_in_mid_update_break_no_rule(slow: Cluster, always: Any) -> None:
    slow.apply(statefulset(3))
    slow.clock.advance(30)

    def too_many(found: list[Any]) -> str:
        down = 3 - sum(up(pod) for pod in found)
        return "" if down <= 1 else f"{down} down"

    always(slow, "pods", too_many)
    slow.apply(statefulset(3, "db:2"))
    slow.clock.advance(1)
    slow.faults.fail_writes("statefulsets.v1.apps", times=3)
    slow.faults.drop_watches(forget=True)
    slow.clock.advance(2)
    with slow.faults.outage("controller", "statefulset"):
        slow.clock.advance(5)
    slow.clock.advance("2m")
    assert set(images(slow).values()) == {"db:2"}
