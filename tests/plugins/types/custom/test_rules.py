"""CEL rules of custom resources: checked with the definition, run on every write."""

from __future__ import annotations

from typing import Any

import pytest
from crd_kit import DEFINITIONS, definition, fields, of_spec, serve, version, widget

from kubernel.errors import Invalid
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster

WIDGETS = "widgets.v1.example.com"
Obj = dict[str, Any]
TEXT: Obj = {"type": "string"}
NUMBER: Obj = {"type": "integer"}


def ruled(schema: Obj, *rules: Obj | str) -> Obj:
    said = [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules]
    return {**schema, "x-kubernetes-validations": said}


def with_rules(spec: Obj, **more: Any) -> Obj:
    return definition(version(schema=of_spec(spec, **more)))


def causes(caught: pytest.ExceptionInfo[Invalid]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in caught.value.causes]


def refused_definition(cluster: Cluster, made: Obj) -> list[str]:
    with pytest.raises(Invalid) as caught:
        cluster.create(made, namespace="")
    return causes(caught)


def refused(cluster: Cluster, spec: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        cluster.create(widget(spec=spec))
    return causes(caught)


def told(detail: str, path: str = "spec", value: str = "") -> str:
    """Objects and lists are not shown, but for what goes wrong with a rule: there ``value`` is their type."""
    return f"{path}: Invalid value: {f'{value}: ' if value else ''}{detail}"


# --- with the definition

RULES = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param({"rule": " "}, "rule: Required value: rule is not specified", id="no-rule"),
        pytest.param(
            {"rule": "true", "message": " "},
            'message: Invalid value: " ": must be non-empty if specified',
            id="empty-message",
        ),
        pytest.param(
            {"rule": "true", "message": "a\nb"},
            'message: Invalid value: "a\\nb": must not contain line breaks',
            id="message-of-two-lines",
        ),
        pytest.param(
            {"rule": "true\n&& true"},
            "message: Required value: message must be specified if rule contains line breaks",
            id="rule-of-two-lines",
        ),
        pytest.param(
            {"rule": "true", "messageExpression": " "},
            "messageExpression: Required value: messageExpression must be non-empty if specified",
            id="empty-message-expression",
        ),
        pytest.param(
            {"rule": "true", "reason": "Odd"},
            'reason: Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", '
            '"FieldValueInvalid", "FieldValueRequired"',
            id="reason",
        ),
        pytest.param(
            {"rule": "true", "fieldPath": ".none"},
            'fieldPath: Invalid value: ".none": must be a valid path',
            id="field-path",
        ),
        pytest.param(
            {"rule": "true", "optionalOldSelf": True},
            "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
            id="optional-without-old-self",
        ),
    ],
)
def test_a_wrong_rule_is_refused(cluster: Cluster, rule: Obj, said: str) -> None:
    assert f"{RULES}.{said}" in refused_definition(cluster, with_rules(ruled(fields(a=TEXT), rule)))


def shown(rule: str, message: str = "") -> str:
    return (
        f'{{"Rule":"{rule}","Message":"","MessageExpression":"{message}","Reason":null,"FieldPath":"",'
        '"OptionalOldSelf":null}'
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param(
            {"rule": "self.b == 'x'"},
            "rule: Invalid value: "
            + shown("self.b == 'x'")
            + ": compilation failed: ERROR: <input>:1:5: undefined "
            "field 'b'\n | self.b == 'x'\n | ....^",
            id="unknown-field",
        ),
        pytest.param(
            {"rule": "self.a"},
            f"rule: Invalid value: {shown('self.a')}: cel expression must evaluate to a bool",
            id="no-bool",
        ),
        pytest.param(
            {"rule": "true", "messageExpression": "1"},
            f"messageExpression: Invalid value: {shown('true', '1')}: messageExpression must evaluate to a string",
            id="message-that-is-no-string",
        ),
    ],
)
def test_a_rule_that_does_not_compile_is_refused(cluster: Cluster, rule: Obj, said: str) -> None:
    assert refused_definition(cluster, with_rules(ruled(fields(a=TEXT), rule))) == [f"{RULES}.{said}"]


def test_old_self_needs_a_place_that_can_be_found_again(cluster: Cluster) -> None:
    items = ruled(TEXT, "self == oldSelf")
    (found,) = refused_definition(
        cluster, with_rules(fields(list={"type": "array", "maxItems": 3, "items": items}))
    )
    assert found == (
        "spec.validation.openAPIV3Schema.properties[spec].properties[list].items.x-kubernetes-validations[0].rule: "
        'Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within '
        "spec.validation.openAPIV3Schema.properties[spec].properties[list]"
    )


