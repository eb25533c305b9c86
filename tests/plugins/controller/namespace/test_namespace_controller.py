from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.errors import Forbidden
from kubernel.objects import conditions
from kubernel.testing import Cluster


def config_map(name: str, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {"containers": [{"name": "c", "image": "x", "command": ["sleep", "1000"]}]},
    }


def condition(cluster: Cluster, name: str, type: str) -> tuple[str, str, str]:
    found = conditions.find(cluster.get("namespaces", name), type)
    assert found is not None
    return found["status"], found["reason"], found["message"]


def test_a_deleted_namespace_takes_its_content_along(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("a", namespace="shop"), pod("p", namespace="shop")])
    cluster.delete("namespaces", "shop")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None, timeout="2m")
    assert not cluster.list("configmaps", "shop")
    assert not cluster.list("pods", "shop")


def test_an_empty_namespace_goes_without_time_passing(cluster: Cluster) -> None:
    cluster.apply(namespace("shop"))
    cluster.delete("namespaces", "shop")
    assert cluster.find("namespaces", "shop") is None


def test_other_content_stays_untouched_while_a_pod_is_left(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("a", namespace="shop")])
    cluster.apply(pod("held", namespace="shop", finalizers=["example.com/hold"]))
    cluster.delete("namespaces", "shop")
    cluster.clock.advance("3m")
    assert cluster.get("namespaces", "shop")["status"]["phase"] == "Terminating"
    assert cluster.get("configmaps", "a", "shop")["metadata"].get("deletionTimestamp") is None
    # Upstream says so too: nothing but pods has been looked at.
    assert condition(cluster, "shop", "NamespaceContentRemaining") == (
        "False",
        "ContentRemoved",
        "All content successfully removed",
    )
    assert condition(cluster, "shop", "NamespaceFinalizersRemaining")[0] == "False"
    assert condition(cluster, "shop", "NamespaceDeletionDiscoveryFailure")[0] == "False"
    cluster.patch("pods", "held", {"metadata": {"finalizers": None}}, "shop")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None)


def test_what_is_left_and_what_holds_it_is_told(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("a", namespace="shop", finalizers=["example.com/hold"])])
    cluster.delete("namespaces", "shop")
    cluster.clock.advance("1m")
    assert condition(cluster, "shop", "NamespaceContentRemaining") == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: configmaps. has 1 resource instances",
    )
    assert condition(cluster, "shop", "NamespaceFinalizersRemaining") == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
    )


def test_a_server_that_cannot_be_asked_holds_the_namespace(cluster: Cluster) -> None:
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.example.com"},
        "spec": {
            "group": "example.com",
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "nope"},
        },
    }
    cluster.apply([namespace("shop"), config_map("a", namespace="shop"), service])
    cluster.delete("namespaces", "shop")
    cluster.clock.advance("1m")
    message = (
        "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: "
        "example.com/v1: stale GroupVersion discovery: example.com/v1"
    )
    told = condition(cluster, "shop", "NamespaceDeletionDiscoveryFailure")
    assert told == ("True", "DiscoveryFailed", message)
    assert cluster.find("configmaps", "a", "shop") is None
    cluster.delete("apiservices.v1.apiregistration.k8s.io", "v1.example.com")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None, timeout="30m")


def test_nothing_new_gets_into_a_namespace_that_is_going(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("held", namespace="shop", finalizers=["example.com/hold"])])
    cluster.delete("namespaces", "shop")
    with pytest.raises(Forbidden, match="because it is being terminated"):
        cluster.create(config_map("late"), namespace="shop")
    assert cluster.find("serviceaccounts", "default", "shop") is None


def test_a_failing_deletion_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("held", namespace="shop")])
    cluster.faults.fail_writes("configmaps", times=1, verbs=["delete_collection"])
    cluster.delete("namespaces", "shop")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None)


def test_what_could_not_be_deleted_is_told_in_full(cluster: Cluster) -> None:
    cluster.apply([namespace("shop"), config_map("held", namespace="shop")])
    for resource in ("configmaps", "secrets"):
        cluster.faults.fail_writes(
            resource, Forbidden(f"no {resource}"), times=10**6, verbs=["delete_collection"]
        )
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}})
    cluster.delete("namespaces", "shop")
    cluster.clock.advance(1)
    assert condition(cluster, "shop", "NamespaceDeletionContentFailure") == (
        "True",
        "ContentDeletionFailed",
        "Failed to delete all resource types, 2 remaining: no configmaps, no secrets",
    )
    cluster.faults.clear()
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None, timeout="30m")


def test_a_pod_that_outlives_its_grace_for_no_reason_is_a_failure(
    cluster_factory: Callable[..., Cluster],
) -> None:
    cluster = cluster_factory(config={"plugins": {"node": []}})
    cluster.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "silent"}})
    stuck = pod("stuck", namespace="shop")
    stuck["spec"] = {**stuck["spec"], "nodeName": "silent", "terminationGracePeriodSeconds": 40}
    cluster.apply([namespace("shop"), stuck])
    cluster.delete("namespaces", "shop")
    cluster.clock.advance(10)
    assert condition(cluster, "shop", "NamespaceDeletionContentFailure")[0] == "False"
    cluster.clock.advance("2m")
    assert condition(cluster, "shop", "NamespaceDeletionContentFailure") == (
        "True",
        "ContentDeletionFailed",
        (
            "Failed to delete all resource types, 1 remaining: unexpected items still remain in namespace: shop "
            "for gvr: /v1, Resource=pods"
        ),
    )


def test_every_condition_is_told_when_nothing_is_wrong(cluster: Cluster) -> None:
    owner = namespace("shop")
    owner["spec"] = {"finalizers": ["kubernetes", "example.com/last"]}
    cluster.create(owner)
    cluster.delete("namespaces", "shop")
    told = [
        ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        ("NamespaceContentRemaining", "ContentRemoved", "All content successfully removed"),
        (
            "NamespaceFinalizersRemaining",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ]
    found = cluster.get("namespaces", "shop")
    assert found["spec"]["finalizers"] == ["example.com/last"]
    assert [(each["type"], each["reason"], each["message"]) for each in found["status"]["conditions"]] == told
