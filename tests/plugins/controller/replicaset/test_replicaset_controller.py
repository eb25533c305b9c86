from __future__ import annotations

from typing import Any

import pytest
from workload_kit import (
    SETS,
    condition,
    events,
    pod,
    pods_of,
    ready,
    replica_set,
    status,
    template,
    view,
    watch,
)

from kubernel.clock import rfc3339
from kubernel.errors import Forbidden
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.podranks import Ranks

WEB = {"app": "web"}


def full(cluster: Cluster, count: int = 3) -> bool:
    return status(cluster, SETS).get("readyReplicas", 0) == count and len(pods_of(cluster)) == count


def scale(cluster: Cluster, count: int) -> None:
    cluster.patch(SETS, "web", {"spec": {"replicas": count}})


def test_pods_are_made_from_the_template_and_owned(cluster: Cluster) -> None:
    made = template(WEB)
    made["metadata"]["annotations"] = {"note": "x"}
    cluster.apply(replica_set(pod_template=made))
    cluster.wait(lambda: full(cluster))
    for found in pods_of(cluster):
        assert meta.name(found).startswith("web-")
        assert meta.annotations(found)["note"] == "x"
        owner = meta.controller_of(found)
        assert owner is not None
        assert owner["uid"] == meta.uid(cluster.get(SETS, "web"))
        assert owner["blockOwnerDeletion"] is True
    assert len(events(cluster, "SuccessfulCreate")) == 3


def test_a_deleted_or_failed_pod_is_replaced_and_the_failed_one_stays(cluster: Cluster) -> None:
    cluster.apply(replica_set())
    cluster.wait(lambda: full(cluster))
    first, second, _ = pods_of(cluster)
    cluster.delete("pods", meta.name(first))
    cluster.wait(lambda: full(cluster))
    failed = {"status": {"phase": "Failed"}}
    cluster.patch("pods", meta.name(second), failed, subresource="status")
    cluster.wait(lambda: status(cluster, SETS).get("readyReplicas") == 3)
    phases = sorted(found["status"]["phase"] for found in pods_of(cluster))
    assert phases == ["Failed", "Running", "Running", "Running"]


def test_scaling_down_deletes_the_least_loss_first(cluster: Cluster) -> None:
    cluster.apply(replica_set(replicas=0))
    uid = meta.uid(cluster.get(SETS, "web"))
    owner = {
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": True,
    }  # fmt: skip

    def own(name: str, script: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
        made = pod(name, WEB, script, **spec)
        made["metadata"]["ownerReferences"] = [owner]
        return made

    with cluster.faults.outage("controller", "replicaset"):
        scale(cluster, 5)
        cluster.create(own("settled"))
        cheap = own("cheap")
        cheap["metadata"]["annotations"] = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
        cluster.create(cheap)
        cluster.clock.advance(20)
        cluster.create(own("unready", {"ready": "false"}))
        cluster.create(own("fresh"))
        cluster.create(own("homeless", nodeSelector={"no": "such"}))
        cluster.clock.advance(2)
    left = {"settled", "cheap", "unready", "fresh", "homeless"}
    cluster.settle()
    for gone in ("homeless", "unready", "cheap"):
        scale(cluster, len(left) - 1)
        left.discard(gone)
        assert {meta.name(found) for found in pods_of(cluster)} == left


BEGUN = 1767225600.0
"""2026-01-01; what follows happened so many seconds later, and is looked at after an hour."""


def ranked(name: str, *, node: str = "n1", phase: str = "Running", ready: int | None = 0, restarts: int = 0,
           sidecar: int = 0, created: int = 0, cost: str = "") -> dict[str, Any]:  # fmt: skip
    moved = None if ready is None else rfc3339(BEGUN + ready)
    told = [{"type": "Ready", "status": "True", "lastTransitionTime": moved}] if moved else []
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": rfc3339(BEGUN + created),
            "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost} if cost else {},
        },
        "spec": {"initContainers": [{"name": "side", "restartPolicy": "Always"}]}
        | ({"nodeName": node} if node else {}),
        "status": {
            "phase": phase,
            "conditions": told,
            "containerStatuses": [{"name": "main", "restartCount": restarts}],
            "initContainerStatuses": [{"name": "side", "restartCount": sidecar}],
        },
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(ranked("z", node=""), ranked("b", phase="Pending"), id="without-a-node"),
        pytest.param(ranked("z", phase="Pending"), ranked("b", phase="Unknown"), id="pending"),
        pytest.param(ranked("z", phase="Unknown"), ranked("b"), id="unknown"),
        pytest.param(ranked("z", ready=None), ranked("b", cost="-9"), id="not-ready"),
        pytest.param(ranked("z", cost="-1"), ranked("b", node="n2"), id="cheaper"),
        pytest.param(ranked("z", node="n2"), ranked("b", ready=3000), id="doubled-up"),
        pytest.param(ranked("z", ready=3000), ranked("b", restarts=4), id="ready-for-much-less-time"),
        pytest.param(ranked("a", ready=8), ranked("b", ready=9, restarts=4), id="ready-for-about-as-long"),
        pytest.param(ranked("z", restarts=2), ranked("b", created=3000), id="restarted-more"),
        pytest.param(ranked("z", sidecar=2), ranked("b", created=3000), id="its-sidecar-restarted-more"),
        pytest.param(ranked("z", restarts=1), ranked("b", sidecar=2), id="containers-before-sidecars"),
        pytest.param(ranked("z", created=3000), ranked("b"), id="much-newer"),
        pytest.param(ranked("a", created=8), ranked("b", created=9), id="about-as-old"),
        pytest.param(ranked("z", cost="-1"), ranked("b", cost="nonsense"), id="unreadable-cost-is-nothing"),
    ],
)
def test_which_of_two_pods_goes_first(first: dict[str, Any], second: dict[str, Any]) -> None:
    spread = {"n1": 1, "n2": 2}
    for found in ([first, second], [second, first]):
        assert Ranks(found).first(1, spread, BEGUN + 3600) == [first]
        assert Ranks(found).first(2, spread, BEGUN + 3600)[0] in found


