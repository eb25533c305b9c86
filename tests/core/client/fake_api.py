"""A model of an API server for the client's tests: a few lines that are obviously right."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any

from kubernel.client.informer import Informer, InformerFactory
from kubernel.client.interface import ObjectList
from kubernel.clock import VirtualClock
from kubernel.errors import AlreadyExists, Conflict, Expired, NotFound, ServiceUnavailable


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(coroutine)


async def settle() -> None:
    loop: Any = asyncio.get_running_loop()
    for _ in range(100_000):
        await asyncio.sleep(0)
        if not loop._ready:
            return
    raise AssertionError("the loop does not settle")


class FakeApi:
    """Get, list, watch, create, update, merge patch, delete; a history that can be cut off."""

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock = clock or VirtualClock()
        self.objects: dict[tuple[str, str, str], Any] = {}
        self.history: list[tuple[int, str, str, Any]] = []
        self.revision = 0
        self.oldest = 0
        self.uids = 0
        self.changed = asyncio.Event()
        self.breaks = 0
        self.delays: list[float] = []
        self.failures: list[Exception] = []
        self.calls: list[str] = []
        self.informers = InformerFactory(self, self.clock)

    async def _request(self, name: str) -> None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)

    def commit(self, type: str, resource: str, obj: Any) -> Any:
        self.revision += 1
        metadata = {**obj["metadata"], "resourceVersion": str(self.revision)}
        metadata.setdefault("namespace", "")
        if "uid" not in metadata:
            self.uids += 1
            metadata["uid"] = f"uid-{self.uids}"
        obj = {**obj, "metadata": metadata}
        key = (resource, metadata["namespace"], metadata["name"])
        if type == "DELETED":
            del self.objects[key]
        else:
            self.objects[key] = obj
        self.history.append((self.revision, type, resource, obj))
        self.wake()
        return obj

    def wake(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def put(self, resource: str, name: str, namespace: str = "", *, uid: str = "", **fields: Any) -> Any:
        """Create or replace, at once."""
        old = self.objects.get((resource, namespace, name))
        metadata = {"name": name, "namespace": namespace, **fields.pop("metadata", {})}
        if old is not None:
            metadata["uid"] = old["metadata"]["uid"]
        return self.commit("MODIFIED" if old else "ADDED", resource, {"metadata": metadata, **fields})

    def drop(self, resource: str, name: str, namespace: str = "") -> None:
        self.commit("DELETED", resource, self.objects[resource, namespace, name])

    def compact(self) -> None:
        self.oldest = self.revision
        self.history.clear()

    def break_watches(self) -> None:
        self.breaks += 1
        self.wake()

    async def get(self, resource: str, name: str, namespace: str = "") -> Any:
        await self._request(f"get {name}")
        try:
            return self.objects[resource, namespace, name]
        except KeyError:
            raise NotFound.for_object(resource, "", name) from None

    async def list(self, resource: str, namespace: str = "", **_: Any) -> ObjectList:
        await self._request(f"list {resource}")
        items = [
            obj
            for key, obj in sorted(self.objects.items())
            if key[0] == resource and namespace in ("", key[1])
        ]
        return ObjectList(items, str(self.revision))

    async def watch(
        self, resource: str, namespace: str = "", *, resource_version: str = "", **_: Any
    ) -> AsyncIterator[tuple[Any, Any]]:
        await self._request(f"watch {resource}")
        seen, breaks = int(resource_version), self.breaks
        while True:
            if seen < self.oldest:
                raise Expired("too old")
            changed = self.changed
            for revision, type, kind, obj in [entry for entry in self.history if entry[0] > seen]:
                seen = revision
                if kind == resource and namespace in ("", obj["metadata"]["namespace"]):
                    yield type, obj
            if self.breaks != breaks:
                raise ServiceUnavailable("connection lost")
            if changed is self.changed:
                await changed.wait()

    async def create(self, resource: str, obj: Any, namespace: str = "", **_: Any) -> Any:
        await self._request(f"create {obj['metadata']['name']}")
        key = (resource, namespace, obj["metadata"]["name"])
        if key in self.objects:
            raise AlreadyExists.for_object(resource, "", key[2])
        return self.commit("ADDED", resource, obj)

    async def update(self, resource: str, obj: Any, **_: Any) -> Any:
        metadata = obj["metadata"]
        await self._request(f"update {metadata['name']}")
        old = self.objects.get((resource, metadata.get("namespace", ""), metadata["name"]))
        if old is None:
            raise NotFound.for_object(resource, "", metadata["name"])
        if metadata["resourceVersion"] != old["metadata"]["resourceVersion"]:
            raise Conflict.for_object(resource, "", metadata["name"])
        return self.commit("MODIFIED", resource, obj)

    async def patch(self, resource: str, name: str, patch: Any, namespace: str = "", **_: Any) -> Any:
        await self._request(f"patch {name}")
        old = self.objects.get((resource, namespace, name))
        if old is None:
            raise NotFound.for_object(resource, "", name)
        return self.commit("MODIFIED", resource, {**old, **patch})

    async def delete(self, resource: str, name: str, namespace: str = "", **_: Any) -> Any:
        await self._request(f"delete {name}")
        if (resource, namespace, name) not in self.objects:
            raise NotFound.for_object(resource, "", name)
        return self.commit("DELETED", resource, self.objects[resource, namespace, name])

    def informer(self, resource: str, namespace: str = "", **_: Any) -> Informer:
        return self.informers.get(resource, namespace)

    async def close(self) -> None:
        await self.informers.close()


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def opt(self, **_: Any) -> FakeLog:
        return self

    def error(self, text: str, *args: Any) -> None:
        self.lines.append(text.format(*args))

    warning = debug = info = error


class FakeHandle:
    """What a plugin is given, over a ``FakeApi``."""

    role = "controller"
    name = "test"

    def __init__(self, api: FakeApi, **cluster: Any) -> None:
        self.api = api
        self.clock = api.clock
        self.rng = random.Random(1)
        self.log = FakeLog()
        self.cluster = SimpleNamespace(**cluster)
        self.tasks: list[asyncio.Task[Any]] = []

    def client(self, user: str, groups: Any = ()) -> Any:
        return self.api

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        self.tasks.append(asyncio.get_running_loop().create_task(work, name=name))
        return self.tasks[-1]

    async def finish(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
