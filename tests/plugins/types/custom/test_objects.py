"""Custom objects by their schema: pruned, defaulted, validated, as their definition says."""

from __future__ import annotations

from typing import Any

import pytest
from crd_kit import definition, fields, of_spec, preserve, serve, version, widget

from kubernel.errors import ApiError, BadRequest, Conflict, Invalid
from kubernel.registry.operations import ListOptions, WatchOptions
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster
from kubernel_plugins.api.custom.columns import printer_columns
from kubernel_plugins.api.custom.jsonpath import compile_path

WIDGETS = "widgets.v1.example.com"
Obj = dict[str, Any]


def served(cluster: Cluster, spec: Obj, **more: Any) -> None:
    serve(cluster, definition(version(schema=of_spec(spec), **more)))


def change_schema(cluster: Cluster, spec: Obj) -> None:
    found = cluster.get("customresourcedefinitions.v1.apiextensions.k8s.io", "widgets.example.com", "")
    versions = [{**found["spec"]["versions"][0], "schema": {"openAPIV3Schema": of_spec(spec)}}]
    cluster.update({**found, "spec": {**found["spec"], "versions": versions}})
    cluster.settle()


def causes(caught: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in caught.value.causes]


def refused(cluster: Cluster, spec: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        cluster.create(widget(spec=spec))
    return causes(caught)


def test_what_the_schema_does_not_know_is_dropped(cluster: Cluster) -> None:
    served(cluster, fields(a={"type": "string"}, b=fields(c={"type": "integer"})))
    made = cluster.create(widget(spec={"a": "x", "z": 1, "b": {"c": 1, "d": 2}}, other={}))
    assert made["spec"] == {"a": "x", "b": {"c": 1}}
    assert "other" not in made


def test_unknown_fields_are_kept_where_the_schema_says_so(cluster: Cluster) -> None:
    served(cluster, preserve(properties={"a": fields(b={"type": "string"})}))
    made = cluster.create(widget(spec={"x": {"y": [1]}, "a": {"b": "c", "d": "e"}}))
    assert made["spec"] == {"x": {"y": [1]}, "a": {"b": "c"}}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({}, {"plain": 1, "may": 2}, id="absent"),
        pytest.param(
            {"plain": None, "may": None, "none": None, "free": None},
            {"plain": 1, "may": None, "free": None},
            id="null",
        ),
        pytest.param({"plain": 5, "deep": {}}, {"plain": 5, "may": 2, "deep": {"x": "y"}}, id="given"),
        pytest.param(
            {"map": {"k": {}}, "list": [{}]},
            {"plain": 1, "may": 2, "map": {"k": {"x": 1}}, "list": [{"x": 1}]},
            id="in-collections",
        ),
    ],
)
def test_defaults_and_nulls(cluster: Cluster, given: Obj, kept: Obj) -> None:
    served(
        cluster,
        fields(
            plain={"type": "integer", "default": 1},
            may={"type": "integer", "default": 2, "nullable": True},
            none={"type": "integer"},
            free={"type": "string", "nullable": True},
            deep=fields(x={"type": "string", "default": "y"}),
            map={"type": "object", "additionalProperties": fields(x={"type": "integer", "default": 1})},
            list={"type": "array", "items": fields(x={"type": "integer", "default": 1})},
        ),
    )
    assert cluster.create(widget(spec=given))["spec"] == kept


def test_a_new_default_is_there_when_an_old_object_is_read(cluster: Cluster) -> None:
    served(cluster, fields(a={"type": "string"}))
    cluster.create(widget(spec={"a": "x"}))
    change_schema(cluster, fields(a={"type": "string"}, b={"type": "integer", "default": 7}))
    assert cluster.get(WIDGETS, "one")["spec"] == {"a": "x", "b": 7}
    assert cluster.list(WIDGETS)[0]["spec"]["b"] == 7
    change_schema(cluster, fields(a={"type": "string"}, b={"type": "integer", "default": 8}))
    assert cluster.get(WIDGETS, "one")["spec"]["b"] == 8
    cluster.patch(WIDGETS, "one", {"metadata": {"labels": {"a": "b"}}})
    change_schema(cluster, fields(a={"type": "string"}, b={"type": "integer", "default": 9}))
    assert cluster.get(WIDGETS, "one")["spec"]["b"] == 8


