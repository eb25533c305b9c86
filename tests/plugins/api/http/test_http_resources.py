"""Resources over HTTPS as a client sees them."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from http_harness import PODS, Raw, World, check, pod

from kubernel_plugins.api import http

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_object_is_created_read_replaced_patched_and_deleted(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        created = await raw.request("POST", PODS, pod("a"))
        assert created.status == 201
        assert created.headers["audit-id"]
        got = await raw.request("GET", f"{PODS}/a")
        assert got.status == 200
        assert got.body == created.body
        changed = got.json
        changed["spec"]["nodeName"] = "node-1"
        replaced = await raw.request("PUT", f"{PODS}/a", changed)
        assert replaced.status == 200
        assert replaced.json["spec"]["nodeName"] == "node-1"
        stale = await raw.request("PUT", f"{PODS}/a", changed)
        assert (stale.status, stale.json["reason"]) == (409, "Conflict")
        patched = await raw.request(
            "PATCH",
            f"{PODS}/a",
            {"metadata": {"labels": {"x": "y"}}},
            {"Content-Type": "application/merge-patch+json"},
        )
        assert patched.json["metadata"]["labels"] == {"x": "y"}
        deleted = await raw.request("DELETE", f"{PODS}/a")
        assert deleted.status == 200
        gone = await raw.request("GET", f"{PODS}/a")
        assert (gone.status, gone.json["message"]) == (404, 'pods "a" not found')
        assert gone.json["details"] == {"name": "a", "kind": "pods"}

    check(body, tmp_path)


def test_head_is_get_without_a_body(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        whole = await raw.request("GET", f"{PODS}/a")
        head = await raw.request("HEAD", f"{PODS}/a")
        assert head.status == 200
        assert int(head.headers["content-length"]) == len(whole.body)
        assert (await raw.request("GET", f"{PODS}/a")).status == 200

    check(body, tmp_path)


def test_list_in_pages_and_streamed_whole(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for number in range(300):
            await raw.request("POST", PODS, pod(f"p{number:03}"))
        whole = await raw.request("GET", "/api/v1/pods")
        assert whole.headers["transfer-encoding"] == "chunked"
        assert [item["metadata"]["name"] for item in whole.json["items"]] == [f"p{n:03}" for n in range(300)]
        assert whole.json["kind"] == "PodList"
        page = await raw.request("GET", f"{PODS}?limit=100")
        assert len(page.json["items"]) == 100
        assert page.json["metadata"]["remainingItemCount"] == 200
        rest = await raw.request("GET", f"{PODS}?continue={page.json['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest.json["items"]] == [
            f"p{n:03}" for n in range(100, 300)
        ]

    check(body, tmp_path)


def test_large_answers_are_compressed_for_those_who_accept_it(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for number in range(200):
            await raw.request("POST", PODS, pod(f"p{number:03}", note="x" * 1200))
        await raw.request("POST", PODS, pod("z"))
        packed = await raw.request("GET", PODS, headers={"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip"
        plain = await raw.request("GET", PODS)
        assert gzip.decompress(packed.body) == plain.body
        small = await raw.request("GET", f"{PODS}/z", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in small.headers
        # A page below the streaming threshold, large all the same.
        page = await raw.request("GET", f"{PODS}?limit=120", headers={"Accept-Encoding": "gzip"})
        assert len(json.loads(gzip.decompress(page.body))["items"]) == 120

    check(body, tmp_path, settings=http.Settings(compression="all", shutdown_grace=0.1))


@pytest.mark.parametrize(
    ("count", "note"), [(3, 400_000), (200, 10), (3, 10)], ids=["large", "many", "small"]
)
def test_every_list_has_an_audit_id_once(tmp_path: Any, count: int, note: int) -> None:
    async def body(world: World, raw: Raw) -> None:
        for number in range(count):
            await raw.request("POST", PODS, pod(f"p{number:03}", note="x" * note))
        for accept in ("identity", "gzip"):
            answer = await raw.request("GET", PODS, headers={"Accept-Encoding": accept})
            assert [name for name, _ in answer.raw].count("audit-id") == 1
            assert ("content-encoding" in answer.headers) is (accept == "gzip" and count + note > 200)
            data = gzip.decompress(answer.body) if "content-encoding" in answer.headers else answer.body
            assert len(json.loads(data)["items"]) == count

    check(body, tmp_path, settings=http.Settings(compression="all", shutdown_grace=0.1))


def test_table_has_columns_rows_and_metadata(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        await raw.request("PUT", f"{PODS}/a/status", pod("a", status={"phase": "Running"}))
        table = (await raw.request("GET", PODS, headers={"Accept": TABLE})).json
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Phase"]
        (row,) = table["rows"]
        assert row["cells"] == ["a", "Running"]
        assert row["object"]["kind"] == "PartialObjectMetadata"
        assert row["object"]["metadata"]["name"] == "a"
        bare = (await raw.request("GET", f"{PODS}?includeObject=None", headers={"Accept": TABLE})).json
        assert bare["rows"][0]["object"] is None
        full = (await raw.request("GET", f"{PODS}/a?includeObject=Object", headers={"Accept": TABLE})).json
        assert full["rows"][0]["object"]["spec"]["containers"] == [{"name": "c"}]
        wrong = await raw.request("GET", f"{PODS}?includeObject=Some", headers={"Accept": TABLE})
        assert wrong.status == 400

    check(body, tmp_path)


def test_metadata_only(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        accept = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
        listed = (await raw.request("GET", PODS, headers=accept)).json
        assert listed["kind"] == "PartialObjectMetadataList"
        (item,) = listed["items"]
        assert set(item) == {"kind", "apiVersion", "metadata"}
        assert item["metadata"]["name"] == "a"

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        pytest.param("application/vnd.kubernetes.protobuf, */*", 200, id="protobuf-or-anything"),
        pytest.param("application/vnd.kubernetes.protobuf,application/json", 200, id="protobuf-or-json"),
        pytest.param("application/yaml", 200, id="yaml"),
        pytest.param("application/vnd.kubernetes.protobuf", 406, id="protobuf-only"),
        pytest.param("text/html", 406, id="html"),
        pytest.param("application/json;as=Table;v=v9;g=meta.k8s.io", 406, id="unknown-table-version"),
    ],
)
def test_accept_is_negotiated(tmp_path: Any, accept: str, status: int) -> None:
    async def body(world: World, raw: Raw) -> None:
        await raw.request("POST", PODS, pod("a"))
        answer = await raw.request("GET", f"{PODS}/a", headers={"Accept": accept})
        assert answer.status == status
        if accept == "application/yaml":
            assert answer.headers["content-type"] == "application/yaml"
            assert b"\nkind: Pod\n" in answer.body
        if status == 406:
            assert answer.json["reason"] == "NotAcceptable"

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((text, True) for text in ("y", "Y", "yes", "Yes", "on", "ON", "true")),
        *((text, False) for text in ("n", "N", "no", "NO", "off", "Off", "false")),
        ("'y'", "y"),
        ("yeS", "yeS"),
        ("ny", "ny"),
        ("12:30", "12:30"),
        ("1:02.5", "1:02.5"),
        ("=", "="),
        ("0x10", 16),
        ("1.5", 1.5),
    ],
)
def test_plain_yaml_scalars_are_what_upstream_takes_them_for(tmp_path: Any, text: str, value: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\nvalue: {text}\n{text}: key\n"
        where = "/api/v1/namespaces/default/configmaps"
        created = await raw.request("POST", where, manifest.encode(), {"Content-Type": "application/yaml"})
        assert created.json["value"] == value
        assert type(created.json["value"]) is type(value)
        assert created.json[value if isinstance(value, str) else json.dumps(value)] == "key"

    check(body, tmp_path)


def test_yaml_bodies_are_understood(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {day: 2026-01-02}\n"
        where = "/api/v1/namespaces/default/configmaps"
        created = await raw.request("POST", where, text, {"Content-Type": "application/yaml"})
        assert created.status == 201
        assert created.json["data"] == {"day": "2026-01-02"}

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        pytest.param("GET", "/api/v1/nothings", 404, "NotFound", id="unknown-resource"),
        pytest.param("GET", "/api/v9/pods", 404, "NotFound", id="unknown-version"),
        pytest.param("GET", "/api/v1/pods/a", 404, "NotFound", id="namespaced-without-namespace"),
        pytest.param("GET", f"{PODS}/a/nothing", 404, "NotFound", id="unknown-subresource"),
        pytest.param("GET", "/api/v1/namespaces//pods", 404, "NotFound", id="empty-namespace"),
        pytest.param("GET", "/api/v9", 404, "NotFound", id="unknown-core-version"),
        pytest.param("GET", "/apis/apps/v9", 404, "NotFound", id="unknown-version-of-a-group"),
        pytest.param("PUT", PODS, 405, "MethodNotAllowed", id="put-without-name"),
        pytest.param("POST", f"{PODS}/a", 405, "MethodNotAllowed", id="post-with-name"),
        pytest.param("DELETE", "/api/v1/pods", 405, "MethodNotAllowed", id="collection-of-all-namespaces"),
        pytest.param("OPTIONS", PODS, 405, "MethodNotAllowed", id="unknown-method"),
    ],
)
def test_what_is_not_served_is_refused(
    tmp_path: Any, method: str, path: str, status: int, reason: str
) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request(method, path)
        assert (answer.status, answer.json["reason"]) == (status, reason)
        assert answer.json["kind"] == "Status"

    check(body, tmp_path)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/apis/none.example.com", id="unknown-group"),
        pytest.param("/apis/none.example.com/v1", id="version-of-an-unknown-group"),
        pytest.param("/apis/none.example.com/v1/things", id="resource-of-an-unknown-group"),
        pytest.param("/readyz/nothing", id="unknown-check"),
        pytest.param("/nowhere", id="unknown-path"),
    ],
)
def test_where_nothing_is_the_answer_is_plain_text(tmp_path: Any, path: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", path, headers={"Accept": "application/yaml"})
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        pytest.param("limit=ten", 400, 'strconv.ParseInt: parsing "ten": invalid syntax', id="limit"),
        pytest.param("timeoutSeconds=1s&watch=1", 400, 'parsing "1s": invalid syntax', id="timeout"),
        pytest.param("resourceVersion=abc", 400, 'Invalid value: "abc"', id="resource-version"),
        pytest.param(
            "resourceVersionMatch=Exact",
            422,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
            id="match-alone",
        ),
        pytest.param(
            "resourceVersion=1&resourceVersionMatch=Roughly",
            422,
            'Unsupported value: "Roughly": supported values: "Exact", "NotOlderThan", ""',
            id="match-unknown",
        ),
        pytest.param(
            "sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list", id="initial-events"
        ),
        pytest.param("continue=%21%21", 400, "continue key is not valid", id="continue"),
        pytest.param("labelSelector=a%20b%20c", 400, "", id="label-selector"),
        pytest.param("fieldSelector=spec.nothing=x", 400, "", id="field-selector"),
    ],
)
def test_bad_list_parameters(tmp_path: Any, query: str, status: int, message: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("GET", f"{PODS}?{query}")
        assert answer.status == status, answer.body
        assert message in answer.json["message"]

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        pytest.param(
            "dryRun=some",
            'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["some"]: supported values: "All"',
            id="dry-run",
        ),
        pytest.param(
            "fieldValidation=Hard",
            'fieldValidation: Unsupported value: "Hard": supported values: "", "Ignore", "Strict", "Warn"',
            id="field-validation",
        ),
        pytest.param(
            f"fieldManager={'m' * 129}",
            "fieldManager: Too long: may not be more than 128 bytes",
            id="manager",
        ),
    ],
)
def test_bad_write_parameters_change_nothing(tmp_path: Any, query: str, message: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request("POST", f"{PODS}?{query}", pod("a"))
        assert answer.status == 422
        assert message in answer.json["message"]
        assert (await raw.request("GET", f"{PODS}/a")).status == 404

    check(body, tmp_path)


def test_dry_run_answers_but_stores_nothing(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        assert (await raw.request("POST", f"{PODS}?dryRun=All", pod("a"))).status == 201
        assert (await raw.request("GET", f"{PODS}/a")).status == 404

    check(body, tmp_path)


def test_delete_options_in_body_and_query(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        created = (await raw.request("POST", PODS, pod("a"))).json
        wrong = {"preconditions": {"uid": "other"}}
        assert (await raw.request("DELETE", f"{PODS}/a", wrong)).status == 409
        both = "propagationPolicy=Orphan&orphanDependents=true"
        assert (await raw.request("DELETE", f"{PODS}/a?{both}")).status == 422
        assert (await raw.request("DELETE", f"{PODS}/a?propagationPolicy=Some")).status == 422
        assert (await raw.request("DELETE", f"{PODS}/a", [])).status == 400
        assert (await raw.request("DELETE", f"{PODS}/a", {"gracePeriodSeconds": "x"})).status == 400
        right = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {"uid": created["metadata"]["uid"]},
        }
        assert (await raw.request("DELETE", f"{PODS}/a", right)).status == 200

    check(body, tmp_path)


def test_collection_is_deleted_by_selector(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for name, app in (("a", "x"), ("b", "x"), ("c", "y")):
            obj = pod(name)
            obj["metadata"]["labels"] = {"app": app}
            await raw.request("POST", PODS, obj)
        gone = await raw.request("DELETE", f"{PODS}?labelSelector=app%3Dx")
        assert gone.status == 200
        assert [item["metadata"]["name"] for item in gone.json["items"]] == ["a", "b"]
        left = await raw.request("GET", PODS)
        assert [item["metadata"]["name"] for item in left.json["items"]] == ["c"]

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("method", "path", "content_type"),
    [
        pytest.param("POST", PODS, "application/vnd.kubernetes.protobuf", id="protobuf"),
        pytest.param("POST", PODS, "text/plain", id="text"),
        pytest.param("PATCH", f"{PODS}/a", "application/json", id="patch-without-type"),
    ],
)
def test_unknown_body_types(tmp_path: Any, method: str, path: str, content_type: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        answer = await raw.request(method, path, b"k8s\0", {"Content-Type": content_type})
        assert (answer.status, answer.json["reason"]) == (415, "UnsupportedMediaType")
        if method == "PATCH":
            assert (answer.json["message"], answer.json["details"]) == ("415: Unsupported Media Type", {})
        elif "protobuf" not in content_type:
            assert "accepted media types include" in answer.json["message"]

    check(body, tmp_path)
