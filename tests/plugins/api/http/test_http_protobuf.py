"""Protobuf responses as a client sees them: objects, lists, watches, refusals, negotiation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from http_harness import PODS, Raw, World, check, pod

from kubernel.registry.protobuf_decoding import read_fields
from kubernel.registry.schema import Node
from kubernel.registry.types import ResourceType
from kubernel_plugins.api.builtin import protobuf_codec
from kubernel_plugins.api.http.shapes import BATCH

PROTOBUF = "application/vnd.kubernetes.protobuf"
PARTIAL = f"{PROTOBUF};as=PartialObjectMetadata{{}};g=meta.k8s.io;v=v1"
decode = protobuf_codec().decode


def speaks(world: World) -> None:
    world.registry.protobuf = protobuf_codec()
    custom = Node("object")
    custom.preserve_unknown = True
    world.registry.register(
        ResourceType("example.com", "v1", "Widget", "widgets", lambda: custom, custom=True)
    )


WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
WIDGET = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}


async def frames(raw: Raw, path: str, accept: str) -> AsyncIterator[tuple[str, Any]]:
    """(type, object) of each event of a watch."""
    await raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode())
    status, headers, _ = await raw.head()
    assert status == 200
    assert headers["content-type"] == f"{PROTOBUF};stream=watch"
    data = b""
    async for chunk in raw.chunks():
        data += chunk
        while len(data) >= 4 and len(data) >= 4 + (size := int.from_bytes(data[:4], "big")):
            event = dict(read_fields(data, 4, 4 + size))
            data = data[4 + size :]
            yield event[1].decode(), decode(dict(read_fields(event[2], 0, len(event[2])))[1])
    assert not data


def test_an_object_is_the_same_in_protobuf_as_in_json(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        made = await raw.request("POST", PODS, pod("a"), {"Accept": PROTOBUF})
        assert (made.status, made.headers["content-type"]) == (201, PROTOBUF)
        plain = await raw.request("GET", f"{PODS}/a")
        for path in (f"{PODS}/a", f"{PODS}/a?resourceVersion=0"):
            got = await raw.request("GET", path, headers={"Accept": PROTOBUF})
            assert (got.status, got.headers["content-type"]) == (200, PROTOBUF)
            assert got.body == made.body
            # Go prints an empty status, which stands for none.
            assert {**decode(got.body), "status": {}} == {**plain.json, "status": {}}

    check(body, tmp_path)


@pytest.mark.parametrize("count", [0, 3, 2 * BATCH + 5])
def test_a_list_holds_every_object_and_its_own_metadata(tmp_path: Any, count: int) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        for number in range(count):
            await raw.request("POST", PODS, pod(f"p{number:03}"))
        plain = (await raw.request("GET", PODS)).json
        listed = await raw.request("GET", PODS, headers={"Accept": PROTOBUF})
        assert listed.headers["content-type"] == PROTOBUF
        found = decode(listed.body)
        assert (found["apiVersion"], found["kind"]) == ("v1", "PodList")
        # The server's own controllers may write meanwhile.
        assert int(found["metadata"]["resourceVersion"]) >= int(plain["metadata"]["resourceVersion"])
        assert [item["metadata"] for item in found.get("items", [])] == [
            item["metadata"] for item in plain["items"]
        ]

    check(body, tmp_path)


def test_a_list_in_pages(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        for name in "abc":
            await raw.request("POST", PODS, pod(name))
        first = decode((await raw.request("GET", f"{PODS}?limit=2", headers={"Accept": PROTOBUF})).body)
        assert first["metadata"]["remainingItemCount"] == 1
        token = first["metadata"]["continue"]
        path = f"{PODS}?limit=2&continue={token}"
        rest = decode((await raw.request("GET", path, headers={"Accept": PROTOBUF})).body)
        assert [item["metadata"]["name"] for item in rest["items"]] == ["c"]

    check(body, tmp_path)


def test_a_watch_is_framed_by_lengths(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        await raw.request("POST", PODS, pod("a"))
        other = await Raw.open(world)
        seen = frames(other, f"{PODS}?watch=1", PROTOBUF)
        assert (await anext(seen))[0] == "ADDED"
        await raw.request("POST", PODS, pod("b"))
        await raw.request("DELETE", f"{PODS}/a")
        for wanted in (("ADDED", "b"), ("DELETED", "a")):
            event, obj = await anext(seen)
            assert (event, obj["metadata"]["name"]) == wanted
            assert (obj["apiVersion"], obj["kind"]) == ("v1", "Pod")

    check(body, tmp_path)


def test_an_object_that_leaves_the_selection_is_deleted_for_the_watcher(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        made = (
            await raw.request("POST", PODS, {**pod("a"), "metadata": {"name": "a", "labels": {"x": "y"}}})
        ).json
        other = await Raw.open(world)
        seen = frames(other, f"{PODS}?watch=1&labelSelector=x%3Dy", PROTOBUF)
        assert (await anext(seen))[0] == "ADDED"
        del made["metadata"]["labels"]
        changed = (await raw.request("PUT", f"{PODS}/a", made)).json
        event, obj = await anext(seen)
        assert event == "DELETED"
        assert obj["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]

    check(body, tmp_path)


def test_a_streaming_list_ends_with_its_bookmark(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        await raw.request("POST", PODS, pod("a"))
        query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        seen = frames(raw, f"/api/v1/pods?{query}", f"{PROTOBUF},application/json")
        assert (await anext(seen))[0] == "ADDED"
        event, obj = await anext(seen)
        assert (event, obj["kind"]) == ("BOOKMARK", "Pod")
        assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}

    check(body, tmp_path)


def test_a_watch_that_begins_too_early_is_told_so_in_its_frame(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        for name in "abc":
            await raw.request("POST", PODS, pod(name))
        await world.store.compact(world.store.revision)
        seen = frames(raw, f"{PODS}?watch=1&resourceVersion=1", PROTOBUF)
        event, obj = await anext(seen)
        assert (event, obj["kind"], obj["reason"], obj["code"]) == ("ERROR", "Status", "Expired", 410)

    check(body, tmp_path)


def test_metadata_alone_of_objects_lists_and_watches(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        await raw.request("POST", PODS, pod("a"))
        await raw.request("POST", WIDGETS, WIDGET)
        for path, name in ((f"{PODS}/a", "a"), (f"{WIDGETS}/w", "w")):
            one = decode((await raw.request("GET", path, headers={"Accept": PARTIAL.format("")})).body)
            assert (one["kind"], one["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
            assert one["metadata"]["name"] == name
            assert "spec" not in one
        for version in ("v1", "v1beta1"):
            accept = PARTIAL.format("List").replace("v=v1", f"v={version}")
            listed = decode((await raw.request("GET", PODS, headers={"Accept": accept})).body)
            assert (listed["kind"], listed["apiVersion"]) == (
                "PartialObjectMetadataList", f"meta.k8s.io/{version}",
            )  # fmt: skip
            assert [item["metadata"]["name"] for item in listed["items"]] == ["a"]
            assert listed["metadata"]["resourceVersion"]
        event, obj = await anext(frames(raw, f"{PODS}?watch=1", PARTIAL.format("")))
        assert (event, obj["kind"], set(obj)) == (
            "ADDED",
            "PartialObjectMetadata",
            {"kind", "apiVersion", "metadata"},
        )

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        pytest.param(PROTOBUF, PROTOBUF, id="protobuf"),
        pytest.param(f"{PROTOBUF},application/json", PROTOBUF, id="protobuf-first"),
        pytest.param(f"application/json,{PROTOBUF}", "application/json", id="json-first"),
        pytest.param(f"application/json;q=0.8,{PROTOBUF};q=0.9", PROTOBUF, id="protobuf-weighs-more"),
        pytest.param(f"{PROTOBUF};q=0,application/json", "application/json", id="protobuf-refused"),
        pytest.param(f"text/html,{PROTOBUF},*/*", PROTOBUF, id="unknown-passed-over"),
        pytest.param("*/*", "application/json", id="anything"),
        pytest.param(
            f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/json", id="tables-are-json",
        ),
        pytest.param(f"{PROTOBUF};as=Table;v=v1;g=meta.k8s.io,{PROTOBUF}", PROTOBUF, id="no-table-in-protobuf"),
    ],
)  # fmt: skip
def test_the_media_type_is_the_one_the_client_prefers(tmp_path: Any, accept: str, media: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        await raw.request("POST", PODS, pod("a"))
        for path in (f"{PODS}/a", PODS):
            answer = await raw.request("GET", path, headers={"Accept": accept})
            assert (answer.status, answer.headers["content-type"]) == (200, media)

    check(body, tmp_path)


def test_custom_resources_have_no_protobuf_and_fall_back_to_what_else_is_accepted(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        await raw.request("POST", WIDGETS, WIDGET)
        for path in (f"{WIDGETS}/w", WIDGETS):
            both = await raw.request("GET", path, headers={"Accept": f"{PROTOBUF}, application/json"})
            assert (both.status, both.headers["content-type"]) == (200, "application/json")
            alone = await raw.request("GET", path, headers={"Accept": PROTOBUF})
            assert (alone.status, alone.headers["content-type"]) == (406, PROTOBUF)
            status = decode(alone.body)
            assert status["reason"] == "NotAcceptable"
            assert status["message"] == (
                "only the following media types are accepted: application/json, application/yaml, "
                "application/vnd.kubernetes.protobuf"
            )
        refused = await raw.request("POST", WIDGETS, b"k8s\0", {"Content-Type": PROTOBUF})
        assert refused.status == 415

    check(body, tmp_path)


def test_watches_are_not_written_in_yaml(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", f"{PODS}?watch=1", headers={"Accept": "application/yaml"})
        assert answer.status == 406
        assert yaml.safe_load(answer.body)["message"] == (
            "only the following media types are accepted: application/json;stream=watch, "
            "application/vnd.kubernetes.protobuf;stream=watch"
        )

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        pytest.param(PROTOBUF, PROTOBUF, id="protobuf"),
        pytest.param(f"{PROTOBUF},application/json", PROTOBUF, id="protobuf-first"),
        pytest.param("application/yaml", "application/yaml", id="yaml"),
        pytest.param("text/html", "application/json", id="nothing-known"),
    ],
)
def test_refusals_come_in_the_media_type_asked_for(tmp_path: Any, accept: str, media: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        answer = await raw.request("GET", f"{PODS}/none", headers={"Accept": accept})
        wanted = 406 if accept == "text/html" else 404
        assert (answer.status, answer.headers["content-type"]) == (wanted, media)
        if media == PROTOBUF:
            status = decode(answer.body)
            assert (status["kind"], status["code"], status["message"]) == (
                "Status", 404, 'pods "none" not found',
            )  # fmt: skip
            assert status["details"] == {"name": "none", "kind": "pods"}

    check(body, tmp_path)


def test_protobuf_bodies_create_replace_and_delete(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        codec = protobuf_codec()
        both = {"Accept": PROTOBUF, "Content-Type": PROTOBUF}

        def packed(obj: dict[str, Any]) -> bytes:
            message = codec.message(obj["apiVersion"], obj["kind"], obj)
            return codec.envelope(obj["apiVersion"], obj["kind"], message)

        made = decode((await raw.request("POST", PODS, packed(pod("a")), both)).body)
        made["metadata"]["labels"] = {"x": "y"}
        changed = decode((await raw.request("PUT", f"{PODS}/a", packed(made), both)).body)
        assert changed["metadata"]["labels"] == {"x": "y"}
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}}
        refused = await raw.request("DELETE", f"{PODS}/a", packed(options), both)
        assert (refused.status, decode(refused.body)["reason"]) == (409, "Conflict")
        patched = await raw.request("PATCH", f"{PODS}/a", packed(made), both)
        assert (patched.status, decode(patched.body)["reason"]) == (415, "UnsupportedMediaType")
        gone = await raw.request("DELETE", f"{PODS}/a", packed({**options, "preconditions": {}}), both)
        assert (gone.status, decode(gone.body)["kind"]) == (200, "Pod")

    check(body, tmp_path)


def test_discovery_speaks_protobuf(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        speaks(world)
        for path, kind in (
            ("/apis", "APIGroupList"),
            ("/apis/apps", "APIGroup"),
            ("/apis/apps/v1", "APIResourceList"),
        ):
            plain = (await raw.request("GET", path)).json
            answer = await raw.request("GET", path, headers={"Accept": PROTOBUF})
            assert answer.headers["content-type"] == PROTOBUF
            found = decode(answer.body)
            assert found["kind"] == kind
            field = {"APIGroupList": "groups", "APIGroup": "versions", "APIResourceList": "resources"}[kind]
            assert len(found[field]) == len(plain[field])
        # The core's resources are a list of no version.
        answer = await raw.request("GET", "/api/v1", headers={"Accept": PROTOBUF})
        assert answer.body.startswith(b"k8s\0\n\x13\n\0\x12\x0fAPIResourceList")
        form = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        answer = await raw.request("GET", "/apis", headers={"Accept": PROTOBUF + form})
        assert answer.headers["content-type"] == PROTOBUF + form
        assert [group["metadata"]["name"] for group in decode(answer.body)["items"]][:1] == ["apps"]
        again = {"Accept": PROTOBUF + form, "If-None-Match": answer.headers["etag"]}
        assert (await raw.request("GET", "/apis", headers=again)).status == 304

    check(body, tmp_path)


def test_yaml_lists_of_any_length_are_yaml(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for number in range(BATCH + 2):
            await raw.request("POST", PODS, pod(f"p{number:03}"))
        answer = await raw.request("GET", PODS, headers={"Accept": "application/yaml"})
        assert answer.headers["content-type"] == "application/yaml"
        assert len(yaml.safe_load(answer.body)["items"]) == BATCH + 2

    check(body, tmp_path)
