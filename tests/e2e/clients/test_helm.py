"""Helm 3 and Helm 4: the life of a release with hooks and a test."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CLIENT = "helm"
CHART = Path(__file__).with_name("chart")
Helm = Callable[..., Any]


@pytest.fixture(params=["helm3", "helm4"])
def helm(
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
    tools: Path,
    kubeconfig: Path,
    namespace: str,
    tmp_path: Path,
) -> Helm:
    record_property("client", request.param.replace("helm", "Helm "))
    program = tools / request.param / "helm"
    if not program.exists():
        pytest.skip(f"{request.param} was not fetched: it needs go")
    environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    def run(*args: str) -> Any:
        done = subprocess.run(
            [str(program), *args, "-n", namespace],
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"helm {' '.join(args)}: {done.stderr}{done.stdout}"
        return json.loads(done.stdout) if "json" in args else done.stdout

    return run


@pytest.mark.behaviour("install, upgrade, rollback, test, uninstall")
def test_the_life_of_a_release(helm: Helm, cluster_running: Any, namespace: str) -> None:
    kubectl = cluster_running.kubectl()

    def greeting() -> Any:
        return kubectl.json("get", "cm", "greet", "-n", namespace)["data"]["greeting"]

    helm("install", "greet", str(CHART), "--wait", "--timeout", "60s")
    deployment = kubectl.json("get", "deploy", "greet", "-n", namespace)
    assert deployment["status"]["availableReplicas"] == 1
    assert kubectl.json("get", "job", "greet-before", "-n", namespace)["status"]["succeeded"] == 1

    helm("upgrade", "greet", str(CHART), "--set", "greeting=goodbye", "--wait", "--timeout", "60s")
    assert greeting() == "goodbye"
    helm("rollback", "greet", "1", "--wait", "--timeout", "60s")
    assert greeting() == "hello"
    assert [each["revision"] for each in helm("history", "greet", "-o", "json")] == [1, 2, 3]
    assert "Succeeded" in helm("test", "greet", "--timeout", "60s")
    helm("uninstall", "greet", "--wait", "--timeout", "60s")
    assert helm("list", "-o", "json") == []
    assert not kubectl.json("get", "deploy,svc", "-n", namespace)["items"]
