"""What webhooks are asked, and what their answers do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tls_kit import endpoints_at, service_at
from webhook_kit import WebhookServer, config_map, configure, deny, patching, reviewed, webhook

from kubernel.errors import ApiError, BadRequest
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.store.records import Key
from kubernel.testing import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(
        {"plugins": {"controller": ["bootstrap", "serviceaccount"], "scheduler": [], "node": []}},
        real_time=True,
    ) as cluster:
        yield cluster


def refused(cluster: Cluster, obj: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        cluster.create(obj)
    return caught.value


def test_a_review_says_who_does_what_to_which_object(cluster: Cluster, server: WebhookServer) -> None:
    configure(cluster, "Validating", "v", webhook("a.example.com", server.url("/v"), timeoutSeconds=7))
    cluster.create(config_map(key="1"))
    cluster.delete("configmaps", "c", "default")
    (path, review), (_, deletion) = server.asked
    assert path == "/v?timeout=7s"
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    request = review["request"]
    assert request["operation"] == "CREATE"
    assert request["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert request["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (request["name"], request["namespace"], request["dryRun"]) == ("c", "default", False)
    assert request["userInfo"]["username"] == "kubernetes-admin"
    assert request["object"]["data"] == {"key": "1"}
    assert request["oldObject"] is None
    assert deletion["request"]["operation"] == "DELETE"
    assert deletion["request"]["object"] is None
    assert deletion["request"]["oldObject"]["data"] == {"key": "1"}


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        pytest.param({"message": "no"}, ": no", 400, id="message"),
        pytest.param({"message": "no", "code": 403, "reason": "Forbidden"}, ": no", 403, id="code"),
        pytest.param({"reason": "Because", "code": 200}, ": Because", 400, id="reason-and-a-success-code"),
        pytest.param(None, " without explanation", 400, id="nothing"),
    ],
)
@pytest.mark.parametrize("kind", ["Mutating", "Validating"])
def test_a_denial_names_the_webhook_and_its_words(
    cluster: Cluster, server: WebhookServer, kind: str, status: Any, message: str, code: int
) -> None:
    server.answers["/d"] = lambda request: {"allowed": False, "status": status}
    configure(cluster, kind, "d", webhook("d.example.com", server.url("/d")))
    error = refused(cluster, config_map())
    assert error.message == f'admission webhook "d.example.com" denied the request{message}'
    assert error.status_code == code


def test_patches_are_applied_in_the_order_of_the_configurations_names(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/one"] = patching({"op": "add", "path": "/data/one", "value": "1"})
    server.answers["/two"] = patching({"op": "copy", "from": "/data/one", "path": "/data/two"})
    configure(cluster, "Mutating", "b", webhook("two.example.com", server.url("/two")))
    configure(cluster, "Mutating", "a", webhook("one.example.com", server.url("/one")))
    assert cluster.create(config_map(zero="0"))["data"] == {"zero": "0", "one": "1", "two": "1"}


def test_a_webhook_that_wants_it_is_asked_again_when_another_changed_the_object(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/late"] = patching({"op": "add", "path": "/data/late", "value": "1"})
    configure(
        cluster,
        "Mutating",
        "m",
        webhook("again.example.com", server.url("/again"), reinvocationPolicy="IfNeeded"),
        webhook("once.example.com", server.url("/once")),
        webhook("late.example.com", server.url("/late")),
    )
    cluster.create(config_map(zero="0"))
    seen = [request["object"]["data"] for request in server.requests("/again")]
    assert seen == [{"zero": "0"}, {"zero": "0", "late": "1"}]
    assert len(server.requests("/once")) == len(server.requests("/late")) == 1


def test_a_patched_object_gets_defaults_and_loses_what_nobody_knows(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/p"] = patching(
        {"op": "add", "path": "/spec/containers/-", "value": {"name": "two", "image": "i:1", "nonsense": 1}}
    )
    configure(
        cluster, "Mutating", "p", webhook("p.example.com", server.url("/p"), "pods", operations=("CREATE",))
    )
    made = cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "one", "image": "i:1"}]},
        }
    )
    second = made["spec"]["containers"][1]
    assert second["imagePullPolicy"] == "IfNotPresent"
    assert "nonsense" not in second
    cluster.delete("pods", "p", "default", grace_period=0)


def test_a_deletion_cannot_be_changed(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/m"] = patching({"op": "add", "path": "/data", "value": {}})
    cluster.create(config_map())
    configure(cluster, "Mutating", "m", webhook("m.example.com", server.url("/m"), operations=("DELETE",)))
    with pytest.raises(ApiError) as caught:
        cluster.delete("configmaps", "c", "default")
    assert caught.value.message == (
        'Internal error occurred: admission webhook "m.example.com" attempted to modify the object, which is not '
        "supported for this operation"
    )


def test_a_service_is_called_by_its_name_at_one_of_its_endpoints(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/s"] = deny
    cluster.create(service_at("hook", server.port))
    service = {"name": "hook", "namespace": "default", "port": 8443, "path": "/s"}
    configure(
        cluster, "Validating", "s", webhook("s.example.com", {"service": service, "caBundle": server.ca})
    )
    assert refused(cluster, config_map()).message == (
        'Internal error occurred: failed calling webhook "s.example.com": failed to call webhook: Post '
        '"https://hook.default.svc:8443/s?timeout=10s": no endpoints available for service "hook"'
    )
    cluster.create(endpoints_at("hook", server.port))
    assert (
        refused(cluster, config_map()).message == 'admission webhook "s.example.com" denied the request: no'
    )
    cluster.delete("services", "hook", "default")


@pytest.mark.parametrize(
    ("path", "answer", "why"),
    [
        pytest.param(
            "/hang", None, 'failed to call webhook: Post "{url}": context deadline exceeded', id="late"
        ),
        pytest.param(
            "/r",
            lambda review: (500, b"oops"),
            'failed to call webhook: an error on the server ("oops") has prevented the request from succeeding',
            id="500",
        ),
        pytest.param(
            "/r",
            lambda review: (404, b""),
            "failed to call webhook: the server could not find the requested resource",
            id="404",
        ),
        pytest.param(
            "/r",
            lambda review: (200, b"{}"),
            "received invalid webhook response: webhook response was absent",
            id="no-response",
        ),
        pytest.param(
            "/r",
            lambda review: (
                200,
                json.dumps(reviewed(review, {"uid": "x", "allowed": True})).encode(),
            ),
            'received invalid webhook response: expected response.uid="{uid}", got "x"',
            id="other-uid",
        ),
        pytest.param(
            "/r",
            lambda review: (
                200,
                json.dumps(reviewed(review, {"allowed": True, "patchType": "JSONPatch"})).encode(),
            ),
            "received invalid webhook response: validating webhook may not return response.patchType",
            id="patch-of-a-validating-one",
        ),
    ],
)
def test_what_is_no_answer_is_what_the_failure_policy_is_about(
    cluster: Cluster, server: WebhookServer, path: str, answer: Any, why: str
) -> None:
    if answer is not None:
        server.raw[path] = answer
    client = server.url(path)
    configure(cluster, "Validating", "f", webhook("f.example.com", client, timeoutSeconds=1))
    error = refused(cluster, config_map())
    why = why.format(url=f"{client['url']}?timeout=1s", uid=server.asked[-1][1]["request"]["uid"])
    text = f'failed calling webhook "f.example.com": {why}'
    assert error.to_status()["details"]["causes"] == [{"message": text}]
    assert error.message == f"Internal error occurred: {text}"
    assert (error.status_code, error.status_reason) == (500, "InternalError")
    resource = "validatingwebhookconfigurations.v1.admissionregistration.k8s.io"
    cluster.patch(
        resource, "f", [{"op": "add", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}], type="json"
    )
    cluster.settle()
    cluster.create(config_map())


def test_nobody_listening_and_strange_certificates_are_told_as_go_tells_them(
    cluster: Cluster, server: WebhookServer, tmp_path: Path
) -> None:
    other = WebhookServer(tmp_path, "elsewhere.example")
    try:
        unknown = {**server.url("/x"), "caBundle": other.ca}
        misnamed = other.url("/x")
    finally:
        other.stop()
    closed = {"url": f"https://127.0.0.1:{other.port}/x", "caBundle": other.ca}
    words = {
        "unknown": "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        "closed": f"dial tcp 127.0.0.1:{other.port}: connect: connection refused",
    }
    assert misnamed["url"] == closed["url"]
    for name, client in (("unknown", unknown), ("closed", closed)):
        configure(cluster, "Validating", name, webhook(f"{name}.example.com", client))
        message = refused(cluster, config_map()).message
        assert message.endswith(f'Post "{client["url"]}?timeout=10s": {words[name]}')
        cluster.delete("validatingwebhookconfigurations.v1.admissionregistration.k8s.io", name)
        cluster.settle()


def test_a_certificate_for_another_name_is_refused(
    cluster: Cluster, server: WebhookServer, tmp_path: Path
) -> None:
    other = WebhookServer(tmp_path, "elsewhere.example")
    try:
        configure(cluster, "Validating", "n", webhook("n.example.com", other.url("/x")))
        assert "but wanted to match 127.0.0.1" in refused(cluster, config_map()).message
    finally:
        other.stop()


def test_only_what_rules_selectors_and_conditions_mean_is_asked(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/d"] = deny
    configure(
        cluster,
        "Validating",
        "sel",
        webhook(
            "sel.example.com",
            server.url("/d"),
            "*/*",
            operations=("CREATE",),
            objectSelector={"matchLabels": {"watched": "yes"}},
            namespaceSelector={
                "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "Exists"}]
            },
            matchConditions=[{"name": "named", "expression": "object.metadata.name != 'free'"}],
        ),
    )
    cluster.create(config_map())
    cluster.create(
        {**config_map(), "metadata": {"name": "free", "namespace": "default", "labels": {"watched": "yes"}}}
    )
    error = refused(
        cluster,
        {**config_map(), "metadata": {"name": "held", "namespace": "default", "labels": {"watched": "yes"}}},
    )
    assert error.message.startswith('admission webhook "sel.example.com" denied')


def test_configurations_themselves_are_never_reviewed(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/d"] = deny
    configure(cluster, "Validating", "all", webhook("all.example.com", server.url("/d"), "*/*"))
    cluster.delete("validatingwebhookconfigurations.v1.admissionregistration.k8s.io", "all")
    cluster.settle()
    cluster.create(config_map())


def test_a_webhook_is_told_of_a_dry_run(cluster: Cluster, server: WebhookServer) -> None:
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "configmaps")
    assert type is not None
    options = WriteOptions(dry_run=True)

    def write() -> Any:
        return registry.create(UserInfo("u"), type, "default", config_map(), options)

    configure(
        cluster, "Validating", "e", webhook("e.example.com", server.url("/e"), sideEffects="NoneOnDryRun")
    )
    cluster.run(write())
    assert server.requests("/e")[0]["dryRun"] is True


@pytest.mark.parametrize("effects", ["Some", "Unknown"])
def test_a_webhook_with_side_effects_refuses_a_dry_run_unasked(
    cluster: Cluster, server: WebhookServer, effects: str
) -> None:
    # Only old configurations may say so; the API has refused them since v1.
    made = configure(cluster, "Validating", "e", webhook("e.example.com", server.url("/e")))
    changed = {**made, "webhooks": [{**made["webhooks"][0], "sideEffects": effects}]}
    store = cluster.kernel.registry.store
    key = Key("validatingwebhookconfigurations.admissionregistration.k8s.io", "", "e")
    record = store.get(key)
    assert record is not None
    cluster.run(store.update(key, changed, expect=record.revision))
    cluster.settle()
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "configmaps")
    assert type is not None
    with pytest.raises(BadRequest) as caught:
        cluster.run(registry.create(UserInfo("u"), type, "default", config_map(), WriteOptions(dry_run=True)))
    assert caught.value.message == 'admission webhook "e.example.com" does not support dry run'
    assert not server.asked


@pytest.mark.parametrize("versions", [["v1beta1"], ["v1beta1", "v1"]])
def test_a_review_is_sent_in_the_first_version_that_both_know(
    cluster: Cluster, server: WebhookServer, versions: list[str]
) -> None:
    configure(
        cluster, "Mutating", "b",
        webhook("b.example.com", server.url("/b"), admissionReviewVersions=["v2", *versions]),
    )  # fmt: skip
    server.answers["/b"] = patching({"op": "add", "path": "/data/seen", "value": "1"})
    assert cluster.create(config_map(key="1"))["data"] == {"key": "1", "seen": "1"}
    assert server.asked[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"


def test_an_answer_in_v1beta1_needs_no_uid(cluster: Cluster, server: WebhookServer) -> None:
    server.raw["/b"] = lambda review: (200, b'{"response": {"allowed": false, "status": {"message": "no"}}}')
    configure(
        cluster, "Validating", "b",
        webhook("b.example.com", server.url("/b"), admissionReviewVersions=["v1beta1"]),
    )  # fmt: skip
    assert (
        refused(cluster, config_map()).message == 'admission webhook "b.example.com" denied the request: no'
    )


def autoscaler(name: str, version: str) -> dict[str, Any]:
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
        },
    }


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", True), ("Exact", False)])
def test_another_version_of_a_resource_is_reviewed_when_equivalents_match(
    cluster: Cluster, server: WebhookServer, policy: str, asked: bool
) -> None:
    rule = {
        "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["horizontalpodautoscalers"],
    }
    server.answers["/m"] = patching(
        {"op": "add", "path": "/spec/targetCPUUtilizationPercentage", "value": 55}
    )
    configure(
        cluster, "Mutating", "m",
        webhook("m.example.com", server.url("/m"), matchPolicy=policy) | {"rules": [rule]},
    )  # fmt: skip
    made = cluster.create(autoscaler(policy.lower(), "v2"))
    assert made["apiVersion"] == "autoscaling/v2"
    assert bool(server.asked) is asked
    if not asked:
        return
    (request,) = server.requests("/m")
    assert request["kind"] == {"group": "autoscaling", "version": "v1", "kind": "HorizontalPodAutoscaler"}
    assert request["resource"]["version"] == "v1"
    assert request["requestKind"]["version"] == request["requestResource"]["version"] == "v2"
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    # What it changed in its version is there in the client's.
    assert made["spec"]["metrics"][0]["resource"]["target"] == {
        "type": "Utilization",
        "averageUtilization": 55,
    }


def test_warnings_reach_the_client_and_connections_are_used_again(
    cluster: Cluster, server: WebhookServer
) -> None:
    server.answers["/w"] = lambda request: {"allowed": True, "warnings": ["mind the gap"]}
    configure(cluster, "Validating", "w", webhook("w.example.com", server.url("/w")))
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "configmaps")
    assert type is not None
    before = server.connections
    for number in range(5):
        result = cluster.run(
            registry.create(UserInfo("u"), type, "default", config_map(f"c{number}"), WriteOptions())
        )
        assert result.warnings == ("mind the gap",)
    assert server.connections <= before + 1


def test_a_connect_is_reviewed_under_its_subresource(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/c"] = deny
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": [{"name": "one", "image": "i:1"}]},
        }
    )
    configure(
        cluster,
        "Validating",
        "c",
        webhook("c.example.com", server.url("/c"), "pods/attach", operations=("CONNECT",)),
    )
    registry = cluster.kernel.registry
    type = registry.lookup("", "v1", "pods")
    assert type is not None
    options = {"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": True}
    cluster.run(registry.connect(UserInfo("u"), type, "default", "p", "exec", dict(options)))
    with pytest.raises(ApiError) as caught:
        cluster.run(registry.connect(UserInfo("u"), type, "default", "p", "attach", options))
    assert caught.value.message == 'admission webhook "c.example.com" denied the request: no'
    assert server.requests("/c")[0]["subResource"] == "attach"
    assert server.requests("/c")[0]["object"] == options
    cluster.delete("pods", "p", "default", grace_period=0)


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        pytest.param(
            {"name": "short.example"},
            "name",
            'Invalid value: "short.example": should be a domain with at least three segments separated by dots',
            id="name",
        ),
        pytest.param(
            {"clientConfig": {}},
            "clientConfig",
            "Required value: exactly one of url or service is required",
            id="nowhere",
        ),
        pytest.param(
            {"clientConfig": {"url": "http://h/x"}},
            "clientConfig.url",
            "Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            id="http",
        ),
        pytest.param(
            {"clientConfig": {"service": {"name": "s", "namespace": "n", "path": "/a//b"}}},
            "clientConfig.service.path",
            'Invalid value: "/a//b": segment[1] may not be empty',
            id="path",
        ),
        pytest.param(
            {"timeoutSeconds": 31},
            "timeoutSeconds",
            "Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            id="timeout",
        ),
        pytest.param(
            {"admissionReviewVersions": ["v7"]},
            "admissionReviewVersions",
            'Invalid value: ["v7"]: must include at least one of v1, v1beta1',
            id="review-versions",
        ),
        pytest.param(
            {"matchConditions": [{"name": "c", "expression": "object.("}]},
            "matchConditions[0].expression",
            "compilation failed",
            id="condition",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(
    cluster: Cluster, change: dict[str, Any], field: str, text: str
) -> None:
    wrong = {**webhook("w.example.com", {"url": "https://h.example/x"}), **change}
    with pytest.raises(ApiError) as caught:
        configure(cluster, "Validating", "wrong", wrong)
    assert caught.value.status_code == 422
    (cause,) = caught.value.causes
    assert cause.field == f"webhooks[0].{field}"
    assert text in cause.message


def answered(server: WebhookServer, path: str, body: bytes, code: int = 200) -> dict[str, Any]:
    server.raw[path] = lambda review: (code, body)
    return webhook("w.example.com", server.url(path))


def review_of(api_version: str, kind: str) -> bytes:
    return json.dumps({"apiVersion": api_version, "kind": kind, "response": {"allowed": True}}).encode()


@pytest.mark.parametrize(
    ("body", "code", "why"),
    [
        pytest.param(b"boom", 500, 'an error on the server ("boom") has prevented', id="500"),
        pytest.param(b"", 200, "0-length response with status code: 200 and content type: ", id="empty"),
        pytest.param(
            b"hello",
            200,
            "couldn't get version/kind; json parse error: json: cannot unmarshal string",
            id="text",
        ),
        pytest.param(
            review_of("admission.k8s.io/v1", "Foo"),
            200,
            'no kind "Foo" is registered for version "admission.k8s.io/v1" in scheme "pkg/runtime/scheme.go:111"',
            id="another kind",
        ),
        pytest.param(
            review_of("admission.k8s.io/v1beta1", "AdmissionReview"),
            200,
            "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            id="another version",
        ),
    ],
)
def test_an_answer_that_is_no_review_is_a_failed_call(
    cluster: Cluster, server: WebhookServer, body: bytes, code: int, why: str
) -> None:
    configure(cluster, "Validating", "w", answered(server, "/w", body, code))
    message = refused(cluster, config_map()).message
    told = 'Internal error occurred: failed calling webhook "w.example.com": failed to call webhook: '
    assert message.startswith(told + why)


@pytest.mark.parametrize(
    ("patch", "why"),
    [
        pytest.param(
            "ew==", "received undecodable patch in webhook response: unexpected end of JSON input", id="cut"
        ),
        pytest.param("***", "failed to call webhook: illegal base64 data at input byte 0", id="no base64"),
    ],
)
def test_a_patch_that_cannot_be_read_is_a_failed_call(
    cluster: Cluster, server: WebhookServer, patch: str, why: str
) -> None:
    server.answers["/m"] = lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": patch}
    configure(cluster, "Mutating", "m", webhook("m.example.com", server.url("/m")))
    message = refused(cluster, config_map()).message
    assert message == f'Internal error occurred: failed calling webhook "m.example.com": {why}'


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        pytest.param(
            {"op": "remove", "path": "/nope"},
            "error in remove for path: '/nope': Unable to remove nonexistent key: nope: missing value",
            id="remove",
        ),
        pytest.param(
            {"op": "add", "path": "/a/b", "value": 1},
            'add operation does not apply: doc is missing path: "/a/b": missing value',
            id="add",
        ),
        pytest.param(
            {"op": "test", "path": "/kind", "value": "Pod"},
            "testing value /kind failed: test failed",
            id="test",
        ),
        pytest.param(
            {"op": "replace", "path": "/data", "value": 3},
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type map[string]string",
            id="type",
        ),
    ],
)
def test_a_patch_that_cannot_be_applied_says_why(
    cluster: Cluster, server: WebhookServer, operation: dict[str, Any], why: str
) -> None:
    server.answers["/m"] = patching(operation)
    configure(cluster, "Mutating", "m", webhook("m.example.com", server.url("/m")))
    assert refused(cluster, config_map()).message == f"Internal error occurred: {why}"


def test_a_refusal_takes_warnings_along(cluster: Cluster, server: WebhookServer) -> None:
    server.answers["/d"] = lambda request: {"allowed": False, "warnings": ["mind"]}
    configure(cluster, "Validating", "d", webhook("d.example.com", server.url("/d")))
    assert refused(cluster, config_map()).warnings == ("mind",)


def test_mutating_webhooks_do_not_see_what_the_server_adds_last(
    cluster: Cluster, server: WebhookServer
) -> None:
    configure(cluster, "Mutating", "m", webhook("m.example.com", server.url("/m")))
    configure(cluster, "Validating", "v", webhook("v.example.com", server.url("/v")))
    generated = {"metadata": {"generateName": "c-", "namespace": "default"}}
    cluster.create({"apiVersion": "v1", "kind": "ConfigMap", **generated})
    (before,), (after,) = server.requests("/m"), server.requests("/v")
    assert "name" not in before
    assert not {"uid", "creationTimestamp", "name"} & set(before["object"]["metadata"])
    assert after["name"] == after["object"]["metadata"]["name"] != ""
    assert {"uid", "creationTimestamp"} <= set(after["object"]["metadata"])


def test_a_patch_is_told_as_the_update_that_it_is(cluster: Cluster, server: WebhookServer) -> None:
    cluster.create(config_map(key="1"))
    configure(cluster, "Validating", "v", webhook("v.example.com", server.url("/v")))
    cluster.patch("configmaps", "c", {"data": {"key": "2"}}, "default")
    (request,) = server.requests("/v")
    assert (request["operation"], request["options"]["kind"]) == ("UPDATE", "UpdateOptions")
