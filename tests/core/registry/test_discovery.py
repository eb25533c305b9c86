"""Discovery and OpenAPI of types that no plugin brought."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kubernel.registry.discovery import Discovery
from kubernel.registry.documents import Document
from kubernel.registry.openapi import OpenAPI
from kubernel.registry.schema import Node
from kubernel.registry.types import GroupVersionKind, ResourceType, Subresource
from kubernel.registry.typetable import TypeTable


def schema() -> Node:
    root, spec, size = Node("object"), Node("object"), Node("integer")
    size.extra = {"description": "How big.", "maximum": 3}
    size.default = 1
    name = Node("string")
    name.nullable = True
    spec.properties = {"size": size, "name": name, "port": Node("int-or-string")}
    spec.required = ("size",)
    root.properties = {"spec": spec}
    return root


def widget(group: str, version: str, **more: Any) -> ResourceType:
    tree = schema()
    return ResourceType(group, version, "Widget", "widgets", lambda: tree, custom=True, **more)


@pytest.fixture
def table() -> TypeTable:
    table = TypeTable()
    for version in ("v1alpha1", "v1", "v2", "v2beta1", "legacy", "v10"):
        table.register(widget("example.com", version))
    table.register(widget("apps", "v1", short_names=("wi",), categories=("all",), namespaced=False))
    table.register(widget("aaa.example.com", "v1"))
    scale = Subresource("scale", GroupVersionKind("autoscaling", "v1", "Scale"))
    status = Subresource("status", GroupVersionKind("", "v1", "Widget"))
    table.register(widget("", "v1", subresources={"status": status, "scale": scale}))
    return table


def load(document: Document | None) -> Any:
    assert document is not None
    return orjson.loads(document.body)


def test_versions_go_from_stable_to_experimental_and_groups_by_priority(table: TypeTable) -> None:
    groups = load(Discovery(table).classic("/apis"))["groups"]
    assert [group["name"] for group in groups] == ["apps", "aaa.example.com", "example.com"]
    versions = [one["version"] for one in groups[2]["versions"]]
    assert versions == ["v10", "v2", "v1", "v2beta1", "v1alpha1", "legacy"]
    assert groups[2]["preferredVersion"] == {"groupVersion": "example.com/v10", "version": "v10"}
    assert load(Discovery(table).classic("/apis/example.com"))["kind"] == "APIGroup"


def test_resources_and_their_subresources(table: TypeTable) -> None:
    listed = load(Discovery(table).classic("/api/v1"))
    assert listed["groupVersion"] == "v1"
    entry, status, scale = listed["resources"]
    assert (entry["name"], entry["singularName"], entry["kind"]) == ("widgets", "widget", "Widget")
    assert entry["storageVersionHash"]
    assert (scale["name"], scale["group"], scale["version"]) == ("widgets/scale", "autoscaling", "v1")
    assert status == {
        "name": "widgets/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Widget",
        "verbs": ["get", "patch", "update"],
    }
    only = load(Discovery(table).classic("/apis/apps/v1"))["resources"][0]
    assert (only["shortNames"], only["categories"], only["namespaced"]) == (["wi"], ["all"], False)


def test_aggregated_discovery_holds_everything_at_once(table: TypeTable) -> None:
    discovery = Discovery(table)
    (core,) = load(discovery.aggregated("/api"))["items"]
    assert core["metadata"] == {}
    resource = core["versions"][0]["resources"][0]
    assert resource["scope"] == "Namespaced"
    assert [sub["subresource"] for sub in resource["subresources"]] == ["status", "scale"]
    assert resource["subresources"][1]["responseKind"] == {
        "group": "autoscaling", "version": "v1", "kind": "Scale",
    }  # fmt: skip
    rest = load(discovery.aggregated("/apis", "v2beta1"))
    assert rest["apiVersion"] == "apidiscovery.k8s.io/v2beta1"
    assert [item["metadata"]["name"] for item in rest["items"]] == ["apps", "aaa.example.com", "example.com"]


@pytest.mark.parametrize(
    "path", ["/apis/nobody", "/apis/example.com/v3", "/api/v2", "/apis//v1", "/", "/apis/apps/v1/widgets"]
)
def test_what_is_not_served_is_not_discovered(table: TypeTable, path: str) -> None:
    assert Discovery(table).classic(path) is None


def test_documents_change_when_types_do_and_only_then(table: TypeTable) -> None:
    discovery, openapi = Discovery(table), OpenAPI(table, version="v1.37.0")
    before, index = discovery.classic("/apis"), load(openapi.v3_index())["paths"]
    assert discovery.classic("/apis") is before
    kept = openapi.v3("apis/apps/v1")
    table.register(widget("zzz.example.com", "v1"))
    after = discovery.classic("/apis")
    assert after is not None
    assert before is not None
    assert after.etag != before.etag
    assert openapi.v3("apis/apps/v1") is kept, "documents of other groups are not made again"
    now = load(openapi.v3_index())["paths"]
    assert {path: now[path] for path in index} == index
    assert now.keys() - index.keys() == {"apis/zzz.example.com/v1"}


def test_a_changed_schema_changes_its_documents_hash() -> None:
    def index(maximum: int) -> str:
        table = TypeTable()
        type = widget("example.com", "v1")
        spec = (type.schema().properties or {})["spec"]
        (spec.properties or {})["size"].extra = {"maximum": maximum}
        table.register(type)
        paths = load(OpenAPI(table, version="v1.37.0").v3_index())["paths"]
        return str(paths["apis/example.com/v1"]["serverRelativeURL"])

    assert index(3) == index(3)
    assert index(3) != index(4)


def test_custom_schemas_are_published_in_both_dialects(table: TypeTable) -> None:
    openapi = OpenAPI(table, version="v1.37.0")
    three = load(openapi.v3("apis/example.com/v1"))["components"]["schemas"]["com.example.v1.Widget"]
    assert three["x-kubernetes-group-version-kind"] == [
        {"group": "example.com", "kind": "Widget", "version": "v1"}
    ]
    assert set(three["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    spec = three["properties"]["spec"]
    assert spec["required"] == ["size"]
    assert spec["properties"]["size"] == {
        "description": "How big.", "type": "integer", "default": 1, "maximum": 3,
    }  # fmt: skip
    assert spec["properties"]["name"] == {"type": "string", "nullable": True}
    assert spec["properties"]["port"] == {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    }
    two = load(openapi.v2())["definitions"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]
    assert two["name"] == {}, "Swagger 2 has no null"


def test_custom_resources_offer_no_strategic_merge(table: TypeTable) -> None:
    paths = load(OpenAPI(table, version="v1.37.0").v3("apis/example.com/v1"))["paths"]
    one = paths["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]
    assert sorted(one["patch"]["requestBody"]["content"]) == [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ]
    assert one["patch"]["x-kubernetes-action"] == "patch"
    assert {item["name"] for item in one["parameters"]} == {"name", "namespace", "pretty"}
