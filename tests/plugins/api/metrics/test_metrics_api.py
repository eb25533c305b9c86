from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from workload_kit import PREFIX, pod

from kubernel.errors import MethodNotSupported, NotFound
from kubernel.plugin.contract import NodeUsage
from kubernel.testing import Cluster
from kubernel_plugins.api.metrics.samples import Samples

PODS = "pods.v1beta1.metrics.k8s.io"
NODES = "nodes.v1beta1.metrics.k8s.io"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"api": ["metrics"]}}) as made:
        yield made


def test_a_pod_appears_with_its_second_sample(cluster: Cluster) -> None:
    cluster.apply(pod("web", {"app": "web"}, {"cpu": "250m", "memory": "64Mi"}))
    assert cluster.list(PODS) == []
    cluster.clock.advance(31)
    (found,) = cluster.list(PODS, "default")
    assert found["containers"] == [{"name": "main", "usage": {"cpu": "250m", "memory": "64Mi"}}]
    assert found["metadata"]["labels"] == {"app": "web"}
    assert found["window"] == "15s"
    assert found == {**cluster.get(PODS, "web"), "metadata": found["metadata"]}


def test_cpu_is_what_was_used_since_the_sample_before(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"cpu": "1"}))
    cluster.clock.advance("5m")
    cluster.patch("pods", "web", {"metadata": {"annotations": {f"{PREFIX}cpu": "200m"}}})
    cluster.clock.advance(31)
    assert cluster.get(PODS, "web")["containers"][0]["usage"]["cpu"] == "200m"


def test_a_node_uses_what_its_pods_use(cluster: Cluster) -> None:
    cluster.apply([pod(name, script={"cpu": "500m", "memory": "1Gi"}) for name in ("one", "two")])
    cluster.clock.advance(45)
    (found,) = cluster.list(NODES)
    assert found["usage"] == {"cpu": "1", "memory": "2Gi"}
    assert found["metadata"]["name"] == "node-1"


def test_labels_select(cluster: Cluster) -> None:
    cluster.apply([pod("one", {"app": "a"}), pod("two", {"app": "b"})])
    cluster.clock.advance(45)
    assert [found["metadata"]["name"] for found in cluster.list(PODS, labels="app=b")] == ["two"]


def test_what_has_ended_is_gone(cluster: Cluster) -> None:
    cluster.apply(pod("web", script={"run-for": "40s"}, restartPolicy="Never"))
    cluster.clock.advance(35)
    assert len(cluster.list(PODS)) == 1
    cluster.clock.advance(35)
    with pytest.raises(NotFound, match=r'pods.metrics.k8s.io "web" not found'):
        cluster.get(PODS, "web")


def test_nothing_can_be_written(cluster: Cluster) -> None:
    with pytest.raises(MethodNotSupported):
        cluster.delete(NODES, "node-1")


def test_a_counter_that_went_down_is_a_new_container() -> None:
    def usage(seconds: float) -> Any:
        return [NodeUsage("n", seconds, 5, {"u": {"main": (seconds, 7)}})]

    samples = Samples()
    samples.take(100.0, usage(50.0))
    samples.take(110.0, usage(55.0))
    assert samples.pods["u"]["main"].cores == 0.5
    samples.take(120.0, usage(1.0))
    assert samples.pods["u"] == {}
    assert samples.nodes == {}
    samples.take(130.0, usage(2.0))
    assert samples.pods["u"]["main"].cores == 0.1
