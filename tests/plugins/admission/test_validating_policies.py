"""What ValidatingAdmissionPolicies refuse, warn about and note."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from policy_kit import DEPLOYMENTS, bind, binding, deployment, policy, rules

from kubernel.errors import ApiError, Forbidden
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster


def refused(cluster: Cluster, obj: dict[str, Any], **kwargs: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        cluster.create(obj, **kwargs)
    return caught.value


def test_a_denial_says_which_policy_and_binding_and_what_they_want(cluster: Cluster) -> None:
    bind(cluster, policy("limit", "object.spec.replicas <= 5"))
    cluster.create(deployment(replicas=5))
    status = refused(cluster, deployment("big", 6)).to_status()
    text = (
        "ValidatingAdmissionPolicy 'limit' with binding 'limit-binding' denied request: "
        "failed expression: object.spec.replicas <= 5"
    )
    assert status["message"] == f'deployments.apps "big" is forbidden: {text}'
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["details"] == {
        "name": "big",
        "group": "apps",
        "kind": "deployments",
        "causes": [{"message": text}],
    }


@pytest.mark.parametrize(
    ("validation", "message", "code", "reason"),
    [
        pytest.param({"message": "too many"}, "too many", 422, "Invalid", id="message"),
        pytest.param({"reason": "Forbidden", "message": "x"}, "x", 403, "Forbidden", id="reason"),
        pytest.param(
            {"messageExpression": "'at most 5, not ' + string(object.spec.replicas)", "message": "x"},
            "at most 5, not 6",
            422,
            "Invalid",
            id="message-expression",
        ),
        pytest.param(
            {"messageExpression": "string(object.nothing)", "message": "fallback"},
            "fallback",
            422,
            "Invalid",
            id="message-expression-that-fails",
        ),
        pytest.param(
            {"messageExpression": "'two\\nlines'"},
            "failed expression: object.spec.replicas <= 5",
            422,
            "Invalid",
            id="message-expression-of-two-lines",
        ),
    ],
)
def test_the_words_of_a_denial(
    cluster: Cluster, validation: dict[str, str], message: str, code: int, reason: str
) -> None:
    made = policy("p")
    made["spec"]["validations"] = [{"expression": "object.spec.replicas <= 5", **validation}]
    bind(cluster, made)
    error = refused(cluster, deployment(replicas=6))
    assert error.message.endswith(f"denied request: {message}")
    assert (error.status_code, error.status_reason) == (code, reason)


def test_a_policy_without_a_binding_does_nothing_and_changes_are_live(cluster: Cluster) -> None:
    cluster.create(policy("p", "false"))
    cluster.settle()
    cluster.create(deployment("a"))
    cluster.create(binding("p"))
    cluster.settle()
    refused(cluster, deployment("b"))
    resource = "validatingadmissionpolicies.v1.admissionregistration.k8s.io"
    cluster.patch(resource, "p", {"spec": {"validations": [{"expression": "true"}]}}, "")
    cluster.settle()
    cluster.create(deployment("b"))


def test_variables_are_evaluated_when_they_are_used_and_see_those_before_them(cluster: Cluster) -> None:
    made = policy("p", "variables.all.size() == 1 || variables.broken")
    made["spec"]["variables"] = [
        {"name": "containers", "expression": "object.spec.template.spec.containers"},
        {"name": "all", "expression": "variables.containers.map(c, c.name)"},
        {"name": "broken", "expression": "object.nothing.at.all"},
    ]
    bind(cluster, made)
    cluster.create(deployment("fine"))
    two = deployment("two")
    two["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "x"})
    assert refused(cluster, two).message.endswith(
        "denied request: expression 'variables.all.size() == 1 || variables.broken' resulted in error: "
        'composited variable "broken" fails to evaluate: no such key: nothing'
    )


def test_what_fails_is_refused_or_let_through_as_the_failure_policy_says(cluster: Cluster) -> None:
    bind(cluster, policy("p", "object.nothing > 1", failurePolicy="Ignore"))
    cluster.create(deployment("a"))
    bind(cluster, policy("q", "object.nothing > 1", failurePolicy="Fail"))
    assert (
        "'q' with binding 'q-binding' denied request: expression 'object.nothing > 1' resulted in error"
        in (refused(cluster, deployment("b")).message)
    )


@pytest.mark.parametrize(
    ("conditions", "denied"),
    [
        pytest.param(["object.metadata.name == 'web'"], True, id="holds"),
        pytest.param(["object.metadata.name == 'other'"], False, id="does-not-hold"),
        pytest.param(["object.nothing == 1", "false"], False, id="false-decides-over-an-error"),
        pytest.param(["object.nothing == 1", "true"], True, id="an-error-is-a-failure"),
        pytest.param(
            ["request.operation == 'CREATE' && request.userInfo.username != ''"], True, id="request"
        ),
    ],
)
def test_match_conditions(cluster: Cluster, conditions: list[str], denied: bool) -> None:
    made = policy("p", "false")
    made["spec"]["matchConditions"] = [
        {"name": f"c{index}", "expression": text} for index, text in enumerate(conditions)
    ]
    bind(cluster, made)
    if denied:
        refused(cluster, deployment())
    else:
        cluster.create(deployment())


@pytest.mark.parametrize(
    ("constraints", "denied"),
    [
        pytest.param(rules("deployments", groups=("apps",)), True, id="group"),
        pytest.param(rules("deployments", groups=("batch",)), False, id="other-group"),
        pytest.param(rules("*"), True, id="all-resources"),
        pytest.param(rules("deployments/scale"), False, id="only-a-subresource"),
        pytest.param(rules("deployments", operations=("UPDATE", "DELETE")), False, id="operations"),
        pytest.param(
            rules("deployments", objectSelector={"matchLabels": {"a": "b"}}), True, id="object-selector"
        ),
        pytest.param(
            rules("deployments", objectSelector={"matchLabels": {"a": "c"}}), False, id="other-labels"
        ),
        pytest.param(
            rules(
                "deployments",
                namespaceSelector={"matchLabels": {"kubernetes.io/metadata.name": "default"}},
            ),
            True,
            id="namespace-selector",
        ),
        pytest.param(
            rules("deployments", namespaceSelector={"matchLabels": {"team": "x"}}),
            False,
            id="other-namespace",
        ),
        pytest.param(
            rules("deployments", excludeResourceRules=rules("deployments")["resourceRules"]),
            False,
            id="excluded",
        ),
    ],
)
def test_match_constraints(cluster: Cluster, constraints: dict[str, Any], denied: bool) -> None:
    bind(cluster, policy("p", "false", matchConstraints=constraints))
    obj = deployment(labels={"a": "b"})
    if denied:
        refused(cluster, obj)
    else:
        cluster.create(obj)


def test_a_rule_names_resources_and_a_binding_narrows_further(cluster: Cluster) -> None:
    named = rules("deployments")
    named["resourceRules"][0]["resourceNames"] = ["web"]
    bind(cluster, policy("p", "false", matchConstraints=named))
    cluster.create(deployment("other"))
    refused(cluster, deployment("web"))
    narrow = {"objectSelector": {"matchLabels": {"tier": "front"}}}
    bind(cluster, policy("q", "false"), matchResources=narrow)
    cluster.create(deployment("back"))
    refused(cluster, deployment("front", labels={"tier": "front"}))


def test_an_equivalent_version_matches_and_is_what_expressions_see(cluster: Cluster) -> None:
    only_v1 = rules("horizontalpodautoscalers", groups=("autoscaling",))
    only_v1["resourceRules"][0]["apiVersions"] = ["v1"]
    bind(
        cluster,
        policy("p", "object.spec.targetCPUUtilizationPercentage < 50", matchConstraints=only_v1),
    )
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
    }
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [metric]},
    }
    refused(cluster, scaler)
    metric["resource"]["target"]["averageUtilization"] = 30  # type: ignore[index]
    cluster.create(scaler)


def test_updates_and_deletions_see_the_old_object(cluster: Cluster) -> None:
    bind(
        cluster,
        policy("p", "oldObject == null || object == null || object.spec.replicas >= oldObject.spec.replicas"),
    )
    bind(
        cluster,
        policy(
            "q",
            "oldObject.metadata.name != 'keep' && object == null",
            matchConstraints=rules("deployments", operations=("DELETE",)),
        ),
    )
    cluster.create(deployment("keep", 3))
    cluster.create(deployment("go", 3))
    with pytest.raises(Forbidden, match="'p' with binding"):
        cluster.patch(DEPLOYMENTS, "keep", {"spec": {"replicas": 2}})
    cluster.patch(DEPLOYMENTS, "keep", {"spec": {"replicas": 4}})
    with pytest.raises(Forbidden, match="'q' with binding"):
        cluster.delete(DEPLOYMENTS, "keep")
    cluster.delete(DEPLOYMENTS, "go")


def parameters(name: str, most: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"most": most},
    }


def parametrized() -> dict[str, Any]:
    return policy(
        "p",
        "object.spec.replicas <= int(params.data.most)",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
    )


def test_parameters_by_name_and_what_a_missing_one_means(cluster: Cluster) -> None:
    cluster.create(parameters("limits", "5"))
    bind(cluster, parametrized(), paramRef={"name": "limits", "parameterNotFoundAction": "Deny"})
    cluster.create(deployment("a", 5))
    refused(cluster, deployment("b", 6))
    cluster.patch("configmaps", "limits", {"data": {"most": "7"}})
    cluster.create(deployment("b", 6))
    cluster.delete("configmaps", "limits")
    assert refused(cluster, deployment("c", 1)).message.endswith(
        "denied request: failed to configure binding: no params found for policy binding with `Deny` "
        "parameterNotFoundAction"
    )


def test_parameters_of_a_kind_that_is_not_served_are_the_policys_fault(cluster: Cluster) -> None:
    made = {**parametrized()}
    made["spec"] = {**made["spec"], "paramKind": {"apiVersion": "foo.com/v1", "kind": "Bar"}}
    bind(cluster, made, paramRef={"name": "x", "parameterNotFoundAction": "Deny"})
    assert refused(cluster, deployment("c", 1)).message.endswith(
        "' denied request: failed to configure policy: failed to find resource referenced by paramKind: "
        "'foo.com/v1, Kind=Bar'"
    )
    assert "with binding" not in refused(cluster, deployment("c", 1)).message


def test_parameters_by_selector_must_all_agree(cluster: Cluster) -> None:
    cluster.create(parameters("one", "5", use="yes"))
    cluster.create(parameters("two", "3", use="yes"))
    cluster.create(parameters("three", "1", use="no"))
    selector = {"matchLabels": {"use": "yes"}}
    bind(cluster, parametrized(), paramRef={"selector": selector, "parameterNotFoundAction": "Allow"})
    cluster.create(deployment("a", 3))
    refused(cluster, deployment("b", 4))
    for name in ("one", "two"):
        cluster.delete("configmaps", name)
    cluster.create(deployment("b", 40))


def test_warn_and_audit_let_the_request_through(cluster: Cluster) -> None:
    bind(cluster, policy("p", "false"), validationActions=["Warn", "Audit"])
    kernel = cluster.kernel
    type = kernel.registry.lookup("apps", "v1", "deployments")
    assert type is not None
    writing = kernel.registry.create(
        UserInfo("admin", ("system:masters",)), type, "default", deployment(), WriteOptions()
    )
    result = cluster.run(writing)
    assert (
        "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': failed expression: false"
        in result.warnings
    )


def test_the_namespace_and_the_authorizer_can_be_asked(cluster_factory: Callable[..., Cluster]) -> None:
    cluster = cluster_factory(config={"plugins": {"auth": ["rbac"]}})
    expression = (
        "namespaceObject.metadata.name == 'default' && authorizer.requestResource.check('delete').allowed() && "
        "!authorizer.serviceAccount('default', 'nobody').group('apps').resource('deployments').check('get').allowed()"
    )
    bind(cluster, policy("p", expression))
    cluster.create(deployment())


def test_connections_are_asked_about(cluster: Cluster) -> None:
    bind(
        cluster,
        policy(
            "p",
            "request.subResource != 'exec'",
            matchConstraints=rules("pods/exec", operations=("CONNECT",)),
        ),
    )
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}
    cluster.create({**pod, "spec": {"containers": [{"name": "c", "image": "x"}]}})
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "pods")
    assert type is not None
    with pytest.raises(Forbidden, match="'p' with binding 'p-binding' denied request"):
        cluster.run(
            registry.connect(UserInfo("admin", ("system:masters",)), type, "default", "a", "exec", {})
        )


def test_the_objects_that_configure_admission_are_never_refused(cluster: Cluster) -> None:
    bind(cluster, policy("p", "false", matchConstraints=rules("*", operations=("*",))))
    refused(cluster, deployment())
    cluster.delete("validatingadmissionpolicybindings.v1.admissionregistration.k8s.io", "p-binding", "")
    cluster.settle()
    cluster.create(deployment())


def test_expressions_that_cost_too_much_are_stopped(cluster: Cluster) -> None:
    many = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"
    deep = "true"
    for name in "abcdef":
        deep = f"{many}.all({name}, {deep})"
    bind(cluster, policy("p", deep))
    assert "operation cancelled: actual cost limit exceeded" in refused(cluster, deployment()).message
