"""Several versions of a custom resource: one is stored, each is served as its schema says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from crd_kit import DEFINITIONS, definition, fields, of_spec, preserve, serve, version, widget
from webhook_kit import WebhookServer

from kubernel.errors import ApiError
from kubernel.registry.operations import ListOptions, WatchOptions
from kubernel.registry.request import UserInfo, WriteOptions
from kubernel.testing import Cluster

Obj = dict[str, Any]
V1, V2 = "widgets.v1.example.com", "widgets.v2.example.com"


def two(**more: Any) -> Obj:
    """v1 is stored; v2 knows another field, with a default."""
    return definition(
        version("v1", of_spec(fields(a={"type": "string"}, b={"type": "integer", "default": 1}))),
        version(
            "v2", of_spec(fields(a={"type": "string"}, c={"type": "integer", "default": 2})), storage=False
        ),
        **more,
    )


def test_without_conversion_only_the_version_is_rewritten_and_each_schema_prunes(cluster: Cluster) -> None:
    serve(cluster, two())
    cluster.create(widget(spec={"a": "x", "b": 5}))
    seen = cluster.get(V2, "one")
    assert (seen["apiVersion"], seen["spec"]) == ("example.com/v2", {"a": "x"})
    made = cluster.create(widget("two", "example.com/v2", spec={"a": "y"}))
    assert (made["apiVersion"], made["spec"]) == ("example.com/v2", {"a": "y"})
    assert [one["spec"] for one in cluster.list(V1)] == [{"a": "x", "b": 5}, {"a": "y", "b": 1}]
    assert {one["apiVersion"] for one in cluster.list(V2)} == {"example.com/v2"}


def test_the_stored_object_is_in_the_storage_version(cluster: Cluster) -> None:
    serve(cluster, two())
    cluster.create(widget("two", "example.com/v2", spec={"a": "y"}))
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v2", "widgets")
    assert type is not None
    assert registry.get(type, "default", "two").obj["apiVersion"] == "example.com/v1"


def test_after_a_change_of_the_storage_version_old_objects_are_read_and_written_anew(
    cluster: Cluster,
) -> None:
    made = serve(cluster, two())
    cluster.create(widget(spec={"a": "x"}))
    first, second = made["spec"]["versions"]
    versions = [{**first, "storage": False}, {**second, "storage": True}]
    cluster.update({**made, "spec": {**made["spec"], "versions": versions}})
    cluster.settle()
    assert cluster.get(DEFINITIONS, "widgets.example.com", "")["status"]["storedVersions"] == ["v1", "v2"]
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    assert registry.get(type, "default", "one").obj["apiVersion"] == "example.com/v1"
    cluster.update(cluster.get(V1, "one"))
    assert registry.get(type, "default", "one").obj["apiVersion"] == "example.com/v2"


def test_each_version_has_its_own_watch(cluster: Cluster) -> None:
    serve(cluster, two())
    registry = cluster.kernel.registry
    for name in ("v1", "v2"):
        type = registry.lookup("example.com", name, "widgets")
        assert type is not None
        page = cluster.run(registry.list(type, "", ListOptions()))
        options = WatchOptions(resource_version=str(page.revision))
        watch = cluster.run(registry.watch(type, "", options))
        cluster.create(widget(f"in-{name}", spec={"a": "x"}))
        (item,) = cluster.run(watch.next())
        assert item.record.obj["apiVersion"] == f"example.com/{name}"
        assert json.loads(item.record.data)["apiVersion"] == f"example.com/{name}"
        watch.close()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param({}, "example.com/v1 Widget is deprecated", id="default"),
        pytest.param({"deprecationWarning": "use v2"}, "use v2", id="own"),
    ],
)
def test_a_deprecated_version_warns(cluster: Cluster, said: Obj, told: str) -> None:
    serve(cluster, definition(version("v1", deprecated=True, **said)))
    registry = cluster.kernel.registry
    type = registry.lookup("example.com", "v1", "widgets")
    assert type is not None
    result = cluster.run(registry.create(UserInfo("me"), type, "default", widget(), WriteOptions()))
    assert result.warnings == (told,)


def test_the_first_of_the_newest_stable_versions_is_preferred(cluster: Cluster) -> None:
    schema = of_spec(preserve())
    names = ("v1beta1", "v1", "v2", "v10alpha1")
    serve(cluster, definition(*(version(name, schema, storage=name == "v1") for name in names)))
    preferred = cluster.kernel.registry.preferred("example.com", "widgets")
    assert preferred is not None
    assert preferred.version == "v2"


# --- by webhook


def webhook(hook: WebhookServer) -> Obj:
    return {
        "strategy": "Webhook",
        "webhook": {
            "clientConfig": {"url": f"https://127.0.0.1:{hook.port}/convert", "caBundle": hook.ca},
            "conversionReviewVersions": ["v1"],
        },
    }


def converting(change: Callable[[Obj, str], Obj]) -> Callable[[Obj], tuple[int, bytes]]:
    """What the webhook answers: every object changed by ``change(obj, version)``."""

    def answer(review: Obj) -> tuple[int, bytes]:
        request = review["request"]
        wanted = request["desiredAPIVersion"]
        converted = [{**change(obj, wanted), "apiVersion": wanted} for obj in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}
        return 200, json.dumps({**review, "request": None, "response": response}).encode()

    return answer


def renamed(obj: Obj, wanted: str) -> Obj:
    """v1 says ``a`` where v2 says ``c``."""
    old, new = ("a", "c") if wanted.endswith("v2") else ("c", "a")
    spec = dict(obj["spec"])
    if old in spec:
        spec[new] = spec.pop(old)
    return {**obj, "spec": spec}


def hooked(hook: WebhookServer) -> Obj:
    return definition(
        version("v1", of_spec(fields(a={"type": "string"}))),
        version("v2", of_spec(fields(c={"type": "string"})), storage=False),
        conversion=webhook(hook),
    )


def test_a_webhook_converts_on_the_way_in_and_out(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = converting(renamed)
    serve(real, hooked(hook))
    made = real.create(widget("one", "example.com/v2", spec={"c": "x"}))
    assert made["spec"] == {"c": "x"}
    assert real.get(V1, "one")["spec"] == {"a": "x"}
    changed = real.patch(V2, "one", {"spec": {"c": "y"}})
    assert (changed["apiVersion"], changed["spec"]) == ("example.com/v2", {"c": "y"})
    assert real.get(V1, "one")["spec"] == {"a": "y"}
    real.delete(V2, "one")
    assert real.find(V1, "one") is None


def test_a_list_is_converted_in_one_call(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = converting(renamed)
    serve(real, hooked(hook))
    for name in ("a", "b", "c"):
        real.create(widget(name, spec={"a": name}))
    before = len(hook.asked)
    assert [one["spec"] for one in real.list(V2)] == [{"c": "a"}, {"c": "b"}, {"c": "c"}]
    ((path, review),) = hook.asked[before:]
    assert path == "/convert?timeout=30s"
    assert (review["apiVersion"], review["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    assert review["request"]["desiredAPIVersion"] == "example.com/v2"
    assert len(review["request"]["objects"]) == 3
    real.list(V2)
    assert len(hook.asked) == before + 1


def test_objects_in_the_version_that_is_stored_are_not_converted(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = converting(renamed)
    serve(real, hooked(hook))
    real.create(widget(spec={"a": "x"}))
    assert real.list(V1)[0]["spec"] == {"a": "x"}
    assert hook.asked == []


def test_a_watch_is_converted(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = converting(renamed)
    serve(real, hooked(hook))
    registry = real.kernel.registry
    type = registry.lookup("example.com", "v2", "widgets")
    assert type is not None
    watch = real.run(registry.watch(type, "", WatchOptions(resource_version="0")))
    real.create(widget(spec={"a": "x"}))
    (item,) = real.run(watch.next())
    assert (item.type, item.record.obj["spec"]) == ("ADDED", {"c": "x"})
    watch.close()


def test_selectable_fields_are_those_of_the_version_asked_for(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = converting(renamed)
    made = hooked(hook)
    made["spec"]["versions"][1]["selectableFields"] = [{"jsonPath": ".spec.c"}]
    serve(real, made)
    real.create(widget("red", spec={"a": "red"}))
    real.create(widget("blue", spec={"a": "blue"}))
    found = real.run(real.client().list(V2, fields="spec.c=red")).items
    assert [one["metadata"]["name"] for one in found] == ["red"]


def odd(**change: Any) -> Callable[[Obj], tuple[int, bytes]]:
    """An answer whose response differs."""

    def answer(review: Obj) -> tuple[int, bytes]:
        good = json.loads(converting(renamed)(review)[1])
        good["response"] |= change
        return 200, json.dumps(good).encode()

    return answer


ABOUT = "conversion webhook for example.com/v1, Kind=Widget"
AT = "StorageError: corrupt object, Code: 7, Key: {}/example.com/widgets/default/one, ResourceVersion: 0, "
WHY = f"{ABOUT} failed: no way"


def refusing(hook: WebhookServer) -> None:
    hook.raw["/convert"] = odd(result={"status": "Failure", "message": "no way"})


def test_an_object_that_cannot_be_converted_is_told_of_by_get(real: Cluster, hook: WebhookServer) -> None:
    refusing(hook)
    serve(real, hooked(hook))
    at = real.create(widget(spec={"a": "x"}))["metadata"]["resourceVersion"]
    with pytest.raises(ApiError) as caught:
        real.get(V2, "one")
    assert (caught.value.status_code, caught.value.status_reason, caught.value.message) == (
        500,
        "InternalError",
        f"Internal error occurred: {AT.format('')}AdditionalErrorMsg: object not decodable revision={at}: {WHY}",
    )


def test_an_object_that_cannot_be_converted_is_told_of_by_a_write(real: Cluster, hook: WebhookServer) -> None:
    refusing(hook)
    serve(real, hooked(hook))
    at = real.create(widget(spec={"a": "x"}))["metadata"]["resourceVersion"]
    with pytest.raises(ApiError) as caught:
        real.patch(V2, "one", {"spec": {"c": "y"}})
    assert (caught.value.status_code, caught.value.status_reason) == (500, "")
    assert caught.value.message == f"object not decodable revision={at}: {WHY}"


def test_a_list_tells_of_each_object_that_cannot_be_converted(real: Cluster, hook: WebhookServer) -> None:
    def only(review: Obj) -> tuple[int, bytes]:
        bad = any(one["metadata"]["name"] == "one" for one in review["request"]["objects"])
        return (odd(result={"status": "Failure", "message": "no way"}) if bad else converting(renamed))(
            review
        )

    hook.raw["/convert"] = only
    serve(real, hooked(hook))
    at = real.create(widget(spec={"a": "x"}))["metadata"]["resourceVersion"]
    real.create(widget("two", spec={"a": "x"}))
    with pytest.raises(ApiError) as caught:
        real.list(V2)
    told = f"{AT.format('/registry')}AdditionalErrorMsg: object not decodable revision={at}: {WHY}"
    assert caught.value.status_reason == "StorageReadError"
    assert caught.value.message == f"failed to read one or more widgets.example.com from the storage: {told}"
    assert [(cause.reason, cause.message) for cause in caught.value.causes] == [
        ("UnexpectedServerResponse", told)
    ]


def test_a_webhook_that_is_not_there_is_asked_once_for_a_list(real: Cluster, hook: WebhookServer) -> None:
    hook.raw["/convert"] = lambda review: (500, b"oh no")
    serve(real, hooked(hook))
    for name in ("one", "two"):
        real.create(widget(name, spec={"a": "x"}))
    with pytest.raises(ApiError) as caught:
        real.list(V2)
    assert caught.value.message.endswith(" has prevented the request from succeeding (and 1 more)")
    assert len(hook.asked) == 1


def test_a_webhook_may_change_labels_and_no_other_metadata(real: Cluster, hook: WebhookServer) -> None:
    def change(obj: Obj, wanted: str) -> Obj:
        metadata = {**obj["metadata"], "labels": {"new": "yes"}, "finalizers": ["example.com/x"]}
        return {**renamed(obj, wanted), "metadata": metadata}

    hook.raw["/convert"] = converting(change)
    serve(real, hooked(hook))
    real.create(widget(spec={"a": "x"}))
    metadata = real.get(V2, "one")["metadata"]
    assert metadata["labels"] == {"new": "yes"}
    assert "finalizers" not in metadata


def test_the_warning_of_a_deprecated_version_names_the_newest_that_is_not(cluster: Cluster) -> None:
    schema = of_spec(preserve())
    serve(
        cluster,
        definition(
            version("v1beta1", schema, deprecated=True),
            version("v1", schema, storage=False),
            version("v2", schema, storage=False),
            version("v3alpha1", schema, storage=False),
        ),
    )
    type = cluster.kernel.registry.lookup("example.com", "v1beta1", "widgets")
    assert type is not None
    assert type.deprecation == "example.com/v1beta1 Widget is deprecated; use example.com/v2 Widget"
