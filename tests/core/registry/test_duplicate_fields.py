"""Duplicate fields in JSON bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.registry.duplicates import duplicate_fields


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param('{"spec":{"replicas":1,"replicas":2}}', ["spec.replicas"], id="nested"),
        pytest.param('{"a":1,"a":1,"a":1}', ["a"], id="three times is told once"),
        pytest.param('{"l":[{"x":1},{"x":1,"x":2}]}', ["l[1].x"], id="in a list"),
        pytest.param('{"a" : 1, "a" : 2}', ["a"], id="spaces before the colon"),
        pytest.param('{"a\\\\":1,"a\\\\":2}', ["a\\"], id="key that ends with a backslash"),
        pytest.param('{"a":1,"\\u0061":2}', ["a"], id="escaped key"),
        pytest.param('{"a":1,"a":2,"b":"\\u003a"}', ["a"], id="escaped colon makes up for the lost one"),
        pytest.param('{"a":{"b":1,"b":2},"a":3}', ["a.b", "a"], id="inside the value that is lost"),
        pytest.param('{"a":":8080","b":"x\\":y"}', [], id="colons in strings"),
        pytest.param("{", [], id="not JSON"),
        pytest.param("", [], id="empty"),
    ],
)
def test_duplicates_are_found_with_their_paths(body: str, fields: list[str]) -> None:
    expected = [f'duplicate field "{field}"' for field in fields]
    assert sorted(duplicate_fields(body.encode())) == sorted(expected)


texts = st.text(alphabet='ab:\\" \u003a\n{', max_size=5)
json_values = st.recursive(
    st.none() | st.integers(0, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.lists(st.tuples(texts, inner), max_size=4).map(tuple),
    max_leaves=15,
)


def encode(value: Any, ascii_only: bool) -> str:
    """Tuples of pairs are objects, so that a key may stand twice."""
    if isinstance(value, tuple):
        inside = (
            f"{json.dumps(key, ensure_ascii=ascii_only)}:{encode(item, ascii_only)}" for key, item in value
        )
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(encode(item, ascii_only) for item in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


def repeats(value: Any) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(keys) != len(set(keys)) or any(repeats(item) for _, item in value)
    return isinstance(value, list) and any(repeats(item) for item in value)


@given(json_values, st.booleans())
def test_found_exactly_when_there(value: Any, ascii_only: bool) -> None:
    assert bool(duplicate_fields(encode(value, ascii_only).encode())) == repeats(value)
