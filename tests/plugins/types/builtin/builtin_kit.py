"""A real registry with all built-in types over the memory backend."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from kubernel.client.local import LocalClient
from kubernel.clock import VirtualClock
from kubernel.registry.operations import Result
from kubernel.registry.registry import Registry
from kubernel.registry.request import DeleteOptions, Request, UserInfo, WriteOptions
from kubernel.registry.types import ResourceType
from kubernel.store import ObjectStore
from kubernel.watch import WatchBus
from kubernel_plugins.api.builtin import Plugin, Settings
from kubernel_plugins.store.memory import MemoryBackend

USER = UserInfo("jane", ("dev", "system:authenticated"), "u-1", {"scopes": ("a", "b")})
OPTIONS = WriteOptions(field_manager="test")


class _NoAdmission:
    async def admit(self, request: Request) -> None:
        return

    async def validate(self, request: Request) -> None:
        return


class Cluster:
    """``serve``: groups and versions beside the default ones. ``backend`` may be one that others have, too."""

    def __init__(self, serve: tuple[str, ...] = (), backend: Any = None, seed: int = 11) -> None:
        self.serve = serve
        self.clock = VirtualClock()
        self.store = ObjectStore(backend or MemoryBackend(retention=300.0), self.clock, freeze=True)
        rng = random.Random(seed)
        self.registry = Registry(self.store, WatchBus(self.store), self.clock, rng, _NoAdmission())
        self.handle: Any = SimpleNamespace(
            registry=self.registry,
            clock=self.clock,
            rng=rng,
            cluster=SimpleNamespace(service_cidr="10.96.0.0/16"),
            client=lambda user, groups: LocalClient(self.registry, UserInfo(user, groups), self.clock),
        )
        self.register()

    def register(self) -> None:
        Plugin(Settings(self.serve), self.handle).kubernel_register_types(self.registry)

    def type(self, plural: str, group: str = "", version: str = "v1") -> ResourceType:
        found = self.registry.lookup(group, version, plural)
        assert found is not None, plural
        return found

    def type_of(self, obj: dict[str, Any]) -> ResourceType:
        group, _, version = obj["apiVersion"].rpartition("/")
        found = self.registry.by_kind(group, version, obj["kind"])
        assert found is not None, obj["kind"]
        return found

    async def create(self, obj: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        type = self.type_of(obj)
        namespace = obj["metadata"].get("namespace", "default") if type.namespaced else ""
        options = WriteOptions(field_manager="test", dry_run=dry_run)
        return thawed((await self.registry.create(USER, type, namespace, obj, options)).record.obj)

    async def post(self, plural: str, name: str, subresource: str, obj: dict[str, Any]) -> Result:
        return await self.registry.create(
            USER, self.type(plural), "default", obj, OPTIONS, name=name, subresource=subresource
        )

    async def update(self, obj: dict[str, Any], subresource: str = "") -> dict[str, Any]:
        type = self.type_of(obj)
        meta = obj["metadata"]
        result = await self.registry.update(
            USER, type, meta.get("namespace", ""), meta["name"], obj, OPTIONS, subresource=subresource
        )
        return thawed(result.record.obj)

    def get(self, plural: str, name: str, group: str = "", namespace: str = "default") -> dict[str, Any]:
        type = self.type(plural, group)
        return thawed(self.registry.get(type, namespace if type.namespaced else "", name).obj)

    async def delete(self, plural: str, name: str, group: str = "", **options: Any) -> Result:
        type = self.type(plural, group)
        return await self.registry.delete(
            USER, type, "default" if type.namespaced else "", name, DeleteOptions(**options)
        )


def thawed(value: Any) -> Any:
    """A plain, mutable copy."""
    if isinstance(value, dict):
        return {key: thawed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thawed(item) for item in value]
    return value


def run(test: Callable[[Cluster], Coroutine[Any, Any, None]], serve: tuple[str, ...] = ()) -> None:
    async def go() -> None:
        cluster = Cluster(serve)
        await cluster.store.start()
        try:
            await test(cluster)
        finally:
            await cluster.store.stop()

    asyncio.run(go())


def pod(name: str = "web", **spec: Any) -> dict[str, Any]:
    containers = spec.pop("containers", [{"name": "main", "image": "nginx"}])
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": containers, **spec},
    }


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}, **spec},
    }


def workload(kind: str, name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "main", "image": "nginx:1.27"}]},
            },
            **spec,
        },
    }
