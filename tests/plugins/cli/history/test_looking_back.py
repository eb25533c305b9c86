"""What `kubernel history`, `diff` and `blame` say about objects."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import Expired, KubernelError, NotFound
from kubernel.testing import Cluster
from kubernel_plugins.cli.history.blame import annotate
from kubernel_plugins.cli.history.changes import changed_paths, describe, text_difference
from kubernel_plugins.cli.history.past import parse_since, revision_at, versions
from kubernel_plugins.cli.kinds import resolve

Obj = dict[str, Any]


def entry(manager: str, time: str, fields: Obj, subresource: str = "") -> Obj:
    told = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    return {**told, "subresource": subresource} if subresource else told


def config_map(revision: int, data: Obj, *entries: Obj) -> Obj:
    meta = {"name": "a", "resourceVersion": str(revision), "managedFields": list(entries)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


@pytest.mark.parametrize(
    ("older", "newer", "paths"),
    [
        pytest.param({"a": 1}, {"a": 2}, ["a"], id="value"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, ["a.c"], id="removed"),
        pytest.param({}, {"a": {"b": 1}}, ["a"], id="added as a whole"),
        pytest.param({"a": {"x.y/z": 1}}, {"a": {"x.y/z": 2}}, ["a[x.y/z]"], id="key with dots"),
        pytest.param(
            {"c": [{"name": "a", "v": 1}, {"name": "b", "v": 1}]},
            {"c": [{"name": "a", "v": 1}, {"name": "b", "v": 2}]},
            ["c[name=b].v"],
            id="element of a named list",
        ),
        pytest.param(
            {"c": [{"name": "a"}]}, {"c": [{"name": "b"}]}, ["c[name=a]", "c[name=b]"], id="other elements"
        ),
        pytest.param({"c": [1, 2]}, {"c": [2, 1]}, ["c"], id="scalars"),
        pytest.param(
            {"metadata": {"resourceVersion": "1"}},
            {"metadata": {"resourceVersion": "2"}},
            [],
            id="bookkeeping",
        ),
    ],
)
def test_changed_paths_are_the_shortest(older: Obj, newer: Obj, paths: list[str]) -> None:
    assert list(changed_paths(older, newer)) == paths


def test_who_lost_a_field_did_not_write() -> None:
    before = config_map(
        1, {"x": "1"}, entry("maker", "2026-01-01T00:00:00Z", {"f:data": {"f:x": {}, "f:y": {}}})
    )
    after = config_map(
        2,
        {"x": "2"},
        entry("maker", "2026-01-01T00:00:00Z", {"f:data": {"f:y": {}}}),
        entry("changer", "2026-01-02T00:00:00Z", {"f:data": {"f:x": {}}}, "status"),
    )
    change = describe(before, after)
    assert (change.who, change.time, change.paths) == (
        ("changer (status)",),
        "2026-01-02T00:00:00Z",
        ("data.x",),
    )


def test_a_difference_names_both_revisions_and_nothing_else_of_the_server() -> None:
    text = text_difference("configmaps/a", config_map(1, {"x": "1"}), config_map(7, {"x": "2"}))
    assert text.splitlines()[:2] == ["--- configmaps/a\t1", "+++ configmaps/a\t7"]
    assert "-  x: '1'" in text
    assert "+  x: '2'" in text
    assert "managedFields" not in text
    assert text_difference("configmaps/a", config_map(1, {}), config_map(9, {})) == ""
    assert "+++ /dev/null" in text_difference("configmaps/a", config_map(1, {}), None)


def test_blame_names_the_manager_of_fields_of_list_elements_and_of_atomic_values() -> None:
    obj = {
        "metadata": {
            "name": "a",
            "managedFields": [
                entry(
                    "one",
                    "2026-01-01T00:00:00Z",
                    {"f:spec": {"f:ports": {'k:{"port":80}': {".": {}, "f:name": {}}}, "f:atomic": {}}},
                ),
                entry(
                    "two", "2026-01-02T00:00:00Z", {"f:spec": {"f:ports": {'k:{"port":81}': {"f:name": {}}}}}
                ),
                entry("maker", "", {"f:spec": {"f:ports": {}}}),
                entry("three", "", {"f:metadata": {"f:finalizers": {'v:"x/y"': {}}}}),
            ],
            "finalizers": ["x/y", "x/z"],
        },
        "spec": {
            "ports": [{"port": 80, "name": "web"}, {"name": "tls", "port": 81}],
            "atomic": {"deep": ["value"]},
        },
    }
    lines = {line.partition("#")[0].strip(): line.partition("# ")[2] for line in annotate(obj).splitlines()}
    assert lines["name: web"] == "one Update 2026-01-01T00:00:00Z"
    assert lines["- name: tls"] == "two Update 2026-01-02T00:00:00Z"
    assert lines["- value"] == "one Update 2026-01-01T00:00:00Z"
    assert lines["- x/y"] == "three Update"
    assert lines["- x/z"] == ""


_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["yes", "null", "1e3", "a: b", "# x", "- y"])
)
_values = st.recursive(
    _scalars,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _values, max_size=4))
def test_blame_is_yaml_of_the_object(spec: Obj) -> None:
    obj = {"metadata": {"name": "a"}, "spec": spec}
    assert yaml.safe_load(annotate(obj)) == obj


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        pytest.param("1234", (1234, 0.0), id="revision"),
        pytest.param("10m", (0, 600.0), id="minutes"),
        pytest.param("1h30m", (0, 5400.0), id="sum"),
    ],
)
def test_since_is_a_span_or_a_revision(text: str, meaning: tuple[int, float]) -> None:
    assert parse_since(text) == meaning


@pytest.mark.parametrize("text", ["", "0", "-5", "yesterday"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(KubernelError, match="--since"):
        parse_since(text)


def test_the_past_is_read_revision_by_revision_and_by_time(cluster: Cluster) -> None:
    client = cluster.client()

    async def made() -> tuple[Obj, Obj]:
        first = await client.create("configmaps", {"metadata": {"name": "a"}, "data": {"x": "1"}}, "default")
        second = await client.update("configmaps", {**first, "data": {"x": "2"}})
        return first, second

    first, second = cluster.run(made())
    kind = cluster.run(resolve(client, "cm"))
    past = cluster.run(versions(client, kind, "default", second, 10))
    assert [obj["data"]["x"] for obj in past.versions] == ["2", "1"]
    assert past.complete
    assert not cluster.run(versions(client, kind, "default", second, 1)).complete

    before = cluster.clock.time()
    cluster.clock.advance(60)
    third = cluster.run(client.update("configmaps", {**second, "data": {"x": "3"}}))
    at = cluster.run(revision_at(client, before + 30))
    assert int(second["metadata"]["resourceVersion"]) <= at < int(third["metadata"]["resourceVersion"])
    assert cluster.run(client.get("configmaps", "a", "default", at=str(at))) == second
    listed = cluster.run(client.list("configmaps", "default", fields="metadata.name=a", at=str(at)))
    assert listed.items == [second]
    early = str(int(first["metadata"]["resourceVersion"]) - 1)
    with pytest.raises(NotFound):
        cluster.run(client.get("configmaps", "a", "default", at=early))


def test_what_is_forgotten_is_said_to_be(cluster: Cluster) -> None:
    client = cluster.client()
    made = cluster.run(client.create("configmaps", {"metadata": {"name": "a"}}, "default"))
    revision = made["metadata"]["resourceVersion"]
    cluster.clock.advance(1200)
    with pytest.raises(Expired):
        cluster.run(client.get("configmaps", "a", "default", at=str(int(revision) - 1)))
    kind = cluster.run(resolve(client, "ConfigMap"))
    assert not cluster.run(versions(client, kind, "default", made, 5)).complete
    with pytest.raises(Expired, match="is remembered"):
        cluster.run(revision_at(client, cluster.clock.time() - 1100))


def test_an_unknown_kind_is_named(cluster: Cluster) -> None:
    with pytest.raises(KubernelError, match='no kind "nothings"'):
        cluster.run(resolve(cluster.client(), "nothings"))
