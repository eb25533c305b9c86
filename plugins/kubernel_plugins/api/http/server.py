"""The API: every request's way from its path to its reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from kubernel.errors import (
    ApiError,
    BadRequest,
    InternalError,
    MethodNotSupported,
    NotFound,
    ServerTimeout,
    StoreFull,
    TooManyRequests,
)
from kubernel.objects import times
from kubernel.registry.attributes import Attributes, demanded
from kubernel.registry.request import UserInfo

from . import query as q
from .at_once import AtOnce
from .audit import Auditor
from .audit_policy import read as read_policy
from .connect import Connector
from .deadlines import Deadlines
from .endpoints import Endpoints
from .fairness import Fairness, Rejected
from .identity import Gate
from .metrics import Metrics
from .negotiate import Form, Negotiator
from .paths import Target, parse
from .plans import Plan, Planner
from .protobuf import in_media
from .reading import ListWriter, Watcher
from .responses import GZIP_FROM, NoPage, error_reply, gzip_reply, not_served, warning_head, yaml_reply
from .seating import Seat, turned_away
from .shapes import Shape, shape_for
from .transport import Reply
from .writing import Changer

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from kubernel.clock import Timer
    from kubernel.plugin import Handle
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

    from .aggregation import Aggregator
    from .plans import Grant
    from .transport import Exchange

__all__ = ["Api"]

_READS = {"GET", "HEAD"}
_LONG = frozenset({"watch", "connect"})
_CREATE_TO_CONNECT = frozenset({"exec", "attach", "portforward"})
_RETRY_AFTER = 1
_TARGETS = 4096
"""Parsed paths that are remembered."""


class Api:
    """``handle`` answers an exchange; it never raises for what a client can cause."""

    def __init__(self, handle: Handle, settings: Any, aggregator: Aggregator) -> None:
        self.handle_ = handle
        self.registry = handle.registry
        self.clock = handle.clock
        self.settings = settings
        self.gate = Gate(handle.hooks)
        self.metrics = Metrics()
        self.negotiator = Negotiator()
        self.lists = ListWriter()
        self.watcher = Watcher(handle.registry, handle.clock, handle.rng)
        self.changer = Changer(handle.registry)
        self.connector = Connector(handle.registry, handle.hooks, self.gate, handle.rng.choice)
        self.aggregator = aggregator
        self.endpoints = Endpoints(handle, self.metrics, self.negotiator, aggregator)
        # Without a plugin that keeps events nothing is made of them.
        self.auditor = Auditor(handle, read_policy(settings.audit_policy)) if handle.hooks.audits else None
        self.fairness = Fairness(handle, settings.seats) if settings.priority_and_fairness else None
        self.endpoints.fairness = self.fairness
        self._watches: dict[str, int] = {}
        """User -> how many watches are open."""
        self.targets: dict[str, Target | None] = {}
        self._random = handle.rng.getrandbits
        self._deadlines = Deadlines(handle.clock, settings.request_timeout, self._late)
        self.at_once = AtOnce(self)
        self.planner = Planner(self)

    def stamp(self) -> bytes:
        bits = self._random
        return b"Audit-Id: %08x-%04x-%04x-%04x-%012x\r\n" % (bits(32), bits(16), bits(16), bits(16), bits(48))

    async def handle(self, exchange: Exchange) -> Reply | None:
        started = self.clock.monotonic()
        stamp = self.stamp()
        path = exchange.path
        try:
            target = self.targets[path]
        except KeyError:
            target = self._parse(path)
        reading = exchange.method in _READS
        verb = "" if target is None else _verb(exchange, target)
        lasting = verb in _LONG
        kind = "readOnly" if reading else "mutating"
        inflight = self.metrics.inflight
        reply: Reply | None = None
        user: UserInfo | None = None
        watching: str | None = None
        seat: Seat | None = None
        timer: Timer | None = None
        plan: Plan | None = None
        grant: Grant | None = None
        if exchange.manner is not None and target is not None:
            plan = self.planner.find(exchange.manner, exchange, target, verb)
        if lasting:
            self.metrics.longrunning += 1
        else:
            inflight[kind] += 1
        try:
            if not lasting:
                if "timeout=" in exchange.query:
                    allotted = self._allotted(exchange.query)
                    timer = self.clock.call_later(allotted, self._late, exchange, stamp)
                else:
                    self._deadlines.begin(exchange, stamp)
            if not lasting and self.fairness is None:
                limit = self.settings.max_inflight if reading else self.settings.max_mutating_inflight
                if inflight[kind] > limit:
                    self.metrics.rejected += 1
                    raise TooManyRequests(
                        "too many requests, please try again later", retry_after=_RETRY_AFTER
                    )
            if plan is not None and plan.plain:
                user = exchange.connection.user
            if user is None:
                user = await self.gate.user(exchange)
                if told_to := (exchange.original or user).warnings:
                    stamp += warning_head(told_to)
            if verb == "watch":
                watching = self._watch(user)
            if plan is not None and target is not None:
                grant = self.planner.grant(plan, exchange, user, target)
            told: Attributes | None = None
            if self.auditor is not None:
                if grant is None or grant.told is None:
                    told = _told(exchange, user, target, verb)
                    trail = self.auditor.begin(exchange, self.auditor.about(exchange, told), "", stamp)
                else:
                    trail = self.auditor.begin(exchange, grant.told, target.name if target else "", stamp)
                exchange.trail = trail
                if trail is not None and trail.tells("RequestReceived"):
                    await trail.tell("RequestReceived")
            streamed = target is not None and target.subresource in _STREAMED
            if self.fairness is not None and not streamed:
                seat = Seat(self.fairness, self.registry)
                stamp += seat.take(exchange, user, target, verb, grant)
                if seat.waits:
                    await seat.turn(exchange)
            if grant is not None and plan is not None and target is not None:
                if exchange.trail is not None:
                    exchange.trail.decided(grant.decision)
                reply = await self._change(exchange, user, target, plan)
            elif target is None or not target.resource:
                asked = Attributes(user, exchange.method.lower(), path=_plain(path))
                await self.gate.authorize(asked, exchange.trail)
                remote = self._remote(target)
                if remote is not None:
                    reply = await self.aggregator.serve(exchange, user, remote, stamp)
                else:
                    reply = await self.endpoints.serve(exchange, user, stamp)
            else:
                reply = await self._resource(exchange, user, target, verb, stamp, seat, told)
        except Rejected as full:
            self.metrics.rejected += 1
            reply = turned_away(full)
            stamp += full.head
        except ApiError as error:
            reply = self._refusal(exchange, error)
            served = self._type(target)
            if served is not None and served.deprecation and _is_served(served, target, verb):
                reply.head += warning_head((served.deprecation,))
        except asyncio.CancelledError:
            raise
        except ConnectionError:
            raise
        except StoreFull as full:
            reply = self._refusal(exchange, InternalError(f"Internal error occurred: {full}"))
        except Exception as error:
            self.handle_.log.opt(exception=error).error("request {} {} failed", exchange.method, path)
            wrong = InternalError(f"Internal error occurred: {type(error).__name__}")
            reply = self._refusal(exchange, wrong)
        finally:
            if timer is not None:
                timer.cancel()
            elif not lasting:
                self._deadlines.end(exchange)
            if seat is not None:
                seat.leave()
            if watching is not None:
                self._watches[watching] -= 1
                if not self._watches[watching]:
                    del self._watches[watching]
            if lasting:
                self.metrics.longrunning -= 1
            else:
                inflight[kind] -= 1
            if target is None:
                key = (exchange.method, "", "", "")
            else:
                key = (verb, target.group, target.version, target.resource)
                if reply is not None and reply.status == 404 and self._type(target) is None:
                    key = (verb, "", "", "unknown")
            elapsed = None if lasting else self.clock.monotonic() - started
            self.metrics.count(key, reply.status if reply is not None else 200, elapsed)
            if self.auditor is not None:
                if user is None:
                    asked = _told(exchange, UserInfo(""), target, verb)
                    trail = self.auditor.begin(exchange, self.auditor.about(exchange, asked), "", stamp)
                    exchange.trail = trail
                    if trail is not None:
                        await trail.tell("RequestReceived")
                if exchange.trail is not None:
                    await exchange.trail.tell("ResponseComplete", reply)
        if reply is not None:
            reply.head += stamp
            if len(reply.body) >= GZIP_FROM and self._compresses(exchange):
                reply = gzip_reply(reply)
        return reply

    def _allotted(self, query: str) -> float:
        """Seconds that a request may take; BadRequest for a ``timeout`` that is no duration
        (k8s.io/apiserver/pkg/endpoints/filters/request_deadline.go)."""
        most: float = self.settings.request_timeout
        text = q.parse(query).get("timeout", [""])[0]
        if not text:
            return most
        try:
            asked = times.duration(text)
        except ValueError as wrong:
            raise BadRequest(f"invalid timeout specified in the request URL - {wrong}") from None
        return asked if 0 < asked < most else most

    def _late(self, exchange: Exchange, stamp: bytes) -> None:
        """The client waits no longer. What is being written goes on, since nobody can tell whether it is stored."""
        late = ServerTimeout("Timeout: request did not complete within the allotted timeout")
        reply = self._refusal(exchange, late)
        reply.head += stamp
        exchange.give_up(reply)

    def _watch(self, user: UserInfo) -> str:
        """Count a watch. TooManyRequests when the user has as many as one may have."""
        open = self._watches.get(user.name, 0)
        if open >= self.settings.max_watches_per_user:
            raise TooManyRequests(
                f'user "{user.name}" has {open} watches, which is as many as a user may have',
                retry_after=_RETRY_AFTER,
            )
        self._watches[user.name] = open + 1
        return user.name

    def messages(self, type: ResourceType) -> bool:
        """Whether objects of ``type`` can be sent as protobuf."""
        codec = self.registry.protobuf
        return codec is not None and not type.custom and codec.serves(type.api_version, type.kind)

    def _refusal(self, exchange: Exchange, error: ApiError) -> Reply:
        """The Status in a media type that the client accepts, else in JSON: what was wrong is not hidden behind
        that."""
        reply = error_reply(error)
        if isinstance(error, NoPage):
            return reply
        codec = self.registry.protobuf
        accept = exchange.headers.get("Accept", "")
        try:
            form = self.negotiator.choose(accept, shapes=False, protobuf=codec is not None)
        except ApiError:
            return reply
        return in_media(reply, form, codec)

    def _parse(self, path: str) -> Target | None:
        """Clients ask for the same few paths again and again."""
        if len(self.targets) >= _TARGETS:
            self.targets.clear()
        target = self.targets[path] = parse(path)
        return target

    def _remote(self, target: Target | None) -> Obj | None:
        """The APIService of what another server serves."""
        if target is None or not target.group:
            return None
        return self.aggregator.find(target.group, target.version)

    def _type(self, target: Target | None) -> ResourceType | None:
        if target is None:
            return None
        return self.registry.lookup(target.group, target.version, target.resource)

    def _compresses(self, exchange: Exchange) -> bool:
        """Compressing for a client on this machine costs both sides time and saves nobody anything."""
        if "gzip" not in exchange.headers.get("Accept-Encoding", ""):
            return False
        mode = self.settings.compression
        if mode == "remote":
            remote = exchange.connection.remote
            return not (remote.startswith("127.") or remote == "::1")
        return bool(mode == "all")

    # --- resources

    async def _resource(
        self,
        exchange: Exchange,
        user: UserInfo,
        target: Target,
        verb: str,
        stamp: bytes,
        seat: Seat | None,
        told: Attributes | None,
    ) -> Reply | None:
        type = self.registry.lookup(target.group, target.version, target.resource)
        query = q.parse(exchange.query)
        await self._authorize(exchange, user, target, verb, query, told)
        if type is None:
            remote = self._remote(target)
            if remote is None:
                raise not_served(self.registry, target.group)
            begun = seat.begun if seat is not None else None
            return await self.aggregator.serve(exchange, user, remote, stamp, begun)
        unknown = target.subresource and target.subresource not in type.subresources
        if (unknown and not verb) or (type.create is not None and target.name):
            raise NotFound.for_path()
        if not verb:
            raise MethodNotSupported.for_path()
        if type.namespaced:
            collection = ("list", "watch", "create") if type.custom else ("list", "watch")
            if not target.namespace and (target.name or verb not in collection):
                raise (NotFound.for_path() if target.name else MethodNotSupported.for_path())
        elif target.namespace and target.resource != "namespaces":
            raise NotFound.for_path()
        form = self.negotiator.choose(
            exchange.headers.get("Accept", ""),
            shapes=type.create is None and (verb == "get" or not target.subresource),
            protobuf=self.messages(type),
            stream=verb == "watch",
            listing=verb in ("list", "watch"),
        )
        if target.subresource:
            reply = await self._subresource(exchange, user, type, target, verb, query, form, stamp)
        else:
            shape = shape_for(form, self.registry, type, query, verb)
            whole = form.media == "yaml"
            reply = await self._whole(exchange, user, type, target, verb, query, shape, stamp, seat, whole)
        if reply is not None and form.media == "yaml":
            reply = yaml_reply(reply)
        return reply

    async def _whole(
        self,
        exchange: Exchange,
        user: UserInfo,
        type: ResourceType,
        target: Target,
        verb: str,
        query: q.Query,
        shape: Shape,
        stamp: bytes,
        seat: Seat | None,
        whole: bool,
    ) -> Reply | None:
        """``whole``: the reply is still to be rewritten, so that it cannot be streamed."""
        namespace = target.namespace if type.namespaced else ""
        if verb == "get":
            if verb not in type.verbs:
                raise MethodNotSupported.for_path()
            version, exact = q.get_version(query) if query else ("", False)
            if version in ("", "0"):
                record = await self.registry.read(type, namespace, target.name)
            else:
                record = await self.registry.get_at(type, namespace, target.name, version, exact=exact)
            body = shape.one(record)
            head = shape.head + warning_head((type.deprecation,)) if type.deprecation else shape.head
            return Reply(200, body, head)
        if verb not in type.verbs and not (type.custom and verb in ("create", "update")):
            raise MethodNotSupported.for_path()
        extra = warning_head((type.deprecation,)) if type.deprecation else b""
        if verb == "list":
            page = await self.registry.list(type, namespace, q.list_options(query))
            if whole:
                return Reply(200, b"".join(shape.pieces(page)), shape.head + extra)
            gzip = self._compresses(exchange)
            return await self.lists.reply(exchange, shape, page, gzip=gzip, head=extra, stamp=stamp)
        if verb == "watch":
            if target.name:
                selector = f"metadata.name={target.name}"
                query = {**query, "fieldSelector": [selector]}
            begun = seat.begun if seat is not None else None
            await self.watcher.serve(exchange, type, namespace, query, shape, extra + stamp, begun)
            return None
        plan = Plan(self.registry.generation, type, verb, query, shape)
        if not whole:
            self.planner.keep(exchange, target, plan)
        return await self._change(exchange, user, target, plan)

    async def _subresource(
        self,
        exchange: Exchange,
        user: UserInfo,
        type: ResourceType,
        target: Target,
        verb: str,
        query: q.Query,
        form: Form,
        stamp: bytes,
    ) -> Reply | None:
        sub = type.subresources.get(target.subresource)
        if sub is None:
            if type.custom:
                raise NotFound.for_object(type.plural, type.group, target.name)
            raise NotFound.for_path()
        if target.rest and target.subresource != "proxy":
            raise NotFound.for_path()
        if sub.connect:
            return await self.connector.serve(exchange, user, type, target, verb, query, stamp)
        if verb not in sub.verbs:
            if type.custom and verb:
                raise MethodNotSupported.for_verb(type.plural, type.group, verb)
            raise MethodNotSupported.for_path()
        if verb == "get":
            namespace = target.namespace if type.namespaced else ""
            record, view = await self.registry.get_subresource(
                type, namespace, target.name, target.subresource
            )
            shaped = shape_for(form, self.registry, type, query)
            body = shaped.one(record) if view is None else shaped.view(view, sub.columns)
            return Reply(200, body, shaped.head)
        if verb not in ("create", "update", "patch"):
            raise MethodNotSupported.for_path()
        shape = shape_for(form, self.registry, type, query, verb)
        plan = Plan(self.registry.generation, type, verb, query, shape)
        if form.media != "yaml":
            self.planner.keep(exchange, target, plan)
        return await self._change(exchange, user, target, plan)

    def _change(self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan) -> Awaitable[Reply]:
        changer, verb = self.changer, plan.verb
        if verb == "create":
            return changer.create(exchange, user, target, plan)
        if verb == "update":
            return changer.update(exchange, user, target, plan)
        if verb == "patch":
            return changer.patch(exchange, user, target, plan)
        if verb == "delete":
            return changer.delete(exchange, user, target, plan)
        return changer.delete_collection(exchange, user, target, plan)

    async def _authorize(
        self,
        exchange: Exchange,
        user: UserInfo,
        target: Target,
        verb: str,
        query: q.Query,
        told: Attributes | None,
    ) -> None:
        """``told`` is the request as an audit policy looks at it: without a query it is the same."""
        same = told if verb and not query else None
        verb = _asked(exchange.method) if verb == "connect" else verb or exchange.method.lower()
        name = target.name
        labels = fields = ""
        if query:
            labels, fields = q.one(query, "labelSelector"), q.one(query, "fieldSelector")
            if not name and fields:
                name = demanded(fields, "metadata.name")
        asked = same or Attributes(
            user, verb, target.group, target.version, target.resource, target.subresource,
            target.namespace, name, "", labels, fields,
        )  # fmt: skip
        await self.gate.authorize(asked, exchange.trail)
        if verb == "get" and target.subresource in _CREATE_TO_CONNECT and exchange.wants_socket:
            # Since v1.35 a WebSocket needs what a POST needs.
            await self.gate.authorize(
                Attributes(
                    user, "create", target.group, target.version, target.resource, target.subresource,
                    target.namespace, name,
                )
            )  # fmt: skip


_METHODS = {
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "GET": "get",
    "HEAD": "get",
}
_STREAMED = frozenset({"exec", "attach", "portforward", "proxy", "log"})


def _told(exchange: Exchange, user: UserInfo, target: Target | None, verb: str) -> Attributes:
    """The request as an audit policy looks at it."""
    if target is None or not target.resource:
        return Attributes(user, exchange.method.lower(), path=_plain(exchange.path))
    told = _asked(exchange.method) if verb == "connect" or not verb else verb
    return Attributes(
        user,
        told,
        target.group,
        target.version,
        target.resource,
        target.subresource,
        target.namespace,
        target.name,
    )


def _asked(method: str) -> str:
    return _METHODS.get(method, method.lower())


def _verb(exchange: Exchange, target: Target) -> str:
    """The API verb; empty when the method means nothing here. ``connect`` for what may last."""
    method = exchange.method
    if target.subresource in _STREAMED:
        return "connect" if method in _METHODS else ""
    if method in _READS:
        if target.watching:
            return "watch"
        if target.name:
            return "get"
        if "watch" in exchange.query and q.flag(q.parse(exchange.query), "watch"):
            return "watch"
        return "list"
    if method == "POST":
        return "create" if not target.name or target.subresource else ""
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    if method in ("PUT", "PATCH"):
        return _METHODS[method] if target.name else ""
    return ""


def _plain(path: str) -> str:
    return path.rstrip("/") or "/" if path.count("/") > 1 else path


def _is_served(type: ResourceType, target: Target | None, verb: str) -> bool:
    if target is None:
        return False
    return target.subresource in type.subresources if target.subresource else verb in type.verbs
