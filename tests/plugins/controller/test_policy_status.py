"""ValidatingAdmissionPolicies are checked against the schemas of what they are about."""

from __future__ import annotations

from policy_kit import POLICIES, policy, rules

from kubernel.testing import Cluster


def typed() -> dict[str, object]:
    constraints = rules("deployments", groups=("apps",))
    constraints["resourceRules"][0]["apiVersions"] = ["v1"]
    return constraints


def test_a_field_that_is_not_there_is_a_warning_and_no_error(cluster: Cluster) -> None:
    cluster.create(policy("p", "object.replicas > 1", "object.spec.replicas > 1", matchConstraints=typed()))
    status = cluster.wait(lambda: cluster.get(POLICIES, "p", "").get("status"))
    assert status == {
        "observedGeneration": 1,
        "typeChecking": {
            "expressionWarnings": [
                {
                    "fieldRef": "spec.validations[0].expression",
                    "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n"
                    " | object.replicas > 1\n | ......^\n",
                }
            ]
        },
    }


def test_a_corrected_policy_is_checked_again(cluster: Cluster) -> None:
    cluster.create(policy("p", "object.spec.replicas + 'x' == ''", matchConstraints=typed()))
    status = cluster.wait(lambda: cluster.get(POLICIES, "p", "").get("status"))
    assert "found no matching overload for '_+_' applied to '(int, string)'" in str(status)
    expression = "object.metadata.creationTimestamp < timestamp('2030-01-01T00:00:00Z') && variables.small"
    spec = {
        "variables": [{"name": "small", "expression": "object.spec.replicas < 5"}],
        "validations": [{"expression": expression, "messageExpression": "string(object.metadata.name)"}],
    }
    cluster.patch(POLICIES, "p", {"spec": spec}, "")
    status = cluster.wait(
        lambda: (s := cluster.get(POLICIES, "p", "")["status"])["observedGeneration"] == 2 and s
    )
    assert status["typeChecking"] == {}


def test_wildcards_are_not_checked(cluster: Cluster) -> None:
    cluster.create(policy("p", "object.nothing == 1", matchConstraints=rules("*")))
    cluster.create(policy("q", "object.nothing == 1", matchConstraints=rules("deployments")))
    status = cluster.wait(lambda: cluster.get(POLICIES, "q", "").get("status"))
    assert status["typeChecking"] == {}
