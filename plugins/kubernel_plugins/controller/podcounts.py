"""How many pods of which state each owner controls, kept by the pods' events: a sync need not look at them all.

Pods with the same labels are counted together, so that a selector is asked once for all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from kubernel.objects import meta
from kubernel_plugins.controller import pods

if TYPE_CHECKING:
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj

__all__ = ["Counts", "PodCounts", "Tally"]


@dataclass(frozen=True, slots=True)
class Counts:
    active: int = 0
    labelled: int = 0
    """Active pods with all labels of the template."""
    ready: int = 0
    available: int = 0
    terminating: int = 0
    """Being deleted and not finished."""
    soonest: float | None = None
    """Seconds until the next of the ready pods is available; None when all are."""


@dataclass(slots=True)
class _Alike:
    """Pods with the same labels."""

    labels: Mapping[str, str]
    all: int = 0
    active: int = 0
    terminating: int = 0
    ready: Counter[float] = field(default_factory=Counter)
    """Active pods by the time they became ready."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """What of a pod is counted."""

    owner: str
    labels: frozenset[tuple[str, str]]
    active: bool
    terminating: bool
    ready_since: float | None

    @classmethod
    def of(cls, pod: Obj, owner: str) -> Self:
        active = pods.is_active(pod)
        return cls(
            owner,
            frozenset(meta.labels(pod).items()),
            active,
            meta.is_deleting(pod) and not pods.is_finished(pod),
            pods.ready_since(pod) if active else None,
        )


class Tally:
    """Counts of one owner's pods."""

    __slots__ = ("_alike",)

    def __init__(self, owned: Iterable[Obj] = ()) -> None:
        self._alike: dict[frozenset[tuple[str, str]], _Alike] = {}
        for pod in owned:
            self.count(_Facts.of(pod, ""), 1)

    def __bool__(self) -> bool:
        return bool(self._alike)

    def count(self, facts: _Facts, by: int) -> None:
        """One pod more (1) or less (-1)."""
        alike = self._alike.get(facts.labels)
        if alike is None:
            alike = self._alike[facts.labels] = _Alike(dict(facts.labels))
        alike.all += by
        alike.active += by * facts.active
        alike.terminating += by * facts.terminating
        since = facts.ready_since
        if since is not None:
            alike.ready[since] += by
            if not alike.ready[since]:
                del alike.ready[since]
        if not alike.all:
            del self._alike[facts.labels]

    def has_strangers(self, selector: Selector) -> bool:
        """Whether an active pod does not match."""
        return any(alike.active and not selector.matches(alike.labels) for alike in self._alike.values())

    def counts(
        self, selector: Selector, template_labels: Mapping[str, str], min_ready: int, now: float
    ) -> Counts:
        """Counts of the pods that match; ``min_ready`` in seconds, ``now`` in epoch seconds."""
        active = labelled = ready = available = terminating = 0
        soonest: float | None = None
        for alike in self._alike.values():
            if not selector.matches(alike.labels):
                continue
            active += alike.active
            terminating += alike.terminating
            if template_labels.items() <= alike.labels.items():
                labelled += alike.active
            for since, count in alike.ready.items():
                ready += count
                wait = since + min_ready - now
                if min_ready == 0 or wait <= 0:
                    available += count
                else:
                    soonest = wait if soonest is None else min(soonest, wait)
        return Counts(active, labelled, ready, available, terminating, soonest)


class PodCounts:
    """Tallies of all owners of one kind. ``observe`` is a listener of the pods' informer."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._tallies: dict[str, Tally] = {}

    def of(self, owner: str) -> Tally:
        """The tally of the owner with this uid."""
        return self._tallies.get(owner) or Tally()

    def observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        before = self._facts(old)
        after = self._facts(pod) if type != "DELETED" else None
        if before == after:
            return
        for facts, by in ((before, -1), (after, 1)):
            if facts is not None:
                self._count(facts, by)

    def _facts(self, pod: Obj | None) -> _Facts | None:
        controller = meta.controller_of(pod) if pod is not None else None
        if pod is None or controller is None or controller.get("kind") != self._kind:
            return None
        return _Facts.of(pod, controller["uid"])

    def _count(self, facts: _Facts, by: int) -> None:
        tally = self._tallies.setdefault(facts.owner, Tally())
        tally.count(facts, by)
        if not tally:
            del self._tallies[facts.owner]
