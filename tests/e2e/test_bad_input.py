"""What clients send by mistake or malice, against one running cluster: each gets its answer, none does harm."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from wire import JSON, MERGE, YAML, Wire

NAMESPACE = "bad-input"
MAPS = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"


@pytest.fixture(scope="module")
def wire(cluster_running: Any) -> Iterator[Wire]:
    wire = Wire(cluster_running.data)
    made = wire("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    assert made.status == 201, made.body
    yield wire
    wire("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


@pytest.fixture(autouse=True)
def _still_healthy(wire: Wire) -> Iterator[None]:
    yield
    answer = wire("GET", "/readyz")
    assert (answer.status, answer.body) == (200, b"ok")


def config_map(name: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **more}


def deployment(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec},
    }


# --- documents


@pytest.mark.parametrize(
    ("body", "type"),
    [
        pytest.param(b"{", JSON, id="json-cut-short"),
        pytest.param(b'{"kind":"ConfigMap"} trailing', JSON, id="json-trailing"),
        pytest.param(b'{"kind":"\xff\xfe"}', JSON, id="json-not-utf8"),
        pytest.param(b"", JSON, id="json-empty"),
        pytest.param(b"[]", JSON, id="json-array"),
        pytest.param(b'"text"', JSON, id="json-text"),
        pytest.param(b'{"metadata":{"name":NaN}}', JSON, id="json-nan"),
        pytest.param(b"a: [", YAML, id="yaml-cut-short"),
        pytest.param(b"a: b: c", YAML, id="yaml-nonsense"),
        pytest.param(b"\x00\x01\x02", YAML, id="yaml-binary"),
        pytest.param(b"a: !!python/object/apply:os.system [id]", YAML, id="yaml-python"),
        pytest.param(b"- a\n- b\n", YAML, id="yaml-list"),
    ],
)
def test_malformed_documents(wire: Wire, body: bytes, type: str) -> None:
    wire("POST", MAPS, body, type).refused(400, "BadRequest")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"data": {"a": 1}}, "data", id="number-for-text"),
        pytest.param({"data": ["a"]}, "data", id="list-for-map"),
        pytest.param({"data": "a"}, "data", id="text-for-map"),
        pytest.param({"immutable": "yes"}, "immutable", id="text-for-bool"),
        pytest.param({"binaryData": {"a": "!!!"}}, "", id="no-base64"),
        pytest.param({"metadata": []}, "metadata", id="list-for-metadata"),
        pytest.param({"metadata": {"name": "a", "labels": {"a": {}}}}, "labels", id="map-for-label"),
    ],
)
def test_wrong_types(wire: Wire, body: dict[str, Any], words: str) -> None:
    answer = wire("POST", MAPS, {**config_map("types"), **body})
    answer.refused(400, "BadRequest", words)
    wire("GET", f"{MAPS}/types").refused(404, "NotFound")


@pytest.mark.parametrize("replicas", ["three", 1.5, True, {}, 1 << 40])
def test_wrong_types_of_numbers(wire: Wire, replicas: Any) -> None:
    wire("POST", DEPLOYMENTS, deployment("types", replicas=replicas)).refused(400, "BadRequest", "replicas")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"apiVersion": "v2", "kind": "ConfigMap"}, id="version"),
        pytest.param({"apiVersion": "v1", "kind": "Pod"}, id="kind"),
        pytest.param({"apiVersion": 1, "kind": "ConfigMap"}, id="version-type"),
        pytest.param({"apiVersion": "a/b/c", "kind": "ConfigMap"}, id="version-form"),
    ],
)
def test_documents_of_another_kind(wire: Wire, body: dict[str, Any]) -> None:
    wire("POST", MAPS, {"metadata": {"name": "kinds"}, **body}).refused(400, "BadRequest")


UNKNOWN = json.dumps({**config_map("f"), "dat": {"a": "b"}}).encode()
TWICE = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"f"},"data":{"a":"1","a":"2"}}'
YAML_HEAD = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\n"
CASES = [
    pytest.param(UNKNOWN, JSON, 'unknown field "dat"', id="unknown-json"),
    pytest.param(TWICE, JSON, 'duplicate field "data.a"', id="twice-json"),
    pytest.param(YAML_HEAD + b"dat: {}\n", YAML, 'unknown field "dat"', id="unknown-yaml"),
    pytest.param(YAML_HEAD + b"data: {}\ndata: {}\n", YAML, 'key "data" already set in map', id="twice-yaml"),
]


@pytest.mark.parametrize(("body", "type", "words"), CASES)
def test_unknown_and_repeated_fields_are_refused_when_strict(
    wire: Wire, body: bytes, type: str, words: str
) -> None:
    wire("POST", f"{MAPS}?fieldValidation=Strict", body, type).refused(400, "BadRequest", words)
    wire("GET", f"{MAPS}/f").refused(404, "NotFound")


@pytest.mark.parametrize(("body", "type", "words"), CASES)
def test_unknown_and_repeated_fields_are_warned_of(wire: Wire, body: bytes, type: str, words: str) -> None:
    for mode in ("fieldValidation=Warn&", ""):
        answer = wire("POST", f"{MAPS}?{mode}dryRun=All", body, type)
        assert answer.status == 201, answer.body
        (warning,) = answer.warnings
        assert words in warning.replace('\\"', '"')
        assert "dat" not in answer.json


@pytest.mark.parametrize(("body", "type", "words"), CASES)
def test_unknown_and_repeated_fields_can_be_ignored(wire: Wire, body: bytes, type: str, words: str) -> None:
    answer = wire("POST", f"{MAPS}?fieldValidation=Ignore&dryRun=All", body, type)
    assert (answer.status, answer.warnings) == (201, [])
    assert "dat" not in answer.json


# --- size and depth


def test_an_oversized_body(wire: Wire) -> None:
    big = config_map("big", data={"a": "x" * 3_200_000})
    for method, path, type in (
        ("POST", MAPS, JSON),
        ("PUT", f"{MAPS}/big", JSON),
        ("PATCH", f"{MAPS}/big", MERGE),
        ("POST", MAPS, YAML),
    ):
        socket = wire.connect()
        body = json.dumps(big).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {type}\r\nContent-Length: {len(body)}\r\n\r\n"
        socket.sendall(head.encode())
        answer = socket.recv(65536)
        assert answer.startswith(b"HTTP/1.1 413 "), answer
        assert b'"reason":"RequestEntityTooLarge"' in answer + socket.recv(65536)
        socket.close()


def test_an_oversized_body_of_unknown_length(wire: Wire) -> None:
    socket = wire.connect()
    socket.sendall(
        f"POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    )
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    try:
        for _ in range(200):
            socket.sendall(chunk)
    except OSError:
        pass  # the server has stopped listening: what it said is there all the same, or was reset
    else:
        assert socket.recv(65536).startswith(b"HTTP/1.1 413 ")
    socket.close()


def test_too_much_data_for_a_config_map(wire: Wire) -> None:
    answer = wire("POST", MAPS, config_map("big", data={"a": "x" * 1_100_000}))
    answer.refused(422, "Invalid", "Too long")


def nested(depth: int, leaf: str = "1") -> bytes:
    return b'{"a":' * depth + leaf.encode() + b"}" * depth


@pytest.mark.parametrize(
    ("method", "path", "body", "type"),
    [
        pytest.param("POST", MAPS, nested(100_000), JSON, id="json"),
        pytest.param("POST", MAPS, b"[" * 1_000_000, JSON, id="json-open"),
        pytest.param("POST", MAPS, b"[" * 200_000, YAML, id="yaml-flow"),
        pytest.param("POST", MAPS, b"- " * 200_000 + b"x", YAML, id="yaml-block"),
        pytest.param("PATCH", f"{MAPS}/kube-root-ca.crt", nested(100_000), MERGE, id="merge-patch"),
        pytest.param(
            "PATCH",
            f"{MAPS}/kube-root-ca.crt",
            b'[{"op":"add","path":"/data","value":' + nested(100_000) + b"}]",
            "application/json-patch+json",
            id="json-patch",
        ),
        pytest.param("DELETE", f"{MAPS}/none", nested(100_000), JSON, id="delete-options"),
    ],
)
def test_bottomless_documents(wire: Wire, method: str, path: str, body: bytes, type: str) -> None:
    wire(method, path, body, type).refused(400, "BadRequest")


BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(20)
)
MAP_BOMB = b"a: &a {x: y}\n" + b"".join(
    b"%c: &%c {l: *%c, r: *%c}\n" % (98 + n, 98 + n, 97 + n, 97 + n) for n in range(24)
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BOMB, id="lists"),
        pytest.param(MAP_BOMB, id="maps"),
        pytest.param(b"a: &a [*a]", id="cycle"),
        pytest.param(b"a: &a {b: *a}", id="cycle-of-maps"),
    ],
)
@pytest.mark.parametrize("type", [YAML, "application/apply-patch+yaml"])
def test_alias_bombs(wire: Wire, body: bytes, type: str) -> None:
    began, before = time.monotonic(), wire.memory()
    if type == YAML:
        answer = wire("POST", MAPS, body, type)
    else:
        answer = wire("PATCH", f"{MAPS}/bomb?fieldManager=x", body, type)
    answer.refused(400, "BadRequest")
    assert wire.memory() - before < 50_000_000
    assert time.monotonic() - began < 10


# --- names, selectors, versions


@pytest.mark.parametrize(
    "name", ["Upper", "under_score", "-a", "a-", "a b", "a/b", "..", "a\n", "ä", "x" * 254, "%2e"]
)
def test_invalid_names(wire: Wire, name: str) -> None:
    answer = wire("POST", MAPS, config_map(name))
    answer.refused(422, "Invalid", "metadata.name")
    assert answer.json["details"]["causes"][0]["field"] == "metadata.name"


def test_no_name_at_all(wire: Wire) -> None:
    answer = wire("POST", MAPS, {"apiVersion": "v1", "kind": "ConfigMap"})
    answer.refused(422, "Invalid", "name or generateName is required")


@pytest.mark.parametrize(
    ("key", "value"), [("a b", "x"), ("", "x"), ("a", "x y"), ("a", "x" * 64), ("A.b/c/d", "x")]
)
def test_invalid_labels(wire: Wire, key: str, value: str) -> None:
    obj = config_map("labels")
    obj["metadata"]["labels"] = {key: value}
    wire("POST", MAPS, obj).refused(422, "Invalid", "metadata.labels")


def test_names_that_do_not_match(wire: Wire) -> None:
    wire("PUT", f"{MAPS}/one", config_map("two")).refused(
        400, "BadRequest", "does not match the name on the URL"
    )
    elsewhere = config_map("one")
    elsewhere["metadata"]["namespace"] = "default"
    wire("POST", MAPS, elsewhere).refused(400, "BadRequest", "namespace")


def test_a_namespace_that_is_not_there(wire: Wire) -> None:
    wire("POST", "/api/v1/namespaces/nowhere/configmaps", config_map("a")).refused(404, "NotFound", "nowhere")


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param("labelSelector=a%3Db%3Dc", id="two-equals"),
        pytest.param("labelSelector=!", id="lonely-not"),
        pytest.param("labelSelector=a%20in%20(", id="open-set"),
        pytest.param("labelSelector=a%20in%20()x", id="after-set"),
        pytest.param("labelSelector=a%3E%3Db", id="odd-operator"),
        pytest.param("labelSelector=a%3Ex", id="greater-than-text"),
        pytest.param("labelSelector=%2F%3Db", id="empty-prefix"),
        pytest.param("labelSelector=" + "a" * 64 + "%3Db", id="long-key"),
        pytest.param("fieldSelector=data.a%3Db", id="unknown-field"),
        pytest.param("fieldSelector=metadata.name", id="field-without-value"),
        pytest.param("fieldSelector=metadata.name%3E1", id="field-operator"),
    ],
)
def test_invalid_selectors(wire: Wire, selector: str) -> None:
    for watch in ("", "&watch=true"):
        wire("GET", f"{MAPS}?{selector}{watch}").refused(400, "BadRequest")


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        pytest.param("resourceVersion=abc", 400, "BadRequest", id="text"),
        pytest.param("resourceVersion=-1", 400, "BadRequest", id="negative"),
        pytest.param("resourceVersion=1.5", 400, "BadRequest", id="fraction"),
        pytest.param("resourceVersion=99999999999999999999999", 400, "BadRequest", id="more-than-64-bits"),
        pytest.param("resourceVersion=900000000000", 504, "Timeout", id="future"),
        pytest.param("resourceVersionMatch=Exact", 422, "Invalid", id="match-without-version"),
        pytest.param("resourceVersion=1&resourceVersionMatch=Some", 422, "Invalid", id="unknown-match"),
        pytest.param("limit=many", 400, "BadRequest", id="limit"),
        pytest.param("limit=1&continue=garbage", 400, "BadRequest", id="continue"),
        pytest.param("limit=1&continue=%C3%A9", 400, "BadRequest", id="continue-beyond-ascii"),
        pytest.param("watch=true&resourceVersion=abc", 500, "", id="watch-text"),
        pytest.param("watch=true&timeoutSeconds=soon", 400, "BadRequest", id="watch-timeout"),
    ],
)
def test_invalid_resource_versions_and_options(wire: Wire, query: str, status: int, reason: str) -> None:
    wire("GET", f"{MAPS}?{query}").refused(status, reason)


def test_writes_on_a_version_that_is_not_the_current_one(wire: Wire) -> None:
    made = wire("POST", MAPS, config_map("versions", data={"n": "0"})).json
    stale = {**made, "data": {"n": "1"}}
    assert wire("PUT", f"{MAPS}/versions", stale).status == 200
    wire("PUT", f"{MAPS}/versions", {**stale, "data": {"n": "2"}}).refused(
        409, "Conflict", "the object has been modified"
    )
    odd = {**stale, "metadata": {**stale["metadata"], "resourceVersion": "abc"}}
    answer = wire("PUT", f"{MAPS}/versions", odd)
    # A kube-apiserver says so, too, of what it cannot parse there.
    answer.refused(500, "", "strconv.ParseUint: parsing")
    with_version = config_map("other")
    with_version["metadata"]["resourceVersion"] = "5"
    wire("POST", MAPS, with_version).refused(
        500, "", "resourceVersion should not be set on objects to be created"
    )
    assert wire("GET", f"{MAPS}/versions").json["data"] == {"n": "1"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/api/v1/namespaces/%2e%2e/configmaps/x", id="dots"),
        pytest.param("/api/v1/namespaces/a%2Fb/configmaps/x", id="slash"),
        pytest.param("/api/v1/namespaces/a%00b/configmaps/x", id="zero"),
        pytest.param("/api/v1/namespaces/%ff/configmaps/x", id="no-utf8"),
        pytest.param(f"{MAPS}/{'x' * 5000}", id="long"),
        pytest.param("/api/v1/nothings", id="no-such-resource"),
        pytest.param("/apis/nowhere/v1/things", id="no-such-group"),
        pytest.param("//api//v1", id="slashes"),
    ],
)
def test_odd_paths(wire: Wire, path: str) -> None:
    answer = wire("GET", path)
    assert answer.status in (400, 404), answer.body[:300]


# --- connections


def test_half_open_connections(wire: Wire) -> None:
    """Silent ones, ones that stop in the handshake, in a header and in a body; the server answers others."""
    kept: list[Any] = []
    try:
        for number in range(40):
            kept.append(wire.tcp())
            hello = wire.tcp()
            hello.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            kept.append(hello)
            head = wire.connect()
            head.sendall(b"GET /api/v1/pods HTTP/1.1\r\nHost: a\r\nX: ")
            kept.append(head)
            body = wire.connect()
            body.sendall(
                f"POST {MAPS} HTTP/1.1\r\nHost: a\r\nContent-Type: {JSON}\r\nContent-Length: 100\r\n\r\n{{".encode()
            )
            kept.append(body)
            if number % 10 == 0:
                assert wire("GET", "/version").status == 200
        for connection in kept[::2]:
            connection.close()
        assert wire("GET", MAPS).status == 200
    finally:
        for connection in kept:
            connection.close()
    assert wire("GET", MAPS).status == 200


def test_watches_that_are_never_read_cost_little_and_hold_nobody_up(wire: Wire) -> None:
    """25 of them, while 20 MB of events flow: queues of their own would take half a gigabyte."""
    name = f"{MAPS}/flood"
    assert wire("POST", MAPS, config_map("flood", data={"n": ""})).status == 201
    stuck = []
    for _ in range(25):
        socket = wire.connect(receive_buffer=4096)
        socket.sendall(f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert socket.recv(1) == b"H"
        stuck.append(socket)
    before = wire.memory()
    for number in range(100):
        patch = {"data": {"n": str(number), "bulk": f"{number:04}" * 50_000}}
        assert wire("PATCH", name, patch, MERGE).status == 200
    # What the store keeps of the past is 20 MB and its decoded form.
    assert wire.memory() - before < 200_000_000
    reader = wire.connect()
    version = wire("GET", name).json["metadata"]["resourceVersion"]
    reader.sendall(f"GET {MAPS}?watch=true&resourceVersion={version} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert wire("DELETE", name).status == 200
    seen = b""
    while b'"DELETED"' not in seen:
        data = reader.recv(65536)
        assert data, "the watch ended"
        seen += data
    for socket in [*stuck, reader]:
        socket.close()


def test_a_list_that_is_never_read_holds_nobody_up(wire: Wire) -> None:
    for number in range(10):
        wire("POST", MAPS, config_map(f"bulk{number}", data={"bulk": "x" * 900_000}))
    before = wire.memory()
    stuck = []
    for _ in range(20):
        socket = wire.connect(receive_buffer=4096)
        socket.sendall(f"GET {MAPS} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert socket.recv(1) == b"H"
        stuck.append(socket)
    assert wire("GET", "/version").status == 200
    assert wire.memory() - before < 100_000_000
    for socket in stuck:
        socket.close()
    assert wire("DELETE", MAPS).status == 200
