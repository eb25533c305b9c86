"""What the two controllers that write EndpointSlices have in common: which slices are theirs, when somebody else
changed one, and how changes are written.

Source: k8s.io/kubernetes/pkg/controller/endpointslice and endpointslicemirroring (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.errors import ApiError, NotFound
from kubernel.objects import meta
from kubernel_plugins.controller.ownership import namespace_is_terminating
from kubernel_plugins.controller.slicetracker import SliceTracker

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["MANAGED_LABEL", "SERVICE_LABEL", "SLICES", "Changes", "SliceWriter"]

SLICES = "endpointslices.v1.discovery.k8s.io"
SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
_BEHIND = 1.0
"""Seconds after which slices that the informer does not yet show are looked for again."""


@dataclass(slots=True)
class Changes:
    """Slices to write: new ones without a name, changed copies of those that are there, and those to delete."""

    create: list[Obj] = field(default_factory=list)
    update: list[Obj] = field(default_factory=list)
    delete: list[Obj] = field(default_factory=list)

    def add(self, other: Changes) -> None:
        self.create += other.create
        self.update += other.update
        self.delete += other.delete

    def recycle(self, may_become: Callable[[Obj], bool]) -> None:
        """Let slices that would go become slices that would come."""
        staying = []
        for entry in self.delete:
            kind = entry["addressType"]
            fresh = next((each for each in reversed(self.create) if each["addressType"] == kind), None)
            if fresh is None or not may_become(entry):
                staying.append(entry)
                continue
            self.create.remove(fresh)
            self.update.append({**fresh, "metadata": {**fresh["metadata"], "name": meta.name(entry)}})
        self.delete = staying


class SliceWriter(Reconciler):
    """A controller that writes EndpointSlices for the services, or the Endpoints, that are its keys."""

    reads = (SLICES,)
    manager: ClassVar[str]
    """In the label ``managed-by``."""
    after_others: ClassVar[float] = 0.0
    """Seconds after which a key is looked at again when somebody else changed its slices."""

    async def start(self) -> None:
        await super().start()
        self._tracker = SliceTracker()
        self._writing: dict[ObjectKey, list[Obj]] = {}
        self._behind: set[ObjectKey] = set()
        self._slices = self.informer(SLICES)
        # The informer is shared, and so are its indexes.
        self._index = f"service of {self.manager}"
        self._slices.add_index(self._index, self._managed_for)
        self._unlisten.append(self._slices.add_listener(self._observe))

    # --- what subclasses write and call

    async def bring_about(self, namespace: str, name: str) -> float | None:
        """What ``reconcile`` does for a key."""
        raise NotImplementedError

    def slices_of(self, key: ObjectKey) -> list[Obj]:
        """The key's slices, by name; not those of other controllers."""
        return sorted(self._slices.by(self._index, "/".join(key)), key=meta.name)

    def wait_for(self, key: ObjectKey, found: Iterable[Obj]) -> float | None:
        """Seconds after which to look again, when the informer has yet to show what was written here."""
        if not self._tracker.is_behind(key, found):
            return None
        self._behind.add(key)
        return _BEHIND

    def forget(self, key: ObjectKey) -> None:
        self._tracker.forget(key)

    async def write(self, key: ObjectKey, what: str, changes: Changes, *, create: bool) -> None:
        """``what`` names the owner in what is told of a failure; without ``create`` nothing is created."""
        try:
            for entry in changes.create if create else ():
                self._tracker.written(key, await self.client.create(SLICES, entry, key[0]))
        except ApiError as error:
            if namespace_is_terminating(error):
                return
            error.add_note(f"failed to create EndpointSlice for {what}")
            raise
        for entry in changes.update:
            try:
                self._tracker.written(key, await self.client.update(SLICES, entry))
            except ApiError as error:
                error.add_note(f"failed to update {meta.name(entry)} EndpointSlice for {what}")
                raise
        for entry in changes.delete:
            await self.delete(key, entry)

    async def delete(self, key: ObjectKey, entry: Obj) -> None:
        self._tracker.deleted(key, entry)
        try:
            await self.client.delete(SLICES, meta.name(entry), key[0], uid=meta.uid(entry))
        except NotFound:
            return
        except ApiError:
            self._tracker.written(key, entry)
            raise

    # --- slices that change

    def _is_ours(self, entry: Obj) -> bool:
        return meta.labels(entry).get(MANAGED_LABEL) == self.manager

    def _managed_for(self, entry: Obj) -> Iterable[str]:
        key = _service_of(entry)
        return ("/".join(key),) if key is not None and self._is_ours(entry) else ()

    def _observe(self, type: EventType, entry: Obj, old: Obj | None) -> None:
        service = _service_of(entry)
        before = _service_of(old) if old is not None else service
        if service != before:
            for key in (service, before):
                if key is not None:
                    self.queue.add(key, self.after_others)
        elif service is None:
            return
        elif type == "DELETED":
            if self._is_ours(entry) and self._tracker.is_taken_away(service, entry):
                self.queue.add(service, self.after_others)
        elif old is not None and self._is_ours(entry) != self._is_ours(old):
            self.queue.add(service, self.after_others)
        elif self._is_ours(entry):
            if service in self._writing:
                # What is being written here may be seen before it is known to be written.
                self._writing[service].append(entry)
            elif self._tracker.is_of_another(service, entry):
                self.queue.add(service, self.after_others)
        if service in self._behind:
            self._behind.discard(service)
            self.queue.add(service)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        key = namespace, name
        seen = self._writing.setdefault(key, [])
        try:
            return await self.bring_about(namespace, name)
        finally:
            del self._writing[key]
            if any(self._tracker.is_of_another(key, entry) for entry in seen):
                self.queue.add(key, self.after_others)


def _service_of(entry: Obj) -> ObjectKey | None:
    name = meta.labels(entry).get(SERVICE_LABEL)
    return (meta.namespace(entry), name) if name else None
