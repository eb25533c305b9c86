"""What clients ask most: one object as it is stored, by a user known already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.registry.attributes import Attributes
from kubernel.store.records import Key

from .fairness import Asked
from .plans import Right
from .responses import GZIP_FROM
from .shapes import shape_for
from .transport import Reply

if TYPE_CHECKING:
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType

    from .paths import Target
    from .server import Api
    from .shapes import Shape
    from .transport import Exchange

__all__ = ["AtOnce"]

_GRANTS = 64
"""Users whose rights are remembered for each request."""


class _Plan:
    """What a request comes down to, whoever asks, while there are the same types."""

    __slots__ = ("generation", "grants", "key", "metric", "shape", "target", "type")

    def __init__(self, generation: int, type: ResourceType, target: Target, shape: Shape) -> None:
        self.generation = generation
        self.type = type
        self.target = target
        self.key = Key(type.resource, target.namespace, target.name)
        self.metric = ("get", target.group, target.version, target.resource)
        self.shape = shape
        self.grants: dict[UserInfo, Right] = {}


class AtOnce:
    """Answers what needs no waiting and is told to nobody; None for all else and for every refusal: those are for
    ``Api.handle``."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._registry = api.registry
        self._store = api.registry.store
        self._monotonic = api.clock.monotonic

    def __call__(self, exchange: Exchange) -> Reply | None:
        started = self._monotonic()
        plan: _Plan | None = exchange.memo
        if plan is None or plan.generation != self._registry.generation:
            # The same bytes have the same headers: what a plan was made for shows no credentials.
            plan = exchange.memo = self._plan(exchange)
            if plan is None:
                return None
        user = exchange.connection.user
        if user is None:
            return None
        api, fairness = self._api, self._api.fairness
        if fairness is None and api.metrics.inflight["readOnly"] >= api.settings.max_inflight:
            return None
        try:
            grant = plan.grants.get(user)
            if grant is None or not grant.holds(fairness):
                grant = self._grant(plan, user)
                if grant is None:
                    return None
            record = self._store.get(plan.key)
            if record is None:
                return None
            body = plan.shape.one(record)
            if len(body) >= GZIP_FROM:
                return None
            head = plan.shape.head
            classified = grant.classified
            if classified is not None and fairness is not None:
                if not fairness.at_once(classified):
                    return None
                head += classified.head
        except Exception:  # whatever it is, it happens again where it is reported
            return None
        api.metrics.count(plan.metric, 200, self._monotonic() - started)
        return Reply(200, body, head + api.stamp())

    def _plan(self, exchange: Exchange) -> _Plan | None:
        api, registry = self._api, self._registry
        target = api.targets.get(exchange.path)
        if target is None or exchange.query or not target.name or target.subresource or target.watching:
            return None
        type = registry.lookup(target.group, target.version, target.resource)
        if (
            type is None
            or type.namespaced is not bool(target.namespace)
            or type.deprecation
            or type.source is not None
            or type.converter is not None
            or "get" not in type.verbs
            or api.gate.known(exchange) is None
        ):
            return None
        try:
            form = api.negotiator.choose(exchange.headers.get("Accept", ""), protobuf=api.messages(type))
            # The other shapes are of the moment.
            if form.shape != "object" or form.media == "yaml":
                return None
            return _Plan(registry.generation, type, target, shape_for(form, registry, type, {}))
        except Exception:  # as above
            return None

    def _grant(self, plan: _Plan, user: UserInfo) -> Right | None:
        """For what is told to nobody; remembered, unless an authorizer does not say how long its answer holds."""
        api, target = self._api, plan.target
        asked = Attributes(
            user, "get", target.group, target.version, target.resource, "", target.namespace, target.name
        )
        found = api.gate.standing(asked)
        if found is None and not api.gate.allows(asked):
            return None
        if api.auditor is not None and api.auditor.policy.verdict(asked).level:
            return None
        classified = None
        if api.fairness is not None:
            about = Asked("get", target.group, target.resource, "", target.namespace)
            classified = api.fairness.classify(user, about)
        grant = Right(found[1] if found is not None else (), classified)
        if found is not None:
            if len(plan.grants) >= _GRANTS:
                plan.grants.clear()
            plan.grants[user] = grant
        return grant
