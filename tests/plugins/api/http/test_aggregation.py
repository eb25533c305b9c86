"""APIs that other servers serve: through this server, in the user's name."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import pytest
from tls_kit import endpoints_at, server_context, service_at

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.testing import Cluster

SERVICES = "apiservices.v1.apiregistration.k8s.io"
LISTED = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": "remote.example.com/v1",
    "resources": [
        {
            "name": "moons",
            "singularName": "moon",
            "namespaced": True,
            "kind": "Moon",
            "verbs": ["get", "list"],
        },
        {"name": "moons/status", "singularName": "", "namespaced": True, "kind": "Moon", "verbs": ["get"]},
    ],
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Remote:
    """An extension server that wants the front proxy's certificate, and repeats what it was sent."""

    def __init__(self, directory: Path, trusted: str) -> None:
        context, self.ca = server_context(directory, "remote", "remote.default.svc", trusted=trusted)
        self.healthy = True
        self.published: dict[str, Any] = {}
        self.asked: Counter[str] = Counter()
        self.refuses = 0
        """The status that answers who asks for another protocol; 0 when that is granted."""
        self.after_refusal: queue.Queue[bytes] = queue.Queue()
        """What came on a connection after its upgrade was refused, to its end."""
        kit = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if self.headers.get("Upgrade"):
                    if kit.refuses:
                        self.refuse()
                    else:
                        self.talk()
                    return
                kit.asked[self.path] += 1
                if self.path.startswith("/openapi/"):
                    code, body = (200, kit.published[self.path]) if self.path in kit.published else (404, {})
                elif self.path == "/apis/remote.example.com/v1":
                    code, body = (200, LISTED) if kit.healthy else (500, {})
                else:
                    length = int(self.headers.get("Content-Length", 0))
                    certificate: Any = self.connection.getpeercert()  # type: ignore[attr-defined]
                    code, body = (
                        207,
                        {
                            "method": self.command,
                            "path": self.path,
                            "headers": [(name.lower(), value) for name, value in self.headers.items()],
                            "body": self.rfile.read(length).decode(),
                            "peer": dict(pair for (pair,) in certificate["subject"]),
                        },
                    )
                data = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def refuse(self) -> None:
                """And go on to serve whoever has that connection."""
                self.send_response(kit.refuses)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"no")
                kit.after_refusal.put(self.rfile.read())
                self.close_connection = True

            def talk(self) -> None:
                """Says who it is told asks, then repeats in capitals until there is no more."""
                self.send_response(101)
                self.send_header("Connection", "Upgrade")
                self.send_header("Upgrade", self.headers["Upgrade"])
                self.end_headers()
                self.wfile.write(self.headers["X-Remote-User"].encode())
                while data := self.rfile.readline():
                    self.wfile.write(data.upper())
                self.close_connection = True

            do_GET = do_POST = answer  # noqa: N815 - the base class's names

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    plugins = {"controller": ["bootstrap", "apiregistration"], "scheduler": [], "node": []}
    with Cluster({"plugins": plugins}, https=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def remote(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    cluster.wait(lambda: cluster.find("configmaps", "extension-apiserver-authentication", "kube-system"))
    trust = cluster.get("configmaps", "extension-apiserver-authentication", "kube-system")["data"]
    assert json.loads(trust["requestheader-allowed-names"]) == ["front-proxy-client"]
    remote = Remote(tmp_path_factory.mktemp("remote"), trust["requestheader-client-ca-file"])
    yield remote
    remote.stop()


def ask(cluster: Cluster, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    access = load_kubeconfig(cluster.kubeconfig)
    context = access.ssl_context()
    host, _, port = access.url.removeprefix("https://").rpartition(":")
    connection = HTTPSConnection(host, int(port), context=context)
    try:
        connection.request(
            method, path, body or None, {name.replace("_", "-"): v for name, v in headers.items()}
        )
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def condition(cluster: Cluster) -> tuple[str, str, str]:
    for one in (cluster.get(SERVICES, "v1.remote.example.com").get("status") or {}).get("conditions") or ():
        if one["type"] == "Available":
            return one["status"], one["reason"], one["message"]
    return "", "", ""


def test_a_remote_version_is_reached_once_its_service_answers(cluster: Cluster, remote: Remote) -> None:
    cluster.create(
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1.remote.example.com"},
            "spec": {
                "group": "remote.example.com",
                "version": "v1",
                "groupPriorityMinimum": 1000,
                "versionPriority": 15,
                "caBundle": remote.ca,
                "service": {"namespace": "default", "name": "remote", "port": 8443},
            },
        }
    )
    cluster.wait(lambda: condition(cluster)[1])
    assert condition(cluster) == (
        "False",
        "ServiceNotFound",
        'service/remote in "default" is not present',
    )
    path = "/apis/remote.example.com/v1/namespaces/default/moons"
    assert ask(cluster, "GET", path) == (503, b"service unavailable\n")
    cluster.create(service_at("remote", remote.port))
    cluster.wait(lambda: condition(cluster)[1] == "MissingEndpoints")
    cluster.create(endpoints_at("remote", remote.port))
    cluster.wait(lambda: condition(cluster)[0] == "True")
    assert condition(cluster) == ("True", "Passed", "all checks passed")

    status, body = ask(
        cluster,
        "POST",
        f"{path}?dryRun=All",
        b'{"kind":"Moon"}',
        X_Remote_User="root",
        Impersonate_User="jane",
        Impersonate_Group="system:masters",
    )
    assert status == 207
    seen = json.loads(body)
    assert (seen["method"], seen["path"], seen["body"]) == ("POST", f"{path}?dryRun=All", '{"kind":"Moon"}')
    assert seen["peer"] == {"commonName": "front-proxy-client"}
    headers = seen["headers"]
    assert [value for name, value in headers if name == "x-remote-user"] == ["jane"]
    groups = [value for name, value in headers if name == "x-remote-group"]
    assert groups == ["system:masters", "system:authenticated"]
    assert not [name for name, _ in headers if name == "authorization" or name.startswith("impersonate-")]

    group = json.loads(ask(cluster, "GET", "/apis/remote.example.com")[1])
    assert group["preferredVersion"] == {"groupVersion": "remote.example.com/v1", "version": "v1"}
    names = [one["name"] for one in json.loads(ask(cluster, "GET", "/apis")[1])["groups"]]
    assert "remote.example.com" in names
    items = json.loads(ask(cluster, "GET", "/apis", Accept=AGGREGATED)[1])["items"]
    (item,) = [one for one in items if one["metadata"]["name"] == "remote.example.com"]
    (version,) = item["versions"]
    assert version["freshness"] == "Current"
    (moons,) = version["resources"]
    assert (moons["resource"], moons["scope"]) == ("moons", "Namespaced")
    assert [sub["subresource"] for sub in moons["subresources"]] == ["status"]


@contextmanager
def asked_to_upgrade(
    cluster: Cluster, method: str, protocol: str
) -> Iterator[tuple[ssl.SSLSocket, IO[bytes]]]:
    """A connection on which the request has been sent, and what reads from it."""
    access = load_kubeconfig(cluster.kubeconfig)
    host, _, port = access.url.removeprefix("https://").rpartition(":")
    raw = socket.create_connection((host, int(port)))
    with access.ssl_context().wrap_socket(raw, server_hostname=host) as connection:
        path = "/apis/remote.example.com/v1/namespaces/default/moons/one/exec"
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode()
        )
        with connection.makefile("rb") as reader:
            yield connection, reader


def read_head(reader: IO[bytes]) -> dict[bytes, bytes]:
    return dict(iter(lambda: reader.readline().rstrip().partition(b": ")[::2], (b"", b"")))


@pytest.mark.parametrize(
    ("method", "protocol"),
    [
        pytest.param("GET", "websocket", id="WebSocket"),
        pytest.param("POST", "SPDY/3.1", id="SPDY"),
        pytest.param("GET", "SPDY/3.1", id="SPDY by GET"),
    ],
)
def test_an_upgrade_goes_through_to_the_other_server(
    cluster: Cluster, remote: Remote, method: str, protocol: str
) -> None:
    with asked_to_upgrade(cluster, method, protocol) as (connection, reader):
        assert reader.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        head = read_head(reader)
        assert (head[b"Upgrade"], head[b"Connection"]) == (protocol.encode(), b"Upgrade")
        assert reader.read(len("kubernetes-admin")) == b"kubernetes-admin"
        for text in (b"hello\n", b"x" * 300_000 + b"\n"):
            connection.sendall(text)
            assert reader.readline() == text.upper()


@pytest.mark.parametrize("protocol", ["websocket", "SPDY/3.1"])
def test_cve_2018_1002105_a_refused_upgrade_leaves_no_connection_to_the_other_server(
    cluster: Cluster, remote: Remote, protocol: str
) -> None:
    """What a client sends then would be believed to come from the front proxy."""
    remote.refuses = 403
    try:
        with asked_to_upgrade(cluster, "GET", protocol) as (connection, reader):
            assert reader.readline() == b"HTTP/1.1 403 Forbidden\r\n"
            assert read_head(reader)[b"Connection"] == b"close"
            assert reader.read(2) == b"no"
            smuggled = (
                b"GET /apis/remote.example.com/v1/secrets HTTP/1.1\r\nHost: x\r\n"
                b"X-Remote-User: system:admin\r\nX-Remote-Group: system:masters\r\n\r\n"
            )
            try:
                connection.sendall(smuggled)
                assert reader.read() == b""
            except OSError:
                pass  # closed before the bytes were out
        assert remote.after_refusal.get(timeout=30) == b""
    finally:
        remote.refuses = 0


def test_bytes_sent_before_an_upgrade_is_refused_reach_nobody(cluster: Cluster, remote: Remote) -> None:
    remote.refuses = 401
    try:
        with asked_to_upgrade(cluster, "POST", "SPDY/3.1") as (connection, reader):
            connection.sendall(b"GET /apis/remote.example.com/v1/secrets HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            assert reader.readline() == b"HTTP/1.1 401 Unauthorized\r\n"
            assert b"HTTP/1.1" not in reader.read()
        assert remote.after_refusal.get(timeout=30) == b""
    finally:
        remote.refuses = 0


def test_an_answer_that_neither_upgrades_nor_refuses_is_an_error(cluster: Cluster, remote: Remote) -> None:
    remote.refuses = 200
    try:
        with asked_to_upgrade(cluster, "GET", "SPDY/3.1") as (_, reader):
            assert reader.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
            length = int(read_head(reader)[b"Content-Length"])
            assert reader.read(length) == b"invalid upgrade response: status code 200\n"
        assert remote.after_refusal.get(timeout=30) == b""
    finally:
        remote.refuses = 0


def test_groups_are_listed_by_their_priority(cluster: Cluster, remote: Remote) -> None:
    def order() -> list[str]:
        return [one["name"] for one in json.loads(ask(cluster, "GET", "/apis")[1])["groups"]]

    change = {"spec": {"groupPriorityMinimum": 17750}}
    cluster.patch(SERVICES, "v1.remote.example.com", change)
    cluster.wait(lambda: order().index("remote.example.com") < order().index("authentication.k8s.io"))
    assert order().index("apps") < order().index("remote.example.com")
    items = json.loads(ask(cluster, "GET", "/apis", Accept=AGGREGATED)[1])["items"]
    assert [one["metadata"]["name"] for one in items] == order()
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"groupPriorityMinimum": 1000}})
    cluster.wait(lambda: order().index("remote.example.com") > order().index("authentication.k8s.io"))


