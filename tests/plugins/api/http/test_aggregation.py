"""APIs that other servers serve: through this server, in the user's name."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubernel.client.kubeconfig import load_kubeconfig
from kubernel.testing import Cluster
from kubernel_plugins.auth.x509.authority import Authority

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

    def __init__(self, directory: Path, trusted: bytes) -> None:
        authority = Authority.open(directory)
        self.ca = base64.b64encode(authority.ca_certificate).decode()
        pair = authority.issue("remote", names=("remote.default.svc",), usage="server")
        (directory / "server.pem").write_bytes(pair.certificate + pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "server.pem")
        context.load_verify_locations(cadata=trusted.decode())
        context.verify_mode = ssl.CERT_REQUIRED
        self.healthy = True
        kit = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                if self.path == "/apis/remote.example.com/v1":
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
    remote = Remote(tmp_path_factory.mktemp("remote"), trust["requestheader-client-ca-file"].encode())
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
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "remote", "namespace": "default"},
            "spec": {"ports": [{"port": 8443}]},
        }
    )
    cluster.wait(lambda: condition(cluster)[1] == "MissingEndpoints")
    cluster.create(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "remote",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "remote"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"]}],
            "ports": [{"port": remote.port}],
        }
    )
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
    assert names[-1] == "remote.example.com"
    item = json.loads(ask(cluster, "GET", "/apis", Accept=AGGREGATED)[1])["items"][-1]
    assert item["metadata"]["name"] == "remote.example.com"
    (version,) = item["versions"]
    assert version["freshness"] == "Current"
    (moons,) = version["resources"]
    assert (moons["resource"], moons["scope"]) == ("moons", "Namespaced")
    assert [sub["subresource"] for sub in moons["subresources"]] == ["status"]


def test_nobody_without_rights_reaches_the_other_server(cluster: Cluster, remote: Remote) -> None:
    path = "/apis/remote.example.com/v1/namespaces/default/moons"
    status, body = ask(cluster, "GET", path, Impersonate_User="jane")
    assert status == 403
    assert "cannot list resource" in json.loads(body)["message"]
