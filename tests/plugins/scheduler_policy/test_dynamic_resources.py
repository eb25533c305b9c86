"""Devices for pods' claims, in a whole cluster; what is expected is what a scheduler of v1.37 answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from workload_kit import pod

from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]
DRIVER = "d.example.com"
RESOURCE = "resource.k8s.io/v1"
HOPELESS = "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."


@pytest.fixture
def cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:
    plugins = {
        "node": [{"simulated": {"nodes": 2, "cpu": "4"}}],
        "controller": ["bootstrap", "namespace", "serviceaccount"],
        "admission": ["*", "-taint_nodes"],
    }
    made = cluster_factory(config={"plugins": plugins})
    made.create(device_class())
    return made


def device_class(name: str = "gpu", **spec: Any) -> Obj:
    expression = f"device.driver == '{DRIVER}'"
    return {
        "apiVersion": RESOURCE,
        "kind": "DeviceClass",
        "metadata": {"name": name},
        "spec": {"selectors": [{"cel": {"expression": expression}}], **spec},
    }


def device(name: str, attributes: Mapping[str, Any] | None = None, **more: Any) -> Obj:
    kinds = {bool: "bool", int: "int", str: "string"}
    told = {key: {kinds[type(value)]: value} for key, value in (attributes or {}).items()}
    return {"name": name, **({"attributes": told} if told else {}), **more}


def devices(
    name: str, node: str, *its: Obj, generation: int = 1, count: int = 1, pool: str = "", **spec: Any
) -> Obj:
    where = {"nodeName": node} if node else {}
    return {
        "apiVersion": RESOURCE,
        "kind": "ResourceSlice",
        "metadata": {"name": name},
        "spec": {
            "driver": DRIVER,
            "pool": {"name": pool or name, "generation": generation, "resourceSliceCount": count},
            "devices": list(its),
            **where,
            **spec,
        },
    }


def claim(name: str, *requests: Obj, **devices_spec: Any) -> Obj:
    return {
        "apiVersion": RESOURCE,
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": {"requests": list(requests) or [request()], **devices_spec}},
    }


def request(name: str = "r", cls: str = "gpu", **exactly: Any) -> Obj:
    return {"name": name, "exactly": {"deviceClassName": cls, **exactly}}


def that(expression: str) -> list[Obj]:
    return [{"cel": {"expression": expression}}]


def using(name: str, *claims: str, **spec: Any) -> Obj:
    return pod(name, resourceClaims=[{"name": each, "resourceClaimName": each} for each in claims], **spec)


def node_of(cluster: Cluster, name: str) -> str:
    cluster.settle()
    return str(cluster.get("pods", name)["spec"].get("nodeName", ""))


def condition(cluster: Cluster, name: str) -> Mapping[str, Any]:
    cluster.settle()
    return conditions.find(cluster.get("pods", name), "PodScheduled") or {}


def allocated(cluster: Cluster, name: str) -> list[str]:
    found = cluster.get("resourceclaims", name).get("status", {}).get("allocation", {})
    return [each["device"] for each in found.get("devices", {}).get("results", ())]


def test_a_claim_gets_a_device_and_its_pod_that_devices_node(cluster: Cluster) -> None:
    parameters = {"opaque": {"driver": DRIVER, "parameters": {"a": 1}}}
    cluster.update({**cluster.get("deviceclasses", "gpu"), "spec": device_class(config=[parameters])["spec"]})
    cluster.create(devices("s1", "node-1", device("a", {"model": "x"})))
    cluster.create(devices("s2", "node-2", device("a", {"model": "x"}), device("b", {"model": "y"})))
    cluster.create(claim("c", request(selectors=that(f"device.attributes['{DRIVER}'].model == 'y'"))))
    cluster.create(using("p", "c"))
    assert node_of(cluster, "p") == "node-2"
    its = cluster.get("resourceclaims", "c")
    assert its["metadata"]["finalizers"] == ["resource.kubernetes.io/delete-protection"]
    allocation = dict(its["status"]["allocation"])
    assert allocation.pop("allocationTimestamp")
    assert {**its["status"], "allocation": allocation} == {
        "allocation": {
            "devices": {
                "config": [{"source": "FromClass", **parameters}],
                "results": [{"request": "r", "driver": DRIVER, "pool": "s2", "device": "b"}],
            },
            "nodeSelector": {
                "nodeSelectorTerms": [
                    {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-2"]}]}
                ]
            },
        },
        "reservedFor": [
            {"resource": "pods", "name": "p", "uid": cluster.get("pods", "p")["metadata"]["uid"]}
        ],
    }


def test_a_device_is_given_once_and_again_when_its_claim_is_gone(cluster: Cluster) -> None:
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(claim("c1"))
    cluster.create(claim("c2"))
    cluster.create(using("first", "c1"))
    assert node_of(cluster, "first") == "node-1"
    cluster.create(using("second", "c2"))
    said = condition(cluster, "second")
    assert (said["reason"], said["message"]) == (
        "Unschedulable",
        f"0/2 nodes are available: 2 cannot allocate all claims. {HOPELESS}",
    )
    its = cluster.get("resourceclaims", "c1")
    cluster.client().informer("pods")
    cluster.run(
        cluster.client().update(
            "resourceclaims.v1.resource.k8s.io", {**its, "status": {}}, subresource="status"
        )
    )
    cluster.clock.advance("1m")
    assert node_of(cluster, "second") == "node-1"
    assert allocated(cluster, "c2") == ["a"]


def test_pods_that_share_a_claim_go_where_its_devices_are(cluster: Cluster) -> None:
    cluster.create(devices("s2", "node-2", device("a")))
    cluster.create(claim("c"))
    for name in ("one", "two"):
        cluster.create(using(name, "c"))
    cluster.clock.advance("1m")
    assert [node_of(cluster, name) for name in ("one", "two")] == ["node-2", "node-2"]
    users = cluster.get("resourceclaims", "c")["status"]["reservedFor"]
    assert sorted(each["name"] for each in users) == ["one", "two"]


@pytest.mark.parametrize(
    ("its", "expected"),
    [
        pytest.param([request(count=2)], ["a", "b"], id="a count"),
        pytest.param([request(allocationMode="All")], ["a", "b", "c"], id="all of a node"),
        pytest.param(
            [request("r1", selectors=that(f"device.attributes['{DRIVER}'].n > 1")), request("r2")],
            ["b", "a"],
            id="two requests",
        ),
        pytest.param(
            [
                {
                    "name": "r",
                    "firstAvailable": [
                        {"name": "many", "deviceClassName": "gpu", "count": 9},
                        {"name": "one", "deviceClassName": "gpu"},
                    ],
                }
            ],
            ["a"],
            id="the first alternative that can be had",
        ),
        pytest.param(
            [request(selectors=that(f"device.capacity['{DRIVER}'].memory.compareTo(quantity('8Gi')) >= 0"))],
            ["c"],
            id="by capacity",
        ),
        pytest.param(
            [request(selectors=that("'x' in device.attributes['elsewhere.example.com']"))],
            [],
            id="a domain nobody knows is empty",
        ),
    ],
)
def test_what_is_asked_for_is_what_is_given(cluster: Cluster, its: list[Obj], expected: list[str]) -> None:
    memory = [{"capacity": {"memory": {"value": f"{size}Gi"}}} for size in (2, 4, 8)]
    its_devices = [device(name, {"n": n}, **memory[n - 1]) for n, name in enumerate("abc", 1)]
    cluster.create(devices("s1", "node-1", *its_devices))
    cluster.create(claim("c", *its))
    cluster.create(using("p", "c"))
    cluster.settle()
    assert allocated(cluster, "c") == expected


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        pytest.param({"matchAttribute": f"{DRIVER}/numa"}, ["b", "c"], id="equal"),
        pytest.param({"distinctAttribute": f"{DRIVER}/numa"}, ["a", "b"], id="distinct"),
    ],
)
def test_constraints_between_devices(cluster: Cluster, constraint: Obj, expected: list[str]) -> None:
    cluster.create(
        devices("s1", "node-1", device("a", {"numa": 0}), device("b", {"numa": 1}), device("c", {"numa": 1}))
    )
    cluster.create(claim("c", request(count=2), constraints=[constraint]))
    cluster.create(using("p", "c"))
    cluster.settle()
    assert allocated(cluster, "c") == expected


def test_admin_access_is_beside_the_others(cluster: Cluster) -> None:
    cluster.patch(
        "namespaces", "default", {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
    )
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(claim("user"))
    cluster.create(using("p", "user"))
    assert node_of(cluster, "p") == "node-1"
    cluster.create(claim("admin", request(adminAccess=True)))
    cluster.create(using("q", "admin"))
    assert node_of(cluster, "q") == "node-1"
    assert allocated(cluster, "admin") == ["a"]


def test_a_tainted_device_is_for_those_who_tolerate_it(cluster: Cluster) -> None:
    taint = {"key": "broken", "value": "yes", "effect": "NoSchedule"}
    cluster.create(devices("s1", "node-1", device("a", taints=[taint]), device("b")))
    cluster.create(
        {
            "apiVersion": RESOURCE,
            "kind": "DeviceTaintRule",
            "metadata": {"name": "rule"},
            "spec": {"deviceSelector": {"device": "b"}, "taint": {"key": "old", "effect": "NoSchedule"}},
        }
    )
    cluster.create(claim("plain"))
    cluster.create(using("p", "plain"))
    assert "2 cannot allocate all claims" in condition(cluster, "p")["message"]
    cluster.create(claim("bears", request(tolerations=[{"key": "broken", "operator": "Exists"}])))
    cluster.create(using("q", "bears"))
    assert node_of(cluster, "q") == "node-1"
    assert allocated(cluster, "bears") == ["a"]


def test_partitions_share_the_counters_of_their_pool(cluster: Cluster) -> None:
    def part(name: str, memory: str) -> Obj:
        return device(
            name, consumesCounters=[{"counterSet": "card", "counters": {"memory": {"value": memory}}}]
        )

    counters = [{"name": "card", "counters": {"memory": {"value": "40Gi"}}}]
    cluster.create(devices("s1", "node-1", part("whole", "40Gi"), part("half", "20Gi"), count=2, pool="p1"))
    counted = devices("s0", "node-1", count=2, pool="p1", sharedCounters=counters)
    del counted["spec"]["devices"]
    cluster.create(counted)
    half = request(selectors=that("true"))
    cluster.create(claim("both", request(count=2)))
    cluster.create(using("p", "both"))
    assert "2 cannot allocate all claims" in condition(cluster, "p")["message"]
    cluster.create(claim("one", half))
    cluster.create(using("q", "one"))
    assert node_of(cluster, "q") == "node-1"
    assert allocated(cluster, "one") == ["whole"]


def test_a_shared_device_gives_parts_of_its_capacity(cluster: Cluster) -> None:
    memory = {
        "value": "10Gi",
        "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Gi", "step": "2Gi"}},
    }
    cluster.create(
        devices("s1", "node-1", device("a", allowMultipleAllocations=True, capacity={"memory": memory}))
    )
    for name in ("c1", "c2", "c3"):
        cluster.create(claim(name, request(capacity={"requests": {"memory": "4Gi"}})))
        cluster.create(using(f"p-{name}", name))
    cluster.settle()
    assert [node_of(cluster, f"p-c{n}") for n in (1, 2, 3)].count("node-1") == 2
    (its,) = cluster.get("resourceclaims", "c1")["status"]["allocation"]["devices"]["results"]
    assert its["consumedCapacity"] == {"memory": "5Gi"}
    assert len(its["shareID"]) == 36


def test_only_the_newest_generation_of_a_whole_pool_counts(cluster: Cluster) -> None:
    cluster.create(devices("old", "node-1", device("a"), pool="p"))
    cluster.create(devices("new", "node-1", device("b"), pool="p", generation=2, count=2))
    cluster.create(claim("c"))
    cluster.create(using("p", "c"))
    assert "2 cannot allocate all claims" in condition(cluster, "p")["message"]
    cluster.create(devices("rest", "node-1", device("c"), pool="p", generation=2, count=2))
    cluster.clock.advance("1m")
    assert node_of(cluster, "p") == "node-1"
    assert allocated(cluster, "c") == ["b"]


def test_a_class_that_is_not_there_is_named(cluster: Cluster) -> None:
    cluster.create(claim("c", request(cls="nope")))
    cluster.create(using("p", "c"))
    assert condition(cluster, "p")["message"] == (
        f"0/2 nodes are available: request r: device class nope does not exist. {HOPELESS}"
    )
    cluster.create(device_class("nope"))
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.clock.advance("1m")
    assert node_of(cluster, "p") == "node-1"


def test_a_pod_without_its_claim_is_not_looked_at(cluster: Cluster) -> None:
    cluster.create(using("p", "later"))
    assert condition(cluster, "p") == {}
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(claim("later"))
    assert node_of(cluster, "p") == "node-1"


def test_a_selector_that_fails_is_an_error_not_a_refusal(cluster: Cluster) -> None:
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(claim("c", request(selectors=that(f"device.attributes['{DRIVER}'].zzz == 'y'"))))
    cluster.create(using("p", "c"))
    said = condition(cluster, "p")
    assert said["reason"] == "SchedulerError"
    assert said["message"] == (
        'running "DynamicResources" filter plugin: claim default/c: selector #0 on device '
        f"{DRIVER}/s1/a: CEL runtime error: no such key: zzz. consider using CEL optional chaining (.? followed by "
        "orValue()) or guarding the check with has() for optional fields"
    )


def test_an_allocation_that_nobody_uses_is_given_back_for_a_pod_that_cannot_go_there(
    cluster: Cluster,
) -> None:
    cluster.create(devices("s1", "node-1", device("a")))
    cluster.create(devices("s2", "node-2", device("a")))
    cluster.create(claim("c"))
    cluster.create(using("p", "c"))
    first = node_of(cluster, "p")
    its = cluster.get("resourceclaims", "c")
    status = {"allocation": its["status"]["allocation"]}
    cluster.delete("pods", "p")
    cluster.clock.advance("1m")
    its = cluster.get("resourceclaims", "c")
    cluster.run(
        cluster.client().update(
            "resourceclaims.v1.resource.k8s.io", {**its, "status": status}, subresource="status"
        )
    )
    cluster.patch("nodes", first, {"spec": {"unschedulable": True}})
    cluster.create(using("q", "c"))
    cluster.clock.advance("1m")
    assert node_of(cluster, "q") not in ("", first)


def test_binding_waits_for_devices_to_be_ready(cluster: Cluster) -> None:
    conditions_ = {"bindingConditions": ["attached"], "bindingFailureConditions": ["failed"]}
    cluster.create(devices("s1", "node-1", device("a", bindsToNode=True, **conditions_)))
    cluster.create(claim("c"))
    cluster.create(using("p", "c"))
    assert node_of(cluster, "p") == ""
    assert allocated(cluster, "c") == ["a"]
    its = cluster.get("resourceclaims", "c")
    done = {
        "type": "attached",
        "status": "True",
        "reason": "Done",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    told = [{"driver": DRIVER, "pool": "s1", "device": "a", "conditions": [done]}]
    cluster.run(
        cluster.client().update(
            "resourceclaims.v1.resource.k8s.io",
            {**its, "status": {**its["status"], "devices": told}},
            subresource="status",
        )
    )
    assert node_of(cluster, "p") == "node-1"
