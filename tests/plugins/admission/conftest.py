"""A webhook server for a module's ``cluster``, which forgets after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from webhook_kit import WebhookServer

from kubernel.testing import Cluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebhookServer]:
    server = WebhookServer(tmp_path_factory.mktemp("hook"), "127.0.0.1", "hook.default.svc")
    yield server
    server.stop()


@pytest.fixture
def server(running: WebhookServer, cluster: Cluster) -> Iterator[WebhookServer]:
    yield running
    for kind in ("mutating", "validating"):
        resource = f"{kind}webhookconfigurations.v1.admissionregistration.k8s.io"
        for one in cluster.list(resource):
            cluster.delete(resource, one["metadata"]["name"])
    cluster.settle()
    for one in cluster.list("configmaps", "default"):
        cluster.delete("configmaps", one["metadata"]["name"], "default")
    running.answers.clear()
    running.raw.clear()
    running.asked.clear()
    running.held.clear()
