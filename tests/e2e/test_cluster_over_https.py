"""The test kit's real endpoint: the real kubectl, and the HTTPS client with its informers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubernel.client.http import HttpClient
from kubernel.errors import AlreadyExists, Conflict, NotFound
from kubernel.testing import Cluster


@pytest.fixture
def served(cluster_factory: Callable[..., Cluster]) -> Cluster:
    return cluster_factory(https=True)


def kubectl(cluster: Cluster, *arguments: str) -> str:
    program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or shutil.which("kubectl")
    if program is None:
        pytest.skip("no kubectl")
    command = [program, "--kubeconfig", str(cluster.https()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": data,
    }


@pytest.mark.kubectl
def test_kubectl_sees_the_cluster(served: Cluster) -> None:
    assert "node-1" in kubectl(served, "get", "nodes")
    served.apply(config_map("a", x="1"))
    assert kubectl(served, "get", "configmap", "a", "-o", "jsonpath={.data.x}") == "1"


def test_the_https_client_does_what_the_one_in_process_does(served: Cluster) -> None:
    async def check() -> None:
        client = HttpClient.from_kubeconfig(served.kubeconfig, field_manager="tester")
        try:
            made = await client.create("configmaps", config_map("a", x="1"))
            with pytest.raises(AlreadyExists):
                await client.create("configmaps", config_map("a"))
            changed = await client.update("configmaps", {**made, "data": {"x": "2"}})
            with pytest.raises(Conflict):
                await client.update("configmaps", {**made, "data": {"x": "3"}})
            patched = await client.patch("configmaps", "a", {"data": {"y": "1"}}, "default")
            assert patched["data"] == {"x": "2", "y": "1"}
            applied = await client.patch(
                "configmaps", "b", config_map("b", z="1"), "default", type="apply", field_manager="me"
            )
            assert applied["metadata"]["managedFields"][0]["manager"] == "me"
            assert changed["metadata"]["managedFields"][0]["manager"] == "tester"
            found = await client.list("configmaps", "default", fields="metadata.name=a")
            assert found.items == [await client.get("configmaps", "a", "default")]
            await client.delete("configmaps", "a", "default", uid=made["metadata"]["uid"])
            with pytest.raises(NotFound, match='configmaps "a" not found'):
                await client.get("configmaps", "a", "default")
            kinds = {(type["group"], type["resource"]) for type in await client.discover()}
            assert {("", "pods"), ("apps", "deployments")} <= kinds
        finally:
            await client.close()

    asyncio.run(check())


def test_an_informer_over_https_follows_and_survives_lost_watches(served: Cluster) -> None:
    async def check() -> None:
        client = HttpClient.from_kubeconfig(served.kubeconfig)
        try:
            informer = client.informer("configmaps", "default")
            await informer.synced()
            for number in range(3):
                name = f"m{number}"
                await asyncio.to_thread(served.create, config_map(name))
                async with asyncio.timeout(30):
                    while informer.get(name, "default") is None:
                        await asyncio.sleep(0.01)
                await asyncio.to_thread(served.faults.drop_watches)
            assert {"m0", "m1", "m2"} <= {obj["metadata"]["name"] for obj in informer.list()}
        finally:
            await client.close()

    asyncio.run(check())
