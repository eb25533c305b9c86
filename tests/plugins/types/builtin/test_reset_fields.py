"""Which fields nobody gets to own through an endpoint that does not write them."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_kit import Cluster, run

SELECTED = {"selector": {"matchLabels": {"a": "b"}}}
TEMPLATE = {
    "template": {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
}
WITHOUT_METADATA = [
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "spec": {"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "spec": {"cidrs": ["10.1.0.0/16"]},
    },
    {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "spec": {"priorityLevelConfiguration": {"name": "a"}},
    },
]
CONDITION = {
    "type": "A",
    "status": "True",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "reason": "R",
    "message": "",
}


def through(obj: dict[str, Any], subresource: str) -> list[Any]:
    return [
        entry["fieldsV1"]
        for entry in obj["metadata"].get("managedFields", ())
        if entry.get("subresource", "") == subresource
    ]


@pytest.mark.parametrize("obj", [pytest.param(each, id=each["kind"]) for each in WITHOUT_METADATA])
def test_no_metadata_is_owned_through_a_status_that_keeps_it(obj: dict[str, Any]) -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create({**obj, "metadata": {"name": "x"}})
        made["metadata"]["labels"] = {"a": "b"}
        if obj["kind"] == "VolumeAttachment":
            made["status"]["attached"] = True
        else:
            made["status"] = {"conditions": [CONDITION]}
        written = await cluster.update(made, "status")
        (fields,) = through(written, "status")
        assert list(fields) == ["f:status"]

    run(test)


def test_the_status_of_a_pod_group_leaves_its_metadata_alone() -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create(
            {
                "apiVersion": "scheduling.k8s.io/v1beta1",
                "kind": "PodGroup",
                "metadata": {"name": "x", "labels": {"a": "a"}},
                "spec": {"schedulingPolicy": {"basic": {}}},
            }
        )
        made["metadata"] |= {"labels": {"a": "b"}, "annotations": {"a": "b"}}
        made["status"] = {"conditions": [CONDITION]}
        written = await cluster.update(made, "status")
        assert written["metadata"]["labels"] == {"a": "a"}
        assert "annotations" not in written["metadata"]
        assert [each["type"] for each in written["status"]["conditions"]] == ["A"]

    run(test, serve=("scheduling.k8s.io/v1beta1",))


def test_no_labels_are_owned_through_the_status_of_a_deployment() -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "x"},
                "spec": SELECTED | TEMPLATE,
            }
        )
        made["metadata"]["labels"] = {"a": "b"}
        made["metadata"]["annotations"] = {"a": "b"}
        written = await cluster.update(made, "status")
        (fields,) = through(written, "status")
        assert fields == {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}}

    run(test)


def test_who_asks_for_a_certificate_does_not_own_what_is_asked() -> None:
    async def test(cluster: Cluster) -> None:
        type = cluster.type("certificatesigningrequests", "certificates.k8s.io")
        assert type.strategy.resets[""] == ("spec", "status")
        assert type.strategy.resets["approval"] == ("spec", "status.certificate")

    run(test)


def test_the_creator_of_a_daemon_set_owns_the_count_of_its_templates() -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create(
            {
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": "x"},
                "spec": SELECTED | TEMPLATE,
            }
        )
        key = "deprecated.daemonset.template.generation"
        (fields,) = through(made, "")
        assert made["metadata"]["annotations"] == {key: "1"}
        assert fields["f:metadata"] == {"f:annotations": {".": {}, f"f:{key}": {}}}

    run(test)
