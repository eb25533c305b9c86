"""Laws of server-side apply, for all configurations."""

from __future__ import annotations

import json
from typing import Any

import pytest
from frozen_objects import freeze
from hypothesis import given, settings
from hypothesis import strategies as st
from node_trees import deployment

from kubernel.errors import Conflict
from kubernel.registry.apply import apply_object, track_update

NODE = deployment()
few = settings(max_examples=40, deadline=None)
T1, T2, T3 = (f"2026-01-01T00:00:0{n}Z" for n in (1, 2, 3))

images = st.sampled_from(("a", "b"))
variables = st.dictionaries(st.sampled_from("XYZ"), st.sampled_from("12"), max_size=2)


@st.composite
def container(draw: Any, names: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": draw(st.sampled_from(names))}
    if draw(st.booleans()):
        made["image"] = draw(images)
    env = draw(variables)
    if env:
        made["env"] = [{"name": name, "value": value} for name, value in sorted(env.items())]
    return made


@st.composite
def config(draw: Any, names: str = "pqr", keys: str = "kl") -> dict[str, Any]:
    spec: dict[str, Any] = {}
    metadata: dict[str, Any] = {"name": "web"}
    labels = draw(st.dictionaries(st.sampled_from(keys), images, max_size=2))
    if labels:
        metadata["labels"] = labels
    containers = draw(st.lists(container(names), max_size=2, unique_by=lambda one: one["name"]))
    if containers:
        spec["template"] = {"spec": {"containers": containers}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def apply(live: Any, manager: str, wanted: Any, now: str = T1, *, force: bool = True) -> Any:
    done = apply_object(
        NODE,
        live,
        freeze(wanted),
        manager=manager,
        api_version="apps/v1",
        subresource="",
        now=now,
        force=force,
    )
    return freeze(done)


def content(obj: Any) -> Any:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    containers = ((obj.get("spec") or {}).get("template") or {}).get("spec", {}).get("containers") or ()
    by_name = {
        one["name"]: {**one, "env": {each["name"]: each for each in one.get("env") or ()}}
        for one in containers
    }
    return {"metadata": metadata, "containers": by_name}


def owners(obj: Any) -> dict[tuple[str, str], Any]:
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"]
        for entry in obj["metadata"]["managedFields"]
    }


@few
@given(config(), config())
def test_applying_twice_is_applying_once(first: Any, wanted: Any) -> None:
    once = apply(apply(None, "other", first), "me", wanted, T2)
    assert apply(once, "me", wanted, T3) == once


@few
@given(config("p", "k"), config("q", "l"))
def test_managers_of_different_fields_commute(mine: Any, yours: Any) -> None:
    one = apply(apply(None, "me", mine, force=False), "you", yours, force=False)
    other = apply(apply(None, "you", yours, force=False), "me", mine, force=False)
    assert content(one) == content(other)
    assert owners(one) == owners(other)


@few
@given(config(), config())
def test_a_field_goes_with_its_last_owner(mine: Any, yours: Any) -> None:
    both = apply(apply(None, "me", mine), "you", yours)
    nothing = {**mine, "metadata": {"name": "web"}, "spec": {}}
    left = apply(both, "me", nothing)
    assert content(left) == content(apply(apply(None, "me", nothing), "you", yours))
    gone = apply(left, "you", nothing)
    assert content(gone)["containers"] == {}
    assert not gone["metadata"].get("labels")


@few
@given(config(), config())
def test_force_takes_what_conflicts_and_nothing_else(mine: Any, yours: Any) -> None:
    live = apply(None, "me", mine)
    forced = apply(live, "you", yours, T2)
    refusal = refused(live, yours)
    if refusal is None:
        assert owners(forced)["me", "Apply"] == owners(live)["me", "Apply"]
    else:
        assert {cause.reason for cause in refusal.causes} == {"FieldManagerConflict"}
        assert owners(forced).get(("me", "Apply")) != owners(live)["me", "Apply"]


def refused(live: Any, wanted: Any) -> Conflict | None:
    try:
        apply(live, "you", wanted, T2, force=False)
    except Conflict as refusal:
        return refusal
    return None


@few
@given(config(), config())
def test_who_applies_the_same_shares_it(mine: Any, extra: Any) -> None:
    live = apply(apply(None, "me", mine), "you", mine, force=False)
    assert owners(live)["me", "Apply"] == owners(live)["you", "Apply"]
    assert content(live) == content(apply(None, "me", mine))


@few
@given(config(), config())
def test_what_client_side_apply_owned_moves_to_kubectl_without_conflict(mine: Any, wanted: Any) -> None:
    """``kubectl apply --server-side`` after ``kubectl apply``: the annotation says who that was."""
    last = "kubectl.kubernetes.io/last-applied-configuration"
    text = json.dumps(mine)
    made = {**mine, "metadata": {**mine["metadata"], "annotations": {last: text}}}
    fields = track_update(
        NODE,
        None,
        freeze(made),
        manager="kubectl-client-side-apply",
        api_version="apps/v1",
        subresource="",
        now=T1,
    )
    live = freeze({**made, "metadata": {**made["metadata"], "managedFields": fields}})
    after = apply(live, "kubectl", wanted, T2, force=False)
    assert ("kubectl", "Apply") in owners(after)
    assert json.loads(after["metadata"]["annotations"][last])["metadata"].get("labels") == wanted[
        "metadata"
    ].get("labels")


def test_times_change_only_for_those_whose_fields_change() -> None:
    first = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"k": "a"}}}
    second = {**first, "metadata": {"name": "web", "labels": {"l": "a"}}}
    live = apply(apply(None, "me", first, T1), "you", second, T2)
    again = apply(live, "you", {**second, "metadata": {"name": "web", "labels": {"l": "b"}}}, T3)
    times = {entry["manager"]: entry["time"] for entry in again["metadata"]["managedFields"]}
    assert times == {"me": T1, "you": T3}


def test_a_conflict_names_field_and_manager() -> None:
    wanted = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1},
    }
    live = apply(None, "me", wanted)
    with pytest.raises(Conflict) as caught:
        apply(live, "you", {**wanted, "spec": {"replicas": 2}}, force=False)
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "me": .spec.replicas'
