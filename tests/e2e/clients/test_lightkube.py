"""lightkube: typed Python objects with server-side apply."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from minimal import minimal

lightkube = pytest.importorskip("lightkube", reason="pip install 'kubernel[clients]'")
apps = pytest.importorskip("lightkube.resources.apps_v1")
core = pytest.importorskip("lightkube.resources.core_v1")
types = pytest.importorskip("lightkube.types")

CLIENT = f"lightkube {metadata.version('lightkube')}"


@pytest.fixture
def client(kubeconfig: Path, namespace: str) -> Any:
    config = lightkube.KubeConfig.from_file(str(kubeconfig))
    return lightkube.Client(config, namespace=namespace, field_manager="lightkube")


@pytest.mark.behaviour("create, read, change, delete")
def test_an_object_there_and_back(client: Any, namespace: str) -> None:
    made = client.create(core.ConfigMap.from_dict(minimal("v1", "ConfigMap", "a", namespace)))
    made.data = {"x": "1"}
    assert client.replace(made).data == {"x": "1"}
    patched = client.patch(core.ConfigMap, "a", {"data": {"y": "2"}}, patch_type=types.PatchType.MERGE)
    assert patched.data == {"x": "1", "y": "2"}
    assert "a" in [each.metadata.name for each in client.list(core.ConfigMap)]
    client.delete(core.ConfigMap, "a")
    with pytest.raises(lightkube.ApiError) as missing:
        client.get(core.ConfigMap, "a")
    assert (missing.value.status.code, missing.value.status.reason) == (404, "NotFound")


@pytest.mark.behaviour("server-side apply")
def test_apply_owns_and_drops_fields(client: Any, namespace: str) -> None:
    wanted = core.ConfigMap.from_dict(
        {**minimal("v1", "ConfigMap", "b", namespace), "data": {"x": "1", "y": "1"}}
    )
    assert client.apply(wanted).data == {"x": "1", "y": "1"}
    wanted.data = {"x": "1"}
    assert client.apply(wanted).data == {"x": "1"}
    wanted.data = {"x": "2"}
    with pytest.raises(lightkube.ApiError, match='conflict with "lightkube"') as conflict:
        client.apply(wanted, field_manager="other")
    assert conflict.value.status.code == 409


@pytest.mark.behaviour("scale")
def test_the_scale_of_a_deployment(client: Any, namespace: str) -> None:
    client.create(apps.Deployment.from_dict(minimal("apps/v1", "Deployment", "web", namespace)))
    scale = client.get(apps.Deployment.Scale, "web")
    assert scale.spec.replicas in (0, None)
    patched = client.patch(apps.Deployment.Scale, "web", {"spec": {"replicas": 2}})
    assert patched.spec.replicas == 2


@pytest.mark.behaviour("watch")
def test_a_watch_tells_what_happens(client: Any, namespace: str) -> None:
    client.create(core.ConfigMap.from_dict(minimal("v1", "ConfigMap", "seen", namespace)))
    for kind, obj in client.watch(core.ConfigMap, fields={"metadata.name": "seen"}):
        assert (kind, obj.metadata.name) == ("ADDED", "seen")
        break
