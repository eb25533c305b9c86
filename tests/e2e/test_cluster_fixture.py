"""The ``cluster`` fixture as people who test their own controllers use it: everything real but the node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.errors import InternalError
from kubernel.objects import meta
from kubernel.testing import Cluster


def deployment(name: str, replicas: int, image: str = "web:1") -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "c", "image": image, "resources": {"requests": {"cpu": "100m"}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def ready(cluster: Cluster, name: str, replicas: int) -> Any:
    def is_so() -> bool:
        found = cluster.get("deployments.v1.apps", name)
        status = found.get("status") or {}
        return (
            status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("readyReplicas", 0) == replicas
            and status.get("updatedReplicas", 0) == replicas
            and status.get("replicas", 0) == replicas
        )

    return cluster.wait(is_so, timeout="5m")


def test_a_deployment_comes_up_scales_rolls_and_goes(cluster: Cluster) -> None:
    cluster.apply(deployment("web", 3))
    ready(cluster, "web", 3)
    assert {pod["spec"]["nodeName"] for pod in cluster.list("pods", "default")} == {"node-1"}
    cluster.patch("deploy", "web", {"spec": {"replicas": 5}})
    ready(cluster, "web", 5)
    cluster.apply(deployment("web", 2, "web:2"))
    ready(cluster, "web", 2)
    images = [pod["spec"]["containers"][0]["image"] for pod in cluster.list("pods", "default")]
    assert images == ["web:2", "web:2"]
    cluster.delete("deploy", "web")
    cluster.wait(lambda: not cluster.list("pods", "default"), timeout="2m")
    assert not cluster.list("replicasets")


def test_events_tell_what_happened(cluster: Cluster) -> None:
    cluster.apply(deployment("web", 1))
    ready(cluster, "web", 1)
    reasons = {event["reason"] for event in cluster.list("events", "default")}
    assert {"ScalingReplicaSet", "SuccessfulCreate", "Scheduled"} <= reasons


def test_a_stormy_day_ends_well(cluster: Cluster) -> None:
    cluster.faults.fail_writes("pods", times=5)
    cluster.faults.fail_writes("replicasets.v1.apps", times=2)
    cluster.faults.slow_store(0.2)
    cluster.apply(deployment("web", 4))
    for _ in range(5):
        cluster.faults.drop_watches(forget=True)
        cluster.clock.advance(3)
    with cluster.faults.outage("controller", "replicaset"):
        cluster.patch("deploy", "web", {"spec": {"replicas": 6}})
        cluster.clock.advance("1m")
    cluster.faults.clear()
    ready(cluster, "web", 6)
    cluster.clock.advance("10m")
    assert len(cluster.list("pods", "default")) == 6


def test_a_day_of_rest_writes_next_to_nothing(cluster: Cluster) -> None:
    cluster.apply(deployment("web", 2))
    ready(cluster, "web", 2)
    before = {meta.uid(pod): meta.resource_version(pod) for pod in cluster.list("pods")}
    revision = cluster.kernel.registry.store.revision
    cluster.clock.advance("1h")
    assert {meta.uid(pod): meta.resource_version(pod) for pod in cluster.list("pods")} == before
    # The leases of the node and of the API server are renewed every ten seconds, and there is little else.
    assert cluster.kernel.registry.store.revision - revision <= 2 * 360 + 20


def test_with_leader_election_the_cluster_works_just_the_same(
    cluster_factory: Callable[..., Cluster],
) -> None:
    cluster = cluster_factory(config={"cluster": {"leaderElection": True}})
    cluster.apply(deployment("web", 1))
    ready(cluster, "web", 1)
    holders = {
        lease["metadata"]["name"]: lease["spec"]["holderIdentity"]
        for lease in cluster.list("leases.v1.coordination.k8s.io", "kube-system")
    }
    assert holders["kubernel-controller-replicaset"].startswith("kubernel-controller-replicaset_")


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_cluster_on_any_store_behaves_alike(cluster_factory: Callable[..., Cluster], store: str) -> None:
    cluster = cluster_factory(config={"plugins": {"store": store}})
    cluster.apply(deployment("web", 2))
    ready(cluster, "web", 2)


def test_a_full_store_ends_no_plugin(cluster: Cluster) -> None:
    cluster.apply(deployment("web", 2))
    ready(cluster, "web", 2)
    cluster.faults.fill_store()
    with pytest.raises(InternalError, match="no space left"):
        cluster.patch("deploy", "web", {"spec": {"replicas": 4}})
    cluster.clock.advance("1h")
    phases = {state.label: state.phase for state in cluster.kernel.plugins}
    assert set(phases.values()) == {"running"}, phases
    cluster.faults.clear()
    cluster.patch("deploy", "web", {"spec": {"replicas": 4}})
    ready(cluster, "web", 4)
