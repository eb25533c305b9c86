"""Extended resources that a device class stands for: ``example.com/gpu: 1`` gets a device and no claim by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scheduling_kit import pod as state_of
from test_dynamic_resources import allocated, claim, condition, device, device_class, devices, node_of, using
from workload_kit import pod

from kubernel.errors import InternalError
from kubernel.testing import Cluster
from kubernel_plugins.scheduler_policy.dynamic_resources.extended import claim_for

Obj = dict[str, Any]
GPU = "example.com/gpu"


@pytest.fixture
def cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:
    plugins = {
        "node": [{"simulated": {"nodes": 2, "cpu": "4"}}],
        "controller": ["bootstrap", "namespace", "serviceaccount"],
        "admission": ["*", "-taint_nodes"],
    }
    return cluster_factory(config={"plugins": plugins})


def asking(name: str, amount: int = 1, resource: str = GPU, **spec: Any) -> Obj:
    resources = {"requests": {resource: str(amount)}, "limits": {resource: str(amount)}}
    return pod(name, containers=[{"name": "m", "image": "x", "resources": resources}], **spec)


def its_claim(cluster: Cluster, name: str) -> Obj:
    (found,) = [
        each
        for each in cluster.list("resourceclaims", "default")
        if each["metadata"]["ownerReferences"][0]["name"] == name
    ]
    return dict(found)


def test_a_pod_gets_devices_through_a_claim_that_is_made_for_it(cluster: Cluster) -> None:
    cluster.create(device_class(extendedResourceName=GPU))
    cluster.create(devices("s2", "node-2", device("a"), device("b")))
    cluster.create(asking("p", 2))
    assert node_of(cluster, "p") == "node-2"
    found = its_claim(cluster, "p")
    uid = cluster.get("pods", "p")["metadata"]["uid"]
    metadata = found["metadata"]
    assert metadata["name"].startswith("p-extended-resources-")
    assert metadata["annotations"] == {"resource.kubernetes.io/extended-resource-claim": "true"}
    assert metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
    ]
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}
    assert found["spec"]["devices"]["requests"] == [{"name": "container-0-request-0", "exactly": exactly}]
    assert sorted(allocated(cluster, metadata["name"])) == ["a", "b"]
    assert [each["uid"] for each in found["status"]["reservedFor"]] == [uid]
    assert cluster.get("pods", "p")["status"]["extendedResourceClaimStatus"] == {
        "requestMappings": [
            {"containerName": "m", "resourceName": GPU, "requestName": "container-0-request-0"}
        ],
        "resourceClaimName": metadata["name"],
    }


def test_every_class_stands_for_a_resource_of_its_own_name(cluster: Cluster) -> None:
    cluster.create(device_class())
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(asking("p", resource="deviceclass.resource.kubernetes.io/gpu"))
    assert node_of(cluster, "p") == "node-1"


def test_a_node_that_has_the_resource_itself_gives_it_without_a_claim(cluster: Cluster) -> None:
    cluster.create(device_class(extendedResourceName=GPU))
    there = {"status": {"capacity": {GPU: "1"}, "allocatable": {GPU: "1"}}}
    cluster.patch("nodes", "node-1", there, subresource="status")
    cluster.create(asking("p"))
    assert node_of(cluster, "p") == "node-1"
    assert not cluster.list("resourceclaims", "default")
    cluster.create(devices("s2", "node-2", device("a")))
    cluster.create(asking("q"))
    assert node_of(cluster, "q") == "node-2"
    assert allocated(cluster, its_claim(cluster, "q")["metadata"]["name"]) == ["a"]


def test_devices_that_are_taken_are_not_given_again(cluster: Cluster) -> None:
    cluster.create(device_class(extendedResourceName=GPU))
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(claim("c"))
    cluster.create(using("first", "c"))
    assert node_of(cluster, "first") == "node-1"
    cluster.create(asking("p"))
    assert node_of(cluster, "p") == ""
    assert condition(cluster, "p")["message"].startswith(
        "0/2 nodes are available: 2 cannot allocate all claims."
    )
    cluster.create(devices("s2", "node-2", device("a")))
    assert node_of(cluster, "p") == "node-2"


def test_a_class_that_comes_later_helps_and_one_that_goes_does_not(cluster: Cluster) -> None:
    cluster.create(devices("s1", "node-1", device("a"), device("b")))
    cluster.create(asking("p"))
    assert node_of(cluster, "p") == ""
    assert f"2 Insufficient {GPU}" in condition(cluster, "p")["message"]
    cluster.create(device_class(extendedResourceName=GPU))
    assert node_of(cluster, "p") == "node-1"
    cluster.delete("deviceclasses", "gpu")
    cluster.create(asking("q"))
    assert node_of(cluster, "q") == ""


def test_the_newest_class_of_several_is_taken(cluster: Cluster) -> None:
    cluster.create(device_class("old", extendedResourceName=GPU))
    cluster.clock.advance(5)
    for name in ("b-new", "a-new"):
        cluster.create(device_class(name, extendedResourceName=GPU))
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(asking("p"))
    assert node_of(cluster, "p") == "node-1"
    (request,) = its_claim(cluster, "p")["spec"]["devices"]["requests"]
    assert request["exactly"]["deviceClassName"] == "a-new"


def test_a_claim_whose_pod_could_not_be_bound_is_deleted(cluster: Cluster) -> None:
    cluster.create(device_class(extendedResourceName=GPU))
    cluster.create(asking("p"))
    cluster.settle()
    cluster.faults.fail_writes("resourceclaims", InternalError("no"), verbs=["update"])
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.settle()
    assert condition(cluster, "p")["reason"] == "SchedulerError"
    assert not cluster.list("resourceclaims", "default")
    cluster.clock.advance(2)
    assert node_of(cluster, "p") == "node-1"


def test_a_claim_that_was_left_behind_is_deleted_first(cluster: Cluster) -> None:
    cluster.create(device_class(extendedResourceName=GPU))
    cluster.create(asking("p", schedulingGates=[{"name": "wait"}]))
    uid = cluster.get("pods", "p")["metadata"]["uid"]
    left = claim("left")
    left["metadata"]["annotations"] = {"resource.kubernetes.io/extended-resource-claim": "true"}
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True}
    left["metadata"]["ownerReferences"] = [owner]
    cluster.create(left)
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.patch("pods", "p", {"spec": {"schedulingGates": None}})
    cluster.settle()
    cluster.clock.advance(2)
    assert node_of(cluster, "p") == "node-1"
    assert cluster.find("resourceclaims", "left") is None
    notes = [each["note"] for each in cluster.list("events.v1.events.k8s.io")]
    assert any("2 cannot schedule extended resource claim" in note for note in notes)


# --- what is asked for


def container(name: str, amount: int, **more: Any) -> Obj:
    return {"name": name, "image": "x", "resources": {"requests": {"cpu": "1", GPU: str(amount)}}, **more}


def asked(*containers: Obj, first: tuple[Obj, ...] = ()) -> tuple[dict[str, int], list[tuple[str, str]]]:
    made, mappings = claim_for(
        state_of(containers=list(containers), initContainers=list(first)),
        [GPU],
        lambda name: {"metadata": {"name": "gpu"}, "spec": {}},
    )
    requests = made["spec"]["devices"]["requests"]
    return (
        {each["name"]: each["exactly"]["count"] for each in requests},
        [(each["containerName"], each["requestName"]) for each in mappings],
    )


def test_each_container_has_a_request() -> None:
    assert asked(container("a", 1), container("b", 2)) == (
        {"container-0-request-1": 1, "container-1-request-1": 2},
        [("a", "container-0-request-1"), ("b", "container-1-request-1")],
    )


def test_containers_that_end_use_what_later_ones_ask_for() -> None:
    assert asked(container("a", 2), first=(container("i", 1),)) == (
        {"container-1-request-1": 2},
        [("a", "container-1-request-1"), ("i", "container-1-request-1")],
    )


def test_what_containers_that_end_need_more_they_share() -> None:
    assert asked(container("a", 1), first=(container("i", 3), container("j", 4))) == (
        {"container-1-request-1": 3, "container-2-request-1": 1},
        [
            ("a", "container-2-request-1"),
            ("i", "container-2-request-1"),
            ("i", "container-1-request-1"),
            ("j", "container-2-request-1"),
            ("j", "container-1-request-1"),
        ],
    )


def test_a_sidecar_keeps_its_own() -> None:
    sidecar = container("s", 1, restartPolicy="Always")
    assert asked(container("a", 1), first=(sidecar, container("i", 2))) == (
        {"container-0-request-1": 1, "container-1-request-1": 1, "container-2-request-1": 1},
        [
            ("s", "container-0-request-1"),
            ("a", "container-2-request-1"),
            ("i", "container-2-request-1"),
            ("i", "container-1-request-1"),
        ],
    )
