"""A shared, indexed, always-current view of a resource: list once, then follow the watch.

The view resumes a broken watch at the last resourceVersion it saw and lists again when that has expired;
a new list is compared with what is held, so that listeners are told exactly what changed in between.
Listeners and index functions are called on the event loop, in the order of the changes, and must not block.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from kubernel.client.naming import parse_resource
from kubernel.errors import ApiError, Expired
from kubernel.store.records import ADDED, DELETED, MODIFIED, EventType, Obj
from kubernel.watch import Closed

if TYPE_CHECKING:
    from kubernel.client.interface import ObjectList
    from kubernel.clock import Clock

__all__ = ["Index", "Informer", "InformerFactory", "Listener", "Source"]

Listener = Callable[[EventType, Obj, "Obj | None"], object]
"""``listener(type, obj, old)``: ``old`` is what was held before, None for ADDED."""

Index = Callable[[Obj], Iterable[str]]
"""The values under which an object is found; pure, since it is asked again when the object goes."""

_Key = tuple[str, str]

_FIRST_DELAY = 0.8
_LONGEST_DELAY = 30.0
_HEALTHY_AFTER = 5.0


class Source(Protocol):
    """What an informer lists and watches: the part of a ``Client`` it needs."""

    async def list(
        self, resource: str, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> ObjectList: ...

    def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[tuple[EventType, Obj]]: ...


def _namespace_of(obj: Obj) -> Iterable[str]:
    return (obj["metadata"].get("namespace", ""),)


def _controller_uid(obj: Obj) -> Iterable[str]:
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return (reference.get("uid", ""),)
    return ()


def _key(obj: Obj) -> _Key:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Informer:
    """See the module. Two indexes are always there: ``namespace``, and ``owner``: the uid of
    the object's controller. What is handed out is shared and must not be changed."""

    def __init__(
        self,
        source: Source,
        clock: Clock,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        log: Any = None,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.labels = labels
        self.fields = fields
        self._source = source
        self._clock = clock
        self._log = log
        self._objects: dict[_Key, Obj] = {}
        self._indexers: dict[str, Index] = {"namespace": _namespace_of, "owner": _controller_uid}
        self._indexes: dict[str, dict[str, dict[_Key, Obj]]] = {"namespace": {}, "owner": {}}
        self._listeners: builtins.list[Listener] = []
        self._synced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow; does nothing when already begun. Needs a running loop."""
        if self._task is None:
            name = f"informer {self.resource} {self.namespace}".rstrip()
            self._task = asyncio.get_running_loop().create_task(self._follow(), name=name)

    async def stop(self) -> None:
        """Stop following; what is held stays readable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def abandon(self) -> None:
        """As ``stop``, without waiting for the end."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def has_synced(self) -> bool:
        """Whether the first list has arrived."""
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once the first list has arrived."""
        await self._synced.wait()

    # --- reading

    def get(self, name: str, namespace: str = "") -> Obj | None:
        return self._objects.get((namespace, name))

    def list(self, namespace: str = "") -> builtins.list[Obj]:
        """All objects, or those of one namespace."""
        return self.by("namespace", namespace) if namespace else list(self._objects.values())

    def by(self, index: str, value: str) -> builtins.list[Obj]:
        """The objects that ``index`` files under ``value``; KeyError for an index never added."""
        found = self._indexes[index].get(value)
        return list(found.values()) if found else []

    def count(self, index: str, value: str) -> int:
        """How many ``by`` would give."""
        return len(self._indexes[index].get(value, ()))

    def __len__(self) -> int:
        return len(self._objects)

    # --- adding to it

    def add_index(self, name: str, index: Index) -> None:
        """File objects, those held included, under what ``index(obj)`` gives. The same name replaces."""
        self._indexers[name] = index
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._file(name, key, obj)

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Tell ``listener`` of every change from now on, first of all that is held as ADDED.
        The answer takes it off again."""
        self._listeners.append(listener)
        for obj in list(self._objects.values()):
            self._tell(listener, ADDED, obj, None)

        def remove() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return remove

    # --- following

    async def _follow(self) -> None:
        version = ""
        failures = 0
        reported = ""
        while True:
            begun = self._clock.monotonic()
            try:
                if not version:
                    page = await self._source.list(
                        self.resource, self.namespace, labels=self.labels, fields=self.fields
                    )
                    self._replace(page.items)
                    version = page.resource_version
                    self._synced.set()
                changes = self._source.watch(
                    self.resource,
                    self.namespace,
                    labels=self.labels,
                    fields=self.fields,
                    resource_version=version,
                )
                async with contextlib.aclosing(changes) as stream:  # type: ignore[type-var]
                    async for type, obj in stream:
                        self._apply(type, obj)
                        version = obj["metadata"]["resourceVersion"]
                        failures = 0
            except Expired:
                version = ""
            except Closed:
                # The server of this process has stopped: nothing more will come.
                return
            except Exception as error:
                text = str(error)
                if self._log is not None and text != reported:
                    known = isinstance(error, ApiError | OSError)
                    log = self._log if known else self._log.opt(exception=error)
                    log.warning("informer of {}: {}", self.resource, text or repr(error))
                reported = text
            if self._clock.monotonic() - begun >= _HEALTHY_AFTER:
                failures = 0
            # The first attempt after a working watch is immediate: servers end watches as a matter of course.
            await self._clock.sleep(
                0 if failures == 0 else min(_FIRST_DELAY * 2 ** (failures - 1), _LONGEST_DELAY)
            )
            failures = min(failures + 1, 10)

    def _replace(self, items: Iterable[Obj]) -> None:
        fresh = {_key(obj): obj for obj in items}
        for key in [key for key in self._objects if key not in fresh]:
            old = self._objects[key]
            self._apply(DELETED, old)
        for obj in fresh.values():
            self._apply(MODIFIED, obj)

    def _apply(self, type: EventType, obj: Obj) -> None:
        key = _key(obj)
        old = self._objects.get(key)
        if type == DELETED:
            if old is not None:
                self._hold(key, None, old)
                self._announce(DELETED, obj, old)
            return
        if old is not None:
            before, after = old["metadata"], obj["metadata"]
            if before.get("uid") != after.get("uid"):
                # Deleted and created again while nobody was looking.
                self._hold(key, None, old)
                self._announce(DELETED, old, old)
                old = None
            elif before.get("resourceVersion") == after.get("resourceVersion"):
                return
        self._hold(key, obj, old)
        self._announce(ADDED if old is None else MODIFIED, obj, old)

    def _hold(self, key: _Key, obj: Obj | None, old: Obj | None) -> None:
        if obj is None:
            del self._objects[key]
        else:
            self._objects[key] = obj
        if old is None and obj is not None:
            for name in self._indexers:
                self._file(name, key, obj)
            return
        for name, index in self._indexers.items():
            before = tuple(index(old)) if old is not None else ()
            after = tuple(index(obj)) if obj is not None else ()
            table = self._indexes[name]
            for value in before:
                if value not in after and (found := table.get(value)) is not None:
                    found.pop(key, None)
                    if not found:
                        del table[value]
            if obj is not None:
                for value in after:
                    table.setdefault(value, {})[key] = obj

    def _file(self, name: str, key: _Key, obj: Obj) -> None:
        table = self._indexes[name]
        for value in self._indexers[name](obj):
            table.setdefault(value, {})[key] = obj

    def _announce(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        for listener in tuple(self._listeners):
            self._tell(listener, type, obj, old)

    def _tell(self, listener: Listener, type: EventType, obj: Obj, old: Obj | None) -> None:
        # One component's mistake must not blind the others that share this view.
        try:
            listener(type, obj, old)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a listener of the informer of {self.resource} failed", "exception": error}
            )


class InformerFactory:
    """One informer for each (resource, namespace, selectors), shared by all who ask."""

    def __init__(self, source: Source, clock: Clock, log: Any = None) -> None:
        self._source = source
        self._clock = clock
        self._log = log
        self._informers: dict[tuple[tuple[str, str, str], str, str, str], Informer] = {}

    def get(self, resource: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Informer:
        """The started informer of this selection. Needs a running loop."""
        key = (parse_resource(resource), namespace, labels, fields)
        informer = self._informers.get(key)
        if informer is None:
            informer = self._informers[key] = Informer(
                self._source, self._clock, resource, namespace, labels=labels, fields=fields, log=self._log
            )
        informer.start()
        return informer

    async def close(self) -> None:
        informers, self._informers = list(self._informers.values()), {}
        for informer in informers:
            await informer.stop()
