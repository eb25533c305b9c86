"""What other people's clients find: one cluster for all of them, a namespace for each test."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Some clients leave their sockets to the garbage collector, which meets whatever test runs then.
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::ResourceWarning"))
            item.add_marker(pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"))


@pytest.fixture(scope="session")
def kubeconfig(cluster_running: Any) -> Path:
    path: Path = cluster_running.data / "kubeconfig"
    return path


@pytest.fixture
def namespace(cluster_running: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    kubectl = cluster_running.kubectl()
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].strip("-")
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def tools() -> Path:
    """Where ``fetch.py`` put what no package manager of Python installs."""
    told = os.environ.get("KUBERNEL_CLIENT_TOOLS", "")
    if not told:
        pytest.skip("KUBERNEL_CLIENT_TOOLS is not set: python tests/e2e/clients/fetch.py DIRECTORY")
    return Path(told)