def test_a_matching_orphan_is_adopted_instead_of_a_new_pod(cluster: Cluster) -> None:
    cluster.create(pod("mine", WEB))
    cluster.create(pod("other", {"app": "else"}))
    done = pod("done", WEB, {"run-for": "0s"}, restartPolicy="Never")
    cluster.create(done)
    cluster.clock.advance(1)
    assert cluster.get("pods", "done")["status"]["phase"] == "Succeeded"
    cluster.apply(replica_set(replicas=2))
    cluster.wait(lambda: status(cluster, SETS).get("readyReplicas") == 2)
    owners = {meta.name(found): meta.controller_of(found) for found in pods_of(cluster)}
    assert owners.pop("mine") is not None
    assert owners.pop("done") is None
    assert len(owners) == 1
    assert meta.controller_of(cluster.get("pods", "other")) is None


def test_adoption_keeps_the_other_owners(cluster: Cluster) -> None:
    owner = cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})[0]
    made = pod("mine", WEB)
    made["metadata"]["ownerReferences"] = [meta.owner_reference(owner, controller=False)]
    cluster.create(made)
    cluster.apply(replica_set(replicas=1))
    cluster.settle()
    assert {one["kind"] for one in meta.owners(cluster.get("pods", "mine"))} == {"ConfigMap", "ReplicaSet"}
    cluster.patch("pods", "mine", {"metadata": {"labels": {"app": "x"}}})
    assert [one["kind"] for one in meta.owners(cluster.get("pods", "mine"))] == ["ConfigMap"]


def test_a_pod_that_no_longer_matches_is_released_and_replaced(cluster: Cluster) -> None:
    cluster.apply(replica_set())
    cluster.wait(lambda: full(cluster))
    name = meta.name(pods_of(cluster)[0])
    cluster.patch("pods", name, {"metadata": {"labels": {"app": "debug"}}})
    cluster.wait(lambda: full(cluster))
    assert meta.owners(cluster.get("pods", name)) == []
    cluster.delete(SETS, "web")
    cluster.clock.advance("1m")
    assert [meta.name(found) for found in cluster.list("pods", "default")] == [name]


def test_two_sets_that_match_one_orphan_do_not_both_own_it(cluster: Cluster) -> None:
    for name in ("one", "two"):
        made = replica_set(name, replicas=1, pod_template=template(WEB | {"set": name}))
        made["spec"]["selector"] = {"matchLabels": WEB}
        cluster.create(made)
    cluster.settle()
    for number in range(4):
        cluster.create(pod(f"orphan-{number}", WEB))
    cluster.clock.advance("1m")
    for found in pods_of(cluster):
        assert sum(bool(one.get("controller")) for one in meta.owners(found)) == 1
    assert [status(cluster, SETS, name)["replicas"] for name in ("one", "two")] == [1, 1]


