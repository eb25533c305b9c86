"""What the kubelet does over hours, with simulated containers and virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from kubernel.testing import Cluster

PLUGINS = {
    "store": "memory",
    "admission": [],
    "controller": [],
    "scheduler": [],
    "scheduler_policy": [],
    "network": "host",
    "runtime": "simulated",
    "node": ["kubelet"],
}


@pytest.fixture
def node() -> Iterator[Cluster]:
    cluster = Cluster(config={"plugins": PLUGINS})
    yield cluster
    cluster.stop()


def pod(name: str = "web", annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    prefixed = {f"simulated.kubernel.dev/{key}": value for key, value in (annotations or {}).items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": prefixed},
        "spec": {
            "nodeName": "node-1",
            "terminationGracePeriodSeconds": 30,
            "containers": [{"name": "main", "image": "nginx"}],
            **spec,
        },
    }


def status(node: Cluster, name: str = "web") -> dict[str, Any]:
    node.settle()
    found: dict[str, Any] = node.get("pods", name)["status"]
    return found


def conditions(found: dict[str, Any]) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in found["conditions"]}


def events(node: Cluster, name: str = "web") -> list[tuple[str, str]]:
    node.settle()
    found = [e for e in node.list("events") if e["involvedObject"]["name"] == name]
    return [(event["reason"], event["message"]) for event in found]


def test_node_registers_itself_ready_with_a_lease(node: Cluster) -> None:
    (found,) = node.list("nodes")
    assert found["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"
    assert found["status"]["nodeInfo"]["kubeletVersion"] == "v1.37.0"
    assert {a["type"]: a["address"] for a in found["status"]["addresses"]} == {
        "InternalIP": "127.0.0.1",
        "Hostname": "node-1",
    }
    assert {c["type"]: c["status"] for c in found["status"]["conditions"]}["Ready"] == "True"
    assert {"cpu", "memory", "pods", "ephemeral-storage"} <= found["status"]["allocatable"].keys()
    lease = node.get("leases.v1.coordination.k8s.io", "node-1", "kube-node-lease")
    node.clock.advance(10)
    renewed = node.get("leases.v1.coordination.k8s.io", "node-1", "kube-node-lease")
    assert renewed["spec"]["renewTime"] > lease["spec"]["renewTime"]


def test_foreign_capacity_becomes_allocatable(node: Cluster) -> None:
    node.patch("nodes", "node-1", {"status": {"capacity": {"example.com/gpu": "3"}}}, subresource="status")
    node.clock.advance(10)
    assert node.get("nodes", "node-1")["status"]["allocatable"]["example.com/gpu"] == "3"


def test_pod_runs_and_says_so(node: Cluster) -> None:
    node.create(pod())
    found = status(node)
    assert found["phase"] == "Running"
    assert conditions(found) == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
    }
    (container,) = found["containerStatuses"]
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)
    assert container["containerID"].startswith("simulated://")
    assert found["podIP"] == found["podIPs"][0]["ip"]
    assert found["hostIP"] == "127.0.0.1"
    assert found["observedGeneration"] == 1
    assert found["qosClass"] == "BestEffort"
    assert events(node)[:2] == [("Created", "Container created"), ("Started", "Container started")]


def test_pods_have_addresses_of_their_own(node: Cluster) -> None:
    for name in ("a", "b"):
        node.create(pod(name))
    assert status(node, "a")["podIP"] != status(node, "b")["podIP"]


def test_crashing_container_backs_off_from_10_seconds_to_5_minutes(node: Cluster) -> None:
    node.create(pod(annotations={"run-for": "1", "exit-code": "2"}))
    node.clock.advance(1.5)
    found = status(node)["containerStatuses"][0]
    assert (found["restartCount"], found["lastState"]["terminated"]["exitCode"]) == (1, 2)
    node.clock.advance(1)
    found = status(node)["containerStatuses"][0]
    assert found["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    uid = node.get("pods", "web")["metadata"]["uid"]
    assert found["state"]["waiting"]["message"] == (
        f"back-off 10s restarting failed container=main pod=web_default({uid})"
    )
    assert status(node)["phase"] == "Running"
    starts = [0.0]
    before = 1
    elapsed = 2.5
    while len(starts) < 8:
        node.clock.advance(1)
        elapsed += 1
        count = status(node)["containerStatuses"][0]["restartCount"]
        if count != before:
            before = count
            starts.append(elapsed)
    gaps = [round(b - a) for a, b in pairwise(starts[1:])]
    assert gaps == [21, 41, 81, 161, 301, 301]
    assert ("BackOff", f"Back-off restarting failed container main in pod web_default({uid})") in events(node)


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        pytest.param("Never", "0", "Succeeded", id="never, success"),
        pytest.param("Never", "3", "Failed", id="never, failure"),
        pytest.param("OnFailure", "0", "Succeeded", id="on failure, success"),
        pytest.param("OnFailure", "3", "Running", id="on failure, failure"),
        pytest.param("Always", "0", "Running", id="always"),
    ],
)
def test_restart_policy_decides_the_phase(node: Cluster, policy: str, code: str, phase: str) -> None:
    node.create(pod(annotations={"run-for": "5", "exit-code": code}, restartPolicy=policy))
    node.clock.advance(6)
    found = status(node)
    assert found["phase"] == phase
    if phase == "Succeeded":
        by_type = {c["type"]: c for c in found["conditions"]}
        assert by_type["Ready"]["reason"] == "PodCompleted"


def test_init_containers_run_one_after_the_other_before_the_rest(node: Cluster) -> None:
    annotations = {"run-for.one": "5", "run-for.two": "5"}
    inits = [{"name": "one", "image": "x"}, {"name": "two", "image": "x"}]
    node.create(pod(annotations=annotations, initContainers=inits))
    found = status(node)
    assert found["phase"] == "Pending"
    assert "running" in found["initContainerStatuses"][0]["state"]
    assert found["initContainerStatuses"][1]["state"]["waiting"]["reason"] == "PodInitializing"
    assert found["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    by_type = {c["type"]: c for c in found["conditions"]}
    assert by_type["Initialized"]["message"] == "containers with incomplete status: [one two]"
    node.clock.advance(11)
    found = status(node)
    assert found["phase"] == "Running"
    assert [c["ready"] for c in found["initContainerStatuses"]] == [True, True]
    assert conditions(found)["Initialized"] == "True"


def test_failing_init_container_fails_a_pod_that_is_never_restarted(node: Cluster) -> None:
    annotations = {"run-for.one": "5", "exit-code.one": "1"}
    node.create(
        pod(annotations=annotations, initContainers=[{"name": "one", "image": "x"}], restartPolicy="Never")
    )
    node.clock.advance(6)
    found = status(node)
    assert found["phase"] == "Failed"
    assert "waiting" in found["containerStatuses"][0]["state"]


def test_sidecar_starts_first_and_ends_with_the_pod(node: Cluster) -> None:
    side = {"name": "side", "image": "x", "restartPolicy": "Always"}
    node.create(pod(annotations={"run-for.main": "5"}, initContainers=[side], restartPolicy="Never"))
    found = status(node)
    assert found["phase"] == "Running"
    assert found["initContainerStatuses"][0]["started"] is True
    node.clock.advance(6)
    found = status(node)
    assert found["phase"] == "Succeeded"
    assert found["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


def test_readiness_probe_decides_ready(node: Cluster) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5, "failureThreshold": 2}
    containers = [{"name": "main", "image": "x", "readinessProbe": probe}]
    node.create(pod(annotations={"ready-after": "12"}, containers=containers))
    assert conditions(status(node))["Ready"] == "False"
    node.clock.advance(16)
    assert conditions(status(node))["Ready"] == "True"
    node.patch("pods", "web", {"metadata": {"annotations": {"simulated.kubernel.dev/ready": "false"}}})
    node.clock.advance(6)
    node.clock.advance(6)
    found = status(node)
    assert conditions(found)["Ready"] == "False"
    assert found["phase"] == "Running"


def test_liveness_probe_restarts_the_container(node: Cluster) -> None:
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 5}
    node.create(
        pod(
            annotations={"live": "false"}, containers=[{"name": "main", "image": "x", "livenessProbe": probe}]
        )
    )
    node.clock.advance(11)
    assert status(node)["containerStatuses"][0]["restartCount"] == 1
    told = events(node)
    assert ("Unhealthy", "Liveness probe failed: simulated failure") in told
    assert ("Killing", "Container main failed liveness probe, will be restarted") in told


def test_startup_probe_holds_the_others_back(node: Cluster) -> None:
    container = {
        "name": "main",
        "image": "x",
        "startupProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 100},
        "livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": 1, "failureThreshold": 1},
    }
    node.create(pod(annotations={"ready-after": "30", "live": "false"}, containers=[container]))
    node.clock.advance(20)
    found = status(node)["containerStatuses"][0]
    assert (found["started"], found["restartCount"]) == (False, 0)
    node.clock.advance(12)
    assert status(node)["containerStatuses"][0]["restartCount"] == 1


def test_deletion_waits_for_the_containers_and_then_removes_the_pod(node: Cluster) -> None:
    node.create(pod(annotations={"stop-delay": "10"}))
    node.settle()
    node.delete("pods", "web")
    node.clock.advance(5)
    assert node.get("pods", "web")["metadata"]["deletionTimestamp"]
    assert ("Killing", "Stopping container main") in events(node)
    node.clock.advance(6)
    assert node.find("pods", "web") is None


def test_forced_deletion_leaves_nothing(node: Cluster) -> None:
    node.create(pod(annotations={"stop-delay": "100"}))
    node.settle()
    node.delete("pods", "web", grace_period=0)
    node.clock.advance(31)
    assert node.find("pods", "web") is None
    assert node.run(node.kernel.driver("runtime").list_containers()) == []


def test_a_later_shorter_grace_shortens_the_end(node: Cluster) -> None:
    node.create(pod(annotations={"stop-delay": "1000"}, terminationGracePeriodSeconds=500))
    node.settle()
    node.delete("pods", "web")
    node.clock.advance(5)
    node.delete("pods", "web", grace_period=3)
    node.clock.advance(4)
    assert node.find("pods", "web") is None


def test_pre_stop_takes_its_time_out_of_the_grace(node: Cluster) -> None:
    container = {"name": "main", "image": "x", "lifecycle": {"preStop": {"sleep": {"seconds": 4}}}}
    node.create(pod(containers=[container]))
    node.settle()
    node.delete("pods", "web")
    node.clock.advance(3.5)
    assert "running" in node.get("pods", "web")["status"]["containerStatuses"][0]["state"]
    node.clock.advance(1)
    assert node.find("pods", "web") is None


def test_pod_that_is_active_for_too_long_fails(node: Cluster) -> None:
    node.create(pod(activeDeadlineSeconds=30))
    node.clock.advance(29)
    assert status(node)["phase"] == "Running"
    node.clock.advance(2)
    found = status(node)
    assert (found["phase"], found["reason"]) == ("Failed", "DeadlineExceeded")
    assert found["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


def test_missing_reference_holds_the_container_until_it_is_there(node: Cluster) -> None:
    ref = {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}
    node.create(pod(containers=[{"name": "main", "image": "x", "env": [ref]}]))
    waiting = status(node)["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
    assert ("Failed", 'Error: configmap "settings" not found') in events(node)
    node.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}}
    )
    message = status(node)["containerStatuses"][0]["state"]["waiting"]["message"]
    assert message == "couldn't find key color in ConfigMap default/settings"
    node.patch("configmaps", "settings", {"data": {"color": "blue"}})
    assert status(node)["phase"] == "Running"


def test_missing_volume_source_is_told_and_retried(node: Cluster) -> None:
    node.create(pod(volumes=[{"name": "v", "secret": {"secretName": "key"}}]))
    found = status(node)
    assert found["phase"] == "Pending"
    assert found["containerStatuses"][0]["state"]["waiting"]["reason"] == "ContainerCreating"
    assert ("FailedMount", 'MountVolume.SetUp failed for volume "v" : secret "key" not found') in events(node)
    node.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"a": "b"}})
    assert status(node)["phase"] == "Running"


def test_refused_container_waits_with_the_reason(node: Cluster) -> None:
    node.create(pod(annotations={"refuse": "ErrImagePull"}))
    assert status(node)["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
    assert status(node)["phase"] == "Pending"


def test_conditions_of_others_stay(node: Cluster) -> None:
    node.create(pod(readinessGates=[{"conditionType": "example.com/ok"}]))
    assert conditions(status(node))["Ready"] == "False"
    patch = {"status": {"conditions": [{"type": "example.com/ok", "status": "True"}]}}
    node.patch("pods", "web", patch, type="strategic", subresource="status")
    found = conditions(status(node))
    assert (found["Ready"], found["example.com/ok"]) == ("True", "True")


def test_quiet_pods_cause_no_writes(node: Cluster) -> None:
    node.create(pod())
    version = node.get("pods", "web")["metadata"]["resourceVersion"] if status(node) else ""
    node.clock.advance("1h")
    assert node.get("pods", "web")["metadata"]["resourceVersion"] == version


def test_changed_image_restarts_the_container_whatever_the_policy(node: Cluster) -> None:
    node.create(pod(restartPolicy="Never"))
    node.settle()
    patch = {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}
    node.patch("pods", "web", patch, type="strategic")
    found = status(node)
    (container,) = found["containerStatuses"]
    assert (container["image"], container["restartCount"], found["phase"]) == ("nginx:2", 1, "Running")
    assert ("Killing", "Container main definition changed, will be restarted") in events(node)


def test_ephemeral_container_joins_a_running_pod(node: Cluster) -> None:
    node.create(pod())
    node.settle()
    patch = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "busybox"}]}}
    node.patch("pods", "web", patch, type="strategic", subresource="ephemeralcontainers")
    found = status(node)
    assert "running" in found["ephemeralContainerStatuses"][0]["state"]
    assert found["phase"] == "Running"


def test_deleted_node_stays_deleted(node: Cluster) -> None:
    node.delete("nodes", "node-1")
    node.clock.advance("2m")
    assert node.find("nodes", "node-1") is None
