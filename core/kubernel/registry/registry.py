"""The registry: the table of types and every operation on objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock
    from kubernel.registry.request import DeleteOptions, Request, UserInfo, WriteOptions
    from kubernel.registry.types import ResourceType
    from kubernel.store import ObjectStore
    from kubernel.store.records import Event, EventType, Obj, Record
    from kubernel.watch import WatchBus

__all__ = ["Admission", "ListOptions", "Page", "Registry", "Result", "Watch", "WatchItem", "WatchOptions"]

PatchType = Literal["json", "merge", "strategic", "apply"]


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Selectors are the query's text; ``resource_version`` and ``match`` as in the API ("" is unset)."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    continue_token: str = ""
    resource_version: str = ""
    match: str = ""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """``resource_version`` "" or "0": everything as ADDED first. ``initial_events``: WatchList."""

    labels: str = ""
    fields: str = ""
    resource_version: str = ""
    match: str = ""
    bookmarks: bool = False
    initial_events: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``records`` in key order; ``revision`` is the list's resourceVersion."""

    records: Sequence[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome of a write. ``record`` is what is stored now (with dry run: what would be); for a
    deletion ``record`` is the final or terminating object and ``status`` says what to answer with
    (None: the object itself)."""

    record: Record
    created: bool = False
    status: Obj | None = None
    warnings: tuple[str, ...] = ()
    obj: Obj | None = None
    """Set where the answer is not the stored object: a scale, a review, a token."""


@dataclass(frozen=True, slots=True)
class WatchItem:
    """One thing to tell a watcher. ``type`` is the event as the watcher's selection sees it;
    ``event`` is None for the initial list's ADDED. ``record`` is what to send: for an object that leaves
    the selection its new state, as DELETED."""

    type: EventType
    record: Record
    event: Event | None = None


class Watch(Protocol):
    """A selected watch. ``next`` returns at least one item; raises Expired. ``initial`` is the number of
    items of the initial list that come first; ``revision`` what a bookmark may say now."""

    @property
    def initial(self) -> Sequence[Record]: ...
    @property
    def revision(self) -> int: ...
    async def next(self) -> list[WatchItem]: ...
    def close(self) -> None: ...


class Admission(Protocol):
    """The write pipeline's hooks, called through the plugin manager's typed facade."""

    async def admit(self, request: Request) -> None: ...
    async def validate(self, request: Request) -> None: ...


class Registry:
    """See the package docstring. ``store`` and ``bus`` are the core's; ``admission`` the hooks."""

    def __init__(
        self, store: ObjectStore, bus: WatchBus, clock: Clock, rng: random.Random, admission: Admission
    ) -> None:
        raise NotImplementedError

    # --- the table of types
    def register(self, type: ResourceType) -> None: ...
    def unregister(self, type: ResourceType) -> None: ...
    def lookup(self, group: str, version: str, plural: str) -> ResourceType | None: ...
    def by_kind(self, group: str, version: str, kind: str) -> ResourceType | None: ...
    def preferred(self, group: str, plural: str) -> ResourceType | None:
        """The type at the group's preferred version."""
        ...

    def types(self) -> Iterable[ResourceType]: ...
    def on_change(self, listener: Callable[[], None]) -> None:
        """``listener()`` after types came or went: discovery and OpenAPI caches."""
        ...

    @property
    def generation(self) -> int:
        """Grows whenever types come or go."""
        ...

    # --- operations; all raise ApiError
    def get(self, type: ResourceType, namespace: str, name: str) -> Record: ...
    async def get_at(self, type: ResourceType, namespace: str, name: str, revision: str) -> Record: ...
    async def list(self, type: ResourceType, namespace: str, options: ListOptions) -> Page: ...
    async def watch(self, type: ResourceType, namespace: str, options: WatchOptions) -> Watch: ...
    async def create(
        self, user: UserInfo, type: ResourceType, namespace: str, obj: Obj, options: WriteOptions,
        *, name: str = "", subresource: str = "", raw: bytes | None = None,
    ) -> Result:  # fmt: skip
        """``raw`` is the JSON body ``obj`` came from: duplicate fields are found in it."""
        ...

    async def get_subresource(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, subresource: str
    ) -> Obj:
        """``status`` and ``scale`` (and any other with verb get)."""
        ...

    async def update(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, obj: Obj, options: WriteOptions,
        *, subresource: str = "", raw: bytes | None = None,
    ) -> Result:  # fmt: skip
        ...

    async def patch(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, patch_type: PatchType, body: Any,
        options: WriteOptions, *, subresource: str = "", raw: bytes | None = None,
    ) -> Result:  # fmt: skip
        """``body`` is the decoded patch: a list for ``json``, else an object."""
        ...

    async def delete(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, options: DeleteOptions
    ) -> Result: ...

    async def delete_collection(
        self, user: UserInfo, type: ResourceType, namespace: str, selection: ListOptions, options: DeleteOptions
    ) -> Sequence[Record]: ...

    async def connect(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, subresource: str, obj: Obj
    ) -> Record:
        """Admission for exec, attach, portforward, proxy; gives the object to connect to."""
        ...

    def encode(self, record: Record, type: ResourceType) -> bytes:
        """The object's JSON in ``type``'s version: the stored bytes where that is the stored one."""
        ...
