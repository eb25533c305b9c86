"""Server-side apply and managed fields, as kubectl users see them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from frozen_objects import freeze
from hypothesis import given
from hypothesis import strategies as st
from node_trees import deployment

from kubernel.errors import BadRequest, Conflict, UnnamedError
from kubernel.registry.apply import (
    LAST_APPLIED,
    apply_object,
    entries_of_object,
    entries_of_view,
    same_but_for_times,
    track_update,
)
from kubernel.registry.schema import Node

NODE = deployment()
T1, T2, T3 = (f"2026-01-01T00:00:0{n}Z" for n in (1, 2, 3))


def apply(live: Any, manager: str, now: str = T1, force: bool = False, **spec: Any) -> Any:
    config = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}
    return apply_config(live, manager, config, now, force)


def apply_config(
    live: Any, manager: str, config: Any, now: str = T1, force: bool = False, node: Node | None = NODE
) -> Any:
    return freeze(
        apply_object(
            node,
            live,
            freeze(config),
            manager=manager,
            api_version="apps/v1",
            subresource="",
            now=now,
            force=force,
        )
    )


def update(old: Any, manager: str, now: str = T1, subresource: str = "", **parts: Any) -> Any:
    new: dict[str, Any] = {"metadata": {"name": "web", "uid": "u"}} | dict(old or {}) | parts
    fields = track_update(
        NODE,
        old,
        freeze(new),
        manager=manager,
        api_version="apps/v1",
        subresource=subresource,
        now=now,
    )
    metadata = dict(new["metadata"]) | {"managedFields": fields}
    return freeze(new | {"metadata": metadata})


def managers(obj: Any) -> dict[tuple[str, str], Any]:
    entries = obj["metadata"]["managedFields"]
    return {(entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in entries}


def content(obj: Any) -> Any:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def container(name: str = "c", **fields: Any) -> Any:
    return {"template": {"spec": {"containers": [{"name": name, **fields}]}}}


def test_applying_creates_with_one_entry() -> None:
    made = apply(None, "kubectl", replicas=2)
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "kubectl",
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        }
    ]


def test_applying_the_same_again_returns_the_live_object() -> None:
    made = apply(None, "kubectl", replicas=2, **container(image="1"))
    again = apply_object(
        NODE,
        made,
        {"metadata": {"name": "web"}, "spec": {"replicas": 2, **container(image="1")}},
        manager="kubectl",
        api_version="apps/v1",
        subresource="",
        now=T2,
        force=False,
    )
    assert again is made


def test_a_conflict_names_manager_version_and_field() -> None:
    live = update(None, "kubectl-client-side-apply", spec={"replicas": 1})
    with pytest.raises(Conflict) as caught:
        apply(live, "me", replicas=3)
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: '
        ".spec.replicas"
    )
    assert [cause.as_dict() for cause in caught.value.causes] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
            "field": ".spec.replicas",
        }
    ]


def test_several_conflicts_are_listed_by_manager() -> None:
    live = apply(None, "helm", replicas=1, paused=True)
    live = update(live, "scaler", subresource="scale", spec={**live["spec"], "replicas": 2})
    with pytest.raises(Conflict) as caught:
        apply(live, "me", replicas=3, paused=False)
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "helm":\n- .spec.paused\n'
        'conflicts with "scaler" with subresource "scale" using apps/v1:\n- .spec.replicas'
    )


def test_equal_values_are_shared_without_conflict() -> None:
    live = apply(apply(None, "a", replicas=1), "b", replicas=1)
    assert set(managers(live)) == {("a", "Apply"), ("b", "Apply")}


def test_force_takes_the_field_over() -> None:
    live = apply(apply(None, "a", replicas=1, paused=True), "b", T2, force=True, replicas=2)
    assert live["spec"] == {"replicas": 2, "paused": True}
    assert managers(live) == {
        ("a", "Apply"): {"f:spec": {"f:paused": {}}},
        ("b", "Apply"): {"f:spec": {"f:replicas": {}}},
    }


def test_a_field_is_removed_when_its_last_applier_drops_it() -> None:
    live = apply(apply(None, "a", replicas=1, paused=True), "b", replicas=1)
    live = apply(live, "a", T2, paused=True)
    assert live["spec"] == {"replicas": 1, "paused": True}
    live = apply(live, "b", T2, paused=True)
    assert live["spec"] == {"paused": True}


def test_a_field_that_an_updater_manages_stays_when_dropped() -> None:
    live = apply(None, "a", replicas=1, paused=True)
    live = update(live, "hpa", spec={"replicas": 5, "paused": True})
    live = apply(live, "a", T2, paused=True)
    assert live["spec"] == {"replicas": 5, "paused": True}


def test_list_elements_and_map_keys_are_owned_one_by_one() -> None:
    one = {"metadata": {"name": "web", "labels": {"a": "1"}}, "spec": container("a", image="1")}
    two = {"metadata": {"name": "web", "labels": {"b": "2"}}, "spec": container("b", image="2")}
    live = apply_config(apply_config(None, "one", one), "two", two)
    assert live["metadata"]["labels"] == {"a": "1", "b": "2"}
    names = [each["name"] for each in live["spec"]["template"]["spec"]["containers"]]
    assert sorted(names) == ["a", "b"]
    live = apply_config(live, "one", {"metadata": {"name": "web"}}, T2)
    assert live["metadata"]["labels"] == {"b": "2"}
    assert live["spec"]["template"]["spec"]["containers"] == [{"name": "b", "image": "2"}]


def test_defaults_inside_a_dropped_element_go_with_it() -> None:
    live = apply(None, "a", **container("a", ports=[{"containerPort": 80}]))
    port = {"containerPort": 80, "protocol": "TCP", "name": "defaulted"}
    live = freeze({**live, "spec": container("a", ports=[port])})
    live = apply(live, "a", T2, **container("a"))
    assert live["spec"] == container("a")


def test_a_dropped_struct_goes_unless_somebody_owns_within() -> None:
    pod = {"template": {"spec": {"securityContext": {"runAsUser": 1}}}}
    live = apply(None, "a", **pod)
    both = {"template": {"spec": {"securityContext": {"runAsUser": 1, "fsGroup": 2}}}}
    owned = update(live, "x", spec=both)
    assert apply(owned, "a", T2)["spec"] == {"template": {"spec": {"securityContext": {"fsGroup": 2}}}}
    unowned = freeze({**live, "spec": both})
    assert "template" not in apply(unowned, "a", T2, replicas=1)["spec"]


def test_atomic_maps_are_owned_as_a_whole() -> None:
    live = apply(None, "a", selector={"matchLabels": {"a": "1"}})
    with pytest.raises(Conflict, match=r'conflict with "a": \.spec\.selector'):
        apply(live, "b", selector={"matchLabels": {"b": "1"}})
    live = apply(live, "a", T2, selector={"matchLabels": {"b": "1"}})
    assert live["spec"]["selector"] == {"matchLabels": {"b": "1"}}


def test_null_is_a_value_of_a_scalar() -> None:
    live = apply(None, "a", replicas=1)
    merged = apply(live, "a", T2, replicas=None, paused=True)
    assert merged["spec"] == {"paused": True, "replicas": None}
    assert "f:replicas" in managers(merged)["a", "Apply"]["f:spec"]
    with pytest.raises(Conflict, match=r'conflict with "a": \.spec\.replicas'):
        apply(live, "b", T2, replicas=None)


def test_null_takes_nothing_away_from_a_map_of_others() -> None:
    live = apply(None, "a", template={"metadata": {"labels": {"x": "1"}}})
    merged = apply(live, "b", T2, template={"metadata": {"labels": None}})
    assert merged["spec"] == live["spec"]
    assert managers(merged)["b", "Apply"] == {"f:spec": {"f:template": {"f:metadata": {"f:labels": {}}}}}


def test_a_map_whose_last_key_is_dropped_stays_for_who_owns_the_map() -> None:
    live = apply(None, "a", template={"metadata": {"labels": {"x": "1"}}})
    live = apply(live, "b", template={"metadata": {"labels": None}})
    merged = apply(live, "a", T2, replicas=1)
    assert merged["spec"]["template"]["metadata"]["labels"] is None
    assert ("b", "Apply") in managers(merged)


def test_a_keyed_list_without_elements_is_nobodys() -> None:
    merged = apply(None, "a", replicas=1, template={"spec": {"containers": []}})
    assert managers(merged)["a", "Apply"]["f:spec"] == {"f:replicas": {}}


def test_times_alone_are_no_change() -> None:
    live = apply(None, "a", replicas=1)
    later = apply(live, "a", T2, replicas=1)
    stamped = [{**entry, "time": T2} for entry in live["metadata"]["managedFields"]]
    again = {**live, "metadata": {**live["metadata"], "managedFields": stamped, "resourceVersion": "0"}}
    assert same_but_for_times(live, again)
    assert same_but_for_times(live, later)
    assert not same_but_for_times(live, apply(live, "b", T2, replicas=1))
    assert not same_but_for_times(live, {**again, "spec": {}})


def test_objects_without_history_get_the_manager_before_first_apply() -> None:
    live = freeze({"metadata": {"name": "web", "uid": "u"}, "spec": {"replicas": 1}})
    with pytest.raises(Conflict, match='conflict with "before-first-apply" using apps/v1'):
        apply(live, "me", replicas=2)
    merged = apply(live, "me", replicas=1)
    assert set(managers(merged)) == {("before-first-apply", "Update"), ("me", "Apply")}


def test_kubectl_moves_from_client_side_to_server_side_without_conflict() -> None:
    config = {"metadata": {"name": "web"}, "spec": {"replicas": 1, "paused": True}}
    annotations = {LAST_APPLIED: orjson.dumps(config).decode()}
    live = update(
        None,
        "kubectl-client-side-apply",
        metadata={"name": "web", "uid": "u", "annotations": annotations},
        spec=config["spec"],
    )
    merged = apply(live, "kubectl", T2, replicas=2, paused=True)
    assert merged["spec"]["replicas"] == 2
    assert orjson.loads(merged["metadata"]["annotations"][LAST_APPLIED])["spec"]["replicas"] == 2
    with pytest.raises(Conflict):
        apply(live, "other", T2, replicas=2)
    scaled = update(live, "kubectl", spec={"replicas": 7, "paused": True})
    with pytest.raises(Conflict, match=r'conflict with "kubectl" using apps/v1: \.spec\.replicas'):
        apply(scaled, "kubectl", T2, replicas=2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"metadata": {"name": "web", "managedFields": [{}]}}, "metadata.managedFields must be nil"),
        (
            {"kind": "Deployment", "metadata": {"name": "web", "namespace": "d"}, "spec": {"nope": 1}},
            "patch object (d/web; apps/v1, Kind=Deployment): .spec.nope: field not declared in schema",
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}},
            '.spec.template.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"image": "a"}]}}}},
            '.containers: element 0: associative list with keys has an element that omits all key fields ["name"] (and',
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a"}, None]}}}},
            ".containers: element 1: associative list with keys may not have a null element",
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"name": "a"}, "b"]}}}},
            ".containers: element 1: associative list with keys may not have non-map elements",
        ),
    ],
)
def test_configurations_that_cannot_be_applied(config: Any, message: str) -> None:
    with pytest.raises((BadRequest, UnnamedError)) as caught:
        apply_config(None, "me", config)
    assert message in caught.value.message


def test_without_a_schema_maps_merge_and_lists_are_atomic() -> None:
    live = apply_config(None, "a", {"spec": {"m": {"x": 1}, "l": [{"name": "a"}]}}, node=None)
    live = apply_config(live, "b", {"spec": {"m": {"y": 1}}}, T2, node=None)
    assert live["spec"]["m"] == {"x": 1, "y": 1}
    with pytest.raises(Conflict, match=r"\.spec\.l"):
        apply_config(live, "b", {"spec": {"l": [{"name": "b"}]}}, T2, node=None)


def test_a_created_object_has_one_updater() -> None:
    made = update(
        None,
        "kubectl-create",
        metadata={"name": "web", "uid": "u", "labels": {"a": "1"}},
        spec={"replicas": 1, **container("a", image="1")},
    )
    assert managers(made) == {
        ("kubectl-create", "Update"): {
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {
                ".": {},
                "f:replicas": {},
                "f:template": {
                    ".": {},
                    "f:spec": {
                        ".": {},
                        "f:containers": {
                            ".": {},
                            'k:{"name":"a"}': {".": {}, "f:name": {}, "f:image": {}},
                        },
                    },
                },
            },
        }
    }


def test_an_update_takes_changed_fields_from_others() -> None:
    live = apply(None, "a", replicas=1, paused=True)
    live = update(live, "scaler", T2, spec={"replicas": 2, "paused": True})
    assert managers(live) == {
        ("a", "Apply"): {"f:spec": {"f:paused": {}}},
        ("scaler", "Update"): {"f:spec": {"f:replicas": {}}},
    }
    live = update(live, "cleaner", T3, spec={"replicas": 2})
    assert managers(live) == {("scaler", "Update"): {"f:spec": {"f:replicas": {}}}}


def test_status_and_spec_of_one_manager_are_two_entries() -> None:
    live = update(None, "m", spec={"replicas": 1})
    live = update(live, "m", T2, "status", status={"replicas": 1})
    live = update(live, "m", T3, "status", status={"replicas": 1, "x": 1})
    assert [(e["time"], e.get("subresource")) for e in live["metadata"]["managedFields"]] == [
        (T1, None),
        (T3, "status"),
    ]


def test_an_update_without_change_keeps_the_list_itself() -> None:
    live = update(None, "a", spec={"replicas": 1})
    fields = track_update(
        NODE, live, dict(live), manager="b", api_version="apps/v1", subresource="", now=T2, reset=()
    )
    assert fields is live["metadata"]["managedFields"]


def test_fields_that_the_endpoint_resets_are_not_tracked() -> None:
    live = update(None, "a", spec={"replicas": 1})
    new = {**live, "status": {"x": 1}}
    kept = track_update(
        NODE, live, new, manager="b", api_version="apps/v1", subresource="", now=T2, reset=("status",)
    )
    assert kept is live["metadata"]["managedFields"]
    config = {"metadata": {"name": "web"}, "spec": {"replicas": 1}, "status": {"x": 1}}
    merged = apply_object(
        NODE,
        live,
        config,
        manager="b",
        api_version="apps/v1",
        subresource="",
        now=T1,
        force=False,
        reset=("status",),
    )
    assert "status" not in merged


def test_what_changes_leave_alone_may_come_with_a_creation_and_is_nobodys() -> None:
    config = {"metadata": {"name": "web"}, "spec": {"replicas": 1}}
    made = apply_object(
        NODE,
        None,
        config,
        manager="b",
        api_version="apps/v1",
        subresource="",
        now=T1,
        force=False,
        reset=("spec",),
    )
    assert made["spec"] == {"replicas": 1}
    assert made["metadata"]["managedFields"] == []


def test_clients_may_edit_and_end_the_tracking() -> None:
    live = update(None, "a", spec={"replicas": 1})
    renamed = [{**live["metadata"]["managedFields"][0], "manager": "z"}]
    edited = update(live, "b", T2, metadata={"name": "web", "uid": "u", "managedFields": renamed})
    assert managers(edited) == {("z", "Update"): {"f:spec": {".": {}, "f:replicas": {}}}}
    broken = update(live, "b", T2, metadata={"name": "web", "uid": "u", "managedFields": [{"x": 1}]})
    assert managers(broken) == managers(live)
    ended = update(live, "b", T2, metadata={"name": "web", "uid": "u", "managedFields": [{}]})
    assert ended["metadata"]["managedFields"] == []
    assert update(ended, "b", T3, spec={"replicas": 2})["metadata"]["managedFields"] == []


def test_more_than_ten_updaters_are_merged() -> None:
    live = update(None, "m0", metadata={"name": "web", "uid": "u", "labels": {"l0": "x"}})
    for n in range(1, 15):
        labels = {**live["metadata"]["labels"], f"l{n}": "x"}
        metadata = {**live["metadata"], "labels": labels}
        live = update(live, f"m{n}", f"2026-01-01T00:00:{n:02d}Z", metadata=metadata)
    found = managers(live)
    assert len(found) == 10
    assert set(found[("ancient-changes", "Update")]["f:metadata"]["f:labels"]) >= {"f:l0", "f:l5"}
    together = set().union(*(entry["f:metadata"]["f:labels"] for entry in found.values()))
    assert together - {"."} == {f"f:l{n}" for n in range(15)}


configs = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 3),
        "paused": st.booleans(),
        "selector": st.fixed_dictionaries(
            {"matchLabels": st.dictionaries(st.sampled_from("ab"), st.just("1"))}
        ),
        "template": st.fixed_dictionaries(
            {
                "spec": st.fixed_dictionaries(
                    {
                        "containers": st.lists(
                            st.fixed_dictionaries(
                                {"name": st.sampled_from("xyz")},
                                optional={
                                    "image": st.sampled_from("12"),
                                    "env": st.lists(
                                        st.fixed_dictionaries(
                                            {"name": st.sampled_from("AB")},
                                            optional={"value": st.sampled_from("12")},
                                        ),
                                        unique_by=lambda each: each["name"],
                                    ),
                                },
                            ),
                            min_size=1,
                            max_size=3,
                            unique_by=lambda each: each["name"],
                        )
                    }
                )
            }
        ),
    },
)


@given(configs, configs)
def test_applying_twice_is_applying_once(first: Any, second: Any) -> None:
    live = apply(apply(None, "a", **first), "b", T2, force=True, **second)
    assert apply(live, "b", T3, force=True, **second) is not None
    assert content(apply(live, "b", T3, force=True, **second)) == content(live)
    assert apply(live, "b", T3, **second) == live


@given(configs, configs)
def test_an_applier_gets_what_it_applies_and_only_its_own_goes(first: Any, second: Any) -> None:
    live = apply(apply(None, "a", **first), "a", T2, **second)
    fresh = apply(None, "a", **second)
    assert canonical(content(live)) == canonical(content(fresh))
    assert managers(live) == managers(fresh)


def canonical(value: Any) -> Any:
    if isinstance(value, dict):
        pruned = {key: canonical(each) for key, each in value.items()}
        return {key: each for key, each in pruned.items() if each not in ({}, [], None)}
    if isinstance(value, list):
        return sorted(
            (canonical(each) for each in value),
            key=lambda each: orjson.dumps(each, option=orjson.OPT_SORT_KEYS),
        )
    return value


@given(configs, configs)
def test_disjoint_managers_commute(first: Any, second: Any) -> None:
    second = {key: value for key, value in second.items() if key not in first}
    one = apply(apply(None, "a", **first), "b", **second)
    two = apply(apply(None, "b", **second), "a", **first)
    assert canonical(content(one)) == canonical(content(two))
    assert managers(one) == managers(two)
    assert canonical(content(apply(one, "b", T2))) == canonical(content(apply(None, "a", **first)))


@given(configs, configs, configs)
def test_nothing_is_owned_that_is_not_there(first: Any, second: Any, third: Any) -> None:
    live = apply(apply(None, "a", **first), "b", T2, force=True, **second)
    live = update(live, "c", T3, spec=third)
    for entry in live["metadata"]["managedFields"]:
        for path in _places(entry["fieldsV1"], ()):
            assert _exists(live, path), (entry["manager"], path)


def _places(tree: Any, prefix: tuple[str, ...]) -> Any:
    for key, below in tree.items():
        if key != ".":
            yield (*prefix, key)
            yield from _places(below, (*prefix, key))


def _exists(value: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if key.startswith("f:"):
            if not isinstance(value, dict) or key[2:] not in value:
                return False
            value = value[key[2:]]
        else:
            keys = orjson.loads(key[2:])
            value = next((each for each in value if all(each.get(k) == v for k, v in keys.items())), None)
            if value is None:
                return False
    return True


def test_true_replaces_one_where_there_is_no_schema() -> None:
    live = apply_config(None, "a", {"spec": {"x": 1}}, node=None)
    assert apply_config(live, "a", {"spec": {"x": True}}, T2, node=None)["spec"]["x"] is True


HERE = {"f:spec": {"f:replicas": {}}}


def test_a_view_has_the_managers_of_its_field() -> None:
    live = apply(None, "a", replicas=1, paused=True)
    live = apply(live, "b", T2, paused=True)
    (entry,) = entries_of_view(live["metadata"]["managedFields"], HERE, HERE, "autoscaling/v1")
    assert (entry["manager"], entry["apiVersion"], entry["fieldsV1"]) == ("a", "autoscaling/v1", HERE)


def test_who_writes_a_view_takes_the_field_of_the_object_over() -> None:
    live = apply(None, "a", replicas=1, paused=True)
    taker = {"manager": "s", "operation": "Apply", "apiVersion": "autoscaling/v1", "subresource": "scale"}
    view = [{**taker, "time": T2, "fieldsType": "FieldsV1", "fieldsV1": HERE}]
    entries = entries_of_object(live["metadata"]["managedFields"], HERE, view, HERE, "apps/v1")
    assert {entry["manager"]: entry["fieldsV1"] for entry in entries} == {
        "a": {"f:spec": {"f:paused": {}}},
        "s": HERE,
    }
    assert "time" not in next(entry for entry in entries if entry["manager"] == "s")
