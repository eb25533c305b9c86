"""Admission sees what is created under a subresource, as what it is and once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from webhook_kit import WebhookServer, configure, deny, patching, webhook

from kubernel.errors import ApiError, BadRequest, Forbidden, NotFound
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster

ADMIN = UserInfo("kubernetes-admin", ("system:masters",))
BINDING = {
    "apiVersion": "v1",
    "kind": "Binding",
    "metadata": {"name": "p"},
    "target": {"kind": "Node", "name": "n1"},
}
EVICTION = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
TOKEN = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    plugins = {"controller": ["bootstrap", "serviceaccount"], "scheduler": [], "node": []}
    with Cluster({"plugins": {**plugins, "auth": ["serviceaccount"]}}, real_time=True) as cluster:
        yield cluster


@pytest.fixture
def pod(cluster: Cluster, server: WebhookServer) -> Any:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "one", "image": "i:1"}]},
        }
    )
    yield
    if cluster.find("pods", "p") is not None:
        cluster.delete("pods", "p", "default", grace_period=0)


def post(cluster: Cluster, plural: str, name: str, sub: str, body: Any, **options: Any) -> Any:
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", plural)
    assert type is not None
    return cluster.run(
        registry.create(ADMIN, type, "default", body, WriteOptions(**options), name=name, subresource=sub)
    )


@pytest.mark.parametrize(
    ("plural", "name", "sub", "body", "kind"),
    [
        pytest.param("pods", "p", "binding", BINDING, ("", "v1", "Binding"), id="binding"),
        pytest.param("pods", "p", "eviction", EVICTION, ("policy", "v1", "Eviction"), id="eviction"),
        pytest.param(
            "serviceaccounts", "default", "token", TOKEN,
            ("authentication.k8s.io", "v1", "TokenRequest"), id="token",
        ),
    ],
)  # fmt: skip
def test_webhooks_are_asked_about_the_creation_alone(
    cluster: Cluster, server: WebhookServer, pod: Any, plural: str, name: str, sub: str, body: Any, kind: Any
) -> None:
    for which in ("Mutating", "Validating"):
        hook = webhook(f"{which.lower()}.example.com", server.url(f"/{which}"), "*/*")
        configure(cluster, which, which.lower(), hook)
    server.asked.clear()
    post(cluster, plural, name, sub, body, field_manager="me")
    for which in ("Mutating", "Validating"):
        (request,) = [
            one
            for one in server.requests(f"/{which}")
            if one["resource"]["resource"] in ("pods", "serviceaccounts")
        ]
        group, version, named = kind
        assert (
            request["kind"] == request["requestKind"] == {"group": group, "version": version, "kind": named}
        )
        assert request["resource"] == {"group": "", "version": "v1", "resource": plural}
        assert request["subResource"] == request["requestSubResource"] == sub
        assert (request["name"], request["namespace"]) == (name, "default")
        assert (request["operation"], request["oldObject"]) == ("CREATE", None)
        assert request["object"]["kind"] == named
        assert request["object"]["metadata"]["namespace"] == "default"
        assert request["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}


@pytest.mark.parametrize(("sub", "body"), [("binding", BINDING), ("eviction", EVICTION)])
def test_a_denial_leaves_everything_as_it_was(
    cluster: Cluster, server: WebhookServer, pod: Any, sub: str, body: Any
) -> None:
    server.answers["/d"] = deny
    configure(cluster, "Validating", "d", webhook("d.example.com", server.url("/d"), f"pods/{sub}"))
    before = cluster.get("pods", "p")
    with pytest.raises(ApiError) as caught:
        post(cluster, "pods", "p", sub, body)
    assert caught.value.message == 'admission webhook "d.example.com" denied the request: no'
    assert cluster.get("pods", "p") == before


def test_a_mutating_webhook_changes_what_is_asked_for(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/t"] = patching({"op": "add", "path": "/spec/audiences", "value": ["elsewhere"]})
    configure(cluster, "Mutating", "t", webhook("t.example.com", server.url("/t"), "serviceaccounts/token"))
    answer = post(cluster, "serviceaccounts", "default", "token", TOKEN).obj
    assert answer["spec"]["audiences"] == ["elsewhere"]


def test_a_wrong_body_is_refused_before_validating_webhooks_are_asked(
    cluster: Cluster, server: WebhookServer, pod: Any
) -> None:
    configure(cluster, "Validating", "v", webhook("v.example.com", server.url("/v"), "pods/*"))
    with pytest.raises(BadRequest, match="name in URL does not match name in Eviction object"):
        post(cluster, "pods", "p", "eviction", {**EVICTION, "metadata": {"name": "other"}})
    with pytest.raises(BadRequest, match="name in URL does not match name in Binding object"):
        post(cluster, "pods", "p", "binding", {**BINDING, "metadata": {}})
    with pytest.raises(ApiError, match=r"target.name: Required value"):
        post(cluster, "pods", "p", "binding", {**BINDING, "target": {"kind": "Node"}})
    assert not server.asked


def test_bodies_are_decoded_by_the_schema_of_their_own_kind(cluster: Cluster, pod: Any) -> None:
    result = post(cluster, "pods", "p", "binding", {**BINDING, "tarket": {}})
    assert result.warnings == ('unknown field "tarket"',)
    with pytest.raises(BadRequest, match="strict decoding error: unknown field"):
        post(cluster, "pods", "p", "eviction", {**EVICTION, "spec": {}}, field_validation="Strict")
    with pytest.raises(BadRequest):
        post(cluster, "pods", "p", "binding", {**BINDING, "target": "n1"})


def test_a_policy_is_about_evictions(cluster: Cluster, server: WebhookServer, pod: Any) -> None:
    rules = [
        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods/eviction"]}
    ]
    group = "admissionregistration.k8s.io/v1"
    policy = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "keep"},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": "has(object.deleteOptions)", "message": "say how"}],
        },
    }
    binding = {
        "apiVersion": group,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "keep"},
        "spec": {"policyName": "keep", "validationActions": ["Deny"]},
    }
    for one in (policy, binding):
        cluster.create(one)
    cluster.settle()
    try:
        with pytest.raises(ApiError, match="say how"):
            post(cluster, "pods", "p", "eviction", EVICTION)
        post(cluster, "pods", "p", "eviction", {**EVICTION, "deleteOptions": {"gracePeriodSeconds": 0}})
        assert cluster.find("pods", "p") is None
    finally:
        for plural in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            cluster.delete(f"{plural}.v1.admissionregistration.k8s.io", "keep")
        cluster.settle()


def test_reviews_pass_admission_too(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/r"] = deny
    hook = webhook("r.example.com", server.url("/r"), "selfsubjectreviews")
    configure(cluster, "Validating", "r", hook)
    registry = cluster.kernel.registry
    type = registry.lookup("authentication.k8s.io", "v1", "selfsubjectreviews")
    assert type is not None
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    with pytest.raises(ApiError, match="denied the request: no"):
        cluster.run(registry.create(ADMIN, type, "", body, WriteOptions()))


def test_nothing_is_created_under_what_is_in_a_terminating_namespace(cluster: Cluster) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "going", "finalizers": ["a.example/b"]},
        }
    )
    cluster.settle()
    cluster.delete("namespaces", "going")
    cluster.settle()
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "pods")
    assert type is not None
    with pytest.raises(Forbidden) as caught:
        cluster.run(
            registry.create(
                ADMIN, type, "going", dict(EVICTION), WriteOptions(), name="p", subresource="eviction"
            )
        )
    assert [cause.reason for cause in caught.value.causes] == ["NamespaceTerminating"]


def test_an_eviction_of_nothing_is_not_found(cluster: Cluster) -> None:
    with pytest.raises(NotFound):
        post(cluster, "pods", "none", "eviction", {**EVICTION, "metadata": {"name": "none"}})
