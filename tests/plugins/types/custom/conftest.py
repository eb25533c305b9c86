"""A webhook server and a cluster whose time is real, for tests of conversion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from webhook_kit import WebhookServer

from kubernel.testing import Cluster


@pytest.fixture
def hook(tmp_path: Path) -> Iterator[WebhookServer]:
    server = WebhookServer(tmp_path / "hook")
    yield server
    server.stop()


@pytest.fixture
def real() -> Iterator[Cluster]:
    plugins = {"controller": ["bootstrap", "customresources"], "scheduler": [], "node": []}
    with Cluster({"plugins": plugins}, real_time=True) as cluster:
        yield cluster
