"""Garbage collector: objects whose owners are gone go too, unless they are to be orphaned.

Driven by changes: a graph of owners and dependents is kept from the informers of every type, and a change
makes only the objects next to it be looked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.client.naming import groups_of, parse_resource
from kubernel.client.recorder import EventRecorder
from kubernel.client.workqueue import WorkQueue
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.plugin import Plugin as Base
from kubernel_plugins.controller.garbage.collector import Collector, Unresolvable
from kubernel_plugins.controller.garbage.graph import Graph, Node, Reference

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.client.interface import Client
    from kubernel.plugin import Handle
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_USER = "system:serviceaccount:kube-system:generic-garbage-collector"
_COMPONENT = "garbage-collector-controller"
_WORKERS = 8
_DISCOVERY_PERIOD = 30.0
_DISCOVERY_PAUSE = 1.0
"""After a definition changed: until what it defines is served, and for others that come along with it."""
_DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")
_NEEDED = frozenset(("delete", "list", "watch"))
_IGNORED = frozenset({("", "events"), ("events.k8s.io", "events")})
_SYNC_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class _Followed:
    """A type whose objects are in the graph: the version that is listened to, and how to cease."""

    resource: str
    removers: Sequence[Callable[[], None]]

    def leave(self) -> None:
        for remove in self.removers:
            remove()


class Plugin(Base):
    """The ``garbage`` controller."""

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._followed: dict[tuple[str, str], _Followed] = {}
        self._kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        self._told: dict[str, str] = {}

    async def start(self) -> None:
        self._client: Client = self.handle.client(_USER, groups_of(_USER))
        self._queue: WorkQueue[str] = WorkQueue(self.handle.clock)
        self._recorder = EventRecorder(self._client, self.handle.clock, _COMPONENT, log=self.handle.log)
        self._misplaced: asyncio.Queue[tuple[Node, Reference]] = asyncio.Queue()
        self._graph = Graph(lambda node, reference: self._misplaced.put_nowait((node, reference)))
        self._new_types = asyncio.Event()
        self._collector = Collector(self._client, self._graph, self._resolve, self._queue.add)
        self.handle.spawn(self._run(), "garbage collector")

    async def stop(self) -> None:
        for followed in self._followed.values():
            followed.leave()
        self._followed.clear()
        if hasattr(self, "_queue"):
            self._queue.close()
            await self._recorder.close()

    async def _run(self) -> None:
        await self._discover()
        async with asyncio.TaskGroup() as group:
            for number in range(_WORKERS):
                group.create_task(self._work(), name=f"garbage worker {number}")
            group.create_task(self._rediscover(), name="garbage discovery")
            group.create_task(self._tell_misplaced(), name="garbage events")

    async def _tell_misplaced(self) -> None:
        while True:
            node, reference = await self._misplaced.get()
            _, version, group = parse_resource(node.resource)
            about = {
                "apiVersion": f"{group}/{version}" if group else version,
                "kind": node.kind,
                "metadata": {"namespace": node.namespace, "name": node.name, "uid": node.uid},
            }
            owner_version = f"{reference.group}/{reference.version}" if reference.group else reference.version
            told = (
                f"ownerRef [{owner_version}/{reference.kind}, namespace: {node.namespace}, name: {reference.name}, "
                f'uid: {reference.uid}] does not exist in namespace "{node.namespace}"'
            )
            await self._recorder.event(about, "Warning", "OwnerRefInvalidNamespace", told)

    async def _rediscover(self) -> None:
        while True:
            try:
                async with self.handle.clock.timeout(_DISCOVERY_PERIOD):
                    await self._new_types.wait()
                await self.handle.clock.sleep(_DISCOVERY_PAUSE)
            except TimeoutError:
                pass
            self._new_types.clear()
            try:
                await self._discover()
            except (ApiError, OSError) as error:
                self.handle.log.warning("garbage collector: discovery failed: {}", error)

    async def _discover(self) -> None:
        """Follow every type there is now; returns when what is new has been seen."""
        served: dict[tuple[str, str], list[str]] = {}
        kinds: dict[tuple[str, str], tuple[str, bool]] = {}
        for type in await self._client.discover():
            group, plural, version = type["group"], type["resource"], type["version"]
            if not set(type["verbs"]) >= _NEEDED:
                continue
            resource = f"{plural}.{version}.{group}" if group else f"{plural}.{version}"
            kinds.setdefault((group, type["kind"]), (resource, type["namespaced"]))
            if (group, plural) not in _IGNORED:
                served.setdefault((group, plural), []).append(resource)
        self._kinds.update(kinds)
        # A type that is gone, or is no longer served in the version that was followed.
        for identity, followed in list(self._followed.items()):
            if followed.resource not in served.get(identity, ()):
                followed.leave()
                del self._followed[identity]
        fresh: list[Informer] = []
        for identity, resources in served.items():
            if identity not in self._followed:
                informer = self._client.informer(resources[0])
                listeners = [self._listener(resources[0])]
                if identity == _DEFINITIONS:
                    listeners.append(self._defined)
                leave = [informer.add_listener(listener) for listener in listeners]
                self._followed[identity] = _Followed(resources[0], leave)
                fresh.append(informer)
        for informer in fresh:
            try:
                async with self.handle.clock.timeout(_SYNC_TIMEOUT):
                    await informer.synced()
            except TimeoutError:
                # One type that cannot be listed must not keep the others from being collected.
                self.handle.log.warning("garbage collector: {} cannot be listed", informer.resource)

    def _defined(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        self._new_types.set()

    def _listener(self, resource: str) -> Callable[[EventType, Obj, Obj | None], None]:
        def listen(type: EventType, obj: Obj, old: Obj | None) -> None:
            for uid in self._graph.observe(type, resource, obj):
                self._queue.add(uid)

        return listen

    def _resolve(self, group: str, version: str, kind: str) -> tuple[str, bool]:
        known = self._kinds.get((group, kind))
        if known is None:
            raise Unresolvable(f"no type is known for owner kind {kind} of group {group or 'core'}")
        return known

    async def _work(self) -> None:
        while True:
            uid = await self._queue.get()
            try:
                await self._collect(uid)
            finally:
                self._queue.done(uid)

    async def _collect(self, uid: str) -> None:
        try:
            await self._collector.collect(uid)
        except (Conflict, NotFound):
            self._queue.retry(uid)
        except Exception as error:
            self._tell(uid, error)
            self._queue.retry(uid)
        else:
            self._queue.forget(uid)
            self._told.pop(uid, None)

    def _tell(self, uid: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self._told.get(uid) != text:
            self._told[uid] = text
            expected = isinstance(error, ApiError | Unresolvable)
            log = self.handle.log if expected else self.handle.log.opt(exception=error)
            log.warning("garbage collector: object {}: {}", uid, text)
