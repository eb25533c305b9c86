from __future__ import annotations

from typing import Any

import pytest
from workload_kit import (
    DEPLOYMENTS,
    REVISION,
    SETS,
    condition,
    deployment,
    events,
    pods_of,
    ready,
    replica_set,
    rolled_out,
    rolling,
    set_image,
    sets_of,
    status,
    template,
    view,
    watch,
)

from kubernel.errors import Cause, Forbidden
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

SLOW = {"ready-after": "5s"}
NEVER = {"ready": "false"}


def scripted(script: dict[str, str], **spec: Any) -> dict[str, Any]:
    return template({"app": "web"}, script, **spec)


def sizes(cluster: Cluster) -> list[int]:
    """Of the ReplicaSets, by revision."""
    return [rs["spec"]["replicas"] for rs in sets_of(cluster)]


def images(cluster: Cluster) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in pods_of(cluster)}


def test_three_replicas_become_ready_and_the_status_says_so(cluster: Cluster) -> None:
    cluster.apply(deployment())
    cluster.wait(lambda: rolled_out(cluster))
    assert len(ready(cluster)) == 3
    (rs,) = sets_of(cluster)
    digest = meta.labels(rs)["pod-template-hash"]
    assert meta.name(rs) == f"web-{digest}"
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert all(meta.labels(pod)["pod-template-hash"] == digest for pod in pods_of(cluster))
    annotations = meta.annotations(rs)
    assert annotations["deployment.kubernetes.io/desired-replicas"] == "3"
    assert annotations["deployment.kubernetes.io/max-replicas"] == "4"
    found = cluster.get(DEPLOYMENTS, "web")
    assert meta.annotations(found)[REVISION] == annotations[REVISION] == "1"
    assert found["metadata"]["generation"] == 1
    told = {key: value for key, value in found["status"].items() if key != "conditions"}
    assert told == {
        "observedGeneration": 1,
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "terminatingReplicas": 0,
    }
    assert condition(cluster, DEPLOYMENTS, "Available") == ("True", "MinimumReplicasAvailable")
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("True", "NewReplicaSetAvailable")
    assert [event["message"] for event in events(cluster, "ScalingReplicaSet")] == [
        f"Scaled up replica set {meta.name(rs)} from 0 to 3"
    ]


def test_scaling_up_and_down_keeps_the_revision(cluster: Cluster) -> None:
    cluster.apply(deployment())
    for count in (7, 2, 0, 1):
        cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": count}}, subresource="scale")
        cluster.wait(lambda count=count: rolled_out(cluster) and len(pods_of(cluster, leaving=True)) == count)
    (rs,) = sets_of(cluster)
    assert meta.annotations(rs)[REVISION] == "1"
    scale = cluster.run(cluster.client().get(DEPLOYMENTS, "web", "default"))
    assert scale["status"]["replicas"] == 1


@pytest.mark.parametrize(
    ("surge", "unavailable", "most", "least"),
    [
        pytest.param("25%", "25%", 13, 8, id="defaults-round-apart"),
        pytest.param(0, 3, 10, 7, id="no-surge"),
        pytest.param(2, 0, 12, 10, id="always-available"),
        pytest.param("100%", "100%", 20, 0, id="all-at-once"),
        pytest.param(0, "5%", 10, 9, id="never-both-nothing"),
    ],
)
def test_a_rolling_update_keeps_its_bounds_at_every_moment(
    cluster: Cluster, surge: Any, unavailable: Any, most: int, least: int
) -> None:
    cluster.apply(deployment(replicas=10, strategy=rolling(surge, unavailable), pod_template=scripted(SLOW)))
    cluster.wait(lambda: rolled_out(cluster))
    pods, sets = view(cluster, "pods"), view(cluster, SETS)
    seen: list[tuple[int, int]] = []

    def look() -> None:
        mine = [pod for pod in pods() if meta.labels(pod).get("app") == "web" and not meta.is_deleting(pod)]
        available = sum(conditions.is_true(pod, "Ready") for pod in mine)
        wanted = sum(rs["spec"]["replicas"] for rs in sets())
        seen.append((max(len(mine), wanted), available))

    watch(cluster, "pods", look)
    watch(cluster, SETS, look)
    set_image(cluster, "app:2")
    cluster.wait(lambda: rolled_out(cluster), "10m")
    assert images(cluster) == {"app:2"}
    assert max(total for total, _ in seen) <= most
    assert min(available for _, available in seen) >= least
    assert len(seen) > 20


