from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster


def pod(name: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "x"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container], **spec},
    }


def names(cluster: Cluster) -> list[str]:
    return sorted(meta.name(found) for found in cluster.list("pods", "default"))


def test_pods_of_a_node_that_is_gone_go_after_forty_seconds(cluster: Cluster) -> None:
    cluster.apply(pod("p", tolerations=[{"operator": "Exists"}]))
    cluster.clock.advance(5)
    cluster.patch("pods", "p", {"metadata": {"finalizers": ["example.com/look"]}})
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", "node-1")
    cluster.clock.advance(35)
    assert not meta.is_deleting(cluster.get("pods", "p"))
    cluster.clock.advance(10)
    found = cluster.get("pods", "p")
    assert meta.is_deleting(found)
    assert found["status"]["phase"] == "Failed"
    disrupted = conditions.find(found, "DisruptionTarget")
    assert disrupted is not None
    assert (disrupted["reason"], disrupted["message"]) == (
        "DeletionByPodGC",
        "PodGC: node no longer exists",
    )


def test_pods_of_a_node_that_comes_back_in_time_stay(cluster: Cluster) -> None:
    cluster.apply(pod("p"))
    cluster.clock.advance(5)
    with cluster.faults.outage("node", "simulated"):
        cluster.delete("nodes", "node-1")
        cluster.clock.advance(20)
    cluster.clock.advance("2m")
    assert names(cluster) == ["p"]


def test_a_pod_deleted_before_it_was_scheduled_goes_at_once(cluster: Cluster) -> None:
    cluster.apply(pod("p", schedulingGates=[{"name": "example.com/wait"}]))
    cluster.delete("pods", "p", grace_period=30)
    cluster.clock.advance(1)
    assert names(cluster) == []


def test_the_oldest_ended_pods_go_when_there_are_too_many(cluster_factory: Callable[..., Cluster]) -> None:
    cluster = cluster_factory(config={"plugins": {"controller": ["*", {"podgc": {"terminatedPods": 3}}]}})
    for number in range(6):
        made = pod(f"p{number}", restartPolicy="Never")
        made["metadata"]["annotations"] = {"simulated.kubernel.dev/run-for": "1s"}
        cluster.apply(made)
        cluster.clock.advance(2)
    cluster.apply(pod("alive"))
    cluster.clock.advance(5)
    assert names(cluster) == ["alive", "p3", "p4", "p5"]


def test_evicted_pods_go_before_older_ones(cluster_factory: Callable[..., Cluster]) -> None:
    plugins = {"node": None, "controller": ["*", {"podgc": {"terminatedPods": 1}}]}
    cluster = cluster_factory(config={"plugins": plugins})
    for name, reason in (("old", "Error"), ("evicted", "Evicted")):
        cluster.create(pod(name))
        ended = {"status": {"phase": "Failed", "reason": reason}}
        cluster.patch("pods", name, ended, subresource="status")
        cluster.clock.advance(2)
    assert names(cluster) == ["old"]


def test_what_an_orphaned_pod_is_told_names_its_generation(cluster_factory: Callable[..., Cluster]) -> None:
    cluster = cluster_factory(config={"plugins": {"node": None}})
    orphan = pod("p", nodeName="gone")
    orphan["metadata"]["finalizers"] = ["example.com/watched"]
    cluster.create(orphan)
    cluster.clock.advance("1m")
    status = cluster.get("pods", "p")["status"]
    (told,) = [each for each in status["conditions"] if each["type"] == "DisruptionTarget"]
    assert status["phase"] == "Failed"
    assert status["observedGeneration"] == 1
    assert (told["reason"], told["message"]) == ("DeletionByPodGC", "PodGC: node no longer exists")
    assert told["observedGeneration"] == 1
    count = 'pod_gc_collector_force_delete_pods_total{namespace="default",reason="orphaned"} '
    assert count in cluster.kernel.hooks.metrics()


def test_terminating_pods_of_an_out_of_service_node_are_let_go(cluster: Cluster) -> None:
    cluster.apply(pod("p", tolerations=[{"operator": "Exists"}]))
    cluster.clock.advance(5)
    cluster.faults.crash("node", "simulated")
    cluster.clock.advance("1m")
    cluster.delete("pods", "p", grace_period=30)
    cluster.clock.advance("5m")
    assert names(cluster) == ["p"]
    taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
    node = cluster.get("nodes", "node-1")
    cluster.update(
        meta.replace(node, ("spec", "taints"), [*(node.get("spec") or {}).get("taints", []), taint])
    )
    cluster.clock.advance(5)
    assert names(cluster) == []
    assert cluster.find("pods", "p") is None
