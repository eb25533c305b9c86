"""The shapes that go into and come out of registry operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Event, EventType, Obj, Record

__all__ = ["Admission", "ListOptions", "Page", "PatchType", "Result", "WatchItem", "WatchOptions"]

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
    """``initial_events``: whether everything is sent as ADDED first; None: where ``resource_version`` is "" or "0".
    True is a streaming list (KEP-3157)."""

    labels: str = ""
    fields: str = ""
    resource_version: str = ""
    match: str = ""
    bookmarks: bool = False
    initial_events: bool | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """``records`` in key order; ``revision`` is the list's resourceVersion."""

    records: Sequence[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


class Result(msgspec.Struct, frozen=True):
    """Outcome of a write.

    ``record`` is what is stored now (with dry run: what would be); for a deletion the final or the
    terminating object, and ``status`` what to answer with (None: the object itself). ``obj`` is set
    where the answer is not the stored object: a scale, a review, a token.
    """

    record: Record
    created: bool = False
    status: Obj | None = None
    warnings: tuple[str, ...] = ()
    obj: Obj | None = None


class WatchItem(NamedTuple):
    """One thing to tell a watcher. ``type`` is the event as the watcher's selection sees it.

    ``record`` is what to send. ``event`` is the change itself when its cached frame may be sent;
    None for an object that leaves the selection, which is sent as it was, at the new revision.
    """

    type: EventType
    record: Record
    event: Event | None = None


class Admission(Protocol):
    """The write pipeline's hooks, called through the plugin manager's typed facade."""

    async def admit(self, request: Request) -> None: ...
    async def validate(self, request: Request) -> None: ...
