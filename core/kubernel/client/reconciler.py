"""The controller kit: name what to watch, write ``reconcile``.

A whole controller: it keeps a ConfigMap ``owner-card`` in each namespace and brings it back when it is
deleted or edited.

    from kubernel.client.reconciler import Reconciler
    from kubernel.objects import meta

    class Plugin(Reconciler):
        resource = "namespaces"
        owns = ("configmaps",)
        user = "system:serviceaccount:kube-system:owner-card-controller"

        async def reconcile(self, namespace: str, name: str) -> None:
            owner = self.primary.get(name)
            if owner is None or meta.is_deleting(owner):
                return
            metadata = {"name": "owner-card", "ownerReferences": [meta.owner_reference(owner)]}
            data = {"team": meta.labels(owner).get("team", "nobody")}
            card = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            await self.client.patch("configmaps", "owner-card", card, name, type="apply", force=True)

``reconcile`` is given a key, not a change: it compares what should be with what is. For one key it never
runs twice at once; different keys run side by side on ``workers`` workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from kubernel.client.naming import component_name, groups_of
from kubernel.client.recorder import EventRecorder
from kubernel.client.workqueue import WorkQueue
from kubernel.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubernel.plugin.contract import Handle, Plugin

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.client.interface import Client
    from kubernel.store.records import EventType, Obj

__all__ = ["KeyMap", "ObjectKey", "Reconciler"]

ObjectKey = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped objects."""

KeyMap = Callable[[Any, "EventType", "Obj", "Obj | None"], Iterable[ObjectKey]]
"""``function(reconciler, type, obj, old)`` -> keys of the primary resource to look at."""


