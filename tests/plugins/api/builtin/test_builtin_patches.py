"""Patches and applies with the schemas of the real types."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel.errors import Conflict, UnnamedError
from kubernel.registry.apply import apply_object, track_update
from kubernel.registry.patch import strategic_patch
from kubernel.registry.schema import Node
from kubernel_plugins.api.builtin.schemas import Schemas
from kubernel_plugins.api.builtin.tables.overlay import overlay

NOW = "2026-01-01T00:00:01Z"


@pytest.fixture(scope="module")
def node() -> Node:
    schemas = Schemas()
    schemas.overlay(overlay())
    return schemas.for_kind("apps", "v1", "Deployment")


def manifest(**container: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], **container}
                    ]
                },
            },
        },
    }


def apply(node: Node, live: Any, config: Any, manager: str = "kubectl", force: bool = False) -> Any:
    return apply_object(
        node,
        live,
        config,
        manager=manager,
        api_version="apps/v1",
        subresource="",
        now=NOW,
        force=force,
    )


def the_container(obj: Any) -> Any:
    return obj["spec"]["template"]["spec"]["containers"][0]


def test_a_port_without_protocol_is_the_defaulted_one(node: Node) -> None:
    live = apply(node, None, manifest())
    the_container(live)["ports"] = [{"containerPort": 80, "protocol": "TCP"}]
    assert apply(node, live, manifest()) is live
    fields = live["metadata"]["managedFields"][0]["fieldsV1"]
    containers = fields["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in containers['k:{"name":"web"}']["f:ports"]


def test_a_conflict_in_a_container_names_the_container(node: Node) -> None:
    live = apply(node, None, manifest(), "helm")
    with pytest.raises(Conflict) as caught:
        apply(node, live, manifest(image="web:2"))
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "helm": .spec.template.spec.containers[name="web"].image'
    )


def test_selectors_and_templates_of_two_managers_live_together(node: Node) -> None:
    live = apply(node, None, manifest(), "helm")
    sidecar = {"spec": {"template": {"spec": {"containers": [{"name": "log", "image": "log:1"}]}}}}
    live = apply(node, live, {**manifest(), **sidecar}, "injector")
    names = [each["name"] for each in live["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["log", "web"]
    live = apply(node, live, {"metadata": {"name": "web"}}, "injector")
    assert the_container(live)["name"] == "web"
    assert len(live["spec"]["template"]["spec"]["containers"]) == 1


def test_a_strategic_patch_keeps_the_other_containers(node: Node) -> None:
    live = manifest()
    patch = {
        "spec": {
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "template": {
                "spec": {
                    "$setElementOrder/containers": [{"name": "web"}, {"name": "log"}],
                    "containers": [{"name": "log", "image": "log:1"}, {"name": "web", "image": "web:2"}][
                        ::-1
                    ],
                }
            },
        }
    }
    after = strategic_patch(node, live, patch)
    assert [(each["name"], each["image"]) for each in after["spec"]["template"]["spec"]["containers"]] == [
        ("web", "web:2"),
        ("log", "log:1"),
    ]
    assert the_container(after)["ports"] == [{"containerPort": 80}]
    assert after["spec"]["strategy"] == {"type": "Recreate"}
    assert the_container(live)["image"] == "web:1"


def test_the_status_of_a_deployment_belongs_to_its_controller(node: Node) -> None:
    live = apply(node, None, manifest())
    status = {"replicas": 2, "conditions": [{"type": "Available", "status": "True"}]}
    fields = track_update(
        node,
        live,
        {**live, "status": status},
        manager="kube-controller-manager",
        api_version="apps/v1",
        subresource="status",
        now=NOW,
    )
    assert [entry["manager"] for entry in fields] == ["kubectl", "kube-controller-manager"]
    assert fields[1]["fieldsV1"]["f:status"]["f:conditions"] == {
        ".": {},
        'k:{"type":"Available"}': {".": {}, "f:status": {}, "f:type": {}},
    }


def test_an_applied_element_without_its_key_is_taken_to_have_the_zero_value(node: Node) -> None:
    config = manifest()
    del the_container(config)["name"]
    fields = apply(node, None, config)["metadata"]["managedFields"][0]["fieldsV1"]
    assert 'k:{"name":""}' in fields["f:spec"]["f:template"]["f:spec"]["f:containers"]


def test_two_applied_ports_are_one_by_their_defaults(node: Node) -> None:
    ports = [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}]
    with pytest.raises(UnnamedError, match=r'duplicate entries for key \[containerPort=80,protocol="TCP"\]'):
        apply(node, None, manifest(ports=ports))
