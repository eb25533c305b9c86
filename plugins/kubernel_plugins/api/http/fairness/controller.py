"""Levels and schemas as the cluster's objects say, and the way of a request through them.

Source: k8s.io/apiserver/pkg/util/flowcontrol/apf_controller.go, …/server/filters/priority-and-fairness.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

from kubernel.store.records import MODIFIED
from kubernel_plugins.api.http.transport import header_block
from kubernel_plugins.flowcontrol import LEVELS, SCHEMAS

from .allocation import Bounds, Demand, share
from .matching import Schema, deal, flow_hash
from .metrics import Counters, Observations
from .queues import QueueSet, Ticket
from .retry import RetryAfter
from .seats import ONE, Estimate, Estimator

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

    from .matching import Asked

__all__ = ["Classified", "Fairness", "Level", "Rejected"]

GROUP = "flowcontrol.apiserver.k8s.io"
_SCHEMAS = "flowschemas"
_LEVELS = "prioritylevelconfigurations"
_EXEMPT, _CATCH_ALL = "exempt", "catch-all"
ADJUSTED_EVERY = 10.0
WAITS_AT_MOST = 15.0
"""A quarter of the time that a request may take."""
_REMEMBERED = 4096
_MOST_OF_A_LEVEL = 0.15
"""The part of a level's seats that one request may have."""


class Rejected(Exception):
    """No seat for this one; come back in ``retry_after`` seconds."""

    def __init__(self, retry_after: int, head: bytes) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.head = head
        """The header lines that say how the request was classified."""


