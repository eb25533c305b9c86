"""A real HTTPS webhook server on loopback for tests, and configurations that name it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tls_kit import server_context

from kubernel.testing import Cluster

GROUP = "admissionregistration.k8s.io"
Obj = dict[str, Any]
Answer = Callable[[Obj], Obj]
"""From ``request`` of an AdmissionReview to what ``response`` says beside the uid."""


def allow(request: Obj) -> Obj:
    return {"allowed": True}


def deny(request: Obj) -> Obj:
    return {"allowed": False, "status": {"message": "no"}}


def patching(*operations: Obj) -> Answer:
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return lambda request: {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


class WebhookServer:
    """Answers each path as ``answers`` says (a path not there: allowed) and keeps what it was asked."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.answers: dict[str, Answer] = {}
        self.raw: dict[str, Callable[[Obj], tuple[int, bytes] | tuple[int, bytes, str]]] = {}
        self.documents: dict[str, bytes] = {}
        self.asked: list[tuple[str, Obj]] = []
        self.connections = 0
        self.held = threading.Event()
        context, self.ca = server_context(directory, "webhook", *(names or ("127.0.0.1",)))
        kit = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                kit.connections += 1

            def do_GET(self) -> None:
                body = kit.documents.get(self.path, b"")
                self.send_response(200 if body else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kit.asked.append((self.path, review))
                path = self.path.partition("?")[0]
                if path == "/hang":
                    kit.held.wait()
                media: list[str] = []
                if path in kit.raw:
                    code, body, *media = kit.raw[path](review)
                else:
                    said = kit.answers.get(path, allow)(review["request"])
                    code, body = 200, json.dumps(reviewed(review, said)).encode()
                self.send_response(code)
                for one in media:
                    self.send_header("Content-Type", one)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients that refuse the certificate are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, path: str) -> Obj:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": self.ca}

    def kubeconfig(self, directory: Path, path: str) -> str:
        """A kubeconfig that names ``path`` of this server."""
        cluster = {"server": f"https://127.0.0.1:{self.port}{path}", "certificate-authority-data": self.ca}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": {"token": "own-token"}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        file = directory / "webhook.kubeconfig"
        file.write_text(json.dumps(document))
        return str(file)

    def requests(self, path: str) -> list[Obj]:
        return [review["request"] for said, review in self.asked if said.partition("?")[0] == path]


def reviewed(review: Obj, said: Obj) -> Obj:
    return {
        "apiVersion": review["apiVersion"],
        "kind": "AdmissionReview",
        "response": {"uid": review["request"]["uid"], **said},
    }


def webhook(
    name: str, client: Obj, *resources: str, operations: tuple[str, ...] = ("*",), **more: Any
) -> Obj:
    rule = {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": list(operations),
        "resources": list(resources or ("configmaps",)),
    }
    return {
        "name": name,
        "clientConfig": client,
        "rules": [rule],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **more,
    }


def configure(cluster: Cluster, kind: str, name: str, *webhooks: Obj) -> Obj:
    """Create a configuration, and let the plugin see it. ``kind`` is Mutating or Validating."""
    made = cluster.create(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": list(webhooks),
        }
    )
    cluster.settle()
    return made


def config_map(name: str = "c", **data: str) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }
