"""The fork has custom resources, so that policies of third parties may look at them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tls_kit import endpoints_at, server_context, service_at

from kubernel.client.http import HttpClient
from kubernel.config import Configuration
from kubernel.objects import conditions
from kubernel.testing import Cluster
from kubernel_plugins.cli.schedule.fork import forked, read

Obj = dict[str, Any]
SERVICES = "apiservices.v1.apiregistration.k8s.io"


def definition(group: str, *, webhook: bool = False) -> Obj:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": schema}},
        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
    ]
    spec = {
        "group": group,
        "scope": "Cluster",
        "names": {"plural": "loads", "singular": "load", "kind": "Load", "listKind": "LoadList"},
        "versions": versions,
    }
    if webhook:
        config = {"url": "https://127.0.0.1:1/", "caBundle": ""}
        spec["conversion"] = {
            "strategy": "Webhook",
            "webhook": {"clientConfig": config, "conversionReviewVersions": ["v1"]},
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"loads.{group}"},
        "spec": spec,
    }


def load(name: str, group: str, share: int, version: str = "v1") -> Obj:
    return {
        "apiVersion": f"{group}/{version}",
        "kind": "Load",
        "metadata": {"name": name},
        "spec": {"share": share},
    }


@pytest.mark.parametrize("webhook", [False, True], ids=["one-form", "converted-by-a-webhook"])
def test_custom_resources_are_there_in_every_version_and_are_not_made_anew(
    cluster_factory: Any, webhook: bool
) -> None:
    cluster: Cluster = cluster_factory()
    cluster.create(definition("example.com", webhook=webhook))
    cluster.clock.advance(5)
    made = cluster.create(load("node-1", "example.com", 30))
    contents = cluster.run(read(cluster.client()))
    with forked(Configuration(), contents, now=cluster.clock.time(), lead=False) as fork:
        for version in ("v1", "v2"):
            (found,) = fork.list(f"loads.{version}.example.com")
            assert found["spec"] == {"share": 30}
            assert found["metadata"]["uid"] == made["metadata"]["uid"]
            assert found["apiVersion"] == f"example.com/{version}"
        fork.delete("loads.v1.example.com", "node-1")
    assert cluster.list("loads.v1.example.com") == [made]


class Remote(BaseHTTPRequestHandler):
    """A server of one resource with one object."""

    ANSWERS: ClassVar[dict[str, Obj]] = {
        "/apis/remote.example.com/v1": {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": "remote.example.com/v1",
            "resources": [
                {
                    "name": "loads",
                    "singularName": "load",
                    "namespaced": False,
                    "kind": "Load",
                    "verbs": ["get", "list"],
                }
            ],
        },
        "/apis/remote.example.com/v1/loads": {
            "kind": "LoadList",
            "apiVersion": "remote.example.com/v1",
            "metadata": {},
            "items": [{"metadata": {"name": "node-1"}, "share": 70}],
        },
    }

    def do_GET(self) -> None:
        body = self.ANSWERS.get(self.path.partition("?")[0])
        data = json.dumps(body or {}).encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    context, _ = server_context(tmp_path, "remote", "remote.default.svc")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Remote)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_another_server_serves_is_there_too(port: int) -> None:
    plugins = {"controller": ["bootstrap", "apiregistration"], "scheduler": [], "node": []}
    with Cluster({"plugins": plugins}, https=True) as cluster:
        for each in (service_at("remote", port), endpoints_at("remote", port), api_service()):
            cluster.create(each)
        cluster.wait(lambda: conditions.is_true(cluster.get(SERVICES, "v1.remote.example.com"), "Available"))

        async def through_http() -> list[Obj]:
            client = HttpClient.from_kubeconfig(cluster.kubeconfig)
            try:
                return await read(client)
            finally:
                await client.close()

        contents = asyncio.run(through_http())
        now = cluster.clock.time()
    with forked(Configuration(), contents, now=now, lead=False) as fork:
        (found,) = fork.list("loads.v1.remote.example.com")
        assert (found["metadata"]["name"], found["share"]) == ("node-1", 70)


def api_service() -> Obj:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1.remote.example.com"},
        "spec": {
            "group": "remote.example.com",
            "version": "v1",
            "groupPriorityMinimum": 1000,
            "versionPriority": 15,
            "insecureSkipTLSVerify": True,
            "service": {"namespace": "default", "name": "remote", "port": 8443},
        },
    }
