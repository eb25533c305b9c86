"""Expressions mean what the CEL specification and Kubernetes' libraries say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubernel import cel

OBJECT: dict[str, Any] = {
    "a": {"b": 1, "list": [3, 1, 2], "flag": True, "none": None},
    "labels": {"x": "1", "y": "2"},
    "items": [{"name": "one", "size": 1}, {"name": "two", "size": 2}],
    "text": "hello",
}
ENVIRONMENT = cel.Environment({"object": cel.DYN, "n": cel.INT, "s": cel.STRING}, bindings=True)


def run(expression: str) -> Any:
    return ENVIRONMENT.compile(expression).evaluate({"object": OBJECT, "n": 7, "s": "text"})


TRUE = Path(__file__).with_name("expressions.txt").read_text().splitlines()

ERRORS = [
    ("9223372036854775807 + n", "integer overflow"),
    ("-9223372036854775807 - n", "integer overflow"),
    ("0u - 1u", "unsigned integer overflow"),
    ("n / 0", "division by zero"),
    ("n % 0", "modulus by zero"),
    ("int(1e99)", "integer overflow"),
    ("object.missing", "no such key: missing"),
    ("object.a.b.c", "no such overload"),
    ("object.a.list[9]", "index out of bounds: 9"),
    ("object.a['zz']", "no such key: zz"),
    ("object.text + 1", "no such overload"),
    ("object.text && true", "no such overload"),
    ("[1, 0].all(x, 1 / x == 1)", "division by zero"),
    ("1 / 0 > 0 && true", "division by zero"),
    ("'abc'.substring(5)", "index out of range: 5"),
    ("'abc'.charAt(9)", "index out of range: 9"),
    ("optional.none().value()", "optional.none() dereference"),
    ("quantity(object.text)", "quantities must match the regular expression"),
    ("[object.a].min()", "no such overload"),
    ("{'a': 1, 'a': 2}", "Failed with repeated key: a"),
    ("int('x')", "type conversion error from 'string' to 'int'"),
    ("duration(s)", "type conversion error from 'string' to 'google.protobuf.Duration'"),
    ("timestamp(s)", "type conversion error from 'string' to 'google.protobuf.Timestamp'"),
    ("s.matches('a' + '(')", "error parsing regexp"),
    ("timestamp('2024-01-01T00:00:00Z').getHours('Mars/Phobos')", "unknown time zone Mars/Phobos"),
    ("timestamp('9999-12-31T23:59:59Z') + duration('1h')", "timestamp overflow"),
    ("cidr(s)", "network address parse error"),
    ("semver(s)", "No Major.Minor.Patch elements found"),
    (
        "'%d'.format([s])",
        "error during formatting: decimal clause can only be used on integers, was given string",
    ),
]

REFUSED = [
    (
        "missing + 1",
        "ERROR: <input>:1:1: undeclared reference to 'missing' (in container '')\n | missing + 1\n | ^",
    ),
    (
        "1 + 'a'",
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^",
    ),
    ("n.foo", "ERROR: <input>:1:2: type 'int' does not support field selection\n | n.foo\n | .^"),
    ("s.foo()", "ERROR: <input>:1:6: undeclared reference to 'foo' (in container '')\n | s.foo()\n | .....^"),
    (
        "s.startsWith(1)",
        (
            "ERROR: <input>:1:13: found no matching overload for 'startsWith' applied to 'string.(int)'\n"
            " | s.startsWith(1)\n | ............^"
        ),
    ),
    ("1 == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
    ("1 == 1.0", "found no matching overload for '_==_' applied to '(int, double)'"),
    ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
    ("{'a': 1, 'b': 'x'}", "expected type 'int' but found 'string'"),
    (
        "n.all(x, true)",
        "expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
    ),
    ("[1].all(x.y, true)", "argument must be a simple name"),
    ("has(n)", "invalid argument to has() macro"),
    ("n && true", "found no matching overload for '_&&_' applied to '(int, bool)'"),
    ("true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
    ("1 +", "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {"),
    ("(1", "Syntax error: missing ')' at '<EOF>'"),
    ("1 1", "Syntax error: extraneous input '1' expecting <EOF>"),
    ("a b c", "Syntax error: mismatched input 'b' expecting <EOF>"),
    (
        "",
        "ERROR: <input>:1:0: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', ",
    ),
    ("foo(", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', ')', '.', '-', '!', "),
    ("[", "Syntax error: mismatched input '<EOF>' expecting {'[', ']', '{', '(', '.', ',', '-', '!', '?', "),
    ("{", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '}', '(', '.', ',', '-', '!', '?', "),
    ("a[", "Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', '?', "),
    ("[1", "Syntax error: mismatched input '<EOF>' expecting {']', ','}"),
    ("[1,", "Syntax error: missing ']' at '<EOF>'"),
    ("{1:2", "Syntax error: mismatched input '<EOF>' expecting {'}', ','}"),
    ("a ? b", "Syntax error: mismatched input '<EOF>' expecting ':'"),
    ("a # b", "Syntax error: token recognition error at: '#'"),
    ("'open", "Syntax error: token recognition error at: ''open'"),
    ("for", "reserved identifier: for"),
    ("9223372036854775808", "invalid int literal"),
    ("18446744073709551616u", "invalid uint literal"),
    ("s.matches('(')", "invalid matches argument"),
    ("timestamp('x')", "invalid timestamp argument"),
    ("duration('x')", "invalid duration argument"),
    ("Missing{a: 1}", "undeclared reference to 'Missing' (in container '')"),
    ("(" * 300 + "1" + ")" * 300, "expression recursion limit exceeded"),
    ("1" + " + 1" * 500, "expression recursion limit exceeded"),
    ("'" + "x" * 100_000 + "'", "expression code point size exceeds limit: size: 100002, limit 100000"),
    (
        "foo +\n  bar",
        (
            "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo +\n | ^\n"
            "ERROR: <input>:2:3: undeclared reference to 'bar' (in container '')\n |   bar\n | ..^"
        ),
    ),
]


@pytest.mark.parametrize("expression", [*TRUE, "'''three\nlines''' == 'three\\nlines'"])
def test_what_holds(expression: str) -> None:
    assert run(expression) is True


@pytest.mark.parametrize(("expression", "message"), ERRORS, ids=[case[0] for case in ERRORS])
def test_what_fails_when_it_is_evaluated(expression: str, message: str) -> None:
    with pytest.raises(cel.EvaluationError) as caught:
        run(expression)
    assert message in str(caught.value)


@pytest.mark.parametrize(("expression", "message"), REFUSED, ids=[case[0][:30] for case in REFUSED])
def test_what_does_not_compile(expression: str, message: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        ENVIRONMENT.compile(expression)
    assert message in str(caught.value)


def test_long_chains_of_and_are_no_deep_nesting() -> None:
    assert run(" && ".join(["true"] * 2000)) is True


def test_a_pattern_that_would_take_exponential_time_takes_none() -> None:
    assert run("('" + "a" * 200 + "' + s).matches('^(a+)+$')") is False


def test_an_authorizer_is_asked_about_what_was_built() -> None:
    asked: list[cel.Question] = []

    def ask(question: cel.Question) -> cel.Answer:
        asked.append(question)
        return cel.Answer(question.verb == "get", "because")

    environment = cel.Environment({"authorizer": cel.opaque(cel.Authorizer.TYPE)})
    program = environment.compile(
        "authorizer.group('apps').resource('deployments').subresource('scale').namespace('ns').name('web')"
        ".check('get').allowed() && authorizer.serviceAccount('ns', 'sa').path('/healthz').check('post').reason() "
        "== 'because'"
    )
    assert program.evaluate({"authorizer": cel.Authorizer(ask)}) is True
    assert asked == [
        cel.Question(None, "get", "", "apps", "deployments", "scale", "ns", "web"),
        cel.Question(("ns", "sa"), "post", "/healthz"),
    ]


@pytest.mark.parametrize(
    ("expression", "cost"),
    [
        pytest.param("s.lowerAscii() == 'rook takes x'", 3, id="a call and an equality"),
        pytest.param("'%o %o %o'.format([7, 8, 9]) == '7 10 11'", 2, id="a list of constants is free"),
        pytest.param("object.a.b == 1", 4, id="selections and an equality"),
        pytest.param("[n]", 11, id="a list"),
        pytest.param("n in [1, 2, 3]", 4, id="membership reads the list"),
        pytest.param("has(object.a.b)", 2, id="has is free"),
    ],
)
def test_costs_are_those_of_upstream(expression: str, cost: int) -> None:
    assert ENVIRONMENT.compile(expression).run({"object": OBJECT, "n": 7, "s": "text"})[1] == cost


def test_an_evaluation_stops_at_its_limit() -> None:
    program = cel.Environment({"l": cel.DYN}).compile("l.all(a, l.all(b, l.all(c, a + b + c >= 0))) || true")
    with pytest.raises(cel.CostExceeded, match="operation cancelled: actual cost limit exceeded"):
        program.evaluate({"l": list(range(1000))})


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("t.replace('a', t)", id="replace"),
        pytest.param("l.map(x, t).join(t)", id="join"),
        pytest.param("'%s%s%s%s%s%s%s%s%s%s%s'.format([t, t, t, t, t, t, t, t, t, t, t])", id="format"),
        pytest.param("t + t + t + t + t + t + t + t + t + t + t + t", id="sum-of-texts"),
        pytest.param("cel.bind(a, m + m, cel.bind(b, a + a, cel.bind(c, b + b, c + c)))", id="sum-of-lists"),
    ],
)
def test_what_would_fill_the_memory_is_refused_before(expression: str) -> None:
    environment = cel.Environment(dict.fromkeys(("t", "l", "m"), cel.DYN), bindings=True)
    with pytest.raises(cel.EvaluationError, match=r"the result is too large|actual cost limit exceeded"):
        environment.compile(expression).evaluate({"t": "a" * 1_000_000, "l": [1] * 50, "m": [1] * 500_000})


def test_lists_that_hold_one_another_are_compared_once() -> None:
    def nested(name: str) -> str:
        text, inner = f"{name}59", "[1, 1]"
        for level in range(59, 0, -1):
            text = f"cel.bind({name}{level}, [{name}{level - 1}, {name}{level - 1}], {text})"
        return f"cel.bind({name}0, {inner}, {text})"

    assert run(f"{nested('a')} == {nested('b')}") is True


def test_a_caller_that_stands_deep_gets_an_error_of_the_package() -> None:
    nested = "true"
    for level in range(70):
        nested = f"[1].all(x{level}, {nested})"

    def compiled(depth: int) -> cel.Program:
        return compiled(depth - 1) if depth else ENVIRONMENT.compile(nested)

    assert compiled(0).evaluate({}) is True
    with pytest.raises(cel.CompileError, match="expression recursion limit exceeded"):
        compiled(700)


def test_expressions_of_resources_have_no_bind() -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.Environment({"object": cel.DYN}).compile("cel.bind(x, 1, y)")
    told = [line for line in str(caught.value).splitlines() if line.startswith("ERROR")]
    assert [line.split("reference to ")[1] for line in told] == [
        f"'{name}' (in container '')" for name in ("cel", "bind", "x", "y")
    ]
