"""Admission policies that are wrong are refused with the field and upstream's words."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from policy_kit import POLICIES, binding, policy, rules

from kubernel.errors import Invalid
from kubernel.testing import Cluster


def refusals(cluster: Cluster, obj: dict[str, Any]) -> list[str]:
    with pytest.raises(Invalid) as caught:
        cluster.create(obj)
    return [f"{cause.field}: {cause.message}" for cause in caught.value.causes]


def changed(obj: dict[str, Any], **spec: Any) -> dict[str, Any]:
    made = copy.deepcopy(obj)
    made["spec"].update(spec)
    return made


BAD_EXPRESSION = (
    "compilation failed: ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo\n | ^"
)


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        pytest.param(
            {"validations": [{"expression": "foo"}]},
            f'spec.validations[0].expression: Invalid value: "foo": {BAD_EXPRESSION}',
            id="bad-expression",
        ),
        pytest.param(
            {"validations": [{"expression": "1 + 1"}]},
            'spec.validations[0].expression: Invalid value: "1 + 1": must evaluate to bool but got int',
            id="not-a-bool",
        ),
        pytest.param(
            {"validations": [{"expression": " "}]},
            "spec.validations[0].expression: Required value: expression is not specified",
            id="no-expression",
        ),
        pytest.param(
            {"validations": [{"expression": "params.x"}]},
            "undeclared reference to 'params' (in container '')",
            id="params-without-a-kind",
        ),
        pytest.param(
            {
                "validations": [{"expression": "variables.x"}],
                "variables": [{"name": "y", "expression": "true"}],
            },
            "undefined field 'x'",
            id="unknown-variable",
        ),
        pytest.param(
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string',
            id="message-expression",
        ),
        pytest.param(
            {"validations": [{"expression": "true", "message": "a\nb"}]},
            'spec.validations[0].message: Invalid value: "a\\nb": must not contain line breaks',
            id="message-of-two-lines",
        ),
        pytest.param(
            {"validations": [{"expression": "true", "reason": "NotFound"}]},
            'spec.validations[0].reason: Unsupported value: "NotFound": supported values: "Forbidden", "Invalid", '
            '"RequestEntityTooLarge"',
            id="reason",
        ),
        pytest.param(
            {"validations": []},
            "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
            id="nothing-to-validate",
        ),
        pytest.param(
            {"variables": [{"name": "a-b", "expression": "1"}]},
            'spec.variables[0].name: Invalid value: "a-b": must be a valid CEL identifier',
            id="variable-name",
        ),
        pytest.param(
            {"matchConditions": [{"name": "a", "expression": "foo"}]},
            f'spec.matchConditions[0].expression: Invalid value: "foo": {BAD_EXPRESSION}',
            id="match-condition",
        ),
        pytest.param(
            {"matchConditions": [{"name": "a", "expression": "true"}, {"name": "a", "expression": "true"}]},
            'spec.matchConditions[1].name: Duplicate value: "a"',
            id="condition-twice",
        ),
        pytest.param(
            {"matchConstraints": rules("deployments", operations=("*", "CREATE"))},
            'spec.matchConstraints.resourceRules[0].operations: Invalid value: ["*","CREATE"]: '
            "if '*' is present, must not specify other operations",
            id="operations",
        ),
        pytest.param(
            {"matchConstraints": {}},
            "spec.matchConstraints.resourceRules: Required value",
            id="no-rules",
        ),
        pytest.param(
            {"paramKind": {"apiVersion": "a/b/c", "kind": "K"}},
            'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
            id="param-kind",
        ),
        pytest.param(
            {"auditAnnotations": [{"key": "k", "valueExpression": "1"}]},
            'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of '
            "[string null_type] but got int",
            id="audit-annotation",
        ),
    ],
)
def test_validating_policies(cluster: Cluster, spec: dict[str, Any], refusal: str) -> None:
    assert any(refusal in text for text in refusals(cluster, changed(policy("p", "true"), **spec)))


def test_defaults_and_generation(cluster: Cluster) -> None:
    made = cluster.create(policy("p", "true"))
    assert made["spec"]["failurePolicy"] == "Fail"
    match = made["spec"]["matchConstraints"]
    assert (match["matchPolicy"], match["namespaceSelector"], match["objectSelector"]) == (
        "Equivalent",
        {},
        {},
    )
    assert match["resourceRules"][0]["scope"] == "*"
    assert made["metadata"]["generation"] == 1
    updated = cluster.patch(POLICIES, "p", {"spec": {"failurePolicy": "Ignore"}}, "")
    assert updated["metadata"]["generation"] == 2


def mutating(**mutation: Any) -> dict[str, Any]:
    made = policy("p", kind="Mutating", reinvocationPolicy="Never")
    made["spec"]["mutations"] = [mutation]
    return made


@pytest.mark.parametrize(
    ("mutation", "refusal"),
    [
        pytest.param(
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "{'a': 1}"}},
            "spec.mutations[0].applyConfiguration.expression: Invalid value: \"{'a': 1}\": must evaluate to Object",
            id="map-for-an-object",
        ),
        pytest.param(
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 1, path: '/a'}]"}},
            "expected type of field 'op' is 'string' but provided type is 'int'",
            id="op-of-a-patch",
        ),
        pytest.param(
            {"patchType": "JSONPatch"},
            "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            id="no-patch",
        ),
    ],
)
def test_mutating_policies(cluster: Cluster, mutation: dict[str, Any], refusal: str) -> None:
    assert any(refusal in text for text in refusals(cluster, mutating(**mutation)))


@pytest.mark.parametrize(
    ("spec", "refusal"),
    [
        pytest.param({"policyName": ""}, "spec.policyName: Required value", id="policy-name"),
        pytest.param(
            {"validationActions": ["Deny", "Warn"]},
            "must not contain both Deny and Warn",
            id="deny-and-warn",
        ),
        pytest.param(
            {"validationActions": ["Shout"]},
            'spec.validationActions[0]: Unsupported value: "Shout": supported values: "Audit", "Deny", "Warn"',
            id="action",
        ),
        pytest.param(
            {"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}},
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            id="name-and-selector",
        ),
    ],
)
def test_bindings(cluster: Cluster, spec: dict[str, Any], refusal: str) -> None:
    assert any(refusal in text for text in refusals(cluster, changed(binding("p"), **spec)))
