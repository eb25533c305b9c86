"""The event recorder: what happened to an object, told to its users, without ever being in the way.

As client-go's correlator (tools/record/events_cache.go): the same event again raises ``count`` of the one
that is there; more than ten similar ones within ten minutes become one combined event; a source that
reports on one object in bursts is throttled to 25 events and then one in five minutes.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kubernel.client.lanes import Lanes
from kubernel.clock import rfc3339
from kubernel.errors import (
    AlreadyExists,
    ApiError,
    NotFound,
    ServerTimeout,
    ServiceUnavailable,
    TooManyRequests,
)

if TYPE_CHECKING:
    from kubernel.client.interface import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["EventRecorder", "reference"]

_T = TypeVar("_T")

_REMEMBERED = 4096
_QUEUED = 1000
_SIMILAR_LIMIT = 10
_SIMILAR_WINDOW = 600.0
_BURST = 25.0
_REFILL_PER_SECOND = 1.0 / 300.0
_ATTEMPTS = 12
_RETRY_DELAY = 10.0
_MESSAGE_LIMIT = 1024


def reference(obj: Obj) -> Obj:
    """An ObjectReference to this version of the object."""
    metadata = obj.get("metadata") or {}
    about: Obj = {
        "kind": obj.get("kind", ""),
        "namespace": metadata.get("namespace", ""),
        "name": metadata.get("name", ""),
        "uid": metadata.get("uid", ""),
        "apiVersion": obj.get("apiVersion", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return {key: value for key, value in about.items() if value}


class _Recent(Generic[_T]):
    """The last ``_REMEMBERED`` entries used."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, ...], _T] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> _T | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: tuple[str, ...], entry: _T) -> _T:
        self._entries[key] = entry
        if len(self._entries) > _REMEMBERED:
            self._entries.popitem(last=False)
        return entry


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass(slots=True)
class _Written:
    """An event in the API: its name, empty until it is there, and how often it has happened."""

    name: str = ""
    count: int = 0
    first: float = 0.0


class EventRecorder:
    """Writes core/v1 Events about objects through ``client`` as ``component`` (on ``host``)."""

    def __init__(
        self, client: Client, clock: Clock, component: str, *, host: str = "", log: Any = None
    ) -> None:
        self._client = client
        self._clock = clock
        self.component = component
        self._host = host
        self._log = log
        self._lanes: Lanes[tuple[Obj, str, str, str, float]] = Lanes(
            f"events of {component}", self._record, _QUEUED
        )
        self._buckets: _Recent[_Bucket] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._written: _Recent[_Written] = _Recent()
        self._last_stamp = 0
        self._closed = False

    async def event(
        self, obj: Obj, type: Literal["Normal", "Warning"], reason: str, message: str, *, field_path: str = ""
    ) -> None:
        """Note that something happened to ``obj``. Returns at once and never raises; when more wait than
        can be written, the oldest are dropped. ``field_path`` names a part, such as
        ``spec.containers{web}``."""
        if self._closed:
            return
        about = reference(obj)
        if field_path:
            about["fieldPath"] = field_path
        item = about, type, reason, message[:_MESSAGE_LIMIT], self._clock.time()
        self._lanes.put(f"{about.get('namespace')}/{about.get('name')}", item)

    async def close(self) -> None:
        """Drop what has not been written, and take no more."""
        self._closed = True
        await self._lanes.close()

    async def _record(self, item: tuple[Obj, str, str, str, float]) -> None:
        about, type, reason, message, now = item
        identity = tuple(about.get(part, "") for part in ("kind", "namespace", "name", "uid", "apiVersion"))
        if self._is_spam(identity, now):
            return
        group = (*identity, about.get("fieldPath", ""), type, reason)
        # All combined ones are one event, which shows the latest message.
        known_by = (*group, message)
        if self._has_many_similar(group, message, now):
            known_by, message = group, f"(combined from similar events): {message}"
        entry = self._written.get(known_by)
        if entry is None:
            entry = self._written.put(known_by, _Written())
        entry.count += 1
        entry.first = entry.first or now
        for attempt in range(_ATTEMPTS):
            try:
                await self._write(entry, about, type, reason, message, now)
                return
            except (ServiceUnavailable, ServerTimeout, TooManyRequests, OSError):
                if attempt + 1 < _ATTEMPTS:
                    await self._clock.sleep(_RETRY_DELAY)
            except ApiError as error:
                # Refused for good, for example in a namespace that is being deleted.
                if self._log is not None:
                    self._log.debug("event {} on {} not written: {}", reason, identity[2], error)
                return
            except Exception as error:
                if self._log is not None:
                    self._log.opt(exception=error).error("event {} not written", reason)
                return

    def _is_spam(self, identity: tuple[str, ...], now: float) -> bool:
        bucket = self._buckets.get(identity)
        if bucket is None:
            bucket = self._buckets.put(identity, _Bucket(_BURST, now))
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.filled) * _REFILL_PER_SECOND)
        bucket.filled = now
        if bucket.tokens < 1.0:
            return True
        bucket.tokens -= 1.0
        return False

    def _has_many_similar(self, group: tuple[str, ...], message: str, now: float) -> bool:
        similar = self._similar.get(group)
        if similar is None or now - similar.last > _SIMILAR_WINDOW:
            similar = self._similar.put(group, _Similar())
        similar.last = now
        similar.messages.add(message)
        if len(similar.messages) < _SIMILAR_LIMIT:
            return False
        similar.messages.discard(message)
        return True

    async def _write(
        self, entry: _Written, about: Obj, type: str, reason: str, message: str, now: float
    ) -> None:
        namespace = about.get("namespace") or "default"
        if entry.name:
            change = {"count": entry.count, "lastTimestamp": rfc3339(now), "message": message}
            try:
                await self._client.patch("events", entry.name, change, namespace)
                return
            except NotFound:
                # Events expire; the next one starts over with the count it has reached.
                entry.name = ""
        event: Obj = {
            "apiVersion": "v1",
            "kind": "Event",
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "source": {"component": self.component, **({"host": self._host} if self._host else {})},
            "firstTimestamp": rfc3339(entry.first),
            "lastTimestamp": rfc3339(now),
            "count": entry.count,
            "type": type,
            "eventTime": None,
            "reportingComponent": self.component,
            "reportingInstance": self._host,
        }
        for _ in range(_ATTEMPTS):
            name = f"{about.get('name', '')}.{self._stamp(now):x}"
            event["metadata"] = {"name": name, "namespace": namespace}
            try:
                await self._client.create("events", event, namespace)
            except AlreadyExists:
                # Another component told of the same object at the same instant.
                continue
            entry.name = name
            return

    def _stamp(self, now: float) -> int:
        """Nanoseconds that no earlier event of this recorder had, even where time stands still."""
        self._last_stamp = max(int(now * 1_000_000) * 1_000, self._last_stamp + 1)
        return self._last_stamp