def test_a_rule_that_may_cost_too_much_is_refused(cluster: Cluster) -> None:
    each = {"type": "array", "items": TEXT}
    found = refused_definition(cluster, with_rules(fields(a=ruled(each, "self.all(x, self.all(y, x != y))"))))
    (per_rule,) = [text for text in found if "estimated rule cost exceeds budget" in text]
    assert per_rule == (
        "spec.validation.openAPIV3Schema.properties[spec].properties[a].x-kubernetes-validations[0].rule: Forbidden: "
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, "
        "maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert any(
        "estimated rule cost total for entire OpenAPIv3 schema exceeds budget" in text for text in found
    )


def test_limits_make_a_costly_rule_affordable(cluster: Cluster) -> None:
    each = {"type": "array", "maxItems": 10, "items": {**TEXT, "maxLength": 10}}
    serve(cluster, with_rules(fields(a=ruled(each, "self.all(x, self.exists_one(y, x == y))"))))


def test_a_schema_that_does_not_change_is_not_asked_for_its_costs_again(cluster: Cluster) -> None:
    made = serve(cluster, with_rules(fields(a=ruled({**TEXT, "maxLength": 9}, "self != 'x'"))))
    cluster.update({**made, "metadata": {**made["metadata"], "labels": {"a": "b"}}})
    assert cluster.get(DEFINITIONS, "widgets.example.com", "")["metadata"]["labels"] == {"a": "b"}


# --- on writes


def test_an_object_against_a_rule_is_refused(cluster: Cluster) -> None:
    serve(cluster, with_rules(ruled(fields(min=NUMBER, max=NUMBER), "self.min <= self.max")))
    assert refused(cluster, {"min": 2, "max": 1}) == [told("failed rule: self.min <= self.max")]
    assert cluster.create(widget(spec={"min": 1, "max": 2}))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        pytest.param({"message": "too big"}, told("too big"), id="message"),
        pytest.param(
            {"messageExpression": "self.a > 4 ? 'too big' : 'odd'"}, told("too big"), id="message-expression"
        ),
        pytest.param(
            {"message": "instead", "messageExpression": "['a'][self.a]"},
            told("instead"),
            id="message-that-fails",
        ),
        pytest.param(
            {"message": "no", "reason": "FieldValueForbidden"}, "spec: Forbidden: no", id="forbidden"
        ),
        pytest.param(
            {"message": "no", "reason": "FieldValueRequired"}, "spec: Required value: no", id="required"
        ),
        pytest.param(
            {"message": "no", "reason": "FieldValueDuplicate"},
            "spec: Duplicate value",
            id="duplicate",
        ),
        pytest.param({"message": "no", "fieldPath": ".a"}, told("no", "spec.a"), id="field-path"),
    ],
)
def test_how_a_refusal_is_told(cluster: Cluster, rule: Obj, said: str) -> None:
    serve(cluster, with_rules(ruled(fields(a=NUMBER), {"rule": "self.a < 5", **rule})))
    assert refused(cluster, {"a": 5}) == [said]


def test_rules_stand_wherever_there_is_a_schema(cluster: Cluster) -> None:
    short = ruled({**TEXT, "maxLength": 9}, {"rule": "self.size() < 3", "message": "too long"})
    serve(
        cluster,
        with_rules(
            fields(
                one=short,
                list={"type": "array", "items": short, "maxItems": 9},
                map={"type": "object", "additionalProperties": short, "maxProperties": 9},
            )
        ),
    )
    spec = {"one": "long", "list": ["a", "long"], "map": {"k": "long"}}
    assert set(refused(cluster, spec)) == {
        told("too long", "spec.one", '"long"'),
        told("too long", "spec.list[1]", '"long"'),
        told("too long", "spec.map[k]", '"long"'),
    }


def test_the_root_knows_the_objects_name(cluster: Cluster) -> None:
    schema = ruled(of_spec(fields(a=TEXT)), "self.metadata.name.startsWith('x')")
    serve(cluster, definition(version(schema=schema)))
    with pytest.raises(Invalid) as caught:
        cluster.create(widget(spec={}))
    assert causes(caught) == ["<nil>: Invalid value: failed rule: self.metadata.name.startsWith('x')"]
    assert cluster.create(widget("x1", spec={}))


def test_a_transition_rule_compares_with_what_was(cluster: Cluster) -> None:
    serve(cluster, with_rules(fields(a=ruled(TEXT, {"rule": "self == oldSelf", "message": "fixed"}))))
    cluster.create(widget(spec={"a": "x"}))
    with pytest.raises(Invalid) as caught:
        cluster.patch(WIDGETS, "one", {"spec": {"a": "y"}})
    assert causes(caught) == [told("fixed", "spec.a", '"y"')]
    cluster.patch(WIDGETS, "one", {"spec": {"a": None}})
    assert cluster.patch(WIDGETS, "one", {"spec": {"a": "y"}})["spec"] == {"a": "y"}