def test_openapi_of_the_other_server_is_part_of_this_ones(cluster: Cluster, remote: Remote) -> None:
    path = "/apis/remote.example.com/v1/namespaces/{namespace}/moons"
    taken = "io.k8s.api.core.v1.Pod"
    answers = {"200": {"description": "OK", "schema": {"$ref": f"#/definitions/{taken}"}}}
    remote.published = {
        "/openapi/v2": {
            "swagger": "2.0",
            "paths": {path: {"get": {"responses": answers}}, "/apis/other.example.com/v1/x": {}},
            "definitions": {
                taken: {"type": "object", "properties": {"moon": {"$ref": "#/definitions/com.example.Moon"}}},
                "com.example.Moon": {"type": "object", "description": "a moon"},
                "com.example.Unused": {"type": "object"},
            },
        },
        "/openapi/v3": {
            "paths": {
                "apis/remote.example.com/v1": {
                    "serverRelativeURL": "/openapi/v3/apis/remote.example.com/v1?hash=A1"
                }
            }
        },
        "/openapi/v3/apis/remote.example.com/v1?hash=A1": {"openapi": "3.0.0", "info": {"title": "moons"}},
    }
    # The server is looked at again when its APIService changes.
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"versionPriority": 16}})

    def index() -> Any:
        return json.loads(ask(cluster, "GET", "/openapi/v3")[1])["paths"]

    cluster.wait(lambda: "apis/remote.example.com/v1" in index())
    assert "apis/apps/v1" in index()
    where = index()["apis/remote.example.com/v1"]["serverRelativeURL"]
    assert json.loads(ask(cluster, "GET", where)[1])["info"] == {"title": "moons"}

    cluster.wait(lambda: path in json.loads(ask(cluster, "GET", "/openapi/v2")[1])["paths"])
    document = json.loads(ask(cluster, "GET", "/openapi/v2")[1])
    definitions = document["definitions"]
    assert "/api/v1/namespaces/{namespace}/pods" in document["paths"]
    assert "/apis/other.example.com/v1/x" not in document["paths"]
    assert "com.example.Unused" not in definitions
    assert definitions["com.example.Moon"] == {"type": "object", "description": "a moon"}
    # A name that is taken by something else is given away under another.
    assert "spec" in definitions[taken]["properties"]
    assert set(definitions[f"{taken}_v2"]["properties"]) == {"moon"}
    schema = document["paths"][path]["get"]["responses"]["200"]["schema"]
    assert schema == {"$ref": f"#/definitions/{taken}_v2"}
    media = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert b"com.example.Moon" in ask(cluster, "GET", "/openapi/v2", Accept=media)[1]


