"""Selectors select, print and refuse as Kubernetes' own."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel.objects import selectors
from kubernel.objects.selectors import Requirement, Selector, from_object, parse_fields, parse_labels


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("e in (x,y)", {"e": "y"}, True),
        ("e in (x,y)", {}, False),
        ("e notin (x,y)", {}, True),
        ("e notin (x,y)", {"e": "x"}, False),
        ("f", {"f": ""}, True),
        ("f", {}, False),
        ("!f", {}, True),
        ("!f", {"f": ""}, False),
        ("h>5", {"h": "6"}, True),
        ("h>5", {"h": "5"}, False),
        ("h<5", {"h": "-4"}, True),
        ("h<5", {"h": "many"}, False),
        ("h<5", {}, False),
        ("a=", {"a": ""}, True),
        ("a in ()", {"a": ""}, True),
        ("a in (,x)", {"a": ""}, True),
        (" a = b , c notin ( d ) ,!e", {"a": "b"}, True),
        ("in in (in,notin)", {"in": "notin"}, True),
        ("example.com/role=x", {"example.com/role": "x"}, True),
        ("a=b,a=c", {"a": "b"}, False),
    ],
)
def test_selection(text: str, labels: dict[str, str], expected: bool) -> None:
    assert parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (",a", "found ',', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("a in x", "unable to parse requirement: found 'x' expected: '('"),
        ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators,",
        ),
        (
            "a=-b",
            'unable to parse requirement: values[0][a]: Invalid value: "-b": a valid label must be',
        ),
        ("-a=b", 'unable to parse requirement: <nil>: Invalid value: "-a": name part must consist of'),
    ],
)
def test_malformed_selectors_are_told_in_upstream_words(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"found|invalid|Invalid") as caught:
        parse_labels(text)
    assert str(caught.value).startswith(message)


def test_a_null_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not from_object(None).matches({})
    assert from_object({}).matches({"a": "b"})
    assert from_object({}).everything
    assert not from_object(None).everything


def test_selector_objects() -> None:
    selector = from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["b", "a"]},
                {"key": "old", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector.to_string() == "app=web,!old,tier in (a,b)"
    assert selector.matches({"app": "web", "tier": "a"})
    assert not selector.matches({"app": "web", "tier": "a", "old": ""})
    assert selector.exact("app") == "web"
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        from_object({"matchExpressions": [{"key": "a", "operator": "Near"}]})


def test_validation_of_selector_objects() -> None:
    problems = selectors.check_label_selector(
        {
            "matchLabels": {"-a": "b"},
            "matchExpressions": [
                {"key": "a", "operator": "In"},
                {"key": "a", "operator": "Exists", "values": ["x"]},
                {"key": "a", "operator": "Near"},
                {"key": "a", "operator": "In", "values": ["ok", "not ok"]},
            ],
        },
        "spec.selector",
    )
    assert [field for _, _, field in problems] == [
        "spec.selector.matchLabels",
        "spec.selector.matchExpressions[0].values",
        "spec.selector.matchExpressions[1].values",
        "spec.selector.matchExpressions[2].operator",
        "spec.selector.matchExpressions[3].values[1]",
    ]
    assert problems[1][:2] == (
        "FieldValueRequired",
        "Required value: must be specified when `operator` is 'In' or 'NotIn'",
    )
    assert problems[3][1] == 'Invalid value: "Near": not a valid selector operator'


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        ("metadata.name=x", [("metadata.name", "=", "x")]),
        ("b!=2,a==1", [("a", "=", "1"), ("b", "!=", "2")]),
        (r"a=x\,y\=z\\", [("a", "=", "x,y=z\\")]),
        ("a=", [("a", "=", "")]),
        (",a=b,", [("a", "=", "b")]),
    ],
)
def test_field_selectors(text: str, terms: list[tuple[str, str, str]]) -> None:
    assert parse_fields(text) == terms


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "invalid selector: 'a'; can't understand 'a'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ("a=\\x", "invalid field selector: invalid escape sequence: \\x"),
        ("a=\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_malformed_field_selectors(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"found|invalid|Invalid") as caught:
        parse_fields(text)
    assert str(caught.value) == message


keys = st.sampled_from(["a", "b", "in", "x.example/c"])
values = st.sampled_from(["", "x", "y", "notin", "7", "-3"]).filter(lambda value: value != "-3")
numbers = st.integers(0, 9).map(lambda number: (str(number),))
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from(["=", "==", "!="]), values.map(lambda value: (value,))),
    st.builds(
        Requirement,
        keys,
        st.sampled_from(["in", "notin"]),
        st.lists(values, min_size=1, unique=True).map(lambda found: tuple(sorted(found))),
    ),
    st.builds(Requirement, keys, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, keys, st.sampled_from(["gt", "lt"]), numbers),
)
label_sets = st.dictionaries(keys, values)


@given(st.lists(requirements), label_sets)
def test_printing_and_parsing_keeps_the_selection(terms: list[Requirement], labels: dict[str, str]) -> None:
    selector = Selector(terms)
    again = parse_labels(selector.to_string())
    assert again == selector
    assert again.matches(labels) == selector.matches(labels) == all(term.matches(labels) for term in terms)


@given(requirements, label_sets)
def test_negated_operators_select_the_complement(term: Requirement, labels: dict[str, str]) -> None:
    opposite = {"=": "!=", "==": "!=", "!=": "=", "in": "notin", "notin": "in", "exists": "!", "!": "exists"}
    if term.operator in opposite:
        other = Requirement(term.key, opposite[term.operator], term.values)  # type: ignore[arg-type]
        assert other.matches(labels) is not term.matches(labels)


@given(st.text(alphabet="ab=!(),<> in\\\t", max_size=20))
def test_any_text_is_a_selector_or_a_value_error(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        with contextlib.suppress(ValueError):
            parse(text)
