"""How many seats a request takes, by what it is likely to cost.

Source: k8s.io/apiserver/pkg/util/flowcontrol/request (v1.37, costs of lists by size).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store import ObjectStore

    from .matching import Asked

__all__ = ["ONE", "Estimate", "Estimator"]

MOST_FOR_LISTS = 100
MOST_FOR_WRITES = 10
BYTES_PER_SEAT = 100_000
MOST_BYTES = 1_000_000
"""A list is streamed: it is never all in memory."""
WATCHES_PER_SEAT = 10
EVENT_SECONDS = 0.005
_SAMPLES = 4
_WRITES = frozenset({"create", "update", "patch", "delete"})


class Estimate(NamedTuple):
    """``seats`` while it runs, ``final`` for ``after`` seconds from then on: its watchers are served."""

    seats: int
    final: int = 0
    after: float = 0.0

    @property
    def most(self) -> int:
        return self.seats if self.seats >= self.final else self.final


ONE = Estimate(1)


class Estimator:
    """Knows how many objects there are and how many watch them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._watches: dict[tuple[str, str, str, str], int] = {}

    # --- watches

    def watch_begins(self, asked: Asked, name: str) -> None:
        key = (asked.group, asked.resource, asked.namespace, name)
        self._watches[key] = self._watches.get(key, 0) + 1

    def watch_ends(self, asked: Asked, name: str) -> None:
        key = (asked.group, asked.resource, asked.namespace, name)
        left = self._watches.get(key, 0) - 1
        if left > 0:
            self._watches[key] = left
        else:
            self._watches.pop(key, None)

    def watchers(self, asked: Asked, name: str) -> int:
        """How many may be told of a write."""
        found, group, resource = self._watches, asked.group, asked.resource
        count = found.get((group, resource, "", ""), 0)
        if asked.namespace:
            count += found.get((group, resource, asked.namespace, ""), 0)
        if name:
            count += found.get((group, resource, asked.namespace, name), 0)
        return count

    # --- estimates

    def estimate(
        self, asked: Asked, name: str, type: ResourceType | None, most: int, *, limit: int, initial: bool
    ) -> Estimate:
        """``most`` is the level's limit for one request, 0 without one; ``limit`` a list's; ``initial`` whether a
        watch begins with what is there."""
        verb = asked.verb
        if verb in _WRITES:
            return self._write(asked, name, most)
        if verb not in ("list", "watch") or type is None or name or (verb == "watch" and not initial):
            return ONE
        count = self._store.count(type.resource)
        if limit and limit < count:
            count = limit
        most = min(most or MOST_FOR_LISTS, MOST_FOR_LISTS)
        seats = ceil(min(count * self._size(type.resource), MOST_BYTES) / BYTES_PER_SEAT)
        return Estimate(max(1, min(seats, most))) if seats > 1 else ONE

    def _size(self, resource: str) -> float:
        """The average object's, from a few."""
        some = self._store.list(resource)[:_SAMPLES]
        return sum(len(record.data) for record in some) / len(some) if some else 0.0

    def _write(self, asked: Asked, name: str, most: int) -> Estimate:
        if not self._watches or (asked.resource == "serviceaccounts" and asked.subresource == "token"):
            return ONE
        count = self.watchers(asked, name)
        if count < WATCHES_PER_SEAT:
            return ONE
        wanted = ceil(count / WATCHES_PER_SEAT)
        final = min(wanted, min(most or MOST_FOR_WRITES, MOST_FOR_WRITES))
        return Estimate(1, final, wanted * EVENT_SECONDS / final)
