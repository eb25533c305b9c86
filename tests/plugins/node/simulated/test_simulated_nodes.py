"""Many nodes in one plugin, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kubernel.testing import Cluster

Start = Callable[..., Cluster]


@pytest.fixture
def start() -> Iterator[Start]:
    clusters: list[Cluster] = []

    def begin(**settings: Any) -> Cluster:
        plugins = {
            "store": "memory",
            "admission": [],
            "controller": [],
            "scheduler": [],
            "scheduler_policy": [],
            "node": [{"simulated": settings}],
        }
        clusters.append(Cluster(config={"plugins": plugins}))
        return clusters[-1]

    yield begin
    for cluster in clusters:
        cluster.stop()


def pod(name: str = "a", node: str = "node-1", annotations: dict[str, str] | None = None, **spec: Any) -> Any:
    prefixed = {f"simulated.kubernel.dev/{key}": value for key, value in (annotations or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": prefixed},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "x"}],
            **spec,
        },
    }


def status(cluster: Cluster, name: str = "a") -> dict[str, Any]:
    cluster.settle()
    found: dict[str, Any] = cluster.get("pods", name)["status"]
    return found


def ready(found: dict[str, Any]) -> str:
    return next(c["status"] for c in found["conditions"] if c["type"] == "Ready")


def test_nodes_are_ready_and_renew_their_leases(start: Start) -> None:
    cluster = start(nodes=3, name="sim-{}", cpu="4", labels={"zone": "a"})
    nodes = cluster.list("nodes")
    assert [node["metadata"]["name"] for node in nodes] == ["sim-1", "sim-2", "sim-3"]
    assert all(node["status"]["allocatable"]["cpu"] == "4" for node in nodes)
    assert all(node["metadata"]["labels"]["zone"] == "a" for node in nodes)
    leases = "leases.v1.coordination.k8s.io"
    before = cluster.get(leases, "sim-2", "kube-node-lease")["spec"]["renewTime"]
    cluster.clock.advance(11)
    assert cluster.get(leases, "sim-2", "kube-node-lease")["spec"]["renewTime"] > before


def test_pods_run_at_once_and_elsewhere_nothing_happens(start: Start) -> None:
    cluster = start()
    cluster.create(pod())
    cluster.create(pod("other", "somewhere"))
    found = status(cluster)
    assert (found["phase"], ready(found)) == ("Running", "True")
    assert found["podIP"]
    assert status(cluster, "other")["phase"] == "Pending"


def test_delays_are_kept(start: Start) -> None:
    cluster = start(startDelay=10.0, readyDelay=5.0, stopDelay=3.0)
    cluster.create(pod())
    cluster.clock.advance(9)
    assert status(cluster)["phase"] == "Pending"
    cluster.clock.advance(2)
    assert (status(cluster)["phase"], ready(status(cluster))) == ("Running", "False")
    cluster.clock.advance(5)
    assert ready(status(cluster)) == "True"
    cluster.delete("pods", "a")
    cluster.clock.advance(2)
    assert cluster.find("pods", "a") is not None
    cluster.clock.advance(2)
    assert cluster.find("pods", "a") is None


@pytest.mark.parametrize(
    ("policy", "code", "phase", "restarts"),
    [
        pytest.param("Never", "0", "Succeeded", 0, id="success"),
        pytest.param("Never", "1", "Failed", 0, id="failure"),
        pytest.param("OnFailure", "1", "Running", 2, id="restarted"),
    ],
)
def test_annotations_end_containers(start: Start, policy: str, code: str, phase: str, restarts: int) -> None:
    cluster = start()
    cluster.create(pod(annotations={"run-for": "10s", "exit-code": code}, restartPolicy=policy))
    cluster.clock.advance(35)
    found = status(cluster)
    assert (found["phase"], found["containerStatuses"][0]["restartCount"]) == (phase, restarts)


def test_readiness_follows_the_annotation(start: Start) -> None:
    cluster = start()
    cluster.create(pod(annotations={"ready": "false"}))
    assert ready(status(cluster)) == "False"
    cluster.patch("pods", "a", {"metadata": {"annotations": {"simulated.kubernel.dev/ready": "true"}}})
    assert ready(status(cluster)) == "True"


def test_addresses_differ(start: Start) -> None:
    cluster = start()
    for number in range(5):
        cluster.create(pod(f"p{number}"))
    assert len({status(cluster, f"p{number}")["podIP"] for number in range(5)}) == 5


def test_quiet_pods_cause_no_writes(start: Start) -> None:
    cluster = start()
    cluster.create(pod())
    cluster.settle()
    version = cluster.get("pods", "a")["metadata"]["resourceVersion"]
    cluster.clock.advance("1h")
    assert cluster.get("pods", "a")["metadata"]["resourceVersion"] == version


def test_a_pod_that_a_finalizer_keeps_is_told_to_have_ended(start: Start) -> None:
    cluster = start(stopDelay=2.0)
    made = pod()
    made["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.create(made)
    cluster.settle()
    cluster.delete("pods", "a")
    cluster.clock.advance(3)
    found = status(cluster)
    assert found["phase"] == "Failed"
    assert ready(found) == "False"
    assert found["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
