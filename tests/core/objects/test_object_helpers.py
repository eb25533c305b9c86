"""Metadata, conditions, names and times of plain-dict objects."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.objects import conditions, meta, names, times

SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def test_metadata_of_a_bare_object_is_empty() -> None:
    for obj in ({}, {"metadata": None}, {"metadata": {"labels": None}}):
        assert meta.key(obj) == ("", "")
        assert meta.labels(obj) == {}
        assert meta.annotations(obj) == {}
        assert meta.controller_of(obj) is None
        assert not meta.is_deleting(obj)


def test_an_owner_reference_is_found_as_controller() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r", "uid": "u"}}
    reference = meta.owner_reference(owner)
    pod = {"metadata": {"ownerReferences": [meta.owner_reference(owner, controller=False), reference]}}
    assert meta.controller_of(pod) == reference
    assert reference["blockOwnerDeletion"] is True


def test_replace_and_remove_copy_only_the_path() -> None:
    obj = {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"c": 1}}
    changed = meta.replace(obj, ("metadata", "labels", "a"), "c")
    assert obj["metadata"]["labels"] == {"a": "b"}
    assert meta.get(changed, "metadata", "labels", "a") == "c"
    assert changed["spec"] is obj["spec"]
    assert meta.replace(obj, ("status", "phase"), "Running")["status"] == {"phase": "Running"}
    assert meta.remove(obj, ("metadata", "labels", "a"))["metadata"] == {"name": "x", "labels": {}}
    assert meta.remove(obj, ("status", "phase")) == obj
    assert obj == {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"c": 1}}
    with pytest.raises(TypeError, match="c is a int"):
        meta.replace(obj, ("spec", "c", "d"), 1)


def test_get_walks_lists_and_nulls() -> None:
    obj = {"spec": {"containers": [{"name": "a"}], "gone": None}}
    assert meta.get(obj, "spec", "containers", 0, "name") == "a"
    assert meta.get(obj, "spec", "containers", 1, "name", default="-") == "-"
    assert meta.get(obj, "spec", "gone", "more", default=0) == 0


def test_a_condition_moves_its_time_only_with_its_status() -> None:
    first, changed = conditions.set(None, "Ready", "False", "Starting", "wait", "t1")
    assert changed
    assert first[0]["lastTransitionTime"] == "t1"
    second, changed = conditions.set(first, "Ready", "False", "Pulling", "wait", "t2")
    assert changed
    assert second[0]["lastTransitionTime"] == "t1"
    third, changed = conditions.set(second, "Ready", "True", "", "", "t3")
    assert changed
    assert third == [{"type": "Ready", "status": "True", "lastTransitionTime": "t3"}]
    same, changed = conditions.set(third, "Ready", "True", "", "", "t4", lastProbeTime="t4")
    assert not changed
    assert same == third
    obj = {"status": {"conditions": third}}
    assert conditions.is_true(obj, "Ready")
    assert conditions.find(obj, "Other") is None
    assert conditions.remove(third, "Ready") == ([], True)


@pytest.mark.parametrize(
    ("check", "value", "told"),
    [
        (names.check_dns1123_label, "a-b", ""),
        (names.check_dns1123_label, "a.b", "must not contain dots"),
        (names.check_dns1123_label, "a" * 64, "must be no more than 63 characters"),
        (
            names.check_dns1123_subdomain,
            "A",
            SUBDOMAIN_TEXT,
        ),
        (names.check_dns1035_label, "1a", "a DNS-1035 label must consist of"),
        (names.check_qualified_name, "example.com/a_b", ""),
        (names.check_qualified_name, "/a", "prefix part must be non-empty"),
        (names.check_qualified_name, "a/b/c", "a valid label key must consist of"),
        (names.check_qualified_name, "", "name part must be non-empty"),
        (names.check_label_value, "", ""),
        (names.check_label_value, "a b", "a valid label must be an empty string or consist of"),
        (names.check_path_segment, "a/b", "may not contain '/'"),
        (names.check_path_segment, "..", "may not be '..'"),
        (names.check_config_key, "a/b", "a valid config key must consist of"),
        (names.check_port_name, "80", "must contain at least one letter (a-z)"),
        (names.check_env_name, "A=B", "a valid environment variable name"),
    ],
)
def test_names_are_refused_in_upstream_words(check, value: str, told: str) -> None:  # type: ignore[no-untyped-def]
    problems = check(value)
    assert problems[0].startswith(told) if told else not problems, problems


@given(st.text(alphabet="abcz-.09", min_size=1, max_size=100), st.integers())
def test_generated_names_fit_and_only_append(base: str, seed: int) -> None:
    made = names.generate(base, random.Random(seed))
    assert len(made) <= 63
    assert made.startswith(base[:58])
    assert set(made[-5:]) <= set(names.ALPHABET)
    assert made == names.generate(base, random.Random(seed))


def test_a_trailing_dash_is_fine_in_generate_name() -> None:
    assert names.masked(names.check_dns1123_label, "web-") == []
    assert names.masked(names.check_dns1123_label, "Web-") != []


def test_pod_hashes_depend_on_content_and_collisions_only() -> None:
    one = names.pod_hash({"a": 1, "b": 2})
    assert one == names.pod_hash({"b": 2, "a": 1})
    assert len({one, names.pod_hash({"a": 1, "b": 3}), names.pod_hash({"a": 1, "b": 2}, 0)}) == 3
    assert len(one) <= 10
    assert names.check_label_value(one) == []


def test_times_are_read() -> None:
    assert times.parse("1970-01-01T00:00:10Z") == 10
    assert times.parse("1970-01-01T01:00:00+01:00") == 0
    assert times.parse("1970-01-01T00:00:00.000250Z") == pytest.approx(0.00025)
    assert times.parse("1970-01-01T00:00:00.123456789Z") == pytest.approx(0.123456789)
    for bad in ("", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z"):
        with pytest.raises(ValueError, match="parsing time"):
            times.parse(bad)


def test_durations_are_read() -> None:
    assert times.duration("1h30m") == 5400
    assert times.duration("-1.5s") == -1.5
    assert times.duration("0") == 0
    for bad in ("", "5", "1x", "h", "1h "):
        with pytest.raises(ValueError, match="time: "):
            times.duration(bad)
