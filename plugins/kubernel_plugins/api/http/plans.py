"""What a write comes down to before its body is read: found out once for requests that come in the same manner.

A plan is the same whoever asks and whatever object is named; a grant is one user's in it. Both hold until somebody
says otherwise: other types, other rights, other flow schemas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.registry.attributes import Attributes

from .fairness import Asked

if TYPE_CHECKING:
    from kubernel.registry.attributes import Decision, Standing
    from kubernel.registry.request import UserInfo, WriteOptions
    from kubernel.registry.types import ResourceType

    from . import query as q
    from .audit import Told
    from .fairness import Classified, Fairness
    from .paths import Target
    from .server import Api
    from .shapes import Shape
    from .transport import Exchange

__all__ = ["Grant", "Plan", "Planner", "Right"]

_PLANS, _GRANTS = 256, 64
"""Plans that are kept for each manner, and grants for each plan."""
_WRITES = frozenset({"create", "update", "patch", "delete"})
_SELECTORS = ("labelSelector", "fieldSelector")


class Right:
    """A user may, for as long as ``standings`` hold; ``classified`` is where priority and fairness counts it."""

    __slots__ = ("classified", "standings")

    def __init__(self, standings: tuple[Standing, ...], classified: Classified | None) -> None:
        self.standings = standings
        self.classified = classified

    def holds(self, fairness: Fairness | None) -> bool:
        for standing in self.standings:
            if standing.over:
                return False
        classified = self.classified
        return classified is None or (fairness is not None and fairness.holds(classified))


class Grant(Right):
    """``told`` is what an audit event says of it, None where that depends on the object's name."""

    __slots__ = ("asked", "decision", "told")

    def __init__(
        self, decision: Decision, standings: tuple[Standing, ...], classified: Classified | None, asked: Asked
    ) -> None:
        super().__init__(standings, classified)
        self.decision = decision
        self.asked = asked
        self.told: Told | None = None


class Plan:
    """``options`` and ``format`` are kept by who reads the body. ``plain``: the header lines show no credentials, and
    the connection's certificate alone says who asks."""

    __slots__ = ("format", "generation", "grants", "options", "plain", "query", "shape", "type", "verb")

    def __init__(self, generation: int, type: ResourceType, verb: str, query: q.Query, shape: Shape) -> None:
        self.generation = generation
        self.type = type
        self.verb = verb
        self.query = query
        self.shape = shape
        self.plain = False
        self.options: WriteOptions | None = None
        self.format = ""
        self.grants: dict[UserInfo, Grant] = {}


class Planner:
    """Finds plans and grants, and keeps them with the manner of their requests."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def find(self, manner: dict[Any, Any], exchange: Exchange, target: Target, verb: str) -> Plan | None:
        plan: Plan | None = manner.get((verb, exchange.query, target[:4], target[5:]))
        return plan if plan is not None and plan.generation == self._api.registry.generation else None

    def keep(self, exchange: Exchange, target: Target, plan: Plan) -> None:
        """Once all was looked at that could keep such a request from being done."""
        manner = exchange.manner
        shape = plan.shape
        if (
            manner is None
            or plan.verb not in _WRITES
            or not shape.lasting
            or any(name in plan.query for name in _SELECTORS)
        ):
            return
        plan.plain = self._api.gate.known(exchange) is not None
        if len(manner) >= _PLANS:
            manner.clear()
        manner[plan.verb, exchange.query, target[:4], target[5:]] = plan

    def grant(self, plan: Plan, exchange: Exchange, user: UserInfo, target: Target) -> Grant | None:
        """None for who may not, who acts as another, and where an authorizer does not say how long its answer holds."""
        api = self._api
        grant = plan.grants.get(user)
        if grant is not None and grant.holds(api.fairness):
            return grant
        if exchange.original is not None:
            return None
        verb, group, resource, namespace = plan.verb, target.group, target.resource, target.namespace
        about = Attributes(
            user, verb, group, target.version, resource, target.subresource, namespace, target.name
        )
        found = api.gate.standing(about)
        if found is None:
            return None
        asked = Asked(verb, group, resource, target.subresource, namespace)
        classified = None if api.fairness is None else api.fairness.classify(user, asked)
        grant = Grant(*found, classified, asked)
        if api.auditor is not None and not api.auditor.policy.by_name:
            grant.told = api.auditor.about(exchange, about)
        if len(plan.grants) >= _GRANTS:
            plan.grants.clear()
        plan.grants[user] = grant
        return grant
