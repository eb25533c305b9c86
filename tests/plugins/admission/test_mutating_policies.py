"""What MutatingAdmissionPolicies change."""

from __future__ import annotations

from typing import Any

import pytest
from policy_kit import DEPLOYMENTS, bind, deployment, policy, rules
from workload_kit import pod

from kubernel.errors import Forbidden
from kubernel.testing import Cluster


def mutating(name: str, *mutations: dict[str, Any], **spec: Any) -> dict[str, Any]:
    constraints = rules("deployments", operations=("CREATE", "UPDATE"))
    made = policy(
        name, kind="Mutating", **{"matchConstraints": constraints, "reinvocationPolicy": "Never", **spec}
    )
    made["spec"]["mutations"] = list(mutations)
    return made


def applied(expression: str) -> dict[str, Any]:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> dict[str, Any]:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def test_an_apply_configuration_is_merged(cluster: Cluster) -> None:
    bind(
        cluster,
        mutating(
            "p",
            applied("Object{spec: Object.spec{replicas: 1337}}"),
            applied(
                "Object{metadata: Object.metadata{labels: {'seen': string(object.spec.replicas)}}, spec: Object.spec{"
                "template: Object.spec.template{spec: Object.spec.template.spec{containers: ["
                "Object.spec.template.spec.containers{name: 'side', image: 'registry.example/side:1'}]}}}}"
            ),
        ),
    )
    made = cluster.create(deployment(labels={"a": "b"}))
    assert made["spec"]["replicas"] == 1337
    assert made["metadata"]["labels"] == {"a": "b", "seen": "1337"}
    containers = made["spec"]["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["main", "side"]
    assert containers[1]["imagePullPolicy"] == "IfNotPresent", "what was added is completed"


def test_json_patches_are_applied_and_a_test_that_fails_is_no_error(cluster: Cluster) -> None:
    bind(
        cluster,
        mutating(
            "p",
            patched(
                "[JSONPatch{op: 'test', path: '/spec/replicas', value: 3}, "
                "JSONPatch{op: 'replace', path: '/spec/replicas', value: 5}]"
            ),
            patched(
                "has(object.metadata.annotations) ? [] : [JSONPatch{op: 'add', path: '/metadata/annotations', "
                "value: {'example.com/' + object.metadata.name: 'yes'}}]"
            ),
            patched(
                "[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey('example.com/x'), "
                "value: 'y'}]"
            ),
        ),
    )
    made = cluster.create(deployment())
    assert made["spec"]["replicas"] == 5
    assert made["metadata"]["annotations"] == {"example.com/web": "yes", "example.com/x": "y"}
    assert cluster.create(deployment("two", 2))["spec"]["replicas"] == 2


def test_conditions_variables_and_parameters(cluster: Cluster) -> None:
    cluster.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"replicas": "4"}}
    )
    made = mutating(
        "p",
        applied("Object{spec: Object.spec{replicas: variables.wanted}}"),
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        variables=[{"name": "wanted", "expression": "int(params.data.replicas)"}],
        matchConditions=[{"name": "small", "expression": "object.spec.replicas < int(params.data.replicas)"}],
    )
    bind(cluster, made, paramRef={"name": "settings", "parameterNotFoundAction": "Deny"})
    assert cluster.create(deployment("small", 1))["spec"]["replicas"] == 4
    assert cluster.create(deployment("large", 9))["spec"]["replicas"] == 9


def test_updates_are_changed_too(cluster: Cluster) -> None:
    cluster.create(deployment())
    bind(cluster, mutating("p", applied("Object{spec: Object.spec{replicas: oldObject.spec.replicas + 1}}")))
    assert cluster.patch(DEPLOYMENTS, "web", {"spec": {"paused": True}})["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("again", "expected"),
    [pytest.param("IfNeeded", "2", id="if-needed"), pytest.param("Never", "1", id="never")],
)
def test_a_policy_sees_what_later_ones_changed_only_if_it_wants_to(
    cluster: Cluster, again: str, expected: str
) -> None:
    count = "Object{metadata: Object.metadata{labels: {'count': string(object.spec.replicas)}}}"
    bind(cluster, mutating("a", applied(count), reinvocationPolicy=again))
    bind(cluster, mutating("b", applied("Object{spec: Object.spec{replicas: 2}}")))
    assert cluster.create(deployment(replicas=1))["metadata"]["labels"]["count"] == expected


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        pytest.param(
            applied("Object{spec: Object.wrong{replicas: 1}}"),
            'type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name path '
            "from root Object type",
            id="name-of-another-field",
        ),
        pytest.param(
            applied("Object{spec: Object.spec{nothing: 1}}"),
            ".spec.nothing: field not declared in schema",
            id="unknown-field",
        ),
        pytest.param(
            applied("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'a': 'b'}}}}"),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
            id="atomic-struct",
        ),
        pytest.param(
            applied("Object{spec: Object.spec{replicas: object.nothing}}"),
            "resulted in error: no such key: nothing",
            id="evaluation",
        ),
        pytest.param(
            patched("[JSONPatch{op: 'remove', path: '/metadata/nothing'}]"),
            "JSON Patch: error in remove for path: '/metadata/nothing': Unable to remove nonexistent key: nothing: "
            "missing value",
            id="patch-that-does-not-fit",
        ),
    ],
)
def test_what_goes_wrong_is_refused_by_name(cluster: Cluster, mutation: dict[str, Any], message: str) -> None:
    bind(cluster, mutating("p", mutation))
    with pytest.raises(Forbidden) as caught:
        cluster.create(deployment())
    assert caught.value.message.startswith("policy 'p' with binding 'p-binding' denied request: ")
    assert message in caught.value.message
    assert (caught.value.status_code, caught.value.status_reason) == (403, "Invalid")


def test_failures_are_ignored_where_the_policy_says_so(cluster: Cluster) -> None:
    bind(
        cluster,
        mutating("p", applied("Object{spec: Object.spec{replicas: object.nothing}}"), failurePolicy="Ignore"),
    )
    assert cluster.create(deployment())["spec"]["replicas"] == 3


def test_validating_policies_see_what_mutating_ones_made(cluster: Cluster) -> None:
    bind(cluster, mutating("m", applied("Object{spec: Object.spec{replicas: 9}}")))
    bind(cluster, policy("v", "object.spec.replicas <= 5"))
    with pytest.raises(Forbidden, match="ValidatingAdmissionPolicy 'v'"):
        cluster.create(deployment())


def test_what_a_policy_adds_is_seen_by_the_plugins_before_it(cluster: Cluster) -> None:
    sidecar = "Object.spec.containers{name: 'side', image: 'registry.example/side:1'}"
    bind(
        cluster,
        mutating(
            "p",
            applied(f"Object{{spec: Object.spec{{containers: [{sidecar}]}}}}"),
            matchConstraints=rules("pods", operations=("CREATE",)),
        ),
    )
    made = cluster.create(pod("a"))
    assert [volume["name"][:16] for volume in made["spec"]["volumes"]] == ["kube-api-access-"]
    mounts = [container["volumeMounts"][0]["mountPath"] for container in made["spec"]["containers"]]
    assert mounts == ["/var/run/secrets/kubernetes.io/serviceaccount"] * 2