class Level:
    """A priority level: its limits and who is in it."""

    def __init__(self, name: str, queues: QueueSet) -> None:
        self.name = name
        self.uid = ""
        self.spec: Mapping[str, Any] = {}
        self.queues = queues
        self.quiescing = False
        self.hand = 0
        self.nominal = self.least = self.most = 0
        self.most_seats = 0
        self.target = 0.0
        self.retry = RetryAfter()

    @property
    def exempt(self) -> bool:
        return self.queues.exempt

    @property
    def shares(self) -> int:
        told = (self.spec.get("exempt" if self.exempt else "limited") or {}).get("nominalConcurrencyShares")
        return int(told if told is not None else 0 if self.exempt else 30)

    def configure(self, obj: Obj) -> bool:
        """False for what upstream ignores: a union that is broken."""
        spec = obj["spec"]
        exempt = spec.get("type") == "Exempt"
        if exempt is not (self.name == _EXEMPT) or (not exempt and not spec.get("limited")):
            return False
        self.spec, self.uid = spec, obj["metadata"].get("uid") or ""
        queueing = ((spec.get("limited") or {}).get("limitResponse") or {}).get("queuing") or {}
        self.hand = queueing.get("handSize") or 0
        self.queues.configure(
            None if exempt else queueing.get("queues") or 0, queueing.get("queueLengthLimit") or 0
        )
        return True

    def limit(self, total: int, sum_of_shares: int, *, new: bool) -> None:
        told = self.spec.get("exempt" if self.exempt else "limited") or {}
        self.nominal = ceil(total * self.shares / sum_of_shares) if sum_of_shares else 0
        lent = round(self.nominal * (told.get("lendablePercent") or 0) / 100)
        borrowed = told.get("borrowingLimitPercent")
        self.least = self.nominal - lent
        self.most = self.nominal + (total if borrowed is None else round(self.nominal * borrowed / 100))
        if self.hand:
            self.most_seats = max(1, min(ceil(self.nominal * _MOST_OF_A_LEVEL), self.nominal // self.hand))
        if new:
            self.queues.limit = self.nominal - lent // 2


class Classified:
    """Where requests of one kind of one user go."""

    __slots__ = ("counters", "digested", "flow", "hand", "head", "level", "schema")

    def __init__(self, schema: Schema, level: Level, flow: str, counters: Counters, digested: int) -> None:
        self.counters = counters
        self.digested = digested
        self.schema = schema
        self.level = level
        self.flow = flow
        wanted = level.queues.wanted
        self.hand = deal(flow_hash(schema.name, flow), wanted, level.hand) if wanted else ()
        # UIDs, since names could tell users what administrators think of them.
        self.head = header_block(
            [
                ("X-Kubernetes-PF-FlowSchema-UID", schema.uid),
                ("X-Kubernetes-PF-PriorityLevel-UID", level.uid),
            ]
        )


class Fairness:
    """``total`` is how many seats there are. Without the types of FlowSchemas there are the mandatory ones."""

    def __init__(self, handle: Handle, total: int) -> None:
        self.total = total
        self.estimator = Estimator(handle.registry.store)
        self.levels: dict[str, Level] = {}
        self.observed = Observations()
        self.fair_fraction = 0.0
        self.clock = handle.clock
        self._handle = handle
        self._schemas: list[Schema] = []
        self._remembered: dict[tuple[Any, ...], Classified] = {}
        self._stale = True
        self._digested = 0
        """How often the configuration was looked at: what was classified before is of no use after."""
        self._informers: tuple[Any, Any] | None = None
        self._unlisten: list[Callable[[], None]] = []
        self._adjusted = handle.clock.monotonic()

    def start(self) -> None:
        if self._handle.registry.lookup(GROUP, "v1", _SCHEMAS) is None:
            return
        client = self._handle.client("system:apiserver", ("system:masters",))
        schemas, levels = (client.informer(f"{plural}.v1.{GROUP}") for plural in (_SCHEMAS, _LEVELS))
        self._informers = schemas, levels
        self._unlisten = [schemas.add_listener(self._changed), levels.add_listener(self._changed)]

    def stop(self) -> None:
        for unlisten in self._unlisten:
            unlisten()
        self._unlisten = []

    # --- configuration

    def _changed(self, type: Any, obj: Obj, old: Obj | None) -> None:
        if type != MODIFIED or old is None or old["spec"] != obj["spec"]:
            self._stale = True

    def _idle(self) -> None:
        """A level has nobody in it: one that was only kept for them can go."""
        if any(level.quiescing for level in self.levels.values()):
            self._stale = True

    def _digest(self) -> None:
        self._stale = False
        self._digested += 1
        self._remembered = {}
        schemas: Iterable[Obj] = ()
        levels: Iterable[Obj] = ()
        if self._informers is not None:
            schemas, levels = self._informers[0].list(), self._informers[1].list()
        wanted = {obj["metadata"]["name"]: obj for obj in levels}
        for name in (_EXEMPT, _CATCH_ALL):
            wanted.setdefault(name, {"metadata": {"name": name}, "spec": LEVELS[name]})
        now, fresh = self.clock.monotonic(), set()
        for name, obj in wanted.items():
            level = self.levels.get(name)
            if level is None:
                level = Level(name, QueueSet(name, self.clock, Demand(now), self._idle))
                fresh.add(name)
            if level.configure(obj):
                level.quiescing = False
                self.levels[name] = level
            else:
                fresh.discard(name)
        for name, level in list(self.levels.items()):
            if name not in wanted:
                if level.queues.idle:
                    del self.levels[name]
                else:
                    level.quiescing = True
        self._schemas = self._sequence(schemas)
        shares = sum(level.shares for level in self.levels.values())
        for name, level in self.levels.items():
            level.limit(self.total, shares, new=name in fresh)
        self._adjust(now)

    def _sequence(self, objects: Iterable[Obj]) -> list[Schema]:
        found = [Schema(obj) for obj in objects]
        names = {schema.name for schema in found}
        found += [
            Schema({"metadata": {"name": name}, "spec": SCHEMAS[name]})
            for name in (_EXEMPT, _CATCH_ALL)
            if name not in names
        ]
        found = [schema for schema in found if self._level(schema) is not None]
        return sorted(found, key=lambda schema: (schema.precedence, schema.name))

    def _level(self, schema: Schema) -> Level | None:
        level = self.levels.get(schema.level)
        return None if level is None or level.quiescing else level

    # --- borrowing

    def _adjust(self, now: float) -> None:
        """New limits from what was wanted since the last time."""
        periods = int((now - self._adjusted) / ADJUSTED_EVERY)
        self._adjusted = now
        remaining = sum(level.nominal for level in self.levels.values())
        total = remaining
        bounds: dict[str, Bounds] = {}
        floor = demanded = 0
        for level in self.levels.values():
            demand = level.queues.demand
            demand.reset(now, periods)
            if level.exempt:
                level.queues.limit = max(level.least, demand.most)
                remaining -= level.queues.limit
                continue
            least = max(level.least, min(level.nominal, demand.most))
            level.target = max(least, demand.smoothed)
            bounds[level.name] = Bounds(least, level.most, level.target)
            floor += level.least
            demanded += least
        limits: dict[str, float] = {}
        self.fair_fraction = 0.0
        if remaining <= floor:
            limits = {name: self.levels[name].least for name in bounds}
        elif remaining <= demanded:
            part = (remaining - floor) / (demanded - floor)
            limits = {
                name: self.levels[name].least + round((bound.least - self.levels[name].least) * part)
                for name, bound in bounds.items()
            }
        else:
            shared, self.fair_fraction = share(total, list(bounds.values()))
            limits = dict(zip(bounds, shared, strict=True))
        for name, limit in limits.items():
            self.levels[name].queues.resize(round(limit))

    # --- requests

    def classify(self, user: UserInfo, asked: Asked) -> Classified:
        if self._stale:
            self._digest()
        key = (user.name, user.groups, asked)
        found = self._remembered.get(key)
        if found is None:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            found = self._remembered[key] = self._classify(user, asked)
        return found

    def _classify(self, user: UserInfo, asked: Asked) -> Classified:
        chosen = next((schema for schema in self._schemas if schema.matches(user, asked)), None)
        if chosen is None:
            chosen = next(schema for schema in self._schemas if schema.name == _CATCH_ALL)
        level = self.levels[chosen.level]
        flow = chosen.flow(user, asked) if level.queues.wanted > 1 else ""
        return Classified(chosen, level, flow, self.observed.of(level.name, chosen.name), self._digested)

    def holds(self, classified: Classified) -> bool:
        """Whether ``classify`` would give the same."""
        return classified.digested == self._digested and not self._stale

    def at_once(self, classified: Classified) -> bool:
        """Whether something that is done before anything else happens may be: it is counted, and needs no
        seat."""
        queues = classified.level.queues
        if not queues.free():
            return False
        queues.dispatched += 1
        classified.counters.dispatched += 1
        return True

    def estimate(
        self,
        classified: Classified,
        asked: Asked,
        name: str,
        type: ResourceType | None,
        *,
        limit: int = 0,
        initial: bool = False,
    ) -> Estimate:
        if asked.verb == "get" or not asked.resource:
            return ONE
        return self.estimator.estimate(
            asked, name, type, classified.level.most_seats, limit=limit, initial=initial
        )

    def arrive(
        self, classified: Classified, user: UserInfo, asked: Asked, name: str, estimate: Estimate
    ) -> Ticket:
        """A ticket with which the request may run, unless it is ``waiting``: then when ``turn`` returns. Raises
        Rejected."""
        counters = classified.counters
        now = self.clock.monotonic()
        if now - self._adjusted >= ADJUSTED_EVERY:
            self._adjust(now)
        ticket = Ticket(classified, estimate, user.name, asked, name)
        why = classified.level.queues.enter(ticket, classified.hand)
        if ticket.most == 1:
            counters.single += 1
        else:
            counters.seats.observe(ticket.most)
        if why:
            raise self._reject(classified, why)
        if ticket.waiting is None:
            counters.unwaited += 1
            counters.dispatched += 1
        return ticket

    async def turn(self, ticket: Ticket, waits: Callable[[bool], None] = lambda waits: None) -> None:
        """Wait with a ticket. ``waits`` is told when it begins and when it ends. Raises Rejected."""
        waits(True)
        try:
            why = await self._wait(ticket)
        finally:
            waits(False)
        if why:
            raise self._reject(ticket.classified, why)
        counters = ticket.classified.counters
        counters.waits.observe(ticket.start - ticket.arrival)
        counters.dispatched += 1

    def _reject(self, classified: Classified, why: str) -> Rejected:
        classified.counters.reject(why)
        seconds = classified.level.retry.dropped(int(self.clock.time()))
        return Rejected(seconds, classified.head)

    async def _wait(self, ticket: Ticket) -> str:
        assert ticket.waiting is not None  # noqa: S101 - the caller looked
        if ticket.queue is not None:
            ticket.classified.counters.lengths.observe(len(ticket.queue.waiting))
        try:
            async with self.clock.timeout(WAITS_AT_MOST):
                await ticket.waiting
        except TimeoutError:
            return "time-out" if ticket.set.leave_queue(ticket, late=True) else ""
        except BaseException:
            if not ticket.set.leave_queue(ticket, late=False):
                ticket.set.finish(ticket)
            raise
        return ""

    def leave(self, ticket: Ticket) -> None:
        """The request has run, or a watch has begun; again for what has left is nothing."""
        if ticket.left:
            return
        ticket.left = True
        lasted = ticket.set.finish(ticket)
        type = "watch" if ticket.asked.verb == "watch" else "regular"
        ticket.classified.counters.executions[type].observe(lasted)
