"""What the controllers of Kubernetes v1.37 did when these things happened to workloads: ``recorded/*.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from recorded_kit import NAMESPACE, Obj, play

from kubernel.clock import rfc3339
from kubernel.config.configuration import DEFAULT_PLUGINS
from kubernel.errors import ApiError
from kubernel.testing import Cluster

RECORDED = Path(__file__).parent / "recorded"
RESOURCES = {"events": "events.v1"}
WITHOUT = {"local_provisioner", "nodelifecycle", "podgc"}
PLUGINS = {
    "node": None,
    "scheduler": None,
    "controller": [name for name in DEFAULT_PLUGINS["controller"] if name not in WITHOUT],
    "admission": [name for name in DEFAULT_PLUGINS["admission"] if name != "serviceaccount"],
}
CONFIG = {"plugins": PLUGINS}


class Here:
    """The cluster under test."""

    namespace = NAMESPACE

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})

    def create(self, obj: Obj) -> str:
        return self._refusal(lambda: self.cluster.create(obj, namespace=NAMESPACE))

    def patch(self, resource: str, name: str, patch: Any, type: Any, subresource: str) -> str:
        return self._refusal(
            lambda: self.cluster.patch(resource, name, patch, NAMESPACE, type=type, subresource=subresource)
        )

    def delete(self, resource: str, name: str, propagation: Any, grace: int | None) -> str:
        return self._refusal(
            lambda: self.cluster.delete(
                resource, name, NAMESPACE, grace_period=grace, propagation=propagation
            )
        )

    def evict(self, name: str) -> str:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        work = self.cluster.client().create("pods", eviction, NAMESPACE, subresource="eviction", name=name)
        return self._refusal(lambda: self.cluster.run(work))

    def bind(self, name: str, node: str) -> str:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name},
            "target": {"kind": "Node", "name": node},
        }
        work = self.cluster.client().create("pods", binding, NAMESPACE, subresource="binding", name=name)
        return self._refusal(lambda: self.cluster.run(work))

    def list(self, resource: str) -> Sequence[Obj]:
        return self.cluster.list(RESOURCES.get(resource, resource), NAMESPACE)

    def pause(self, seconds: float) -> None:
        self.cluster.clock.advance(seconds)

    def now(self) -> str:
        return rfc3339(self.cluster.clock.time())

    def until_second(self, second: int) -> float:
        return 60 - self.cluster.clock.time() % 60 + second

    @staticmethod
    def _refusal(work: Any) -> str:
        try:
            work()
        except ApiError as error:
            causes = (error.to_status().get("details") or {}).get("causes")
            text = json.dumps(causes) if causes else ""
            return f"{error.status_code} {error.status_reason or None}: {error.message} {text}".strip()
        return ""


def scripts() -> list[Any]:
    return [
        pytest.param(script, id=f"{path.stem}: {script['name']}")
        for path in sorted(RECORDED.glob("*.json"))
        for script in json.loads(path.read_text())
    ]


@pytest.mark.parametrize("script", scripts())
def test_as_recorded(cluster_factory: Any, script: Obj) -> None:
    seen = play(Here(cluster_factory(config=CONFIG)), script["steps"])
    for number, (step, wanted, found) in enumerate(zip(script["steps"], script["seen"], seen, strict=True)):
        assert found == wanted, f"step {number}: {step}"
