from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import TooManyRequests
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

LABELS = {"app": "web"}
BUDGETS = "poddisruptionbudgets.v1.policy"


def budget(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": LABELS}, **spec},
    }


def deployment(replicas: int) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": "x"}]},
            },
        },
    }


def status(cluster: Cluster) -> tuple[int, int, int, int]:
    """(expected, desired, healthy, allowed)."""
    found = cluster.get(BUDGETS, "web")["status"]
    return (
        found["expectedPods"],
        found["desiredHealthy"],
        found["currentHealthy"],
        found["disruptionsAllowed"],
    )


def evict(cluster: Cluster, name: str) -> None:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    work = cluster.client().create("pods", eviction, "default", subresource="eviction", name=name)
    cluster.run(work)


def pods(cluster: Cluster) -> list[str]:
    return [meta.name(pod) for pod in cluster.list("pods", "default") if not meta.is_deleting(pod)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"minAvailable": 3}, (4, 3, 4, 1), id="count"),
        pytest.param({"minAvailable": "60%"}, (4, 3, 4, 1), id="share-rounded-up"),
        pytest.param({"maxUnavailable": 1}, (4, 3, 4, 1), id="missing-count"),
        pytest.param({"maxUnavailable": "30%"}, (4, 2, 4, 2), id="missing-share-rounded-up"),
        pytest.param({"minAvailable": "100%"}, (4, 4, 4, 0), id="all"),
        pytest.param({"minAvailable": 9}, (4, 9, 4, 0), id="more-than-there-are"),
    ],
)
def test_the_status_says_how_many_may_go(
    cluster: Cluster, spec: dict[str, Any], expected: tuple[int, int, int, int]
) -> None:
    cluster.apply(deployment(4))
    cluster.apply(budget(**spec))
    cluster.clock.advance(5)
    assert status(cluster) == expected
    allowed = conditions.find(cluster.get(BUDGETS, "web"), "DisruptionAllowed")
    assert allowed is not None
    assert allowed["reason"] == ("SufficientPods" if expected[3] else "InsufficientPods")


def test_evictions_never_leave_fewer_than_the_budget(cluster: Cluster, always: Any) -> None:
    cluster.apply(deployment(3))
    cluster.apply(budget(minAvailable=2))
    cluster.clock.advance(5)

    def too_few(found: list[Any]) -> str:
        up = sum(conditions.is_true(pod, "Ready") and not meta.is_deleting(pod) for pod in found)
        return "" if up >= 2 else f"{up} left"

    always(cluster, "pods", too_few)
    refused = 0
    for _ in range(12):
        for name in pods(cluster):
            try:
                evict(cluster, name)
            except TooManyRequests:
                refused += 1
        cluster.clock.advance(1)
    assert refused > 0
    cluster.clock.advance(30)
    assert status(cluster) == (3, 2, 3, 1)


def test_no_pods_means_no_disruption(cluster: Cluster) -> None:
    cluster.apply(budget(minAvailable=0))
    cluster.clock.advance(1)
    assert status(cluster) == (0, 0, 0, 0)


def test_pods_whose_owner_has_no_scale_allow_nothing(cluster: Cluster) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
    cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j"},
            "spec": {"template": {"metadata": {"labels": LABELS}, "spec": pod}},
        }
    )
    cluster.apply(budget(maxUnavailable=1))
    cluster.clock.advance(5)
    failed = conditions.find(cluster.get(BUDGETS, "web"), "DisruptionAllowed")
    assert failed is not None
    assert failed["reason"] == "SyncFailed"
    assert failed["message"] == "jobs.batch does not implement the scale subresource"


def test_a_custom_owner_is_asked_for_its_scale(cluster: Cluster) -> None:
    whole = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "fleets.example.com"},
            "spec": {
                "group": "example.com",
                "scope": "Namespaced",
                "names": {"plural": "fleets", "kind": "Fleet"},
                "versions": [
                    {
                        "name": "v1",
                        "served": True,
                        "storage": True,
                        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": whole}}},
                        "subresources": {
                            "scale": {
                                "specReplicasPath": ".spec.replicas",
                                "statusReplicasPath": ".status.replicas",
                            }
                        },
                    }
                ],
            },
        }
    )
    cluster.clock.advance(5)
    fleet = cluster.create(
        {
            "apiVersion": "example.com/v1",
            "kind": "Fleet",
            "metadata": {"name": "big"},
            "spec": {"replicas": 8},
        }
    )
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "labels": LABELS, "ownerReferences": [meta.owner_reference(fleet)]},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
    )
    cluster.apply(budget(minAvailable="50%"))
    cluster.clock.advance(5)
    assert status(cluster) == (8, 4, 1, 0)


def test_a_disruption_that_does_not_come_is_taken_back(cluster: Cluster) -> None:
    cluster.apply(deployment(1))
    cluster.clock.advance(5)
    (name,) = pods(cluster)
    pod = cluster.get("pods", name)
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "lastTransitionTime": pod["metadata"]["creationTimestamp"],
    }
    found = [*pod["status"]["conditions"], target]
    cluster.patch("pods", name, {"status": {"conditions": found}}, subresource="status")
    cluster.clock.advance(60)
    assert conditions.is_true(cluster.get("pods", name), "DisruptionTarget")
    cluster.clock.advance(90)
    assert not conditions.is_true(cluster.get("pods", name), "DisruptionTarget")


def test_an_eviction_granted_and_not_carried_out_counts_again_after_two_minutes(cluster: Cluster) -> None:
    cluster.apply(deployment(2))
    cluster.apply(budget(minAvailable=1))
    cluster.clock.advance(5)
    name = pods(cluster)[0]
    found = cluster.get(BUDGETS, "web")
    noted = {**found["status"], "disruptionsAllowed": 0, "disruptedPods": {name: "2026-01-01T00:00:05Z"}}
    cluster.update({**found, "status": noted}, subresource="status")
    cluster.clock.advance(5)
    assert status(cluster) == (2, 1, 1, 0)
    cluster.clock.advance("3m")
    assert status(cluster) == (2, 1, 2, 1)
