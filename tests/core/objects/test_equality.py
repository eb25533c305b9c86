"""Equality of JSON values."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel.objects.equality import same


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param(1, True, False, id="a number is no truth"),
        pytest.param({"a": [0, {"b": False}]}, {"a": [0, {"b": 0}]}, False, id="deep down"),
        pytest.param({"a": [1, "x"]}, {"a": [1, "x"]}, True, id="equal"),
        pytest.param(1, 1.0, True, id="numbers by their value"),
        pytest.param([1], [1, 2], False, id="longer"),
        pytest.param(None, False, False, id="null"),
    ],
)
def test_values_are_the_same_when_their_types_are(a: Any, b: Any, expected: bool) -> None:
    assert same(a, b) is expected
    assert same(b, a) is expected
