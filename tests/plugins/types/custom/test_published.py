"""What OpenAPI says about custom resources."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from crd_kit import definition, fields, of_spec, preserve, serve, version

from kubernel.registry.openapi import OpenAPI
from kubernel.testing import Cluster

Obj = dict[str, Any]
NAME = "com.example.v1.Widget"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


@pytest.fixture
def openapi(cluster: Cluster) -> OpenAPI:
    return OpenAPI(cluster.kernel.registry, version="v1.37.0")


def v3(openapi: OpenAPI) -> Obj:
    document = openapi.v3("apis/example.com/v1")
    assert document is not None
    found: Obj = orjson.loads(document.body)
    return found


def v2(openapi: OpenAPI) -> Obj:
    found: Obj = orjson.loads(openapi.v2().body)["definitions"][NAME]
    return found


def spec_of(found: Obj) -> Obj:
    fields: Obj = found["properties"]["spec"]["properties"]
    return fields


def test_a_definition_is_published_with_the_frame_of_every_object(cluster: Cluster, openapi: OpenAPI) -> None:
    before = openapi.v3_index().etag
    schema = of_spec(fields(a={"type": "string", "description": "An a.", "default": "x"}))
    serve(cluster, definition(version(schema={**schema, "description": "A widget.", "required": ["spec"]})))
    found = v3(openapi)["components"]["schemas"][NAME]
    assert (found["description"], found["required"]) == ("A widget.", ["spec"])
    assert found["x-kubernetes-group-version-kind"] == [
        {"group": "example.com", "kind": "Widget", "version": "v1"}
    ]
    assert found["properties"]["metadata"]["allOf"] == [{"$ref": f"#/components/schemas/{META}"}]
    assert spec_of(found) == {"a": {"description": "An a.", "type": "string", "default": "x"}}
    assert openapi.v3_index().etag != before
    assert v2(openapi)["properties"]["metadata"]["$ref"] == f"#/definitions/{META}"


def test_swagger_leaves_open_what_it_cannot_say(cluster: Cluster, openapi: OpenAPI) -> None:
    spec = {
        **fields(
            n={"type": "integer", "nullable": True},
            p=preserve(properties={"x": {"type": "string"}}),
            i={"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            any={"type": "object", "additionalProperties": True},
        ),
        "required": ["n", "p"],
    }
    serve(cluster, definition(version(schema=of_spec(spec))))
    assert spec_of(v2(openapi)) == {
        "n": {},
        "p": {"x-kubernetes-preserve-unknown-fields": True},
        "i": {"x-kubernetes-int-or-string": True},
        "any": {"type": "object", "additionalProperties": True},
    }
    assert v2(openapi)["properties"]["spec"]["required"] == ["p"]
    third = v3(openapi)["components"]["schemas"][NAME]["properties"]["spec"]
    assert third["required"] == ["n", "p"]
    assert third["properties"]["n"] == {"type": "integer", "nullable": True}
    assert third["properties"]["p"]["properties"] == {"x": {"type": "string"}}


def test_an_object_that_keeps_all_has_no_properties_in_swagger(cluster: Cluster, openapi: OpenAPI) -> None:
    serve(cluster, definition(version(schema=preserve())))
    assert set(v2(openapi)) == {"type", "x-kubernetes-group-version-kind"}
    assert "metadata" in v3(openapi)["components"]["schemas"][NAME]["properties"]


def test_embedded_objects_have_a_frame_too(cluster: Cluster, openapi: OpenAPI) -> None:
    pod = {**fields(spec=preserve()), "x-kubernetes-embedded-resource": True}
    serve(cluster, definition(version(schema=of_spec(fields(pod=pod)))))
    for found in (v2(openapi), v3(openapi)["components"]["schemas"][NAME]):
        embedded = spec_of(found)["pod"]
        assert embedded["required"] == ["kind", "apiVersion"]
        assert set(embedded["properties"]) == {"apiVersion", "kind", "metadata", "spec"}


def test_selectable_fields_and_subresources_are_published(cluster: Cluster, openapi: OpenAPI) -> None:
    scale = {"specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}
    serve(
        cluster,
        definition(
            version(
                schema=of_spec(fields(n={"type": "integer"}), status=preserve()),
                selectableFields=[{"jsonPath": ".spec.n"}],
                subresources={"status": {}, "scale": scale},
            )
        ),
    )
    found = v3(openapi)
    assert found["components"]["schemas"][NAME]["x-kubernetes-selectable-fields"] == [{"fieldPath": "spec.n"}]
    base = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"
    assert {base, f"{base}/status", f"{base}/scale"} <= set(found["paths"])
    assert set(found["paths"][base]["patch"]["requestBody"]["content"]) == {
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    }
    assert "autoscaling.v1.Scale" in str(found["paths"][f"{base}/scale"]["get"])


def test_what_goes_is_no_longer_published(cluster: Cluster, openapi: OpenAPI) -> None:
    serve(cluster, definition())
    assert "apis/example.com/v1" in orjson.loads(openapi.v3_index().body)["paths"]
    cluster.delete("customresourcedefinitions.v1.apiextensions.k8s.io", "widgets.example.com", "")
    cluster.settle()
    assert openapi.v3("apis/example.com/v1") is None
    assert NAME not in orjson.loads(openapi.v2().body)["definitions"]
