"""The FlowSchemas and priority levels of every cluster."""

from __future__ import annotations

import pytest

from kubernel.objects import conditions
from kubernel.testing import Cluster
from kubernel_plugins import flowcontrol

SCHEMAS = "flowschemas.v1.flowcontrol.apiserver.k8s.io"
LEVELS = "prioritylevelconfigurations.v1.flowcontrol.apiserver.k8s.io"


def test_every_schema_of_a_new_cluster_leads_to_a_level(cluster: Cluster) -> None:
    schemas = cluster.list(SCHEMAS)
    levels = {one["metadata"]["name"] for one in cluster.list(LEVELS)}
    assert {"exempt", "catch-all", "global-default", "workload-low", "node-high"} <= levels
    assert {"exempt", "catch-all", "probes", "service-accounts"} <= {
        one["metadata"]["name"] for one in schemas
    }
    for schema in schemas:
        dangling = conditions.find(schema, "Dangling")
        assert dangling is not None
        assert (dangling["status"], dangling["reason"]) == ("False", "Found")


@pytest.mark.parametrize("resource", [SCHEMAS, LEVELS])
@pytest.mark.parametrize("name", ["exempt", "catch-all"])
def test_a_mandatory_object_comes_back(cluster: Cluster, resource: str, name: str) -> None:
    before = cluster.get(resource, name)
    cluster.delete(resource, name)
    cluster.settle()
    after = cluster.get(resource, name)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert after["spec"] == before["spec"]


def test_a_mandatory_schema_cannot_be_changed_for_long_and_a_suggested_one_can_be_deleted(
    cluster: Cluster,
) -> None:
    cluster.patch(SCHEMAS, "catch-all", {"spec": {"matchingPrecedence": 7}})
    cluster.delete(SCHEMAS, "probes")
    cluster.settle()
    assert cluster.get(SCHEMAS, "catch-all")["spec"]["matchingPrecedence"] == 10000
    assert cluster.find(SCHEMAS, "probes") is None


def test_a_schema_dangles_until_its_level_is_there(cluster: Cluster) -> None:
    spec = {
        "priorityLevelConfiguration": {"name": "mine"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "jane"}}],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            }
        ],
    }
    group = "flowcontrol.apiserver.k8s.io/v1"
    cluster.create({"apiVersion": group, "kind": "FlowSchema", "metadata": {"name": "mine"}, "spec": spec})
    cluster.settle()
    dangling = conditions.find(cluster.get(SCHEMAS, "mine"), "Dangling")
    assert dangling is not None
    assert dangling["message"] == (
        'This FlowSchema references the PriorityLevelConfiguration object named "mine" but there is no such object'
    )
    limited = {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}
    cluster.create(
        {
            "apiVersion": group,
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": "mine"},
            "spec": {"type": "Limited", "limited": limited},
        }
    )
    cluster.settle()
    assert not conditions.is_true(cluster.get(SCHEMAS, "mine"), "Dangling")


def test_the_schemas_are_those_of_v1_37() -> None:
    assert set(flowcontrol.SCHEMAS) == {
        "catch-all",
        "exempt",
        "global-default",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-system-service-accounts",
        "probes",
        "service-accounts",
        "system-leader-election",
        "system-node-high",
        "system-nodes",
    }
