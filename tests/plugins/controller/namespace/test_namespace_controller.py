from __future__ import annotations

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
    assert condition(cluster, "shop", "NamespaceContentRemaining") == (
        "True",
        "SomeResourcesRemain",
        "Some resources are remaining: pods. has 1 resource instances",
    )
    assert condition(cluster, "shop", "NamespaceFinalizersRemaining") == (
        "True",
        "SomeFinalizersRemain",
        "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
    )
    assert condition(cluster, "shop", "NamespaceDeletionDiscoveryFailure")[0] == "False"
    cluster.patch("pods", "held", {"metadata": {"finalizers": None}}, "shop")
    cluster.wait(lambda: cluster.find("namespaces", "shop") is None)


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
