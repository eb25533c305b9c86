"""What all pod workers of a node share."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.client.informer import Informer
from kubernel_plugins.node.kubelet.volumes import references

if TYPE_CHECKING:
    import asyncio

    from kubernel.client import Client
    from kubernel.client.recorder import EventRecorder
    from kubernel.clock import Clock
    from kubernel.plugin.contract import PodNetwork, Runtime
    from kubernel.store.records import EventType, Obj

__all__ = ["Context"]


@dataclass(slots=True)
class Context:
    client: Client
    clock: Clock
    log: Any
    runtime: Runtime
    network: PodNetwork
    recorder: EventRecorder
    node_name: str
    host_addresses: Sequence[str]
    pods_directory: Path
    logs_directory: Path
    allocatable: Callable[[], Mapping[str, str]]
    spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]]
    wake: Callable[[str], None]
    """Look at the pod of this uid again because something that it reads has changed."""
    forget: Callable[[str], None]
    """The pod of this uid is gone and nothing is left of it."""
    _objects: dict[tuple[str, str, str], Informer] = field(default_factory=dict)
    """What pods read, one by one: a node may read what its pods need and no more."""
    _readers: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)
    _reads: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)

    @property
    def runtime_name(self) -> str:
        return self.runtime.version.partition("://")[0]

    async def prepare(self, pod: Obj) -> None:
        """Follow what ``pod`` reads: afterwards ``lookup`` and ``services`` answer for it."""
        metadata = pod["metadata"]
        uid, namespace = metadata["uid"], metadata.get("namespace", "")
        wanted = {(resource, namespace, name) for resource, name in references(pod)}
        if self._reads.get(uid) != wanted:
            self.release(uid)
            self._reads[uid] = wanted
            for key in wanted:
                self._readers.setdefault(key, set()).add(uid)
        for key in wanted:
            await self._followed(key).synced()
        await self._services().synced()

    def _followed(self, key: tuple[str, str, str]) -> Informer:
        informer = self._objects.get(key)
        if informer is None:
            resource, namespace, name = key
            informer = self._objects[key] = Informer(
                self.client, self.clock, resource, namespace, fields=f"metadata.name={name}", log=self.log
            )
            informer.add_listener(self._listener(key))
            informer.start()
        return informer

    def _services(self) -> Informer:
        return self.client.informer("services")

    async def close(self) -> None:
        """Read nothing any more."""
        objects, self._objects = list(self._objects.values()), {}
        for informer in objects:
            await informer.stop()

    def release(self, uid: str) -> None:
        """The pod reads nothing any more."""
        for key in self._reads.pop(uid, ()):
            readers = self._readers.get(key)
            if readers is not None:
                readers.discard(uid)
                if not readers:
                    del self._readers[key]
                    if (informer := self._objects.pop(key, None)) is not None:
                        informer.abandon()

    def lookup(self, resource: str, namespace: str, name: str) -> Obj | None:
        informer = self._objects.get((resource, namespace, name))
        return informer.get(name, namespace) if informer is not None else None

    def services(self, namespace: str) -> list[Obj]:
        """The services of a namespace and those of ``default``."""
        informer = self._services()
        found = informer.list(namespace)
        return found if namespace == "default" else [*found, *informer.list("default")]

    def _listener(self, key: tuple[str, str, str]) -> Callable[[EventType, Obj, Obj | None], None]:
        def changed(_type: EventType, _obj: Obj, _old: Obj | None) -> None:
            for uid in tuple(self._readers.get(key, ())):
                self.wake(uid)

        return changed
