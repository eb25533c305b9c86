"""create, update, patch and delete: request bodies to registry operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec.structs import replace

from kubernel.errors import BadRequest, MethodNotSupported
from kubernel.objects.go_json import kind_of, kind_problem
from kubernel.registry.operations import Page, Result
from kubernel.registry.request import AUDIT_NOTES, DeleteOptions, WriteOptions

from . import query as q
from .bodies import MAX_BODY, Bodies, Body
from .negotiate import patch_type, request_format
from .responses import warning_head
from .transport import Reply

if TYPE_CHECKING:
    from kubernel.registry.operations import PatchType
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

    from .paths import Target
    from .plans import Plan
    from .shapes import Shape
    from .transport import Exchange

__all__ = ["Changer"]


class Changer:
    """One method a verb; each gives a Reply or raises ApiError with nothing changed."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._bodies = Bodies(registry)

    async def create(self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan) -> Reply:
        type = plan.type
        obj, raw, options, warnings = await self._object(exchange, plan, "CreateOptions")
        result = await self.registry.create(
            user,
            type,
            target.namespace if type.namespaced else "",
            obj,
            options,
            name=target.name,
            subresource=target.subresource,
            raw=raw,
        )
        return self._reply(201, result, plan.shape, warnings)

    async def update(self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan) -> Reply:
        type = plan.type
        obj, raw, options, warnings = await self._object(exchange, plan, "UpdateOptions")
        result = await self.registry.update(
            user,
            type,
            target.namespace if type.namespaced else "",
            target.name,
            obj,
            options,
            subresource=target.subresource,
            raw=raw,
        )
        return self._reply(201 if result.created else 200, result, plan.shape, warnings)

    async def patch(self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan) -> Reply:
        type = plan.type
        kind = cast("PatchType", plan.format)
        if not kind:
            kind = plan.format = patch_type(exchange.headers.get("Content-Type", ""), custom=type.custom)
        data = await exchange.body(MAX_BODY)
        options = _options(exchange, plan, "PatchOptions", kind)
        if exchange.trail is not None:
            exchange.trail.body = data
        try:
            body = await self._bodies.read("yaml" if kind == "apply" else "json", data)
        except BadRequest as wrong:
            if kind == "apply":
                told = (
                    "decoding patch: error converting YAML to JSON" if data[:1] == b"{" else "encoding patch"
                )
                raise BadRequest(f"error {told}: {wrong.message}") from None
            raise BadRequest("invalid JSON patch") from None
        wanted = list if kind == "json" else dict
        if not isinstance(body.value, wanted):
            raise _no_patch(kind, body.value)
        warnings: tuple[str, ...] = ()
        if body.duplicates:
            options, warnings = _repeated(body, options)
        result = await self.registry.patch(
            user,
            type,
            target.namespace if type.namespaced else "",
            target.name,
            kind,
            body.value,
            options,
            subresource=target.subresource,
            raw=body.raw,
        )
        return self._reply(201 if result.created else 200, result, plan.shape, warnings)

    async def delete(self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan) -> Reply:
        if target.subresource:
            raise MethodNotSupported.for_path()
        type, shape = plan.type, plan.shape
        options = await self._delete_options(exchange, plan.query)
        namespace = target.namespace if type.namespaced else ""
        result = await self.registry.delete(user, type, namespace, target.name, options)
        deprecation = _deprecation(type)
        if result.status is not None:
            told = warning_head((*deprecation, *result.warnings))
            return Reply(200, shape.document(result.status), shape.head + told)
        return self._reply(200, result, shape, deprecation)

    async def delete_collection(
        self, exchange: Exchange, user: UserInfo, target: Target, plan: Plan
    ) -> Reply:
        type, shape = plan.type, plan.shape
        options = await self._delete_options(exchange, plan.query)
        records = await self.registry.delete_collection(
            user, type, target.namespace if type.namespaced else "", q.list_options(plan.query), options
        )
        page = Page(records, self.registry.store.revision)
        warned = type.strategy.propagation_warning if options.propagation is None else ""
        told = warning_head((*_deprecation(type), *((warned,) if warned else ())))
        return Reply(200, b"".join(shape.pieces(page)), shape.head + told)

    def _reply(self, status: int, result: Result, shape: Shape, warnings: tuple[str, ...]) -> Reply:
        head = shape.head
        if warnings or result.warnings:
            head += warning_head((*warnings, *result.warnings))
        if result.obj is not None:
            return Reply(status, shape.document(result.obj), head)
        return Reply(status, shape.one(result.record), head)

    async def _object(
        self, exchange: Exchange, plan: Plan, kind: str
    ) -> tuple[Obj, bytes, WriteOptions, tuple[str, ...]]:
        """(object, its JSON, options of this ``kind``, warnings) of a create or an update."""
        if not plan.format:
            plan.format = self._format(exchange, custom=plan.type.custom)
        body = await self._read(await exchange.body(MAX_BODY), plan, exchange)
        warnings: tuple[str, ...] = ()
        options = _options(exchange, plan, kind)
        if body.duplicates:
            options, warnings = _repeated(body, options)
        obj = body.value
        if exchange.trail is not None:
            exchange.trail.body = body.raw
            exchange.trail.named(obj)
        return obj, body.raw, options, warnings

    async def _read(self, data: bytes, plan: Plan, exchange: Exchange) -> Body:
        kind, type = plan.format, plan.type
        if exchange.trail is not None:
            exchange.trail.body = data
        try:
            body = await self._bodies.read(kind, data)
            if body.value is None:
                body = Body({}, b"{}")
            problem = kind_problem(body.value)
            if problem:
                problem = f"couldn't get version/kind; {problem}"
        except BadRequest as wrong:
            problem = wrong.message if kind != "json" else f"couldn't get version/kind; {wrong.message}"
        if not problem and type.custom and not body.value.get("kind"):
            # Without a Go type to fall back on an object has to say what it is.
            problem = f"Object 'Kind' is missing in '{body.raw.decode()}'"
        if problem:
            raise BadRequest(
                f"the object provided is unrecognized (must be of type {type.kind}): {problem} ({_start(data)})"
            )
        if type.custom and not body.value.get("apiVersion"):
            raise BadRequest(
                f"the API version in the data () does not match the expected API version ({type.api_version})"
            )
        return body

    async def _delete_options(self, exchange: Exchange, query: q.Query) -> DeleteOptions:
        options = q.delete_options(query, await self._delete_body(exchange))
        notes = _notes(exchange)
        return options if notes is None else replace(options, notes=notes)

    async def _delete_body(self, exchange: Exchange) -> Any:
        data = await exchange.body(MAX_BODY)
        if exchange.trail is not None:
            exchange.trail.body = data
        if not data:
            return None
        try:
            return (await self._bodies.read(self._format(exchange), data)).value
        except BadRequest as wrong:
            raise BadRequest(f"couldn't get version/kind; {wrong.message}") from None

    def _format(self, exchange: Exchange, *, custom: bool = False) -> str:
        no_protobuf = custom or self.registry.protobuf is None
        return request_format(exchange.headers.get("Content-Type", ""), custom=no_protobuf)