def test_a_rollout_that_gets_stuck_stops_in_time_and_is_rolled_over(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=4))
    cluster.wait(lambda: rolled_out(cluster))
    patch = {"metadata": {"annotations": {"simulated.kubernel.dev/ready": "false"}}}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": patch}})
    cluster.clock.advance("2m")
    assert sizes(cluster) == [3, 2]
    assert len(ready(cluster)) == 3
    fixed = {"metadata": {"annotations": {"simulated.kubernel.dev/ready": None, "fixed": "yes"}}}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": fixed}})
    cluster.wait(lambda: rolled_out(cluster))
    assert sizes(cluster) == [0, 0, 4]


def test_a_rollover_in_the_middle_ends_with_the_last_template(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=6, pod_template=scripted(SLOW)))
    cluster.wait(lambda: rolled_out(cluster))
    for version in (2, 3, 4):
        set_image(cluster, f"app:{version}")
        cluster.clock.advance(7)
    cluster.wait(lambda: rolled_out(cluster), "10m")
    assert images(cluster) == {"app:4"}
    assert sizes(cluster) == [0, 0, 0, 6]


def test_undo_reuses_the_replica_set_and_gives_it_a_new_revision(cluster: Cluster) -> None:
    cluster.apply(deployment())
    cluster.wait(lambda: rolled_out(cluster))
    first = meta.name(sets_of(cluster)[0])
    set_image(cluster, "app:2")
    cluster.wait(lambda: rolled_out(cluster))
    assert meta.annotations(cluster.get(DEPLOYMENTS, "web"))[REVISION] == "2"
    set_image(cluster, "app:1")
    cluster.wait(lambda: rolled_out(cluster))
    sets = sets_of(cluster)
    assert [meta.annotations(rs)[REVISION] for rs in sets] == ["2", "3"]
    assert meta.name(sets[1]) == first
    assert meta.annotations(sets[1])["deployment.kubernetes.io/revision-history"] == "1"
    assert meta.annotations(cluster.get(DEPLOYMENTS, "web"))[REVISION] == "3"


def test_annotations_reach_the_replica_sets_except_those_of_clients(cluster: Cluster) -> None:
    cluster.apply(deployment())
    note = {"kubernetes.io/change-cause": "why", "kubectl.kubernetes.io/last-applied-configuration": "{}"}
    cluster.patch(DEPLOYMENTS, "web", {"metadata": {"annotations": note}})
    annotations = meta.annotations(sets_of(cluster)[0])
    assert annotations["kubernetes.io/change-cause"] == "why"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in annotations


def test_a_paused_deployment_scales_but_does_not_roll_out(cluster: Cluster) -> None:
    cluster.apply(deployment())
    cluster.wait(lambda: rolled_out(cluster))
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}})
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("Unknown", "DeploymentPaused")
    set_image(cluster, "app:2")
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
    cluster.clock.advance("1h")
    assert images(cluster) == {"app:1"}
    assert len(ready(cluster)) == 5
    assert len(sets_of(cluster)) == 1
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
    cluster.wait(lambda: rolled_out(cluster))
    assert images(cluster) == {"app:2"}
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_recreate_waits_until_the_last_old_pod_has_gone(cluster: Cluster) -> None:
    made = scripted({"stop-delay": "20s"})
    cluster.apply(deployment(strategy={"type": "Recreate"}, pod_template=made))
    cluster.wait(lambda: rolled_out(cluster))
    pods = view(cluster, "pods")
    mixed: list[set[str]] = []
    watch(cluster, "pods", lambda: mixed.append({pod["spec"]["containers"][0]["image"] for pod in pods()}))
    set_image(cluster, "app:2")
    cluster.clock.advance(15)
    assert images(cluster) == set()
    assert len(pods_of(cluster, leaving=True)) == 3
    cluster.wait(lambda: rolled_out(cluster))
    assert images(cluster) == {"app:2"}
    assert {"app:1", "app:2"} not in mixed


