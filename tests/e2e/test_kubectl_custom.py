"""What a user of kubectl sees of custom resources."""

from __future__ import annotations

from typing import Any

import pytest

CLIENT = "kubectl 1.37"
pytestmark = pytest.mark.kubectl

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          description: CronTab runs something now and then.
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [cronSpec]
              properties:
                cronSpec:
                  description: When it runs.
                  type: string
                  pattern: '^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$'
                image: {type: string, default: app:1}
                mode: {type: string, enum: [fast, slow]}
                replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
              x-kubernetes-validations:
                - rule: "!has(self.mode) || self.mode != 'fast' || self.replicas > 1"
                  message: fast takes more than one
            status:
              type: object
              properties:
                replicas: {type: integer}
                selector: {type: string}
      additionalPrinterColumns:
        - {name: Spec, type: string, description: When it runs, jsonPath: .spec.cronSpec}
        - {name: Replicas, type: integer, jsonPath: .spec.replicas}
        - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
      selectableFields: [{jsonPath: .spec.image}]
      subresources:
        status: {}
        scale:
          specReplicasPath: .spec.replicas
          statusReplicasPath: .status.replicas
          labelSelectorPath: .status.selector
"""
OBJECT = """
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: nightly}
spec: {cronSpec: "0 3 * * *"}
"""


@pytest.fixture
def defined(kubectl: Any) -> Any:
    kubectl("apply", "-f", "-", stdin=DEFINITION)
    kubectl("wait", "crd/crontabs.stable.example.com", "--for=condition=Established", "--timeout=10s")
    return kubectl


@pytest.mark.behaviour("custom resources")
def test_a_custom_resource_is_applied_listed_changed_and_deleted(defined: Any) -> None:
    kubectl = defined
    assert kubectl("apply", "-f", "-", stdin=OBJECT).strip() == "crontab.stable.example.com/nightly created"
    assert kubectl("apply", "-f", "-", stdin=OBJECT).strip().endswith("unchanged")
    header, row = kubectl("get", "ct").splitlines()
    assert header.split() == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert row.split()[:1] + row.split()[6:7] == ["nightly", "1"]
    assert kubectl.json("get", "crontab", "nightly")["spec"]["image"] == "app:1"
    changed = OBJECT.replace('"0 3', '"5 3')
    assert kubectl("apply", "-f", "-", stdin=changed).strip().endswith("configured")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
    assert "nightly" in kubectl("get", "all")
    assert kubectl("get", "crontabs", "--field-selector", "spec.image=app:2") == ""
    kubectl("delete", "crontab", "nightly")


@pytest.mark.behaviour("custom resources")
def test_what_is_wrong_with_a_custom_resource_is_told(defined: Any) -> None:
    kubectl = defined
    wrong = OBJECT.replace('"0 3 * * *"', '"often", mode: odd, replicas: 11')
    told = kubectl.refused("apply", "-f", "-", stdin=wrong)
    assert 'The CronTab "nightly" is invalid:' in told
    assert "spec.cronSpec in body should match" in told
    assert 'spec.mode: Unsupported value: "odd": supported values: "fast", "slow"' in told
    assert (
        "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10" in told
    )
    unknown = OBJECT.replace("spec: {", "spec: {color: red, ")
    assert 'unknown field "spec.color"' in kubectl.refused("create", "-f", "-", stdin=unknown)
    ruled = OBJECT.replace("spec: {", "spec: {mode: fast, ")
    assert "spec: Invalid value: fast takes more than one" in kubectl.refused(
        "create", "-f", "-", stdin=ruled
    )


@pytest.mark.behaviour("custom resources")
def test_a_custom_resource_is_scaled_and_patched(defined: Any) -> None:
    kubectl = defined
    kubectl("create", "-f", "-", stdin=OBJECT)
    try:
        kubectl("scale", "ct/nightly", "--replicas=3")
        found = kubectl.json("get", "ct", "nightly")
        assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (3, 2)
        kubectl(
            "patch",
            "ct",
            "nightly",
            "--type=merge",
            "--subresource=status",
            "-p",
            '{"status":{"replicas":3}}',
        )
        found = kubectl.json("get", "ct", "nightly")
        assert (found["status"], found["metadata"]["generation"]) == ({"replicas": 3}, 2)
        refusal = kubectl.refused(
            "patch", "ct", "nightly", "--type=strategic", "-p", '{"spec":{"replicas":2}}'
        )
        assert "application/strategic-merge-patch+json is not supported by stable.example.com/v1" in refusal
        kubectl("label", "ct", "nightly", "a=b")
        assert "nightly" in kubectl("get", "ct", "-l", "a=b")
    finally:
        kubectl("delete", "ct", "nightly")


@pytest.mark.behaviour("kubectl explain of custom resources")
def test_a_custom_resource_is_explained(defined: Any) -> None:
    kubectl = defined
    told = kubectl("explain", "crontab.spec")
    assert "KIND:       CronTab" in told
    assert "cronSpec\t<string> -required-" in told
    assert "When it runs." in told
    assert "CronTab runs something now and then." in kubectl("explain", "ct")
    assert "crontabs" in kubectl("api-resources", "--api-group=stable.example.com")
    assert "spec" in kubectl("explain", "crontab", "--output=plaintext-openapiv2")


@pytest.mark.behaviour("deletion of a definition")
def test_a_definition_takes_its_objects_along(kubectl: Any) -> None:
    body = DEFINITION.replace("crontabs", "daytabs").replace("CronTab", "DayTab").replace("crontab", "daytab")
    kubectl("apply", "-f", "-", stdin=body.replace("shortNames: [ct], ", ""))
    kubectl("wait", "crd/daytabs.stable.example.com", "--for=condition=Established", "--timeout=10s")
    kubectl("create", "-f", "-", stdin=OBJECT.replace("CronTab", "DayTab"))
    kubectl("delete", "crd", "daytabs.stable.example.com", "--timeout=20s")
    assert "the server could not find the requested resource" in kubectl.refused(
        "get", "--raw", "/apis/stable.example.com/v1/daytabs"
    )
