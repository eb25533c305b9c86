"""The cluster as an explanation looks at it."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["Link", "View", "condition_text", "count"]


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a chain: what is so of which object. ``fine`` ends a chain that found nothing wrong."""

    subject: str
    text: str
    fine: bool = False

    def __str__(self) -> str:
        return f"{self.subject} {self.text}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class View:
    """Reads what is asked for, each thing once."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._lists: dict[tuple[str, str], builtins.list[Obj]] = {}
        self.now = clock.time()

    async def get(self, resource: str, name: str, namespace: str = "") -> Obj | None:
        try:
            return await self._client.get(resource, name, namespace)
        except NotFound:
            return None

    async def list(self, resource: str, namespace: str = "") -> builtins.list[Obj]:
        key = (resource, namespace)
        if key not in self._lists:
            try:
                self._lists[key] = builtins.list((await self._client.list(resource, namespace)).items)
            except NotFound:
                self._lists[key] = []
        return self._lists[key]

    async def owned(self, resource: str, owner: Obj) -> builtins.list[Obj]:
        """What an object controls."""
        uid = meta.uid(owner)
        return [
            one
            for one in await self.list(resource, meta.namespace(owner))
            if (meta.controller_of(one) or {}).get("uid") == uid
        ]

    async def event(self, about: Obj, *reasons: str) -> str:
        """The newest message about an object with one of these reasons; of any warning when there are none."""
        namespace = meta.namespace(about) or "default"
        best, last = "", ""
        for event in await self.list("events", namespace):
            if event.get("involvedObject", {}).get("uid") != meta.uid(about):
                continue
            fits = event["reason"] in reasons if reasons else event.get("type") == "Warning"
            stamp = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
            if fits and stamp >= last:
                best, last = event.get("message", ""), stamp
        return best

    def ago(self, stamp: str | None) -> str:
        """``3m``: how long a time is past."""
        if not stamp:
            return "some time"
        seconds = max(int(self.now - times.parse(stamp)), 0)
        for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
            if seconds >= size:
                return f"{seconds // size}{unit}"
        return f"{seconds}s"


def condition_text(obj: Obj, type: str, status: str) -> str:
    """What a condition says when it has that status; its reason where it has no message."""
    found = conditions.find(obj, type)
    if found is None or found.get("status") != status:
        return ""
    return found.get("message") or found.get("reason") or f"{type} is {status}"