def test_old_replica_sets_beyond_the_history_limit_are_deleted(cluster: Cluster) -> None:
    cluster.apply(deployment(revisionHistoryLimit=2))
    for version in range(2, 7):
        set_image(cluster, f"app:{version}")
        cluster.wait(lambda: rolled_out(cluster))
    cluster.clock.advance(1)
    assert [meta.annotations(rs)[REVISION] for rs in sets_of(cluster)] == ["4", "5", "6"]
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"revisionHistoryLimit": 0}})
    assert [meta.annotations(rs)[REVISION] for rs in sets_of(cluster)] == ["6"]


def test_no_progress_for_the_deadline_is_told_once_and_forgotten_on_success(cluster: Cluster) -> None:
    cluster.apply(deployment(progressDeadlineSeconds=120, pod_template=scripted(NEVER)))
    cluster.clock.advance(118)
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("True", "ReplicaSetUpdated")
    cluster.clock.advance(5)
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("False", "ProgressDeadlineExceeded")
    told = conditions.find(cluster.get(DEPLOYMENTS, "web"), "Progressing")
    assert told is not None
    assert told["message"] == f'ReplicaSet "{meta.name(sets_of(cluster)[0])}" has timed out progressing.'
    good = {"metadata": {"annotations": {"simulated.kubernel.dev/ready": None}}}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": good}})
    cluster.wait(lambda: rolled_out(cluster))
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_each_step_forward_starts_the_deadline_anew(cluster: Cluster) -> None:
    made = scripted({"ready-after": "50s"})
    strategy = rolling(1, 0)
    cluster.apply(deployment(replicas=4, strategy=strategy, progressDeadlineSeconds=60, pod_template=made))
    cluster.wait(lambda: rolled_out(cluster), "2m")
    set_image(cluster, "app:2")
    worst: list[str] = []
    see = view(cluster, DEPLOYMENTS)
    watch(
        cluster,
        DEPLOYMENTS,
        lambda: worst.extend((conditions.find(one, "Progressing") or {}).get("reason", "") for one in see()),
    )
    cluster.wait(lambda: rolled_out(cluster), "10m")
    assert "ProgressDeadlineExceeded" not in worst


def test_growing_in_the_middle_of_a_rollout_is_shared_by_size(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=10, strategy=rolling(3, 2)))
    cluster.wait(lambda: rolled_out(cluster))
    stuck = {"metadata": {"annotations": {"simulated.kubernel.dev/ready": "false"}}}
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"template": stuck}})
    cluster.clock.advance(30)
    assert sizes(cluster) == [8, 5]
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 30}})
    # 33 with the surge: 8 * 33/13 and 5 * 33/13, rounded.
    assert sizes(cluster) == [20, 13]
    pods = view(cluster, "pods")
    seen: list[int] = []
    watch(cluster, "pods", lambda: seen.append(sum(conditions.is_true(pod, "Ready") for pod in pods())))
    cluster.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 5}})
    # 8 with the surge, of which the two that may be unavailable move over to the stuck new one.
    assert sizes(cluster) == [3, 5]
    assert min(seen) >= 3


def test_a_matching_replica_set_without_owner_is_adopted_and_used(cluster: Cluster) -> None:
    cluster.create(replica_set(replicas=2))
    cluster.apply(deployment(replicas=2))
    cluster.wait(lambda: rolled_out(cluster))
    (rs,) = sets_of(cluster)
    assert meta.name(rs) == "web"
    owner = meta.controller_of(rs)
    assert owner is not None
    assert (owner["kind"], owner["name"], owner["blockOwnerDeletion"]) == ("Deployment", "web", True)


def test_a_replica_set_that_no_longer_matches_is_let_go_and_replaced(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1))
    (rs,) = sets_of(cluster)
    # Its own selector stays, so that it keeps its pod.
    cluster.patch(SETS, meta.name(rs), {"metadata": {"labels": {"app": "other"}}})
    released = cluster.get(SETS, meta.name(rs))
    assert meta.owners(released) == []
    cluster.clock.advance("5m")
    others = [found for found in cluster.list(SETS) if meta.name(found) != meta.name(rs)]
    assert [meta.controller_of(found)["name"] for found in others] == ["web"]  # type: ignore[index]


def test_two_templates_with_one_hash_are_told_apart(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=1))
    (rs,) = sets_of(cluster)
    cluster.delete(DEPLOYMENTS, "web", propagation="Orphan")
    cluster.wait(lambda: cluster.find(DEPLOYMENTS, "web") is None)
    cluster.patch(SETS, meta.name(rs), {"metadata": {"labels": {"app": "other"}}})
    cluster.apply(deployment(replicas=1))
    cluster.wait(lambda: rolled_out(cluster))
    assert status(cluster, DEPLOYMENTS)["collisionCount"] == 1
    assert meta.name(sets_of(cluster)[0]) != meta.name(rs)