def test_fields_that_left_the_schema_are_gone_from_what_is_read(cluster: Cluster) -> None:
    served(cluster, fields(a={"type": "string"}, b={"type": "string"}))
    cluster.create(widget(spec={"a": "x", "b": "y"}))
    change_schema(cluster, fields(a={"type": "string"}))
    assert cluster.get(WIDGETS, "one")["spec"] == {"a": "x"}


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        pytest.param({"type": "string"}, 1, 'spec.v: Invalid value: "integer": spec.v in body must be of type string: '
                     '"integer"', id="type"),
        pytest.param({"type": "integer", "minimum": 1}, 0, "spec.v: Invalid value: 0: spec.v in body should be greater "
                     "than or equal to 1", id="minimum"),
        pytest.param({"type": "string", "enum": ["a"]}, "b", 'spec.v: Unsupported value: "b": supported values: "a"',
                     id="enum"),
        pytest.param({"type": "string", "format": "ipv4"}, "x", 'spec.v: Invalid value: "x": spec.v in body must be of '
                     'type ipv4: "x"', id="format"),
        pytest.param({"x-kubernetes-int-or-string": True}, True, 'spec.v: Invalid value: "boolean": spec.v in body '
                     'must be of type integer,string: "boolean"', id="int-or-string"),
        pytest.param({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, ["a", "a"],
                     'spec.v[1]: Duplicate value: "a"', id="set"),
        pytest.param(
            {
                "type": "array",
                "items": {**fields(k={"type": "string"}), "required": ["k"]},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"],
            },
            [{"k": "a"}, {"k": "a"}],
            'spec.v[1]: Duplicate value: {"k":"a"}',
            id="map",
        ),
        pytest.param(
            {"type": "string", "anyOf": [{"pattern": "^a"}, {"pattern": "^b"}]},
            "c",
            '<nil>: Invalid value: "": "spec.v" must validate at least one schema (anyOf)',
            id="any-of",
        ),
        pytest.param(
            {"type": "string", "oneOf": [{"minLength": 1}, {"maxLength": 3}]},
            "ab",
            '<nil>: Invalid value: "": "spec.v" must validate one and only one schema (oneOf). Found 2 valid '
            "alternatives",
            id="one-of",
        ),
        pytest.param(
            {"type": "string", "allOf": [{"minLength": 3}]},
            "ab",
            '<nil>: Invalid value: "": "spec.v" must validate all the schemas (allOf). None validated',
            id="all-of",
        ),
        pytest.param(
            {"type": "string", "not": {"enum": ["ab"]}},
            "ab",
            '<nil>: Invalid value: "": "spec.v" must not validate the schema (not)',
            id="not",
        ),
        pytest.param(
            preserve(**{"x-kubernetes-embedded-resource": True}), {"metadata": {"name": "A/b"}},
            "spec.v.apiVersion: Required value", id="embedded",
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(cluster: Cluster, schema: Obj, value: Any, told: str) -> None:
    served(cluster, fields(v=schema))
    assert told in refused(cluster, {"v": value})


def test_int_or_string_takes_both(cluster: Cluster) -> None:
    both = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
    served(cluster, fields(a=both, b={"x-kubernetes-int-or-string": True}))
    assert cluster.create(widget(spec={"a": 1, "b": "50%"}))["spec"] == {"a": 1, "b": "50%"}


def test_an_embedded_objects_metadata_is_that_of_every_object(cluster: Cluster) -> None:
    served(cluster, fields(v=preserve(**{"x-kubernetes-embedded-resource": True})))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "odd": 1}, "spec": {"x": 1}}
    made = cluster.create(widget(spec={"v": pod}))
    assert made["spec"]["v"] == {**pod, "metadata": {"name": "p"}}


def test_the_schema_may_say_what_names_are_good(cluster: Cluster) -> None:
    said = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}
    serve(cluster, definition(version(schema=of_spec(preserve(), metadata=said))))
    cluster.create(widget("abc", spec={}))
    with pytest.raises(Invalid) as caught:
        cluster.create(widget("abcd", spec={}))
    assert causes(caught) == ["metadata.name: Too long: may not be more than 3 bytes"]


