"""Quantities read, compare and print as Kubernetes' own."""

from __future__ import annotations

import contextlib
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kubernel.objects import quantity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("0", "0"),
        ("0Ki", "0"),
        ("000", "0"),
        ("-0", "0"),
        ("+7", "7"),
        ("1.5Gi", "1536Mi"),
        ("0.5Mi", "512Ki"),
        ("0.1Ki", "102400m"),
        ("512", "512"),
        ("1000", "1k"),
        ("1000000", "1M"),
        ("1500000", "1500k"),
        ("1023Ki", "1023Ki"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e4", "120e3"),
        ("1e-3", "1e-3"),
        ("1E", "1E"),
        ("1Ei", "1Ei"),
        ("100Ei", "9223372036854775807"),
        ("1e30", "1e30"),
        ("20E", "20E"),
        ("1000E", "1"),
        ("1e19", "10e18"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
        ("100.035k", "100035"),
        ("-1Gi", "-1Gi"),
        ("5.", "5"),
        (".5", "500m"),
        (3, "3"),
        (0.25, "250m"),
    ],
)
def test_canonical_form(text: str, expected: str) -> None:
    assert quantity.canonical(text) == expected


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1.2.3", "abc", "1Gi5x", "1,5", "٣", "1\n"])
def test_malformed_quantities_name_the_pattern(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match the regular expression"):
        quantity.parse(text)


@pytest.mark.parametrize("text", ["1K", "1ki", "1mi", "1e", "--1", "1ee3", "1e+"])
def test_unknown_suffixes_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="unable to parse quantity's suffix"):
        quantity.parse(text)


@pytest.mark.parametrize(
    ("text", "units", "millis"),
    [("1m", 1, 1), ("1500m", 2, 1500), ("1u", 1, 1), ("-1500m", -2, -1500), ("2Gi", 2**31, 2**31 * 1000)],
)
def test_integers_round_away_from_zero(text: str, units: int, millis: int) -> None:
    assert quantity.to_int(text) == units
    assert quantity.to_int_milli(text) == millis


def test_sums_keep_the_first_format() -> None:
    assert quantity.add("1Gi", "1073741824") == "2Gi"
    assert quantity.add("0", "1Gi") == "1Gi"
    assert quantity.add("100m", "0.9") == "1"
    assert quantity.subtract("1", "250m") == "750m"
    assert quantity.subtract("1Gi", "1Gi") == "0"


def test_numbers_are_formatted() -> None:
    assert quantity.format_milli(1500) == "1500m"
    assert quantity.format_binary(1 << 20) == "1Mi"
    assert quantity.format_decimal(Decimal("0.25")) == "250m"


suffixes = st.sampled_from(["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "e-3", "E6"])
texts = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{fraction}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**9),
    st.one_of(st.just(""), st.integers(0, 10**6).map(lambda n: f".{n}")),
    suffixes,
)


@given(texts)
def test_canonical_form_keeps_the_value_and_is_final(text: str) -> None:
    assume(abs(quantity.parse(text)) < 10**21)  # what is larger has no suffix, in Go neither
    once = quantity.canonical(text)
    assert quantity.parse(once) == quantity.parse(text)
    assert quantity.canonical(once) == once
    assert "." not in once


@given(texts, texts)
def test_addition_and_subtraction_are_inverse(left: str, right: str) -> None:
    assume(abs(quantity.parse(left) + quantity.parse(right)) < 2**62)
    total = quantity.add(left, right)
    assert quantity.parse(quantity.subtract(total, right)) == quantity.parse(left)


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        quantity.parse(text)
