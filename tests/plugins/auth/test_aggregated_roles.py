"""ClusterRoles whose rules are collected from others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kubernel.testing import Cluster

Obj = dict[str, Any]
ROLES = "clusterroles.v1.rbac.authorization.k8s.io"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(config={"plugins": {"auth": ["*"], "node": None}}) as made:
        yield made


def role(name: str, *resources: str, **labels: str) -> Obj:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, "labels": labels},
        "rules": [{"apiGroups": [""], "resources": [each], "verbs": ["get"]} for each in resources],
    }


def collecting(*labels: dict[str, str]) -> Obj:
    selectors = [{"matchLabels": each} for each in labels]
    frame = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "all"}}
    return {**frame, "aggregationRule": {"clusterRoleSelectors": selectors}}


def collected(cluster: Cluster) -> list[str]:
    cluster.settle()
    return [rule["resources"][0] for rule in cluster.get(ROLES, "all").get("rules") or ()]


def test_rules_stand_in_the_order_of_the_selectors_then_by_name_and_once(cluster: Cluster) -> None:
    cluster.apply([role("b", "pods", first="1"), role("a", "nodes", "pods", second="1")])
    cluster.apply([role("c", "secrets", first="1"), collecting({"first": "1"}, {"second": "1"})])
    assert collected(cluster) == ["pods", "secrets", "nodes"]


def test_they_follow_the_roles_that_they_come_from(cluster: Cluster) -> None:
    cluster.apply([role("a", "pods", first="1"), collecting({"first": "1"})])
    assert collected(cluster) == ["pods"]
    cluster.apply(role("b", "nodes", first="1"))
    assert collected(cluster) == ["pods", "nodes"]
    cluster.delete(ROLES, "a")
    assert collected(cluster) == ["nodes"]
    cluster.delete(ROLES, "b")
    assert collected(cluster) == []


def test_who_wrote_them_is_said_as_upstream_says_it(cluster: Cluster) -> None:
    cluster.apply([role("a", "pods", first="1"), collecting({"first": "1"})])
    assert collected(cluster) == ["pods"]
    told = {
        entry["manager"]: (entry["operation"], entry["fieldsV1"])
        for entry in cluster.get(ROLES, "all")["metadata"]["managedFields"]
    }
    assert told["clusterrole-aggregation-controller"] == ("Apply", {"f:rules": {}})
