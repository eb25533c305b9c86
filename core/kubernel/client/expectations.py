"""Creations and deletions in flight, so that a controller does not repeat what it has just done.

After a create, the controller's informer shows the new object only when its watch event has arrived: a few
loop turns later in-process, a round trip or more over HTTPS. A reconcile in between would count too few
objects and create again. So: expect what was asked for, observe what arrives, and count only when
``satisfied`` (client-go's ControllerExpectations, k8s.io/kubernetes/pkg/controller/controller_utils.go).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.clock import Clock

__all__ = ["Expectations"]

_TIMEOUT = 300.0
"""Seconds after which a missing event is given up: ``ExpectationsTimeout``."""


@dataclass(slots=True)
class _Expected:
    since: float
    creations: int = 0
    deletions: set[str] = field(default_factory=set)


class Expectations:
    """By controller key. Deletions are expected by uid, since an object may be seen going more than once
    (marked, then gone)."""

    def __init__(self, clock: Clock, timeout: float = _TIMEOUT) -> None:
        self._clock = clock
        self._timeout = timeout
        self._expected: dict[Hashable, _Expected] = {}

    def expect_creations(self, key: Hashable, count: int) -> None:
        """``count`` creates are about to be sent."""
        self._entry(key).creations += count

    def expect_deletions(self, key: Hashable, *uids: str) -> None:
        """Deletes of these objects are about to be sent."""
        self._entry(key).deletions.update(uids)

    def creation_observed(self, key: Hashable) -> None:
        """An object of ``key`` arrived, or its create was refused."""
        entry = self._expected.get(key)
        if entry is not None:
            entry.creations = max(entry.creations - 1, 0)

    def deletion_observed(self, key: Hashable, uid: str) -> None:
        """The object is gone or going, or its delete was refused."""
        entry = self._expected.get(key)
        if entry is not None:
            entry.deletions.discard(uid)

    def satisfied(self, key: Hashable) -> bool:
        """Whether all that was asked for has arrived, or has been waited for long enough."""
        entry = self._expected.get(key)
        if entry is None:
            return True
        if entry.creations == 0 and not entry.deletions:
            return True
        return self._clock.monotonic() - entry.since > self._timeout

    def give_up_in(self, key: Hashable) -> float:
        """Seconds until ``satisfied`` whatever arrives: when to look again if nothing does."""
        entry = self._expected.get(key)
        if entry is None or self.satisfied(key):
            return 0.0
        return entry.since + self._timeout - self._clock.monotonic() + 0.001

    def forget(self, key: Hashable) -> None:
        """The controlling object is gone."""
        self._expected.pop(key, None)

    def _entry(self, key: Hashable) -> _Expected:
        entry = self._expected.get(key)
        if entry is None or self.satisfied(key):
            entry = self._expected[key] = _Expected(self._clock.monotonic())
        return entry