def test_a_server_with_swagger_alone_is_published_as_openapi_3(cluster: Cluster, remote: Remote) -> None:
    path = "/apis/remote.example.com/v1/namespaces/{namespace}/moons"
    reference = {"$ref": "#/definitions/com.example.Moon"}
    media = ["application/json"]
    remote.published = {
        "/openapi/v2": {
            "swagger": "2.0",
            "info": {"title": "moons", "version": "1"},
            "paths": {
                path: {
                    "post": {
                        "operationId": "createMoon",
                        "consumes": media,
                        "produces": media,
                        "parameters": [
                            {"name": "body", "in": "body", "required": True, "schema": reference},
                            {"name": "dryRun", "in": "query", "type": "string", "uniqueItems": True},
                        ],
                        "responses": {"200": {"description": "OK", "schema": reference}},
                    }
                }
            },
            "definitions": {
                "com.example.Moon": {
                    "type": "object",
                    "properties": {
                        "of": {"description": "a planet", "$ref": "#/definitions/com.example.Planet"}
                    },
                },
                "com.example.Planet": {"type": "string"},
            },
        }
    }
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"versionPriority": 18}})

    def where() -> str:
        told = json.loads(ask(cluster, "GET", "/openapi/v3")[1])["paths"].get("apis/remote.example.com/v1")
        return str(told["serverRelativeURL"]) if told else ""

    def document() -> Any:
        status, body = ask(cluster, "GET", where()) if where() else (0, b"")
        return json.loads(body) if status == 200 else {"info": {}}

    cluster.wait(lambda: document()["info"] == {"title": "moons", "version": "1"})
    found = document()
    assert found["openapi"] == "3.0.0"
    moved = {"$ref": "#/components/schemas/com.example.Moon"}
    assert found["paths"][path]["post"] == {
        "operationId": "createMoon",
        "requestBody": {"content": {"application/json": {"schema": moved}}},
        "parameters": [
            {"name": "dryRun", "in": "query", "schema": {"type": "string", "uniqueItems": True}},
        ],
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": moved}}}},
    }
    assert found["components"]["schemas"]["com.example.Moon"]["properties"]["of"] == {
        "description": "a planet",
        "allOf": [{"$ref": "#/components/schemas/com.example.Planet"}],
    }
    protobuf = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"
    status, body = ask(cluster, "GET", where(), Accept=protobuf)
    assert status == 200
    assert body.startswith(b"\n\x053.0.0")
    # An outdated address leads to the present one.
    path, _, etag = where().partition("?hash=")
    assert ask(cluster, "GET", f"{path}?hash=0")[0] == 301
    assert len(etag) == 128


