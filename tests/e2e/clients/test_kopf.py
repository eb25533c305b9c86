"""kopf's own published examples, unmodified, as controllers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from minimal import minimal

pytest.importorskip("kopf", reason="pip install 'kubernel[clients]'")

CLIENT = f"kopf {metadata.version('kopf')}"


class Operator:
    """``kopf run`` of one example in one namespace; its output goes to a file."""

    def __init__(self, example: Path, namespace: str, kubeconfig: Path, output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "kopf", "run", "--standalone", "-n", namespace, str(example)],
                env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def said(self, words: str) -> bool:
        assert self.process.poll() is None, self.output.read_text()
        return words in self.output.read_text()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def operate(tools: Path, kubeconfig: Path, namespace: str, tmp_path: Path) -> Iterator[Any]:
    running: list[Operator] = []

    def start(name: str) -> Operator:
        example = tools / "kopf-examples" / name / "example.py"
        if not example.is_file():
            pytest.skip("kopf's examples were not fetched")
        running.append(Operator(example, namespace, kubeconfig, tmp_path / f"{name}.log"))
        return running[-1]

    yield start
    for operator in running:
        operator.stop()


@pytest.fixture
def custom(cluster_running: Any, tools: Path) -> Any:
    """kubectl, once the examples' custom resource is served."""
    kubectl = cluster_running.kubectl()
    manifest = tools / "kopf-examples" / "crd.yaml"
    if not manifest.is_file():
        pytest.skip("kopf's examples were not fetched")
    kubectl("apply", "-f", str(manifest))
    kubectl("wait", "crd/kopfexamples.kopf.dev", "--for=condition=Established", "--timeout=10s")
    return kubectl


@pytest.mark.behaviour("an operator of pods with finalizers")
def test_10_builtins(cluster_running: Any, operate: Any, namespace: str) -> None:
    kubectl = cluster_running.kubectl()
    operator = operate("10-builtins")
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump(minimal("v1", "Pod", "watched", namespace)))
    kubectl.until(lambda: operator.said("=== Pod killing happens in 30s."), "the creation handler", 30)
    assert (
        "kopf.zalando.org/KopfFinalizerMarker"
        in kubectl.json("get", "pod", "watched", "-n", namespace)["metadata"]["finalizers"]
    )
    kubectl("delete", "pod", "watched", "-n", namespace, "--wait=true", timeout=40)
    kubectl.until(lambda: operator.said("=== Pod killing is cancelled!"), "the deletion handler", 30)


@pytest.mark.behaviour("an operator of custom resources")
def test_01_minimal(custom: Any, operate: Any, namespace: str, tools: Path) -> None:
    operator = operate("01-minimal")
    custom("apply", "-n", namespace, "-f", str(tools / "kopf-examples" / "obj.yaml"))
    custom.until(lambda: operator.said("And here we are! Creating:"), "the creation handler", 30)

    def message() -> Any:
        status = custom.json("get", "kex", "kopf-example-1", "-n", namespace).get("status") or {}
        return status.get("create_fn", {}).get("message") == "hello world"

    custom.until(message, "the handler's result in the status", 30)


@pytest.mark.behaviour("children and their owner")
def test_02_children(custom: Any, operate: Any, namespace: str, tools: Path) -> None:
    operate("02-children")
    custom("apply", "-n", namespace, "-f", str(tools / "kopf-examples" / "obj.yaml"))
    custom.until(lambda: custom.json("get", "pods", "-n", namespace)["items"], "the child pod", 30)
    custom("delete", "kex", "kopf-example-1", "-n", namespace, timeout=40)
    custom.until(
        lambda: (
            not [
                pod
                for pod in custom.json("get", "pods", "-n", namespace)["items"]
                if "deletionTimestamp" not in pod["metadata"]
            ]
        ),
        "the child's collection",
        30,
    )


@pytest.mark.behaviour("exceptions, sub-handlers, events, daemons and timers")
@pytest.mark.parametrize(
    ("example", "words"),
    [
        pytest.param("03-exceptions", "Fail once and for all.", id="a handler that fails for good"),
        pytest.param("05-handlers", "CREATED 1st", id="many handlers of one object"),
        pytest.param(
            "07-subhandlers", "=== Handling creation for item1. ===", id="handlers made by a handler"
        ),
        pytest.param("08-events", "Event received: ", id="raw events"),
        pytest.param(
            "14-daemons", "=> Ping from a sync daemon: field='value', retry=3", id="a daemon, retried"
        ),
        pytest.param("15-timers", "Ping from an async timer: field='value'", id="a timer"),
    ],
)
def test_further_published_examples(
    custom: Any, operate: Any, namespace: str, tools: Path, example: str, words: str
) -> None:
    operator = operate(example)
    custom("apply", "-n", namespace, "-f", str(tools / "kopf-examples" / "obj.yaml"))
    custom.until(lambda: operator.said(words), words, 60)
    custom("delete", "kex", "kopf-example-1", "-n", namespace, timeout=60)


@pytest.mark.behaviour("events that an operator sends")
def test_04_events(custom: Any, operate: Any, namespace: str, tools: Path) -> None:
    operate("04-events")
    custom("apply", "-n", namespace, "-f", str(tools / "kopf-examples" / "obj.yaml"))

    def told() -> bool:
        events = custom.json("get", "events", "-n", namespace)["items"]
        types = {event["type"] for event in events if event["reason"] == "SomeReason"}
        return {"Normal", "Warning", "Error", "SomeType"} <= types

    custom.until(told, "the example's events", 30)
