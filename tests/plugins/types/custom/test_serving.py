"""A definition comes, is served, changes and goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crd_kit import DEFINITIONS, definition, fields, of_spec, preserve, serve, version, widget

from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions
from kubernel.testing import Cluster

WIDGETS = "widgets.v1.example.com"


def condition(obj: dict[str, Any], type: str) -> tuple[str, str, str]:
    found = conditions.find(obj, type)
    assert found is not None
    return found["status"], found["reason"], found["message"]


def test_a_definition_is_established_and_its_names_accepted(cluster: Cluster) -> None:
    made = serve(cluster, definition())
    assert condition(made, "NamesAccepted") == ("True", "NoConflicts", "no conflicts found")
    assert condition(made, "Established") == (
        "True",
        "InitialNamesAccepted",
        "the initial names have been accepted",
    )
    assert made["status"]["acceptedNames"] == made["spec"]["names"]


def test_its_objects_are_created_read_listed_and_deleted(cluster: Cluster) -> None:
    serve(cluster, definition())
    made = cluster.create(widget(spec={"size": 1}))
    assert (made["kind"], made["metadata"]["generation"], made["spec"]) == ("Widget", 1, {"size": 1})
    assert [one["metadata"]["name"] for one in cluster.list(WIDGETS)] == ["one"]
    cluster.delete(WIDGETS, "one")
    assert cluster.find(WIDGETS, "one") is None


def test_a_name_that_is_taken_is_not_accepted_until_it_is_free(cluster: Cluster) -> None:
    serve(cluster, definition())
    second = definition(kind="Gadget")
    second["spec"]["names"]["shortNames"] = ["widget"]
    waiting = serve(cluster, second)
    assert condition(waiting, "NamesAccepted") == (
        "False",
        "ShortNamesConflict",
        '"widget" is already in use',
    )
    assert condition(waiting, "Established") == ("False", "NotAccepted", "not all names are accepted")
    cluster.delete(DEFINITIONS, "widgets.example.com", "")
    cluster.settle()
    assert condition(cluster.get(DEFINITIONS, "gadgets.example.com", ""), "Established")[0] == "True"


def test_two_kinds_of_one_group_need_two_names(cluster: Cluster) -> None:
    serve(cluster, definition())
    second = definition(kind="Gadget")
    second["spec"]["names"]["kind"] = "Widget"
    made = serve(cluster, second)
    assert condition(made, "NamesAccepted") == ("False", "KindConflict", '"Widget" is already in use')


def test_an_unserved_version_is_not_found(cluster: Cluster) -> None:
    serve(cluster, definition(version(), version("v2", storage=False, served=False)))
    with pytest.raises(NotFound):
        cluster.list("widgets.v2.example.com")


def test_a_changed_schema_counts_for_the_next_write(cluster: Cluster) -> None:
    made = serve(cluster, definition(version(schema=of_spec(fields(size={"type": "integer"})))))
    changed = version(schema=of_spec(fields(size={"type": "integer"}, color={"type": "string"})))
    cluster.update({**made, "spec": {**made["spec"], "versions": [changed]}})
    cluster.settle()
    assert cluster.create(widget(spec={"color": "red"}))["spec"] == {"color": "red"}


def test_deleting_a_definition_deletes_its_objects_first(cluster: Cluster) -> None:
    serve(cluster, definition())
    held = widget(spec={})
    held["metadata"]["finalizers"] = ["example.com/hold"]
    cluster.create(held)
    cluster.delete(DEFINITIONS, "widgets.example.com", "")
    cluster.settle()
    going = cluster.get(DEFINITIONS, "widgets.example.com", "")
    assert going["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    assert condition(going, "Terminating") == (
        "True",
        "InstanceDeletionInProgress",
        "CustomResource deletion is in progress",
    )
    with pytest.raises(ApiError) as caught:
        cluster.create(widget("two", spec={}))
    assert caught.value.status_code == 405
    assert caught.value.message == "create not allowed while custom resource definition is terminating"
    cluster.patch(WIDGETS, "one", {"metadata": {"finalizers": None}})
    cluster.clock.advance(5)
    cluster.settle()
    assert cluster.find(DEFINITIONS, "widgets.example.com", "") is None
    with pytest.raises(NotFound):
        cluster.list(WIDGETS)


def test_objects_of_a_version_that_is_not_served_go_with_the_definition(cluster: Cluster) -> None:
    made = serve(cluster, definition())
    cluster.create(widget(spec={}))
    versions = [{**made["spec"]["versions"][0], "served": False}]
    cluster.update({**made, "spec": {**made["spec"], "versions": versions}})
    cluster.settle()
    cluster.delete(DEFINITIONS, "widgets.example.com", "")
    cluster.settle()
    assert cluster.find(DEFINITIONS, "widgets.example.com", "") is None
    serve(cluster, definition())
    assert cluster.list(WIDGETS) == []


def test_cluster_scoped_objects_have_no_namespace(cluster: Cluster) -> None:
    serve(cluster, definition(scope="Cluster"))
    made = cluster.create(
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "one"}}, namespace=""
    )
    assert "namespace" not in made["metadata"]


def test_what_the_definition_says_is_discovered(cluster: Cluster) -> None:
    made = definition(
        version(
            schema=of_spec(preserve(), status=preserve()),
            subresources={
                "status": {},
                "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
            },
        )
    )
    made["spec"]["names"] |= {"shortNames": ["wg"], "categories": ["all"], "singular": "widget"}
    serve(cluster, made)
    type = cluster.kernel.registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    assert (type.short_names, type.categories, type.singular) == (("wg",), ("all",), "widget")
    assert set(type.subresources) == {"status", "scale"}


def test_dependents_of_a_custom_object_go_with_it(cluster: Cluster) -> None:
    serve(cluster, definition())
    owner = cluster.create(widget(spec={}))
    cluster.clock.advance(2)
    reference = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "name": "one",
        "uid": owner["metadata"]["uid"],
    }
    metadata = {"name": "child", "ownerReferences": [reference]}
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    cluster.delete(WIDGETS, "one")
    cluster.settle()
    assert cluster.find("configmaps", "child") is None


def test_after_a_restart_custom_objects_are_served_at_once(tmp_path: Path) -> None:
    configuration = {"cluster": {"dataDir": str(tmp_path)}, "plugins": {"store": "sqlite"}}
    with Cluster(configuration) as first:
        serve(first, definition())
        first.create(widget(spec={"a": 1}))
    with Cluster(configuration) as second:
        assert second.get(WIDGETS, "one")["spec"] == {"a": 1}