@pytest.mark.parametrize("document", [[], {"paths": 3}, {"paths": {"/apis/remote.example.com/v1/x": []}}])
def test_a_server_that_publishes_nonsense_is_served_all_the_same(
    cluster: Cluster, remote: Remote, document: Any
) -> None:
    remote.published = {"/openapi/v2": document}
    asked = remote.asked["/openapi/v2"]
    priority = cluster.get(SERVICES, "v1.remote.example.com")["spec"]["versionPriority"] + 1
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"versionPriority": priority}})
    cluster.wait(lambda: remote.asked["/openapi/v2"] > asked)
    assert ask(cluster, "GET", "/apis/remote.example.com/v1/namespaces/default/moons")[0] == 207
    remote.published = {}


def test_a_server_that_fails_is_stale_in_discovery_and_not_asked(cluster: Cluster, remote: Remote) -> None:
    def freshness() -> str:
        items = json.loads(ask(cluster, "GET", "/apis", Accept=AGGREGATED)[1])["items"]
        (found,) = [one for one in items if one["metadata"]["name"] == "remote.example.com"]
        return str(found["versions"][0]["freshness"])

    assert freshness() == "Current"
    remote.healthy = False
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"versionPriority": 17}})
    cluster.wait(lambda: freshness() == "Stale")
    assert condition(cluster)[:2] == ("False", "FailedDiscoveryCheck")
    path = "/apis/remote.example.com/v1/namespaces/default/moons"
    assert ask(cluster, "GET", path) == (503, b"service unavailable\n")
    remote.healthy = True
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"versionPriority": 15}})
    cluster.wait(lambda: freshness() == "Current")


def test_certificates_are_checked_unless_the_service_says_not_to(cluster: Cluster, remote: Remote) -> None:
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"caBundle": None}})
    cluster.wait(lambda: condition(cluster)[0] == "False")
    assert "x509: certificate signed by unknown authority" in condition(cluster)[2]
    cluster.patch(SERVICES, "v1.remote.example.com", {"spec": {"insecureSkipTLSVerify": True}})
    cluster.wait(lambda: condition(cluster)[0] == "True")
    change = {"spec": {"caBundle": remote.ca, "insecureSkipTLSVerify": None}}
    cluster.patch(SERVICES, "v1.remote.example.com", change)
    cluster.wait(lambda: condition(cluster)[0] == "True")


def test_nobody_without_rights_reaches_the_other_server(cluster: Cluster, remote: Remote) -> None:
    path = "/apis/remote.example.com/v1/namespaces/default/moons"
    status, body = ask(cluster, "GET", path, Impersonate_User="jane")
    assert status == 403
    assert "cannot list resource" in json.loads(body)["message"]
