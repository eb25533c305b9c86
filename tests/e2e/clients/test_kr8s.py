"""kr8s, an asynchronous Python client with a synchronous face."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from minimal import minimal

kr8s = pytest.importorskip("kr8s", reason="pip install 'kubernel[clients]'")
objects = pytest.importorskip("kr8s.objects")

CLIENT = f"kr8s {metadata.version('kr8s')}"
# It says that it does not know the server's version yet.
pytestmark = pytest.mark.filterwarnings("ignore:Kubernetes version .* is not supported:UserWarning")


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> Any:
    return kr8s.api(kubeconfig=str(kubeconfig), namespace=namespace)


@pytest.mark.behaviour("create, read, change, delete")
def test_an_object_there_and_back(api: Any, namespace: str) -> None:
    made = objects.ConfigMap(minimal("v1", "ConfigMap", "a", namespace), api=api)
    made.create()
    assert made.exists()
    made.patch({"data": {"x": "1"}})
    assert objects.ConfigMap.get("a", namespace=namespace, api=api).data.x == "1"
    made.label({"team": "b"})
    assert [each.name for each in api.get("configmaps", namespace=namespace, label_selector="team=b")] == [
        "a"
    ]
    made.delete()
    made.wait("delete", timeout=20)
    assert not made.exists()


@pytest.mark.behaviour("scale and conditions")
def test_a_deployment_is_scaled_and_awaited(api: Any, namespace: str) -> None:
    deployment = objects.Deployment(minimal("apps/v1", "Deployment", "web", namespace), api=api)
    deployment.create()
    deployment.scale(0)
    deployment.wait("condition=Available", timeout=30)
    assert deployment.replicas == 0


@pytest.mark.behaviour("watch")
def test_a_watch_tells_what_happens(api: Any, namespace: str) -> None:
    objects.ConfigMap(minimal("v1", "ConfigMap", "seen", namespace), api=api).create()
    for kind, obj in api.watch("configmaps", namespace=namespace, field_selector="metadata.name=seen"):
        assert (kind, obj.name) == ("ADDED", "seen")
        break


@pytest.mark.behaviour("errors")
def test_what_is_missing_is_not_found(api: Any, namespace: str) -> None:
    with pytest.raises(kr8s.NotFoundError):
        objects.ConfigMap.get("nothing", namespace=namespace, api=api)
    twice = objects.ConfigMap(minimal("v1", "ConfigMap", "twice", namespace), api=api)
    twice.create()
    with pytest.raises(kr8s.ServerError, match="already exists"):
        twice.create()
