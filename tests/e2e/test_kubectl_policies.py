"""What a user of kubectl sees of admission policies."""

from __future__ import annotations

from typing import Any

import pytest

CLIENT = "kubectl 1.37"
pytestmark = pytest.mark.kubectl

POLICIES = """
apiVersion: v1
kind: Namespace
metadata: {name: policed, labels: {policed: "yes"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: limit.example.com}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: ["*"], resources: [deployments, deployments/scale]}
  validations:
    - expression: object == null || object.spec.replicas <= 5
      messageExpression: "'at most 5 replicas, not ' + string(object.spec.replicas)"
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: limit-binding}
spec:
  policyName: limit.example.com
  validationActions: [Deny]
  matchResources: {namespaceSelector: {matchLabels: {policed: "yes"}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: advice.example.com}
spec:
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  validations:
    - {expression: "has(object.metadata.labels.team)", message: say which team it is}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: advice-binding}
spec:
  policyName: advice.example.com
  validationActions: [Warn]
  matchResources: {namespaceSelector: {matchLabels: {policed: "yes"}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: seal.example.com}
spec:
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: "Object{metadata: Object.metadata{annotations: {'seal': object.metadata.name}}}"
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: seal-binding}
spec:
  policyName: seal.example.com
  matchResources: {namespaceSelector: {matchLabels: {policed: "yes"}}}
"""

DENIAL = (
    "ValidatingAdmissionPolicy 'limit.example.com' with binding 'limit-binding' denied request: "
    "at most 5 replicas, not 6"
)
ADVICE = (
    "Warning: Validation failed for ValidatingAdmissionPolicy 'advice.example.com' with binding "
    "'advice-binding': say which team it is\n"
)


def test_policies_deny_warn_and_change(kubectl: Any) -> None:
    kubectl("apply", "-f", "-", stdin=POLICIES)
    create = ("create", "deployment", "web", "--image=x", "-n", "policed")
    denied = kubectl.refused(*create, "--replicas=6")
    refusal = f'error: failed to create deployment: deployments.apps "web" is forbidden: {DENIAL}'
    assert denied == f"{ADVICE}{refusal}\n"
    done = kubectl.run(*create, "--replicas=1")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ADVICE
    assert (
        kubectl.json("get", "deployment", "web", "-n", "policed")["metadata"]["annotations"]["seal"] == "web"
    )
    assert DENIAL in kubectl.refused("scale", "deployment", "web", "--replicas=6", "-n", "policed")
    listed = kubectl("get", "validatingadmissionpolicy", "limit.example.com", "--no-headers")
    assert listed.split()[:3] == ["limit.example.com", "1", "<unset>"]


def test_a_wrong_expression_is_refused_with_its_place(kubectl: Any) -> None:
    wrong = POLICIES.split("---")[1].replace(
        "object == null || object.spec.replicas <= 5", "object.spec.replicas <= five"
    )
    assert kubectl.refused("create", "-f", "-", stdin=wrong.replace("limit.", "wrong.")) == (
        'The ValidatingAdmissionPolicy "wrong.example.com" is invalid: spec.validations[0].expression: Invalid value: '
        "\"object.spec.replicas <= five\": compilation failed: ERROR: <input>:1:25: undeclared reference to 'five' "
        "(in container '')\n | object.spec.replicas <= five\n | ........................^\n"
    )
