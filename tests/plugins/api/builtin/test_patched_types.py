"""Patches and applies of the real types, answered by a whole server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kubernel.errors import Invalid
from kubernel.testing import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster({"plugins": {"controller": []}}) as made:
        made.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}})
        made.create(deployment("web"))
        yield made


def deployment(name: str, **container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container or {"name": "c", "image": "i"}]},
            },
        },
    }


def refused(cluster: Cluster, patch: Any, type: Any, manager: str = "") -> Invalid:
    with pytest.raises(Invalid) as caught:
        cluster.run(
            cluster.client().patch(
                "deployments.v1.apps", "web", patch, "default", type=type, field_manager=manager
            )
        )
    return caught.value


def test_an_applied_container_without_a_name_is_invalid(cluster: Cluster) -> None:
    error = refused(cluster, deployment("web", image="i"), "apply", "m")
    assert [(cause.field, cause.message) for cause in error.causes] == [
        ("spec.template.spec.containers[1].name", "Required value")
    ]


WRONG = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"


@pytest.mark.parametrize(
    ("type", "patch"),
    [
        ("merge", {"spec": {"replicas": "x"}}),
        ("json", [{"op": "replace", "path": "/spec/replicas", "value": "x"}]),
    ],
)
def test_a_patch_that_makes_a_wrong_type_is_invalid_and_told_with_its_result(
    cluster: Cluster, type: str, patch: Any
) -> None:
    (cause,) = refused(cluster, patch, type).causes
    assert (cause.reason, cause.field) == ("FieldValueInvalid", "patch")
    quoted, _, why = cause.message.removeprefix("Invalid value: ").rpartition(": json:")
    result = json.loads(json.loads(quoted))
    assert (result["metadata"]["name"], result["spec"]["replicas"]) == ("web", "x")
    assert f"json:{why}" == WRONG


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"spec": {"replicas": "x"}}, '"map[spec:map[replicas:x]]": unrecognized type: int32'),
        ({"spec": {"paused": 1}}, '"map[spec:map[paused:1]]": unrecognized type: bool'),
        (
            {"metadata": {"labels": {"a": 5}}},
            '"map[metadata:map[labels:map[a:5]]]": cannot convert int64 to string',
        ),
        ({"spec": {"strategy": "x"}}, '"map[spec:map[strategy:x]]": cannot restore struct from: string'),
        (
            {"spec": {"template": {"spec": {"containers": True}}}},
            '"map[spec:map[template:map[spec:map[containers:true]]]]": cannot restore slice from bool',
        ),
        (
            {"metadata": {"labels": [1]}},
            '"map[metadata:map[labels:[1]]]": cannot restore map from slice',
        ),
    ],
)
def test_a_strategic_patch_that_makes_a_wrong_type_is_invalid_and_told_itself(
    cluster: Cluster, patch: Any, message: str
) -> None:
    error = refused(cluster, patch, "strategic")
    assert error.message == f' "" is invalid: patch: Invalid value: {message}'
    assert [cause.field for cause in error.causes] == ["patch"]


def test_the_scale_of_nothing_wanted_tells_no_replicas_in_its_spec(cluster: Cluster) -> None:
    client = cluster.client()
    resource = "deployments.v1.apps"
    scale = cluster.run(client.get(resource, "web", "default", subresource="scale"))
    assert (scale["spec"], scale["status"]["replicas"]) == ({}, 0)
    for replicas, spec in ((2, {"replicas": 2}), (0, {})):
        patch = {"spec": {"replicas": replicas}}
        work = client.patch(resource, "web", patch, "default", subresource="scale")
        assert cluster.run(work)["spec"] == spec
        assert cluster.get(resource, "web")["spec"]["replicas"] == replicas


def test_a_merge_patch_cannot_change_the_kind(cluster: Cluster) -> None:
    assert [cause.field for cause in refused(cluster, {"kind": "Foo"}, "merge").causes] == ["patch"]


def test_a_strategic_patch_needs_not_tell_the_right_kind(cluster: Cluster) -> None:
    before = cluster.get("deployments.v1.apps", "web")
    patch = {"apiVersion": "v1", "kind": "Foo"}
    work = cluster.client().patch("deployments.v1.apps", "web", patch, "default", type="strategic")
    assert cluster.run(work)["kind"] == "Deployment"
    assert cluster.get("deployments.v1.apps", "web") == before
