"""Values of a schema: fields are checked, formats are converted when looked at, sets have no order."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel import cel
from kubernel.registry.schema import Node


def node(type: str, **attributes: Any) -> Node:
    made = Node(type)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def text(format: str = "", **extra: Any) -> Node:
    return node("string", format=format, extra=extra or None)


ROOT = node(
    "object",
    properties={
        "spec": node(
            "object",
            properties={
                "replicas": node("integer"),
                "ratio": node("number"),
                "ratios": node("array", items=node("number")),
                "when": text("date-time"),
                "day": text("date"),
                "timeout": text("duration"),
                "data": text("byte"),
                "port": node("int-or-string"),
                "anything": node("any"),
                "x-prop.y": node("string"),
                "namespace": node("string"),
                "__odd": node("string"),
                "tags": node("array", items=text(maxLength=5), list_type="set", extra={"maxItems": 10}),
                "ports": node(
                    "array",
                    items=node("object", properties={"name": text(), "port": node("integer")}),
                    list_type="map",
                    map_keys=("name",),
                ),
                "labels": node("object", additional=text(maxLength=10), extra={"maxProperties": 4}),
                "name": text(maxLength=8),
                "unbounded": node("array", items=node("string")),
            },
        )
    },
)
ROOT.properties["child"] = ROOT  # type: ignore[index]
SELF = cel.type_from_schema(ROOT, resource=True)
assert SELF is not None
ENVIRONMENT = cel.Environment({"self": SELF, "oldSelf": SELF}, bindings=True)
OBJECT: dict[str, Any] = {
    "apiVersion": "example.com/v1",
    "kind": "Thing",
    "metadata": {"name": "one"},
    "spec": {
        "replicas": 3,
        "ratio": 1,
        "ratios": [1, 2.5],
        "when": "2024-05-01T12:00:00Z",
        "day": "2024-05-01",
        "timeout": "1h30m",
        "data": "aGk=",
        "port": "http",
        "x-prop.y": "z",
        "namespace": "ns",
        "__odd": "o",
        "tags": ["a", "b"],
        "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}],
        "labels": {"a": "b"},
        "name": "one",
    },
    "child": {"child": {"spec": {"replicas": 7}}},
}
OLD: dict[str, Any] = {
    "spec": {"tags": ["b", "a"], "ports": [{"name": "https", "port": 443}, {"name": "http", "port": 80}]}
}


@pytest.mark.parametrize(
    "expression",
    [
        "self.metadata.name == 'one' && self.kind == 'Thing'",
        "self.spec.ratio * 2.0 == 2.0 && self.spec.ratios[0] + 0.5 == 1.5 && self.spec.ratios.all(r, r / 2.0 < 2.0)",
        "self.spec.when.getHours() == 12 && self.spec.when > timestamp('2024-01-01T00:00:00Z')",
        "self.spec.day.getDate() == 1 && self.spec.timeout == duration('90m') && self.spec.data == b'hi'",
        "type(self.spec.port) == string ? self.spec.port == 'http' : self.spec.port > 0",
        "self.spec.x__dash__prop__dot__y == 'z' && self.spec.__namespace__ == 'ns'",
        "self.spec.__underscores__odd == 'o' && has(self.spec.__underscores__odd)",
        "self.spec.tags == oldSelf.spec.tags && self.spec.ports == oldSelf.spec.ports",
        "self.spec.tags == ['b', 'a'] && self.spec.tags != ['a', 'c']",
        "size(self.spec.tags + oldSelf.spec.tags) == 2 && (self.spec.tags + ['c']) == ['c', 'b', 'a']",
        "self.child.child.spec.replicas == 7 && !has(self.child.spec)",
        "self.spec.labels.all(k, self.spec.labels[k] == 'b') && self.spec.labels.a == 'b'",
        "oldSelf.?spec.?name.orValue('none') == 'none' && self.?spec.?when.value().getFullYear() == 2024",
    ],
)
def test_what_holds(expression: str) -> None:
    assert ENVIRONMENT.compile(expression).evaluate({"self": OBJECT, "oldSelf": OLD}) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("self.spec.nothing", "ERROR: <input>:1:10: undefined field 'nothing'"),
        ("self.spec.anything", "undefined field 'anything'"),
        ("self.spec.namespace", "undefined field 'namespace'"),
        ("self.spec.replicas == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.spec.when == 'a'", "found no matching overload for '_==_' applied to '(timestamp, string)'"),
        ("self.spec.ports.exists(p, p.nope == 1)", "undefined field 'nope'"),
        ("self.spec.replicas.foo", "type 'int' does not support field selection"),
    ],
)
def test_what_the_schema_does_not_allow(expression: str, message: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        ENVIRONMENT.compile(expression)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["a", "x-y", "a.b/c", "namespace", "a__b", "__a__", "in"])
def test_names_can_be_escaped_and_read_back(name: str) -> None:
    escaped = cel.escape(name)
    assert escaped is not None
    assert cel.unescape(escaped) == name


def test_a_name_that_no_expression_can_write() -> None:
    assert cel.escape("1a") is None
    assert cel.escape("a b") is None


@pytest.mark.parametrize(
    ("expression", "most"),
    [
        pytest.param("self.spec.replicas > 1", 4, id="a-field"),
        pytest.param("self.spec.name == 'abc'", 4, id="the-shorter-text-counts"),
        pytest.param("self.spec.name.startsWith('a')", 3 + 4, id="four-bytes-for-a-character"),
        pytest.param("self.spec.tags.all(t, t == 'abc')", 3 + 2 + 10 * (3 + 2), id="maxItems"),
    ],
)
def test_bounds_of_the_schema_bound_the_estimate(expression: str, most: int) -> None:
    assert cel.estimate(ENVIRONMENT.compile(expression).node) == most


def test_unbounded_lists_in_lists_are_beyond_the_limit() -> None:
    nested = "self.spec.unbounded.all(a, self.spec.unbounded.all(b, a != b))"
    assert cel.estimate(ENVIRONMENT.compile(nested).node) > cel.ESTIMATE_LIMIT
    bounded = "self.spec.tags.all(a, self.spec.tags.all(b, a != b + 'x'))"
    assert cel.estimate(ENVIRONMENT.compile(bounded).node) < cel.ESTIMATE_LIMIT


@pytest.mark.parametrize(
    "expression",
    [
        "self.spec.tags.exists(t, t.matches('^a+$')) || self.spec.name.contains('x')",
        "self.spec.labels.map(k, k + self.spec.labels[k]).join(',').size() < 9",
        "self.spec.ports.filter(p, p.port > 80 && p.name.startsWith('h')).size() == 1",
        "cel.bind(n, self.spec.name, n.split('n').size() + n.replace('o', 'oo').size()) > 1",
    ],
)
def test_nothing_costs_more_than_its_estimate(expression: str) -> None:
    program = ENVIRONMENT.compile(expression)
    _, cost = program.run({"self": OBJECT, "oldSelf": OLD})
    assert cost <= cel.estimate(program.node)
