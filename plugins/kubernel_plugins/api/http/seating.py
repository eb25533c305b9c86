"""A request's way through priority and fairness: what it is about, what it costs, how long it keeps its seats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.registry.attributes import demanded

from . import query as q
from .fairness import Asked
from .responses import TEXT_HEAD
from .transport import Reply

if TYPE_CHECKING:
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import UserInfo

    from .fairness import Fairness, Rejected, Ticket
    from .paths import Target
    from .plans import Grant
    from .transport import Exchange

__all__ = ["Seat", "turned_away"]


class Seat:
    """Of one request. A watch gives it back when what was there at its beginning has been sent."""

    __slots__ = ("_asked", "_fairness", "_name", "_registry", "_ticket", "_watches", "_watching")

    def __init__(self, fairness: Fairness, registry: Registry) -> None:
        self._fairness = fairness
        self._registry = registry
        self._ticket: Ticket | None = None
        self._asked = Asked("")
        self._name = ""
        self._watching = self._watches = False

    def take(
        self, exchange: Exchange, user: UserInfo, target: Target | None, verb: str, grant: Grant | None
    ) -> bytes:
        """Header lines that say how the request was classified. It has a seat unless it ``waits`` for one. Raises
        Rejected."""
        fairness = self._fairness
        if grant is not None and grant.classified is not None and target is not None:
            classified, asked, name = grant.classified, grant.asked, target.name
            self._asked = asked
            estimate = fairness.estimate(classified, asked, name, None)
            self._ticket = fairness.arrive(classified, user, asked, name, estimate)
            return classified.head
        method = exchange.method.lower()
        if target is None or not target.resource:
            asked = Asked(method, path=exchange.path)
            classified = fairness.classify(user, asked)
            estimate = fairness.estimate(classified, asked, "", None)
            self._ticket = fairness.arrive(classified, user, asked, "", estimate)
            return classified.head
        asked = self._asked = Asked(
            verb or method, target.group, target.resource, target.subresource, target.namespace
        )
        classified = fairness.classify(user, asked)
        name, limit, initial = target.name, 0, False
        type = None
        if verb in ("list", "watch"):
            type = self._registry.lookup(target.group, target.version, target.resource)
            query = q.parse(exchange.query)
            if not name and (fields := q.one(query, "fieldSelector")):
                name = demanded(fields, "metadata.name")
            limit = _number(q.one(query, "limit"))
            initial = (
                q.one(query, "resourceVersion") in ("", "0") or q.one(query, "sendInitialEvents") == "true"
            )
        self._name = name
        estimate = fairness.estimate(classified, asked, name, type, limit=limit, initial=initial)
        self._ticket = fairness.arrive(classified, user, asked, name, estimate)
        if verb == "watch":
            self._watching = True
            if not self.waits:
                self._watch_begins()
        return classified.head

    @property
    def waits(self) -> bool:
        return self._ticket is not None and self._ticket.waiting is not None

    async def turn(self, exchange: Exchange) -> None:
        """Returns when a seat is free. Raises Rejected."""
        ticket, self._ticket = self._ticket, None
        assert ticket is not None  # noqa: S101 - it waits
        await self._fairness.turn(ticket, exchange.heed_leaving)
        self._ticket = ticket
        if self._watching:
            self._watch_begins()

    def _watch_begins(self) -> None:
        self._watches = True
        self._fairness.estimator.watch_begins(self._asked, self._name)

    def begun(self) -> None:
        """The watch has begun: its seats are free, and writes that it will hear of cost more."""
        if self._ticket is not None:
            self._fairness.leave(self._ticket)

    def leave(self) -> None:
        self.begun()
        if self._watches:
            self._watches = False
            self._fairness.estimator.watch_ends(self._asked, self._name)


def _number(text: str) -> int:
    """A wrong one is refused later."""
    return int(text) if text.isascii() and text.isdigit() else 0


def turned_away(rejected: Rejected) -> Reply:
    """No Status: upstream's filter stands before what writes those."""
    head = TEXT_HEAD + b"Retry-After: %d\r\n" % rejected.retry_after
    return Reply(429, b"Too many requests, please try again later.\n", head)
