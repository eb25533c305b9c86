"""ReplicaSets and ReplicationControllers: one code, two kinds."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import Forbidden
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

LABELS = {"app": "web"}
KINDS = {"ReplicaSet": "replicasets.v1.apps", "ReplicationController": "replicationcontrollers"}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def owner(kind: str, replicas: int, **spec: Any) -> dict[str, Any]:
    plain = kind == "ReplicationController"
    return {
        "apiVersion": "v1" if plain else "apps/v1",
        "kind": kind,
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": LABELS if plain else {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
            **spec,
        },
    }


def pods(cluster: Cluster) -> list[Any]:
    return [pod for pod in cluster.list("pods", "default") if not meta.is_deleting(pod)]


def test_as_many_pods_as_asked_for_never_more(cluster: Cluster, always: Any, kind: str) -> None:
    def too_many(found: list[Any]) -> str:
        there = sum(not meta.is_deleting(pod) for pod in found)
        return f"{there} pods" if there > 3 else ""

    always(cluster, "pods", too_many)
    cluster.apply(owner(kind, 3))
    cluster.clock.advance(5)
    assert len(pods(cluster)) == 3
    cluster.delete("pods", meta.name(pods(cluster)[0]))
    cluster.clock.advance(5)
    assert len(pods(cluster)) == 3
    status = cluster.get(KINDS[kind], "web")["status"]
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (3, 3, 3)
    cluster.apply(owner(kind, 1))
    cluster.clock.advance(5)
    assert len(pods(cluster)) == 1


def test_pods_are_released_and_adopted_by_their_labels(cluster: Cluster, kind: str) -> None:
    cluster.apply(owner(kind, 1))
    cluster.clock.advance(5)
    (first,) = pods(cluster)
    cluster.patch("pods", meta.name(first), {"metadata": {"labels": {"app": "other"}}})
    cluster.clock.advance(5)
    assert meta.controller_of(cluster.get("pods", meta.name(first))) is None
    assert len(pods(cluster)) == 2
    cluster.patch("pods", meta.name(first), {"metadata": {"labels": LABELS}})
    cluster.clock.advance(5)
    (left,) = pods(cluster)
    controller = meta.controller_of(left)
    assert controller is not None
    assert (controller["kind"], controller["blockOwnerDeletion"]) == (kind, True)


def test_a_refusal_is_a_condition_until_it_is_over(cluster: Cluster, kind: str) -> None:
    cluster.faults.fail_writes("pods", Forbidden("exceeded quota"), times=3, verbs=("create",))
    cluster.apply(owner(kind, 2))
    refused = conditions.find(cluster.get(KINDS[kind], "web"), "ReplicaFailure")
    assert refused is not None
    assert (refused["reason"], refused["message"]) == ("FailedCreate", "exceeded quota")
    cluster.clock.advance(10)
    assert conditions.find(cluster.get(KINDS[kind], "web"), "ReplicaFailure") is None
    assert len(pods(cluster)) == 2


def test_scale_is_served_with_a_selector_in_text(cluster: Cluster, kind: str) -> None:
    cluster.apply(owner(kind, 1))
    cluster.patch(KINDS[kind], "web", {"spec": {"replicas": 2}}, subresource="scale")
    cluster.clock.advance(5)
    assert len(pods(cluster)) == 2
    assert cluster.get(KINDS[kind], "web")["spec"]["replicas"] == 2


def test_a_restart_in_the_middle_makes_no_pod_too_many(cluster: Cluster, always: Any, kind: str) -> None:
    always(cluster, "pods", lambda found: len(found) > 20)
    cluster.faults.slow_store(0.2)
    cluster.apply(owner(kind, 20))
    cluster.clock.advance(0.5)
    name = kind.lower()
    with cluster.faults.outage("controller", name):
        cluster.clock.advance(2)
    cluster.faults.slow_store(0)
    cluster.faults.drop_watches(forget=True)
    cluster.clock.advance(30)
    assert len(pods(cluster)) == 20
