"""The rest of what kubectl can do: the commands, flags and refusals that a user meets less often."""

from __future__ import annotations

import http.client
import json
import re
import socket
import textwrap
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.kubectl

ECHO = textwrap.dedent(
    """
    import http.server, os, socketserver, threading
    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            body = f"{self.command} {self.path} {self.rfile.read(length).decode()}".encode()
            self.send_response(200)
            self.send_header("X-From", "pod")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
        do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET
        def log_message(self, *args): pass
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            while data := self.request.recv(65536):
                self.request.sendall(data)
    address = os.environ["IP"]
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    echo = socketserver.ThreadingTCPServer((address, 7007), Echo)
    threading.Thread(target=echo.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer((address, 8080), Web).serve_forever()
    """
)


@pytest.fixture
def server(kubectl: Any) -> Any:
    """kubectl with a running pod ``server`` and its service: port 7007 echoes, 8080 answers HTTP."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "server", "labels": {"app": "server"}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "main",
                    "image": "x",
                    "command": ["python3", "-uc", ECHO],
                    "ports": [{"containerPort": 8080, "name": "web"}],
                    "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                }
            ],
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    kubectl("wait", "--for=condition=Ready", "pod/server", "--timeout=30s")
    kubectl("expose", "pod", "server", "--port=80", "--target-port=web")
    return kubectl


@contextmanager
def running(kubectl: Any, *args: str) -> Iterator[tuple[Any, re.Match[str]]]:
    """A kubectl that listens; its process and what its first line said of the port."""
    process = kubectl.start(*args)
    try:
        line = process.stdout.readline()
        found = re.search(r"(?:127\.0\.0\.1|localhost):(\d+)", line)
        assert found, line
        yield process, found
    finally:
        process.terminate()
        process.communicate(timeout=10)


def test_port_forward_carries_many_connections_and_bytes(server: Any) -> None:
    with running(server, "port-forward", "pod/server", ":7007") as (_, found):
        sent = bytes(range(256)) * 8192
        answers: dict[int, bytes] = {}

        def talk(number: int) -> None:
            with socket.create_connection(("127.0.0.1", int(found[1])), timeout=20) as connection:
                writer = threading.Thread(
                    target=lambda: (connection.sendall(sent), connection.shutdown(socket.SHUT_WR))
                )
                writer.start()
                answers[number] = b"".join(iter(lambda: connection.recv(65536), b""))
                writer.join()

        threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answers[number] == sent for number in range(4)] == [True] * 4


def test_port_forward_to_a_port_where_nobody_listens_says_so(server: Any) -> None:
    with running(server, "port-forward", "service/server", ":80") as (process, found):
        assert int(found[1])
    with running(server, "port-forward", "pod/server", ":9") as (process, found):
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=10) as connection:
            assert connection.recv(1) == b""
        text = process.stdout.read()
        assert "error forwarding port 9 to pod server" in text
        assert "Connection refused" in text


def test_the_proxies_reach_pods_and_services(server: Any) -> None:
    namespace = server.json("get", "pod", "server")["metadata"]["namespace"]
    base = f"/api/v1/namespaces/{namespace}"
    for name in (
        "pods/server",
        "pods/server:8080",
        "pods/http:server:8080",
        "services/server",
        "services/server:80",
    ):
        assert server("get", "--raw", f"{base}/{name}/proxy/a%20b/?x=1&y=2") == "GET /a%20b/?x=1&y=2 "
    refused = server.refused("get", "--raw", f"{base}/services/server:81/proxy/")
    assert 'no service port 81 found for service "server"' in refused
    assert "error trying to reach service" in server.refused("get", "--raw", f"{base}/pods/server:9/proxy/")
    assert "NotFound" in server.refused("get", "--raw", f"{base}/pods/nobody/proxy/")
    assert 'invalid pod request "a:b:c:d"' in server.refused("get", "--raw", f"{base}/pods/a:b:c:d/proxy/")


def test_kubectl_proxy_passes_every_verb(server: Any) -> None:
    namespace = server.json("get", "pod", "server")["metadata"]["namespace"]
    with (
        running(server, "proxy", "--port=0") as (_, found),
        closing(http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)) as connection,
    ):
        base = f"/api/v1/namespaces/{namespace}/pods/server/proxy"

        def ask(method: str, path: str, body: str | None = None) -> tuple[int, str, Any]:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers

        assert json.loads(ask("GET", "/version")[1])["major"] == "1"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert ask(method, f"{base}/x", "hello")[:2] == (200, f"{method} /x hello")
        status, body, headers = ask("HEAD", f"{base}/x")
        assert (status, body, headers["X-From"]) == (200, "", "pod")
        status, _, headers = ask("GET", f"{base}?a=b")
        assert (status, headers["Location"]) == (301, f"{base}/?a=b")
        assert ask("POST", base)[1] == "POST / "


def test_an_unknown_kind_is_told_like_upstream(kubectl: Any) -> None:
    body = "apiVersion: example.com/v1\nkind: Nonsense\nmetadata: {name: a}\n"
    refusal = kubectl.refused("apply", "-f", "-", stdin=body)
    assert 'no matches for kind "Nonsense" in version "example.com/v1"' in refusal
    assert "ensure CRDs are installed first" in refusal
    assert "FIELD:    hostname <string>" in kubectl(
        "explain", "pod.spec.hostname", "--output=plaintext-openapiv2"
    )
