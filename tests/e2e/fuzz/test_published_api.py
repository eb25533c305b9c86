"""Requests made up from the published OpenAPI documents: no internal error, and answers as promised."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("schemathesis", reason="pip install schemathesis")

CLIENT = "Schemathesis"
SECONDS = int(os.environ.get("KUBERNEL_FUZZ_SECONDS", "5"))
SEED = os.environ.get("KUBERNEL_FUZZ_SEED", "1")

pytestmark = pytest.mark.behaviour("made-up requests after the published OpenAPI")

CONFIGURATION = """
apiVersion: kubernel.dev/v1
kind: Configuration
plugins:
  store: memory
  node: []
  runtime: null
  network: null
  controller: [bootstrap, customresources]
"""

# A watch does not end, most made-up namespaces do not exist, and see `as_answered`.
SETTINGS = """
[parameters]
"query.watch" = false
"query.resourceVersion" = "0"
"path.namespace" = "default"
"""
LEFT_OUT = "/watch/|/proxy|/exec|/attach|/portforward|/log$"

DEFINITION: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "kettles.fuzz.example.com"},
    "spec": {
        "group": "fuzz.example.com",
        "scope": "Namespaced",
        "names": {"plural": "kettles", "kind": "Kettle"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                },
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["litres"],
                                "properties": {
                                    "litres": {"type": "number", "minimum": 0},
                                    "replicas": {"type": "integer", "format": "int32", "default": 1},
                                    "colours": {
                                        "type": "array",
                                        "maxItems": 5,
                                        "items": {"type": "string", "maxLength": 9},
                                        "x-kubernetes-list-type": "set",
                                    },
                                    "port": {"x-kubernetes-int-or-string": True},
                                    "since": {"type": "string", "format": "date-time", "nullable": True},
                                    "more": {"type": "object", "additionalProperties": {"type": "boolean"}},
                                },
                                "x-kubernetes-validations": [
                                    {"rule": "!has(self.colours) || size(self.colours) < self.litres + 3.0"}
                                ],
                            },
                            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}

GROUPS = (
    "api/v1",
    *(
        f"apis/{group}/v1"
        for group in (
            "admissionregistration.k8s.io",
            "apiextensions.k8s.io",
            "apiregistration.k8s.io",
            "apps",
            "authentication.k8s.io",
            "authorization.k8s.io",
            "autoscaling",
            "batch",
            "certificates.k8s.io",
            "coordination.k8s.io",
            "discovery.k8s.io",
            "events.k8s.io",
            "flowcontrol.apiserver.k8s.io",
            "fuzz.example.com",
            "networking.k8s.io",
            "node.k8s.io",
            "policy",
            "rbac.authorization.k8s.io",
            "resource.k8s.io",
            "scheduling.k8s.io",
            "storage.k8s.io",
            "storagemigration.k8s.io",
        )
    ),
    "apis/autoscaling/v2",
)


@pytest.fixture(scope="module")
def running(module_cluster: Any) -> Any:
    settings = module_cluster.home / "configuration.yaml"
    settings.write_text(CONFIGURATION)
    module_cluster.up("--config", str(settings))
    return module_cluster


def published(running: Any, group: str) -> dict[str, Any]:
    """The document of ``group``, the custom one made anew: made-up requests may have deleted it."""
    kubectl = running.kubectl()
    kubectl("apply", "-f", "-", stdin=json.dumps(DEFINITION))
    kubectl("wait", "--for=condition=Established", f"crd/{DEFINITION['metadata']['name']}")
    found = kubectl.until(
        lambda: kubectl.run("get", "--raw", f"/openapi/v3/{group}").stdout, f"OpenAPI of {group}"
    )
    document: dict[str, Any] = json.loads(found)
    return document


def as_answered(document: dict[str, Any]) -> dict[str, Any]:
    """Without what a kube-apiserver itself answers otherwise than it publishes.

    Go writes an empty list or time as null where it does not leave it out, required or not. A resourceVersion on
    creation is answered 500, as are one that is no number and a Binding without a target. A namespace's deletion is
    answered with the namespace.
    """
    document = copy.deepcopy(document)
    document["paths"].get("/api/v1/namespaces/{name}", {}).pop("delete", None)
    for path in [path for path in document["paths"] if path.endswith(("/binding", "/bindings"))]:
        del document["paths"][path]
    for name, schema in document["components"]["schemas"].items():
        properties = schema.get("properties", {})
        if name.endswith(".ObjectMeta"):
            properties.pop("resourceVersion", None)
        required = [one for one in schema.get("required", ()) if not _empty(properties.get(one, {}))]
        for one in properties.values():
            if _empty(one):
                one["nullable"] = True
        schema.pop("required", None)
        if required:
            schema["required"] = required
    return document


def _empty(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "array" or "Time" in json.dumps(schema.get("allOf", ()))


@pytest.mark.timeout(SECONDS + 120)
@pytest.mark.parametrize("group", GROUPS)
def test_made_up_requests_never_fail_inside_and_answers_fit(running: Any, group: str, tmp_path: Path) -> None:
    state = json.loads((running.data / "run" / "kubernel.json").read_text())
    (tmp_path / "openapi.json").write_text(json.dumps(as_answered(published(running, group))))
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)
    pki = running.data / "pki"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from schemathesis.cli import schemathesis; schemathesis()",
            *("run", "openapi.json", "--url", state["url"]),
            *("--tls-verify", "false"),
            *("--request-cert", str(pki / "admin.crt"), "--request-cert-key", str(pki / "admin.key")),
            *("--request-timeout", "10", "--exclude-path-regex", LEFT_OUT),
            *("--checks", "not_a_server_error,response_schema_conformance"),
            *(
                "--phases",
                "fuzzing",
                "--max-time",
                str(SECONDS),
                "--max-examples",
                "5",
                "--seed",
                SEED,
                "--no-shrink",
            ),
            *("--suppress-health-check", "all", "--warnings", "off"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SECONDS + 100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
