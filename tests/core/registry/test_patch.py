"""JSON patches and merge patches change a copy, or nothing at all."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from frozen_objects import freeze
from hypothesis import given
from hypothesis import strategies as st

from kubernel.errors import ApiError, BadRequest, Invalid, RequestEntityTooLarge
from kubernel.registry.patch import json_patch, merge_patch

RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("before", "patch", "after"), RFC_7386)
def test_merge_patch_examples_of_the_rfc(before: Any, patch: Any, after: Any) -> None:
    assert merge_patch(freeze(before), freeze(patch)) == after


def test_a_merge_patch_shares_what_it_does_not_change() -> None:
    before = freeze({"spec": {"a": {"x": 1}, "b": {"y": 1}}, "status": {}})
    after = merge_patch(before, {"spec": {"a": {"x": 2}}})
    assert after["spec"]["b"] is before["spec"]["b"]
    assert after["status"] is before["status"]
    assert merge_patch(before, {"spec": {"c": None}}) is before


scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "y"])
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


def reference_merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = reference_merge(result.get(key), value)
    return result


@given(documents, documents)
def test_merge_patch_is_the_algorithm_of_the_rfc(before: Any, patch: Any) -> None:
    once = merge_patch(freeze(before), freeze(patch))
    assert once == reference_merge(before, patch)
    assert merge_patch(once, patch) == once


@pytest.mark.parametrize(
    ("ops", "after"),
    [
        ([{"op": "add", "path": "/spec/c", "value": 3}], {"spec": {"a": 1, "l": [1, 2], "c": 3}}),
        ([{"op": "remove", "path": "/spec/l/0"}], {"spec": {"a": 1, "l": [2]}}),
        ([{"op": "add", "path": "/spec/l/-", "value": 3}], {"spec": {"a": 1, "l": [1, 2, 3]}}),
        ([{"op": "replace", "path": "/spec/a", "value": {"b": 1}}], {"spec": {"a": {"b": 1}, "l": [1, 2]}}),
        ([{"op": "move", "from": "/spec/l", "path": "/l"}], {"spec": {"a": 1}, "l": [1, 2]}),
        (
            [{"op": "copy", "from": "/spec/l", "path": "/l"}, {"op": "remove", "path": "/l/0"}],
            {"spec": {"a": 1, "l": [1, 2]}, "l": [2]},
        ),
        ([{"op": "test", "path": "/spec/a", "value": 1}], {"spec": {"a": 1, "l": [1, 2]}}),
        ([{"op": "replace", "path": "", "value": {}}], {}),
        ([{"op": "remove", "path": "/spec/l/-1"}], {"spec": {"a": 1, "l": [1]}}),
        ([{"op": "add", "path": "/a~1b~0c", "value": 1}], {"spec": {"a": 1, "l": [1, 2]}, "a/b~c": 1}),
    ],
)
def test_json_patch_operations(ops: Any, after: Any) -> None:
    assert json_patch(freeze({"spec": {"a": 1, "l": [1, 2]}}), freeze(ops)) == after


@pytest.mark.parametrize(
    ("ops", "after"),
    [
        ([{"op": "add", "path": "/a"}], {"a": None}),
        ([{"op": "replace", "path": "/a"}], {"a": None}),
        ([{"op": "test", "path": "/b"}], {"a": 1}),
        ([{"op": "test", "path": "/b", "value": None}], {"a": 1}),
    ],
)
def test_a_value_that_is_not_told_is_null_and_null_is_what_there_is_not(ops: Any, after: Any) -> None:
    assert json_patch({"a": 1}, ops) == after


def test_a_value_added_twice_is_not_changed_by_later_operations() -> None:
    value = freeze({"x": [1]})
    ops = [
        {"op": "add", "path": "/a", "value": value},
        {"op": "add", "path": "/b", "value": value},
        {"op": "add", "path": "/a/x/-", "value": 2},
    ]
    assert json_patch(freeze({}), ops) == {"a": {"x": [1, 2]}, "b": {"x": [1]}}


@pytest.mark.parametrize(
    ("ops", "error"),
    [
        ({}, BadRequest),
        ([1], BadRequest),
        ([{"op": "grow", "path": "/a"}], Invalid),
        ([{"op": "remove"}], BadRequest),
        ([{"op": "move", "path": "/a"}], BadRequest),
        ([{"op": "remove", "path": "a"}], BadRequest),
        ([{"op": "remove", "path": "/a~2"}], BadRequest),
        ([{"op": "test", "path": "/a", "value": 2}], Invalid),
        ([{"op": "test", "path": "/a", "value": True}], Invalid),
        ([{"op": "remove", "path": "/b"}], Invalid),
        ([{"op": "add", "path": "/b/c", "value": 1}], Invalid),
        ([{"op": "add", "path": "/a/c", "value": 1}], Invalid),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, RequestEntityTooLarge),
    ],
)
def test_json_patches_that_cannot_be_applied(ops: Any, error: type[ApiError]) -> None:
    with pytest.raises(error) as caught:
        json_patch(freeze({"a": 1}), ops)
    if error is Invalid:
        assert caught.value.message == "the server rejected our request due to an error in our request"


def test_copies_cannot_make_a_huge_document() -> None:
    with pytest.raises(RequestEntityTooLarge):
        json_patch({"a": ["x"]}, [{"op": "copy", "from": "/a", "path": "/a/-"}] * 40)


def test_a_copy_is_independent_of_its_source() -> None:
    ops = [
        {"op": "add", "path": "/a/x", "value": 1},
        {"op": "copy", "from": "/a", "path": "/b"},
        {"op": "add", "path": "/a/y", "value": 2},
        {"op": "add", "path": "/b/z", "value": 3},
    ]
    assert json_patch(freeze({"a": {}}), ops) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "z": 3}}


operations = st.one_of(
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["add", "replace", "test"]),
            "path": st.sampled_from(["", "/a", "/a/b", "/a/0", "/b/-", "/c/a/b"]),
            "value": documents,
        }
    ),
    st.fixed_dictionaries(
        {
            "op": st.sampled_from(["move", "copy", "remove"]),
            "path": st.sampled_from(["/a", "/a/b", "/a/0", "/b", "/c/a"]),
            "from": st.sampled_from(["", "/a", "/b", "/a/b", "/c"]),
        }
    ),
)


@given(st.dictionaries(st.sampled_from("abc"), documents), st.lists(operations, max_size=6))
def test_json_patches_change_neither_object_nor_patch(before: Any, ops: Any) -> None:
    written = orjson.dumps([before, ops])
    with contextlib.suppress(ApiError):
        json_patch(freeze(before), freeze(ops))
    with contextlib.suppress(ApiError):
        json_patch(before, ops)
    assert orjson.dumps([before, ops]) == written
