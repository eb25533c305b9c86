"""Servers of users that extend the API, running as pods."""

from __future__ import annotations

import base64
import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from kubernel_plugins.authority import Authority

CLIENT = "kubectl 1.37"

pytestmark = pytest.mark.kubectl

WEBHOOK = textwrap.dedent(
    """
    import http.server, json, os, ssl, tempfile
    class Hook(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_POST(self):
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = review["request"]
            response = {"uid": request["uid"], "allowed": request["name"] != "bad"}
            response["status"] = {"message": "that name is taken", "code": 403}
            body = json.dumps({**review, "request": None, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args): pass
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(os.environ["PEM"])
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file.name)
    server = http.server.ThreadingHTTPServer((os.environ["IP"], 8443), Hook)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
    """
)


def test_a_webhook_in_a_pod_refuses_through_its_service(kubectl: Any, tmp_path: Path) -> None:
    namespace = kubectl("config", "view", "--minify", "-o", "jsonpath={..namespace}")
    authority = Authority.open(tmp_path)
    pair = authority.issue("hook", names=(f"hook.{namespace}.svc",), usage="server")
    container = {
        "name": "main",
        "image": "x",
        "command": ["python3", "-uc", WEBHOOK],
        "ports": [{"containerPort": 8443}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "PEM", "value": (pair.certificate + pair.key).decode()},
        ],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "hook", "labels": {"app": "hook"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    kubectl("wait", "--for=condition=Ready", "pod/hook", "--timeout=30s")
    kubectl("expose", "pod", "hook", "--port=443", "--target-port=8443")
    service = {"namespace": namespace, "name": "hook", "path": "/review"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    webhook = {
        "name": "names.example.com",
        "clientConfig": {
            "service": service,
            "caBundle": base64.b64encode(authority.ca_certificate).decode(),
        },
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "names.example.com"},
        "webhooks": [webhook],
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(configuration))
    try:
        refusal = 'admission webhook "names.example.com" denied the request: that name is taken'

        def refused() -> bool:
            done = kubectl.run("create", "configmap", "bad", "--dry-run=server")
            assert done.returncode == 0 or refusal in done.stderr or "endpoints" in done.stderr, done.stderr
            return refusal in done.stderr

        kubectl.until(refused, "the webhook's refusal")
        kubectl("create", "configmap", "good")
    finally:
        kubectl("delete", "validatingwebhookconfiguration", "names.example.com")


def test_kubectl_lists_the_apis_of_the_server_itself_as_local_and_available(kubectl: Any) -> None:
    lines = kubectl("get", "apiservices").splitlines()
    assert lines[0].split() == ["NAME", "SERVICE", "AVAILABLE", "AGE"]
    rows = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    assert rows["v1.apps"] == rows["v1."] == ["Local", "True"]