def test_what_was_wrong_before_may_stay_while_it_is_not_touched(cluster: Cluster) -> None:
    served(cluster, fields(a={"type": "string"}, b={"type": "string"}))
    cluster.create(widget(spec={"a": "long", "b": "x"}))
    change_schema(cluster, fields(a={"type": "string", "maxLength": 2}, b={"type": "string"}))
    assert cluster.patch(WIDGETS, "one", {"spec": {"b": "y"}})["spec"] == {"a": "long", "b": "y"}
    with pytest.raises(Invalid):
        cluster.patch(WIDGETS, "one", {"spec": {"a": "longer"}})


# --- subresources


STATUS = {"subresources": {"status": {}}}


def with_status(cluster: Cluster) -> None:
    serve(
        cluster, definition(version(schema=of_spec(preserve(), status=preserve(), more=preserve()), **STATUS))
    )


def test_status_is_written_through_its_endpoint_alone(cluster: Cluster) -> None:
    with_status(cluster)
    made = cluster.create(widget(spec={"a": 1}, status={"x": 1}))
    assert ("status" in made, made["metadata"]["generation"]) == (False, 1)
    changed = cluster.update({**made, "status": {"x": 1}, "spec": {"a": 2}})
    assert ("status" in changed, changed["metadata"]["generation"]) == (False, 2)
    metadata = {**changed["metadata"], "labels": {"a": "b"}}
    told = cluster.update(
        {**changed, "metadata": metadata, "status": {"x": 1}, "spec": {"a": 3}}, subresource="status"
    )
    assert (told["status"], told["spec"], told["metadata"]["generation"]) == ({"x": 1}, {"a": 2}, 2)
    assert "labels" not in told["metadata"]


def test_everything_but_metadata_and_status_counts_as_generation(cluster: Cluster) -> None:
    with_status(cluster)
    cluster.create(widget(spec={"a": 1}))
    assert cluster.patch(WIDGETS, "one", {"metadata": {"labels": {"a": "b"}}})["metadata"]["generation"] == 1
    assert cluster.patch(WIDGETS, "one", {"more": {"x": 1}})["metadata"]["generation"] == 2


def test_without_the_subresource_status_is_a_field_as_others(cluster: Cluster) -> None:
    serve(cluster, definition(version(schema=of_spec(preserve(), status=preserve()))))
    made = cluster.create(widget(spec={}, status={"x": 1}))
    assert made["status"] == {"x": 1}
    changed = cluster.patch(WIDGETS, "one", {"status": {"x": 2}})
    assert (changed["status"], changed["metadata"]["generation"]) == ({"x": 2}, 2)


SCALE = {
    "specReplicasPath": ".spec.size",
    "statusReplicasPath": ".status.size",
    "labelSelectorPath": ".status.pods",
}


def scaled(cluster: Cluster) -> None:
    schema = of_spec(preserve(), status=preserve())
    serve(cluster, definition(version(schema=schema, subresources={"status": {}, "scale": SCALE})))


def test_scale_is_read_and_written_at_the_paths_of_the_definition(cluster: Cluster) -> None:
    scaled(cluster)
    cluster.create(widget(spec={"size": 2, "x": 1}))
    cluster.patch(WIDGETS, "one", {"status": {"size": 1, "pods": "a=b"}}, subresource="status")
    scale = cluster.patch(WIDGETS, "one", {"spec": {"replicas": 3}}, subresource="scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 3}, {"replicas": 1, "selector": "a=b"})
    found = cluster.get(WIDGETS, "one")
    assert (found["spec"], found["metadata"]["generation"]) == ({"size": 3, "x": 1}, 2)


def test_replicas_must_be_a_count(cluster: Cluster) -> None:
    scaled(cluster)
    assert refused(cluster, {"size": -1}) == [
        ".spec.size: Invalid value: -1: should be a non-negative integer"
    ]


# --- writing


def test_strategic_merge_is_no_patch_of_a_custom_resource(cluster: Cluster) -> None:
    served(cluster, preserve())
    cluster.create(widget(spec={}))
    with pytest.raises(ApiError) as caught:
        cluster.patch(WIDGETS, "one", {"spec": {"a": 1}}, type="strategic")
    assert caught.value.status_code == 415


def test_an_update_says_which_version_it_is_of(cluster: Cluster) -> None:
    served(cluster, preserve())
    cluster.create(widget(spec={}))
    with pytest.raises(Invalid) as caught:
        cluster.update(widget(spec={"a": 1}))
    assert causes(caught) == ["metadata.resourceVersion: Invalid value: 0: must be specified for an update"]


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        pytest.param("Strict", 'strict decoding error: unknown field "spec.z"', id="strict"),
        pytest.param("Warn", 'unknown field "spec.z"', id="warn"),
        pytest.param("Ignore", "", id="ignore"),
    ],
)
def test_unknown_fields_are_told_as_the_request_wants(cluster: Cluster, mode: Any, told: str) -> None:
    served(cluster, fields(a={"type": "string"}))
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    create = registry.create(
        UserInfo("me"), type, "default", widget(spec={"z": 1}), WriteOptions(field_validation=mode)
    )
    if mode == "Strict":
        with pytest.raises(BadRequest) as caught:
            cluster.run(create)
        assert told in caught.value.message
    else:
        assert cluster.run(create).warnings == ((told,) if told else ())


