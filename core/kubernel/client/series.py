"""The recorder of events.k8s.io/v1: one event for an action, and a series when it is repeated (KEP-383).

As client-go's tools/events: the second time within six minutes makes a series of the event, later ones are
counted and the count is written when the series has ended, or every half hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.client.lanes import Lanes
from kubernel.client.recorder import reference
from kubernel.clock import micro_time
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
    from kubernel.clock import Clock, Timer
    from kubernel.store.records import Obj

__all__ = ["SeriesRecorder"]

_EVENTS = "events.v1.events.k8s.io"
_QUEUED = 1000
_REMEMBERED = 4096
_OVER = 360.0
_REFRESH_ROUNDS = 5
"""A series is written anew every half hour."""
_ATTEMPTS = 12
_RETRY_DELAY = 10.0
_NOTE_LIMIT = 1024
_CUT = " ..."
_Key = tuple[str, ...]


@dataclass(slots=True)
class _Series:
    event: Obj
    count: int
    last: float
    ended: bool = False


class SeriesRecorder:
    """Writes events through ``client`` as ``controller``, of which this is the one on ``host``."""

    def __init__(
        self, client: Client, clock: Clock, controller: str, *, host: str = "", log: Any = None
    ) -> None:
        self._client, self._clock, self._log = client, clock, log
        self.controller = controller
        self._instance = f"{controller}-{host}"
        self._known: dict[_Key, _Series] = {}
        self._lanes: Lanes[tuple[_Series, bool]] = Lanes(f"events of {controller}", self._write, _QUEUED)
        self._last_stamp = 0
        self._timer: Timer | None = None
        self._rounds = 0
        self._closed = False

    def event(
        self,
        obj: Obj,
        type: Literal["Normal", "Warning"],
        reason: str,
        action: str,
        note: str,
        *,
        related: Obj | None = None,
    ) -> None:
        """Note that ``action`` was done to ``obj``. Never raises; when more wait than can be written, the oldest
        are dropped. Notes longer than 1 KiB are cut."""
        if self._closed:
            return
        now = self._clock.time()
        about, other = reference(obj), reference(related) if related else {}
        key = (type, action, reason, *about.values(), "", *other.values())
        known = self._known.get(key)
        if known is not None and not known.ended:
            known.count += 1
            known.last = now
            if known.count == 2:
                self._lanes.put(known.event["metadata"]["name"], (known, True))
            return
        namespace = about.get("namespace") or "default"
        if len(note) > _NOTE_LIMIT:
            note = note[: _NOTE_LIMIT - len(_CUT)] + _CUT
        event: Obj = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": f"{about.get('name', '')}.{self._stamp(now):x}", "namespace": namespace},
            "eventTime": micro_time(now),
            "reportingController": self.controller,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "regarding": about,
            "note": note,
            "type": type,
        }
        if other:
            event["related"] = other
        made = self._known[key] = _Series(event, 1, now)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        self._lanes.put(event["metadata"]["name"], (made, False))
        if self._timer is None:
            self._timer = self._clock.call_later(_OVER, self._look)

    async def close(self) -> None:
        """Drop what has not been written, and take no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await self._lanes.close()

    def _look(self) -> None:
        """End what has not happened for a while."""
        self._timer = None
        self._rounds += 1
        limit = self._clock.time() - _OVER
        for key, series in list(self._known.items()):
            over = series.last <= limit
            if over:
                series.ended = True
                del self._known[key]
            if series.count > 2 and (over or self._rounds % _REFRESH_ROUNDS == 0):
                self._lanes.put(series.event["metadata"]["name"], (series, True))
        if self._known and not self._closed:
            self._timer = self._clock.call_later(_OVER, self._look)

    async def _write(self, item: tuple[_Series, bool]) -> None:
        series, again = item
        event = series.event
        for attempt in range(_ATTEMPTS):
            try:
                await self._write_once(series, again)
                return
            except (ServiceUnavailable, ServerTimeout, TooManyRequests, OSError):
                if attempt + 1 < _ATTEMPTS:
                    await self._clock.sleep(_RETRY_DELAY)
            except ApiError as error:
                # Refused for good, for example in a namespace that is being deleted.
                if self._log is not None:
                    self._log.debug("event {} not written: {}", event["metadata"]["name"], error)
                return
            except Exception as error:
                if self._log is not None:
                    self._log.opt(exception=error).error("event {} not written", event["reason"])
                return

    async def _write_once(self, series: _Series, again: bool) -> None:
        event = series.event
        name, namespace = event["metadata"]["name"], event["metadata"]["namespace"]
        if again:
            event = {**event, "series": {"count": series.count, "lastObservedTime": micro_time(series.last)}}
            try:
                await self._client.patch(_EVENTS, name, {"series": event["series"]}, namespace)
                return
            except NotFound:
                # Events expire.
                pass
        try:
            await self._client.create(_EVENTS, event, namespace)
        except AlreadyExists:
            if self._log is not None:
                self._log.debug("event {} is there already", name)

    def _stamp(self, now: float) -> int:
        """Nanoseconds that no earlier event of this recorder had, even where time stands still."""
        self._last_stamp = max(int(now * 1_000_000) * 1_000, self._last_stamp + 1)
        return self._last_stamp
