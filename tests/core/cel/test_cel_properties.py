"""Whatever is written and whatever it meets: a value, or an error of the package."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kubernel import cel

INTS = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "object",
        "s",
        "1",
        "2u",
        "1.5",
        "'a'",
        '"b"',
        "b'c'",
        "null",
        "true",
        "false",
        "+",
        "-",
        "*",
        "/",
        "%",
        "<",
        "<=",
        "==",
        "!=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ".",
        ".?",
        "[",
        "]",
        "[?",
        "(",
        ")",
        "{",
        "}",
        ",",
        "in",
        "has(",
        "//",
        "\\",
        ".all(x,",
        ".exists(x,",
        ".map(x,",
        "x",
        ".filter(x,",
        ".exists_one(x,",
        ".size()",
        "size(",
        ".matches(",
        "timestamp(",
        "duration(",
        "quantity(",
        "type(",
        "int(",
        "string(",
        ".a",
        ".items",
        ".format([",
        "])",
        "optional.of(",
        ".orValue(",
        ".min()",
        ".sum()",
        "cel.bind(x,",
    ]
)
ENVIRONMENT = cel.Environment({"object": cel.DYN, "s": cel.STRING}, bindings=True)


def attempt(expression: str, value: Any) -> None:
    try:
        ENVIRONMENT.compile(expression).evaluate({"object": value, "s": "text"}, 10_000)
    except cel.CelError as error:
        str(error)


@given(st.text(max_size=60), JSON)
@example("'\\ud800'", None)
@example("\x00", None)
def test_any_text_is_answered(expression: str, value: Any) -> None:
    attempt(expression, value)


@settings(max_examples=300)
@given(st.lists(WORDS, max_size=14).map(" ".join), JSON)
def test_any_row_of_words_is_answered(expression: str, value: Any) -> None:
    attempt(expression, value)


FUNCTIONS = [
    "{0}.{1}",
    "{0} in {1}",
    "{0}[{1}]",
    "{0} + {1}",
    "{0} - {1}",
    "{0} * {1}",
    "{0} / {1}",
    "{0} % {1}",
    "{0} < {1}",
    "{0} == {1}",
    "{0} && {1}",
    "{0} ? {1} : {0}",
    "-{0}",
    "!{0}",
    "{0}.all(x, x == {1})",
    "{0}.map(x, {1})",
    "{0}.transformMapEntry(k, v, {{k: v}})",
    "{0}.contains({1})",
    "{0}.matches({1})",
    "{0}.substring({1})",
    "{0}.replace({1}, 'x', 3)",
    "{0}.split({1})",
    "{0}.join({1})",
    "{0}.format({1})",
    "'%s %d'.format([{0}, {1}])",
    "{0}.find({1})",
    "{0}.indexOf({1})",
    "{0}.max()",
    "{0}.isSorted()",
    "{0}.sum()",
    "sets.contains({0}, {1})",
    "int({0})",
    "uint({0})",
    "double({0})",
    "string({0})",
    "timestamp({0})",
    "duration({0})",
    "timestamp({0}).getHours({1})",
    "quantity({0}).add({1})",
    "ip({0}).family()",
    "cidr({0}).containsIP({1})",
    "url({0}).getQuery()",
    "semver({0}, true).major()",
    "format.qualifiedName().validate({0})",
    "optional.of({0}).or({1})",
    "optional.ofNonZeroValue({0}).orValue({1})",
    "{0}.?a.b[?{1}]",
    "[?{0}, {1}]",
    "{{{0}: {1}}}",
]
PARTS = st.sampled_from(["a", "b", "a.x", "b[0]", "1", "1u", "'1'", "[a, b]", "{'x': a}", "dyn(1.5)"])


@settings(max_examples=600)
@given(st.sampled_from(FUNCTIONS), PARTS, PARTS, JSON, JSON)
def test_every_function_answers_every_value(pattern: str, one: str, two: str, a: Any, b: Any) -> None:
    environment = cel.Environment({"a": cel.DYN, "b": cel.DYN})
    try:
        environment.compile(pattern.format(one, two)).evaluate({"a": a, "b": b}, 10_000)
    except cel.CelError as error:
        str(error)


@given(INTS, INTS, st.sampled_from("+-*"))
def test_whole_numbers_are_those_of_64_bits_or_an_error(a: int, b: int, operator: str) -> None:
    expected = {"+": a + b, "-": a - b, "*": a * b}[operator]
    program = cel.Environment({"a": cel.INT, "b": cel.INT}).compile(f"a {operator} b")
    if -(2**63) <= expected < 2**63:
        assert program.evaluate({"a": a, "b": b}) == expected
    else:
        with pytest.raises(cel.EvaluationError, match="integer overflow"):
            program.evaluate({"a": a, "b": b})


@given(INTS, INTS.filter(bool))
def test_division_goes_toward_zero(a: int, b: int) -> None:
    environment = cel.Environment({"a": cel.INT, "b": cel.INT})
    if (a, b) != (-(2**63), -1):
        assert environment.compile("(a / b) * b + a % b == a").evaluate({"a": a, "b": b}) is True
        assert abs(environment.compile("a % b").evaluate({"a": a, "b": b})) < abs(b)


@given(JSON, JSON)
def test_equality_is_symmetric_and_reflexive(a: Any, b: Any) -> None:
    program = ENVIRONMENT.extend({"a": cel.DYN, "b": cel.DYN}).compile("a == b")
    assert program.evaluate({"a": a, "b": a}) is True
    assert program.evaluate({"a": a, "b": b}) == program.evaluate({"a": b, "b": a})


@given(st.text(max_size=10), st.text(min_size=1, max_size=2))
def test_split_and_join_are_inverse(text: str, separator: str) -> None:
    environment = cel.Environment({"t": cel.STRING, "p": cel.STRING})
    assert environment.compile("t.split(p).join(p) == t").evaluate({"t": text, "p": separator}) is True