def test_appliers_own_the_elements_of_keyed_lists_and_sets(cluster: Cluster) -> None:
    element = {**fields(name={"type": "string"}, value={"type": "integer"}), "required": ["name"]}
    served(
        cluster,
        fields(
            items={
                "type": "array",
                "items": element,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
            tags={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
            whole={"type": "array", "items": {"type": "string"}},
        ),
    )

    def apply(manager: str, spec: Obj) -> Obj:
        client = cluster.client()
        return cluster.run(
            client.patch(WIDGETS, "one", widget(spec=spec), "default", type="apply", field_manager=manager)
        )

    apply("one", {"items": [{"name": "a", "value": 1}], "tags": ["x"], "whole": ["1"]})
    both = apply("two", {"items": [{"name": "b", "value": 2}], "tags": ["y"]})
    assert both["spec"] == {
        "items": [{"name": "a", "value": 1}, {"name": "b", "value": 2}],
        "tags": ["x", "y"],
        "whole": ["1"],
    }
    with pytest.raises(Conflict):
        apply("two", {"items": [{"name": "a", "value": 3}]})
    assert apply("one", {"tags": ["x"]})["spec"] == {"items": [{"name": "b", "value": 2}], "tags": ["x", "y"]}


# --- reading


def test_objects_are_selected_by_the_fields_that_the_definition_names(cluster: Cluster) -> None:
    served(cluster, fields(color={"type": "string"}, on={"type": "boolean"}), selectableFields=[
        {"jsonPath": ".spec.color"}, {"jsonPath": ".spec.on"}
    ])  # fmt: skip
    cluster.create(widget("red", spec={"color": "red", "on": True}))
    cluster.create(widget("blue", spec={"color": "blue"}))
    client = cluster.client()

    def names(selector: str) -> list[str]:
        found = cluster.run(client.list(WIDGETS, fields=selector)).items
        return [one["metadata"]["name"] for one in found]

    assert names("spec.color=red") == ["red"]
    assert names("spec.on=true") == ["red"]
    assert names("spec.on=") == ["blue"]
    with pytest.raises(BadRequest) as caught:
        names("spec.size=1")
    assert caught.value.message == "field label not supported: spec.size"


def test_a_watch_tells_who_comes_into_its_selection(cluster: Cluster) -> None:
    served(cluster, fields(color={"type": "string"}), selectableFields=[{"jsonPath": ".spec.color"}])
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    page = cluster.run(registry.list(type, "", ListOptions()))
    options = WatchOptions(fields="spec.color=red", resource_version=str(page.revision))
    watch = cluster.run(registry.watch(type, "", options))
    cluster.create(widget(spec={"color": "blue"}))
    cluster.patch(WIDGETS, "one", {"spec": {"color": "red"}})
    cluster.patch(WIDGETS, "one", {"spec": {"color": "blue"}})
    assert [item.type for item in cluster.run(watch.next())] == ["ADDED", "DELETED"]
    watch.close()


OBJECT = {
    "metadata": {"name": "one", "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"a.b/c": "d"}},
    "spec": {
        "n": 3,
        "f": 1.5,
        "on": True,
        "list": [{"a": "x"}, {"a": "y"}],
        "when": "2026-01-01T00:00:00Z",
        "null": None,
        "big": 123456789.25,
        "whole": 1e6,
        "map": {"d": 1, "c": "<&"},
        "huge": 1e21,
        "empty": "",
    },
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("type_", "path", "cell"),
    [
        pytest.param("integer", ".spec.n", 3, id="integer"),
        pytest.param("string", ".spec.n", "3", id="integer-as-text"),
        pytest.param("number", ".spec.f", 1.5, id="number"),
        pytest.param("boolean", ".spec.on", True, id="boolean"),
        pytest.param("string", ".spec.on", "true", id="boolean-as-text"),
        pytest.param("string", ".spec.list", '[{"a":"x"},{"a":"y"}]', id="list-as-text"),
        pytest.param("string", ".spec.list[1].a", "y", id="index"),
        pytest.param("string", ".spec.list[*].a", "x", id="first-of-all"),
        pytest.param("string", '.status.conditions[?(@.type=="Ready")].status', "True", id="filter"),
        pytest.param("string", ".metadata.annotations.a\\.b/c", "d", id="escaped-dot"),
        pytest.param("string", ".metadata.annotations['a\\.b/c']", "d", id="quoted"),
        pytest.param("string", ".metadata.annotations['a.b/c']", None, id="quoted-with-a-dot"),
        pytest.param("string", ".spec.list[2].a", None, id="index-too-large"),
        pytest.param("string", ".spec.list[0:3]", None, id="slice-too-long"),
        pytest.param("string", ".spec.n[0]", None, id="index-of-no-list"),
        pytest.param("string", ".spec.null", "<no value>", id="null-as-text"),
        pytest.param("string", ".spec.big", "1.2345678925e+08", id="float-as-text"),
        pytest.param("string", ".spec.whole", "1000000", id="whole-number-as-text"),
        pytest.param("string", ".spec.map", '{"c":"\\u003c\\u0026","d":1}', id="map-as-text"),
        pytest.param("integer", ".spec.huge", -(2**63), id="too-large-for-an-integer"),
        pytest.param("date", ".spec.none", None, id="no-date-at-all"),
        pytest.param("date", ".spec.empty", "<unknown>", id="empty-date"),
        pytest.param("date", ".spec.when", "60s", id="date"),
        pytest.param("date", ".spec.list[0].a", "<invalid>", id="no-date"),
        pytest.param("integer", ".spec.list", None, id="no-integer"),
        pytest.param("string", ".spec.none", None, id="absent"),
    ],
)
def test_the_cells_of_printer_columns(type_: str, path: str, cell: Any) -> None:
    column = printer_columns([{"name": "C", "type": type_, "jsonPath": path}])[1]
    assert column.value(OBJECT, 1767225660.0) == cell


def test_a_path_that_cannot_be_understood_ends_the_columns() -> None:
    columns = [{"name": path, "type": "string", "jsonPath": path} for path in (".a", ".spec[", ".b")]
    assert [one.name for one in printer_columns(columns)] == ["Name", ".a"]


def test_a_column_without_description_says_its_path() -> None:
    name, column = printer_columns([{"name": "C", "type": "string", "jsonPath": ".a", "priority": 1}])
    assert (name.name, column.name, column.priority) == ("Name", "C", 1)
    assert column.description == "Custom resource definition column (in JSONPath format): .a"
    assert [one.name for one in printer_columns([])] == ["Name", "Age"]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        pytest.param("..a", ["x", "y"], id="anywhere"),
        pytest.param(".spec.list[0,1].a", ["x", "y"], id="union"),
        pytest.param(".spec.list[-1].a", ["y"], id="from-the-end"),
        pytest.param(".spec.list[0:1].a", ["x"], id="slice"),
        pytest.param('.status.conditions[?(@.status!="True")].type', ["Other"], id="not-equal"),
        pytest.param(".status.conditions[?(@.none)].type", [], id="existence"),
    ],
)
def test_what_a_jsonpath_finds(path: str, found: list[Any]) -> None:
    assert compile_path(path)(OBJECT) == found