def test_elements_of_keyed_lists_are_compared_by_their_keys(cluster: Cluster) -> None:
    element = ruled(
        {**fields(k={**TEXT, "maxLength": 9}, v=NUMBER), "required": ["k"]},
        {"rule": "self.v >= oldSelf.v", "message": "less"},
    )
    keyed = {
        "type": "array",
        "maxItems": 9,
        "items": element,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }
    serve(cluster, with_rules(fields(list=keyed)))
    cluster.create(widget(spec={"list": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]}))
    cluster.patch(WIDGETS, "one", {"spec": {"list": [{"k": "b", "v": 5}, {"k": "a", "v": 2}]}})
    with pytest.raises(Invalid) as caught:
        cluster.patch(WIDGETS, "one", {"spec": {"list": [{"k": "c", "v": 0}, {"k": "b", "v": 4}]}})
    assert causes(caught) == [told("less", "spec.list[1]")]


def test_an_optional_old_self_is_none_at_first(cluster: Cluster) -> None:
    rule = {
        "rule": "!oldSelf.hasValue() || self >= oldSelf.value()",
        "optionalOldSelf": True,
        "message": "less",
    }
    serve(cluster, with_rules(fields(a=ruled(NUMBER, rule))))
    cluster.create(widget(spec={"a": 2}))
    with pytest.raises(Invalid):
        cluster.patch(WIDGETS, "one", {"spec": {"a": 1}})
    first = {"rule": "oldSelf.hasValue()", "optionalOldSelf": True, "message": "never new"}
    serve(cluster, definition(version(schema=of_spec(fields(a=ruled(NUMBER, first)))), kind="Gadget"))
    with pytest.raises(Invalid) as caught:
        cluster.create({**widget(spec={"a": 1}), "kind": "Gadget"})
    assert causes(caught) == [told("never new", "spec.a", "1")]


def test_a_broken_rule_of_what_did_not_change_only_warns(cluster: Cluster) -> None:
    made = serve(cluster, with_rules(fields(a=TEXT, b=TEXT)))
    cluster.create(widget(spec={"a": "x", "b": "x"}))
    strict = of_spec(fields(a=ruled(TEXT, {"rule": "self != 'x'", "message": "no x"}), b=TEXT))
    cluster.update({**made, "spec": {**made["spec"], "versions": [version(schema=strict)]}})
    cluster.settle()
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    patch = registry.patch(
        UserInfo("me"), type, "default", "one", "merge", {"spec": {"b": "y"}}, WriteOptions()
    )
    result = cluster.run(patch)
    assert result.record.obj["spec"] == {"a": "x", "b": "y"}
    assert result.warnings == (told("no x", "spec.a", '"x"'),)
    cluster.patch(WIDGETS, "one", {"spec": {"a": "y"}})
    with pytest.raises(Invalid):
        cluster.patch(WIDGETS, "one", {"spec": {"a": "x"}})


def test_rules_are_not_run_on_what_has_the_wrong_type(cluster: Cluster) -> None:
    serve(cluster, with_rules(ruled(fields(a=NUMBER), "self.a < 5")))
    assert refused(cluster, {"a": "x"}) == [
        'spec.a: Invalid value: "string": spec.a in body must be of type integer: "string"',
        (
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
            "correct the existing errors to complete validation"
        ),
    ]


def test_a_rule_that_fails_says_why(cluster: Cluster) -> None:
    serve(cluster, with_rules(ruled(fields(a=NUMBER, b=NUMBER), "self.a / self.b > 0")))
    assert refused(cluster, {"a": 1, "b": 0}) == [
        told("division by zero evaluating rule: self.a / self.b > 0", value='"object"')
    ]
    assert refused(cluster, {"a": 1}) == [
        told("no such key: b evaluating rule: self.a / self.b > 0", value='"object"')
    ]


def test_a_rule_stops_when_it_costs_too_much(cluster: Cluster) -> None:
    each = {"type": "array", "items": NUMBER, "maxItems": 2000}
    rule = "self.all(x, self.exists(y, y == x))"
    serve(cluster, with_rules(fields(a=ruled({**each, "maxItems": 700}, rule))))
    many = list(range(700))
    (found,) = refused(cluster, {"a": many})
    assert found == told(
        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost "
        f"exceeds limit for rule: {rule}",
        "spec.a",
        '"array"',
    )


def test_names_that_are_no_identifiers_are_escaped(cluster: Cluster) -> None:
    spec = ruled(
        fields(**{"a-b": NUMBER, "namespace": TEXT}), "self.a__dash__b > 0 && self.__namespace__ != ''"
    )
    serve(cluster, with_rules(spec))
    assert cluster.create(widget(spec={"a-b": 1, "namespace": "x"}))
    assert len(refused(cluster, {"a-b": 0, "namespace": "x"})) == 1
