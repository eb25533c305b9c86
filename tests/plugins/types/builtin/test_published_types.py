"""Discovery and OpenAPI of the real built-in types, read by the real kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubernel.registry.discovery import Discovery
from kubernel.registry.openapi import OpenAPI
from kubernel.registry.schema import Node
from kubernel.registry.types import ResourceType
from kubernel_plugins.api.builtin.context import Context
from kubernel_plugins.api.builtin.registration import resource_types
from kubernel_plugins.api.builtin.schemas import Schemas

KUBECTL = shutil.which(
    "kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
)


class Types:
    generation = 1

    def __init__(self) -> None:
        self.schemas = Schemas()
        context = Context(None)  # type: ignore[arg-type]
        self.all = [*resource_types(context, self.schemas.for_kind), crontab(self.schemas)]

    def types(self) -> list[ResourceType]:
        return self.all


def crontab(schemas: Schemas) -> ResourceType:
    root, spec, replicas = Node("object"), Node("object"), Node("integer")
    replicas.extra = {"description": "How many of them.", "minimum": 1}
    spec.properties = {"replicas": replicas}
    metadata = schemas.node("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")
    root.properties = {"metadata": metadata, "spec": spec}
    return ResourceType("stable.example.com", "v1", "CronTab", "crontabs", lambda: root, custom=True)


@pytest.fixture(scope="module")
def types() -> Types:
    return Types()


@pytest.fixture(scope="module")
def openapi(types: Types) -> OpenAPI:
    return OpenAPI(types, version="v1.37.0")


@pytest.fixture(scope="module")
def server(types: Types, openapi: OpenAPI) -> Iterator[str]:
    discovery = Discovery(types)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path, content_type = self.path.partition("?")[0], "application/json"
            if path in ("/api", "/apis") and "apidiscovery.k8s.io" in self.headers["Accept"]:
                document = discovery.aggregated(path)
                content_type += ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            elif path == "/openapi/v3":
                document = openapi.v3_index()
            elif path.startswith("/openapi/v3/"):
                document = openapi.v3(path.removeprefix("/openapi/v3/"))
            else:
                document = discovery.classic(path)
            body = document.body if document else b"{}"
            self.send_response(200 if document else 404)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture
def kubectl(server: str, tmp_path: Path) -> Any:
    if KUBECTL is None:
        pytest.skip("kubectl is not installed")

    def run(*args: str) -> str:
        done = subprocess.run(
            [str(KUBECTL), f"--server={server}", *args],
            env={"HOME": str(tmp_path), "PATH": os.environ.get("PATH", "")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.kubectl
def test_kubectl_lists_every_resource_with_its_short_names(kubectl: Any, types: Types) -> None:
    listed = kubectl("api-resources", "--no-headers").splitlines()
    assert {line.split()[0] for line in listed} == {type.plural for type in types.types()}
    assert any(line.split()[:3] == ["deployments", "deploy", "apps/v1"] for line in listed)


@pytest.mark.kubectl
@pytest.mark.parametrize(
    ("path", "texts"),
    [
        pytest.param("pod.spec.containers.ports", ["containerPort", "-required-", "hostIP"], id="pod"),
        pytest.param("deploy.spec.strategy", ["rollingUpdate", "Deployment.*strategy|strategy"], id="short"),
        pytest.param("svc.spec.ports.targetPort", ["IntOrString"], id="int-or-string"),
        pytest.param("pod.spec.containers.resources.limits", ["map[string]Quantity"], id="quantity"),
        pytest.param("crontab.spec.replicas", ["How many of them.", "<integer>"], id="custom resource"),
        pytest.param("crd.spec.versions.schema.openAPIV3Schema", ["JSONSchemaProps"], id="recursive"),
    ],
)
def test_kubectl_explains(kubectl: Any, path: str, texts: list[str]) -> None:
    told = kubectl("explain", path)
    for text in texts:
        assert any(one in told for one in text.split("|"))


def test_every_type_has_operations_that_accept_what_kubectl_looks_for(types: Types, openapi: OpenAPI) -> None:
    index = orjson.loads(openapi.v3_index().body)["paths"]
    patchable = set()
    for path in index:
        document = openapi.v3(path)
        assert document is not None
        assert index[path]["serverRelativeURL"] == f"/openapi/v3/{path}?hash={document.etag}"
        for item in orjson.loads(document.body)["paths"].values():
            patch = item.get("patch")
            if patch and {"fieldValidation", "dryRun", "force"} <= {
                one["name"] for one in patch.get("parameters", ())
            }:
                kind = patch["x-kubernetes-group-version-kind"]
                patchable.add((kind["group"], kind["version"], kind["kind"]))
    assert {
        (type.group, type.version, type.kind) for type in types.types() if "patch" in type.verbs
    } <= patchable


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                yield item
            else:
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_no_reference_leads_nowhere(openapi: OpenAPI) -> None:
    for path in orjson.loads(openapi.v3_index().body)["paths"]:
        document = openapi.v3(path)
        assert document is not None
        body = orjson.loads(document.body)
        known = {f"#/components/schemas/{name}" for name in body["components"].get("schemas", {})}
        assert set(references(body)) <= known
    swagger = orjson.loads(openapi.v2().body)
    known = {f"#/definitions/{name}" for name in swagger["definitions"]}
    known |= {f"#/parameters/{name}" for name in swagger["parameters"]}
    assert set(references(swagger)) <= known


def test_only_what_is_served_is_published(openapi: OpenAPI) -> None:
    assert openapi.v3("apis/nobody.example.com/v1") is None
    names = orjson.loads(openapi.v2().body)["definitions"]
    assert "com.example.stable.v1.CronTab" in names
    assert "com.example.stable.v1.CronTabList" in names


def test_operation_names_are_those_that_client_generators_know(openapi: OpenAPI) -> None:
    paths = orjson.loads(openapi.v2().body)["paths"]
    deployments = "/apis/apps/v1/namespaces/{namespace}/deployments"
    assert paths[deployments]["post"]["operationId"] == "createAppsV1NamespacedDeployment"
    assert paths[deployments]["delete"]["operationId"] == "deleteAppsV1CollectionNamespacedDeployment"
    assert paths["/api/v1/pods"]["get"]["operationId"] == "listCoreV1PodForAllNamespaces"
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/{name}"
    assert paths[role]["get"]["operationId"] == "readRbacAuthorizationV1ClusterRole"