_SHOWN = 30


def _no_patch(kind: str, value: Any) -> BadRequest:
    if value is None and kind == "apply":
        return BadRequest("invalid object type: /, Kind=")
    into = "[]handlers.jsonPatchOp" if kind == "json" else "map[string]interface {}"
    told = f"json: cannot unmarshal {kind_of(value)} into Go value of type {into}"
    where = {"strategic": "", "apply": "error decoding patch: error unmarshaling JSON: while decoding JSON: "}
    return BadRequest(where.get(kind, "error decoding patch: ") + told)


def _start(data: bytes) -> str:
    """What upstream shows of a body that it cannot read."""
    if not data:
        return "<empty>"
    shown = data[:_SHOWN]
    text = shown.decode(errors="replace") if data[:1] == b"{" else shown.hex()
    return text if len(data) <= _SHOWN else f"{text} ..."


def _notes(exchange: Exchange) -> dict[str, Any] | None:
    """A place for the audit annotations of policies and webhooks."""
    return None if exchange.trail is None else {AUDIT_NOTES: exchange.trail.notes}


def _deprecation(type: ResourceType) -> tuple[str, ...]:
    return (type.deprecation,) if type.deprecation else ()


def _options(exchange: Exchange, plan: Plan, kind: str, patch: str = "") -> WriteOptions:
    """The query's, which are the same for all requests of a plan."""
    options = plan.options
    if options is None:
        agent = exchange.headers.get("User-Agent", "")
        options = plan.options = q.write_options(plan.query, kind, agent, patch=patch)
    notes = _notes(exchange)
    return options if notes is None else replace(options, notes=notes)


def _repeated(body: Body, options: WriteOptions) -> tuple[WriteOptions, tuple[str, ...]]:
    """What fieldValidation says about keys that a YAML body repeats, as (options that refuse them, warnings). JSON's
    are found by the registry."""
    if options.field_validation == "Ignore":
        return options, ()
    if options.field_validation == "Strict":
        listed = "\n  ".join(body.duplicates)
        return replace(options, repeated=f"yaml: unmarshal errors:\n  {listed}"), ()
    return options, body.duplicates