def test_a_set_that_is_being_deleted_adopts_nothing(cluster: Cluster) -> None:
    made = replica_set(replicas=1)
    made["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.create(made)
    cluster.delete(SETS, "web")
    cluster.create(pod("orphan", WEB))
    cluster.clock.advance("1m")
    assert meta.owners(cluster.get("pods", "orphan")) == []


def test_pods_are_available_after_min_ready_seconds(cluster: Cluster) -> None:
    cluster.apply(replica_set(replicas=2, minReadySeconds=30))
    cluster.clock.advance(2)
    assert status(cluster, SETS)["readyReplicas"] == 2
    assert "availableReplicas" not in status(cluster, SETS)
    cluster.clock.advance(26)
    assert "availableReplicas" not in status(cluster, SETS)
    cluster.clock.advance(3)
    assert status(cluster, SETS)["availableReplicas"] == 2


def test_the_status_counts_what_there_is(cluster: Cluster) -> None:
    made = template(WEB, {"stop-delay": "10s"})
    cluster.apply(replica_set(pod_template=made))
    cluster.wait(lambda: full(cluster))
    cluster.patch(SETS, "web", {"spec": {"template": {"metadata": {"labels": {"tier": "b"}}}}})
    assert status(cluster, SETS) == {
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "terminatingReplicas": 0,
        "observedGeneration": 2,
    }
    scale(cluster, 1)
    assert status(cluster, SETS)["terminatingReplicas"] == 2
    assert status(cluster, SETS)["replicas"] == 1
    cluster.clock.advance(11)
    assert status(cluster, SETS)["terminatingReplicas"] == 0


def test_refusals_are_a_condition_and_cost_one_try_each(cluster: Cluster) -> None:
    refusal = Forbidden.for_object("pods", "", "web", "exceeded quota: q")
    cluster.faults.fail_writes("pods", refusal, times=10_000, verbs=["create"])
    cluster.apply(replica_set(replicas=40))
    assert condition(cluster, SETS, "ReplicaFailure") == ("True", "FailedCreate")
    # The first of a batch that fails stops the others: no forty tries at a time.
    assert sum(event["count"] for event in events(cluster, "FailedCreate")) < 40
    cluster.faults.clear()
    cluster.wait(lambda: full(cluster, 40), "20m")
    assert condition(cluster, SETS, "ReplicaFailure") is None


def test_one_thousand_two_hundred_pods_come_in_bursts(cluster: Cluster) -> None:
    cluster.apply(replica_set(replicas=1200))
    cluster.wait(lambda: full(cluster, 1200))


def count_at_most(cluster: Cluster, limit: int) -> list[int]:
    """Each number of pods that was ever there and not on its way out."""
    pods = view(cluster, "pods")
    seen: list[int] = []

    def look() -> None:
        active = [one for one in pods() if not meta.is_deleting(one) and one["status"]["phase"] != "Failed"]
        seen.append(len(active))
        assert len(active) <= limit

    watch(cluster, "pods", look)
    return seen


def test_lost_watches_and_slow_writes_make_not_one_pod_too_many(cluster: Cluster) -> None:
    seen = count_at_most(cluster, 20)
    cluster.faults.slow_store(0.5)
    cluster.apply(replica_set(replicas=20))
    for step in range(12):
        cluster.faults.drop_watches(forget=step % 2 == 0)
        cluster.clock.advance(0.7)
        live = pods_of(cluster)
        if live:
            cluster.run(cluster.client().delete("pods", meta.name(live[0]), "default", grace_period=0))
    cluster.faults.clear()
    cluster.wait(lambda: full(cluster, 20), "20m")
    assert max(seen) == 20


def test_a_restarted_controller_goes_on_where_it_was(cluster: Cluster) -> None:
    cluster.apply(replica_set(replicas=10))
    seen = count_at_most(cluster, 30)
    for count in (25, 5, 30):
        with cluster.faults.outage("controller", "replicaset"):
            scale(cluster, count)
            cluster.clock.advance("1m")
        cluster.wait(lambda count=count: full(cluster, count))
    assert len(seen) > 30


def test_failing_writes_only_delay(cluster: Cluster) -> None:
    count_at_most(cluster, 15)
    cluster.faults.fail_writes("pods", times=7, verbs=["create"])
    cluster.faults.fail_writes(SETS, times=5, verbs=["update"])
    cluster.apply(replica_set(replicas=15))
    cluster.wait(lambda: full(cluster, 15), "20m")
    cluster.faults.fail_writes("pods", times=4, verbs=["delete"])
    scale(cluster, 3)
    cluster.wait(lambda: full(cluster, 3), "20m")


def test_a_pod_of_a_dead_node_is_replaced_elsewhere_and_a_bare_one_is_not(cluster_factory: Any) -> None:
    nodes = [{"simulated": {"nodes": 1, "name": "good"}}]
    cluster = cluster_factory(config={"plugins": {"node": nodes}})
    node = cluster.get("nodes", "good")
    metadata = {"name": "bad", "labels": {"kubernetes.io/hostname": "bad"}}
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": node["status"]})
    cluster.create(pod("bare", {"app": "bare"}, nodeName="bad"))
    made = template(WEB, nodeName="bad")
    cluster.apply(replica_set(replicas=1, pod_template=made))
    cluster.settle()
    owned = meta.name(pods_of(cluster)[0])
    cluster.patch(SETS, "web", {"spec": {"template": {"spec": {"nodeName": None}}}})
    cluster.clock.advance("2m")
    cluster.delete("nodes", "bad")
    cluster.clock.advance("3m")
    assert cluster.find("pods", "bare") is None
    assert cluster.find("pods", owned) is None
    (replacement,) = ready(cluster)
    assert replacement["spec"]["nodeName"] == "good"
    assert conditions.is_true(replacement, "Ready")