class Reconciler(Plugin):
    """Base of controllers; a plugin of role ``controller``.

    Subclasses set the class attributes and write ``reconcile``. ``setup`` is for what has to happen once,
    before the first key.
    """

    resource: ClassVar[str]
    """The primary resource: a change of one of its objects queues its key."""
    owns: ClassVar[Sequence[str]] = ()
    """Resources whose objects, when they change, queue the primary object that controls them."""
    watches: ClassVar[Mapping[str, KeyMap]] = {}
    """Resources whose changes queue the keys that the function gives."""
    reads: ClassVar[Sequence[str]] = ()
    """Resources that ``reconcile`` reads but that queue nothing: synced before it first runs."""
    user: ClassVar[str] = "system:kube-controller-manager"
    component: ClassVar[str] = ""
    """Whom events name as their source; empty is the last part of ``user``."""
    workers: ClassVar[int] = 4
    resync: ClassVar[float] = 0.0
    """Seconds after which every key is looked at again; 0 is never."""
    gather: ClassVar[float] = 0.0
    """Seconds for which changes of what is owned and watched are gathered before their key is looked at."""
    retry_first: ClassVar[float] = 0.005
    retry_longest: ClassVar[float] = 1000.0
    """Seconds before the first and at most before a later repetition of what went wrong."""
    leader_elect: ClassVar[bool | None] = None
    """Whether only the elected of several masters works; None follows the cluster's setting."""

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self.clock = handle.clock
        self.log = handle.log
        self.queue = self._new_queue()
        self.client: Client
        self.primary: Informer
        self.recorder: EventRecorder
        self._unlisten: list[Callable[[], None]] = []
        self._told: dict[ObjectKey, str] = {}

    # --- what subclasses write and call

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Make the object of this key what it should be; seconds after which to look again, or None."""
        raise NotImplementedError

    async def setup(self) -> None:
        """Called once when all informers have synced, before the first ``reconcile``."""

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        """Told of every change of a primary object; queues its key. ``old`` is what it replaces. Override it to
        leave out changes that mean nothing, or to notice what is gone."""
        metadata = obj["metadata"]
        self.queue.add((metadata.get("namespace", ""), metadata["name"]))

    def informer(self, resource: str) -> Informer:
        """The shared view of a resource in all namespaces."""
        return self.client.informer(resource)

    # --- life

    async def start(self) -> None:
        # A plugin that was stopped may be started again.
        self.queue = self._new_queue()
        self.client = self.handle.client(self.user, groups_of(self.user))
        component = self.component or component_name(self.user)
        self.recorder = EventRecorder(self.client, self.clock, component, log=self.log)
        self.primary = self.informer(self.resource)
        informers = [self.primary]
        self._listen(self.primary, self.primary_changed)
        for resource in self.owns:
            informers.append(informer := self.informer(resource))
            self._listen(informer, self._on_owned)
        for resource, keys in self.watches.items():
            informers.append(informer := self.informer(resource))
            self._listen(informer, self._mapped(keys))
        informers += [self.informer(resource) for resource in self.reads]
        self.handle.spawn(self._run(informers), f"{self.handle.name} controller")

    def _new_queue(self) -> WorkQueue[ObjectKey]:
        return WorkQueue(self.clock, base=self.retry_first, limit=self.retry_longest)

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()
        self.queue.close()
        if hasattr(self, "recorder"):
            await self.recorder.close()

    async def _run(self, informers: list[Informer]) -> None:
        for informer in informers:
            await informer.synced()
        await self.setup()
        if not self._elects():
            await self._work()
            return
        from kubernel.client.leader import LeaderElector

        # Of its own for each plugin: several may act as the same user.
        lease = f"kubernel-{self.handle.role}-{self.handle.name}"
        elector = LeaderElector(self.client, self.clock, self.handle.rng, lease)
        await elector.run(self._work)

    def _elects(self) -> bool:
        if self.leader_elect is not None:
            return self.leader_elect
        return bool(getattr(self.handle.cluster, "leader_election", False))

    async def _work(self) -> None:
        # After a change of leaders keys may have been dropped half-way: look at everything.
        self._add_all()
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._worker(), name=f"{self.handle.name} worker {number}")
            if self.resync > 0:
                group.create_task(self._resync(), name=f"{self.handle.name} resync")

    async def _worker(self) -> None:
        while True:
            key = await self.queue.get()
            try:
                await self._reconcile_once(key)
            finally:
                self.queue.done(key)

    async def _resync(self) -> None:
        while True:
            await self.clock.sleep(self.resync)
            self._add_all()

    def _add_all(self) -> None:
        for obj in self.primary.list():
            metadata = obj["metadata"]
            self.queue.add((metadata.get("namespace", ""), metadata["name"]))

    async def _reconcile_once(self, key: ObjectKey) -> None:
        try:
            again = await self.reconcile(*key)
        except (Conflict, NotFound, AlreadyExists):
            # Somebody was quicker: the informer is about to say what there is now.
            self.queue.retry(key)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if self._told.get(key) != text:
                self._told[key] = text
                log = self.log if isinstance(error, ApiError) else self.log.opt(exception=error)
                log.error("{} {}: {}", self.resource, "/".join(part for part in key if part), text)
            self.queue.retry(key)
        else:
            self.queue.forget(key)
            self._told.pop(key, None)
            if again is not None:
                self.queue.add(key, max(again, 0.0))

    # --- from changes to keys

    def _listen(self, informer: Informer, listener: Callable[[EventType, Obj, Obj | None], object]) -> None:
        self._unlisten.append(informer.add_listener(listener))

    def _on_owned(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        for version in (obj, old):
            if version is not None and (key := self._owner_key(version)) is not None:
                self.queue.add(key, self.gather)

    def _owner_key(self, obj: Obj) -> ObjectKey | None:
        """The key of the primary object that controls ``obj``. The uid decides: a namesake is not it."""
        metadata = obj["metadata"]
        for reference in metadata.get("ownerReferences") or ():
            if not reference.get("controller"):
                continue
            name = reference.get("name", "")
            for namespace in (metadata.get("namespace", ""), ""):
                owner = self.primary.get(name, namespace)
                if owner is not None and owner["metadata"].get("uid") == reference.get("uid"):
                    return namespace, name
        return None

    def _mapped(self, keys: KeyMap) -> Callable[[EventType, Obj, Obj | None], object]:
        def listener(type: EventType, obj: Obj, old: Obj | None) -> None:
            for key in keys(self, type, obj, old):
                self.queue.add(key, self.gather)

        return listener