def quota(name: str) -> Forbidden:
    return Forbidden.for_object(
        "pods", "", name, "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"
    )


def test_refused_pods_are_a_condition_until_they_are_allowed(cluster: Cluster) -> None:
    cluster.faults.fail_writes("pods", quota("web"), times=10_000, verbs=["create"])
    cluster.apply(deployment())
    cluster.clock.advance(5)
    assert condition(cluster, DEPLOYMENTS, "ReplicaFailure") == ("True", "FailedCreate")
    found = conditions.find(cluster.get(DEPLOYMENTS, "web"), "ReplicaFailure")
    assert found is not None
    assert "exceeded quota: q" in found["message"]
    cluster.faults.clear()
    cluster.wait(lambda: rolled_out(cluster), "20m")
    assert condition(cluster, DEPLOYMENTS, "ReplicaFailure") is None


def test_a_refused_replica_set_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.faults.fail_writes(SETS, quota("web"), times=8, verbs=["create"])
    cluster.apply(deployment())
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("False", "ReplicaSetCreateError")
    cluster.wait(lambda: rolled_out(cluster), "1m")
    assert condition(cluster, DEPLOYMENTS, "Progressing") == ("True", "NewReplicaSetAvailable")


def test_in_a_namespace_that_goes_away_nothing_is_tried_for_long(cluster: Cluster) -> None:
    cause = Cause("NamespaceTerminating", "namespace default is being terminated", "metadata.namespace")
    refusal = Forbidden.for_object("pods", "", "", "the namespace goes away", (cause,))
    cluster.faults.fail_writes("pods", refusal, times=10_000, verbs=["create"])
    cluster.apply(deployment())
    cluster.clock.advance("1m")
    assert condition(cluster, DEPLOYMENTS, "ReplicaFailure") is None
    assert events(cluster, "FailedCreate") == []


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_deletion_takes_replica_sets_and_pods_along(cluster: Cluster, propagation: Any) -> None:
    cluster.apply(deployment(pod_template=scripted({"stop-delay": "3s"})))
    cluster.wait(lambda: rolled_out(cluster))
    cluster.delete(DEPLOYMENTS, "web", propagation=propagation)
    cluster.clock.advance(1)
    assert (cluster.find(DEPLOYMENTS, "web") is None) is (propagation == "Background")
    cluster.clock.advance(10)
    assert cluster.find(DEPLOYMENTS, "web") is None
    assert sets_of(cluster) == pods_of(cluster, leaving=True) == []


def test_an_orphaning_deletion_leaves_them_and_a_new_deployment_takes_them_over(cluster: Cluster) -> None:
    cluster.apply(deployment())
    cluster.wait(lambda: rolled_out(cluster))
    before = {meta.uid(pod) for pod in pods_of(cluster)}
    cluster.delete(DEPLOYMENTS, "web", propagation="Orphan")
    cluster.clock.advance("1m")
    assert cluster.find(DEPLOYMENTS, "web") is None
    (rs,) = sets_of(cluster)
    assert meta.owners(rs) == []
    cluster.apply(deployment())
    cluster.wait(lambda: rolled_out(cluster))
    assert {meta.uid(pod) for pod in pods_of(cluster)} == before
    assert meta.controller_of(sets_of(cluster)[0]) is not None


def test_a_rollout_survives_a_restart_and_lost_watches(cluster: Cluster) -> None:
    cluster.apply(deployment(replicas=8, pod_template=scripted(SLOW)))
    cluster.wait(lambda: rolled_out(cluster))
    set_image(cluster, "app:2")
    for step in range(6):
        cluster.clock.advance(2)
        cluster.faults.drop_watches(forget=step % 2 == 0)
        with (
            cluster.faults.outage("controller", "deployment"),
            cluster.faults.outage("controller", "replicaset"),
        ):
            cluster.clock.advance(3)
    cluster.wait(lambda: rolled_out(cluster), "10m")
    assert images(cluster) == {"app:2"}
    assert sizes(cluster) == [0, 8]
    assert len(sets_of(cluster)) == 2
