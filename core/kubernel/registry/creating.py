"""Creation: a new object's way from its body to the store, and the steps that it shares with later writes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.clock import rfc3339
from kubernel.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Cause,
    InternalError,
    Invalid,
    MethodNotSupported,
    UnnamedError,
)
from kubernel.objects import names
from kubernel.registry import metadata
from kubernel.registry.apply import track_update
from kubernel.registry.beside import LARGE, Beside
from kubernel.registry.conversion import read_record, store_form, to_storage
from kubernel.registry.decoding import decode
from kubernel.registry.defaulting import complete_object, settle
from kubernel.registry.fields import NOTHING
from kubernel.registry.operations import Result
from kubernel.registry.request import Request, UserInfo, WriteOptions
from kubernel.registry.specs import Specs
from kubernel.store import AlreadyExistsInStore
from kubernel.store.records import Key, Record

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock
    from kubernel.registry.fields import Tree
    from kubernel.registry.operations import Admission
    from kubernel.registry.schema import Node
    from kubernel.registry.specs import Spec, Table
    from kubernel.registry.types import GroupVersionKind, ResourceType
    from kubernel.store import ObjectStore
    from kubernel.store.records import Obj

__all__ = ["ADMITTED", "GENERATE_NAME_TRIES", "Creator", "own"]

Handler = Callable[[Request], Any]
GENERATE_NAME_TRIES = 8
ADMITTED = " after mutating admission happens"


def own(obj: Obj) -> Obj:
    """A copy that shares nothing."""
    fresh: Obj = orjson.loads(orjson.dumps(obj))
    return fresh


class Creator:
    """Create for the registry."""

    def __init__(
        self,
        store: ObjectStore,
        clock: Clock,
        rng: random.Random,
        admission: Admission,
        api_versions: Callable[[str], Collection[str]],
        beside: Beside,
    ) -> None:
        """``api_versions`` gives those in which the objects of a ``ResourceType.resource`` are served."""
        self._beside = beside
        self._api_versions = api_versions
        self.store = store
        self.clock = clock
        self.rng = rng
        self.admission = admission
        self._specs = Specs()

    async def create(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        obj: Obj,
        options: WriteOptions,
        *,
        name: str = "",
        subresource: str = "",
        raw: bytes | None = None,
    ) -> Result:
        obj = obj if raw is not None else own(obj)
        request = Request(user, "create", type, namespace, name, subresource, options, obj=obj)
        with request:
            if raw is not None and len(raw) > LARGE:
                request.large = True
            if subresource:
                return await self._create_subresource(request, obj, raw)
            if type.create is not None:
                metadata.check_kind(type, obj)
                await self._decode(request, type.schema(), obj, raw)
                return await self._answer(request, obj, type.create)
            if "create" not in type.verbs:
                raise MethodNotSupported.for_verb(type.plural, type.group, "create")
            metadata.check_kind(type, obj)
            table = self._specs.of(type) if not request.large else None
            spec = table.body(obj) if table is not None else None
            if spec is not None and spec.completed:
                obj = request.obj = self._decode_but_spec(request, obj, spec, raw)
            elif not (
                decode(request, type.schema(), obj, raw)
                if not request.large
                else await self._decode(request, type.schema(), obj, raw)
            ):
                spec = None
            meta = metadata.check_name_and_namespace(type, obj, namespace, name)
            if meta.get("resourceVersion") not in (None, "", "0") and not options.dry_run:
                # Upstream's store refuses it, in an error that has no reason; a dry run never gets there.
                raise UnnamedError("resourceVersion should not be set on objects to be created")
            if type.namespaced and not namespace:
                raise BadRequest("an empty namespace may not be set during creation")
            self._unite_owners(request, meta)
            return await self._create(request, obj, table=table, spec=spec)

    async def _decode(
        self, request: Request, node: Node, obj: Obj, raw: bytes | None, kind: GroupVersionKind | None = None
    ) -> bool:
        if request.large:
            return await self._beside(decode, request, node, obj, raw, kind=kind)
        return decode(request, node, obj, raw, kind=kind)

    @staticmethod
    def _decode_but_spec(request: Request, obj: Obj, spec: Spec, raw: bytes | None) -> Obj:
        """``obj`` decoded, with its fields in their order, where it is known what becomes of its ``spec``."""
        rest = obj.copy()
        del rest["spec"]
        decode(request, request.type.schema(), rest, raw, apart=spec.given)
        rest["spec"] = orjson.loads(spec.completed)
        if len(rest) == len(obj):
            obj.update(rest)
            return obj
        return {key: rest[key] for key in obj if key in rest}

    async def _create(
        self,
        request: Request,
        obj: Obj,
        *,
        tracked: bool = False,
        table: Table | None = None,
        spec: Spec | None = None,
    ) -> Result:
        """The pipeline from decoded object to stored record; ``tracked``: managedFields are final. ``table`` keeps what
        is known of specs, ``spec`` is this one's place in it."""
        type, node = request.type, request.type.schema()
        meta = obj["metadata"]
        metadata.wipe_new(meta)
        base = meta.get("generateName") or ""
        # Admission sees an object that has no name yet; its refusals speak of what the name will begin with.
        request.name = meta.get("name") or base
        if request.large:
            await self._beside(self._complete_new, request, obj, tracked, table, spec)
        else:
            self._complete_new(request, obj, tracked, table, spec)
        await self.admission.admit(request)
        if request.large:
            obj = request.obj = await self._beside(self._after_admission, request)
        else:
            obj = request.obj = self._after_admission(request, table=table)
        meta = obj["metadata"]
        self._unite_owners(request, meta, ADMITTED)
        metadata.stamp_new(meta, self.clock, self.rng)
        generated = bool(base and not meta.get("name"))
        if generated:
            meta["name"] = names.generate(base, self.rng) if type.strategy.generates_names else base
        request.name = meta.get("name") or ""
        type.strategy.prepare_for_create(request, obj)
        judged = b""
        if table is not None:
            request.spec_valid, judged = table.valid(obj)
        committed = False
        try:
            if request.large:
                await self._beside(self._judge_new, request, obj)
            else:
                self._judge_new(request, obj)
            if table is not None and judged and type.strategy.spec_valid_alone(obj):
                table.validated(judged)
            await self.admission.validate(request)
            self._warn(request, obj)
            if not type.custom:
                settle(node, obj)
            for attempt in range(GENERATE_NAME_TRIES):
                if not request.dry_run and (taken := type.strategy.reserve(request, obj)) is not None:
                    await taken
                try:
                    record = await self._insert(request, obj)
                    break
                except AlreadyExistsInStore as there:
                    if not generated or attempt == GENERATE_NAME_TRIES - 1:
                        raise self._exists(request, generated, there.key) from None
                    obj["metadata"]["name"] = request.name = names.generate(base, self.rng)
            committed = not request.dry_run
        finally:
            if (ended := type.strategy.finish(request, obj, committed=committed)) is not None:
                await ended
        if type.converter is not None:
            record = await read_record(type, record)
        return Result(record, True, warnings=tuple(request.warnings))

    def _complete_new(
        self, request: Request, obj: Obj, tracked: bool, table: Table | None, spec: Spec | None
    ) -> None:
        type, meta = request.type, obj["metadata"]
        known = spec is not None and bool(spec.completed)
        complete_object(type, type.schema(), obj, but_spec=known)
        if spec is not None and table is not None and not known:
            table.learn(request, spec, obj)
        if not tracked:
            # What admission and the strategy add is nobody's.
            self._track_new(request, obj, spec)
        elif not meta.get("managedFields"):
            meta.pop("managedFields", None)

    @staticmethod
    def _judge_new(request: Request, obj: Obj) -> None:
        """Raises Invalid with all that is wrong."""
        type = request.type
        causes: list[Cause] = []
        metadata.validate_new(type, obj["metadata"], causes)
        causes += type.strategy.validate_create(request, obj)
        causes += type.strategy.validate_schema(request, obj, None, causes)
        causes += type.strategy.validate_last(request, obj, None, causes)
        if causes:
            raise Invalid.for_object(type.kind, type.group, request.name, causes)

    @staticmethod
    def _unite_owners(request: Request, meta: Obj, when: str = "") -> None:
        if warning := metadata.unite_owners(meta, when):
            request.warn(warning)

    def _exists(self, request: Request, generated: bool, key: Key) -> AlreadyExists:
        type = request.type
        error = AlreadyExists.for_object(type.plural, type.group, request.name)
        there = self.store.get(key)
        going = there is not None and "deletionTimestamp" in there.obj["metadata"]
        if generated:
            error.message += ", the server was not able to generate a unique name for the object"
            error.retry_after = 1
        if going:
            error.message = f"object is being deleted: {error.message}"
        return error

    async def _insert(self, request: Request, obj: Obj) -> Record:
        type = request.type
        stored = to_storage(type, obj) if type.converter is None else await store_form(type, obj)
        key = Key(type.resource, request.namespace, request.name)
        if request.dry_run:
            if (there := self.store.get(key)) is not None:
                raise AlreadyExistsInStore(key, there.revision)
            return Record(key, 0, 0, orjson.dumps(stored), stored)
        return await self.store.create(key, stored)

    async def _create_subresource(self, request: Request, obj: Obj, raw: bytes | None) -> Result:
        sub = request.type.subresource(request.subresource, "create")
        if sub.handler is None:
            raise MethodNotSupported.for_verb(request.type.plural, request.type.group, "create")
        metadata.check_kind(request.type, obj, sub.kind.api_version, sub.kind.kind)
        if sub.schema is not None:
            await self._decode(request, sub.schema(), obj, raw, sub.kind)
        return await self._answer(request, obj, sub.handler, sub.check)

    async def _answer(self, request: Request, obj: Obj, handler: Handler, check: Any = None) -> Result:
        """What is created is nothing that is kept: a handler answers, after admission."""
        metadata.check_namespace(request.type, obj, request.namespace)
        await self.admission.admit(request)
        if request.obj is None:
            raise InternalError("admission removed the object")
        if check:
            check(request)
        await self.admission.validate(request)
        answer = handler(request)
        answer = await answer if inspect.isawaitable(answer) else answer
        return Result(_unstored(request.type, answer), True, warnings=tuple(request.warnings), obj=answer)

    def _after_admission(self, request: Request, complete: bytes = b"", table: Table | None = None) -> Obj:
        """What admission added is completed. ``complete``: the JSON of the object before, where it is likely
        that nothing was added: two encodings cost a third of a walk."""
        obj = request.obj
        if obj is None:
            raise InternalError("admission removed the object")
        if complete and orjson.dumps(obj) == complete:
            return obj
        given = table.complete(request, obj) if table is not None else b""
        complete_object(request.type, request.type.schema(), obj, but_spec=given is None)
        if table is not None and given:
            table.completed(given, obj)
        return obj

    def _track_new(self, request: Request, obj: Obj, spec: Spec | None) -> None:
        if spec is None:
            self._track(request, None, obj)
            return
        key = _shape(request, obj)
        entry = spec.entries.get(key)
        if entry is not None:
            obj["metadata"]["managedFields"] = [{**entry, "time": rfc3339(self.clock.time())}]
            return
        self._track(request, None, obj, {"spec": spec.fields})
        spec.keep_entry(key, obj["metadata"].get("managedFields") or ())

    def _track(
        self, request: Request, old: Obj | None, obj: Obj, known: Mapping[str, Tree | None] = NOTHING
    ) -> None:
        managed = track_update(
            request.type.schema(),
            old,
            obj,
            manager=request.options.field_manager,
            api_version=request.type.api_version,
            subresource=request.subresource,
            now=rfc3339(self.clock.time()),
            reset=request.resets,
            known=known,
            versions=self._versions(request.type),
        )
        if managed:
            obj["metadata"]["managedFields"] = managed
        else:
            obj["metadata"].pop("managedFields", None)

    def _versions(self, type: ResourceType) -> Collection[str]:
        """Those that entries of managedFields can be of; of custom resources any, which may come back."""
        return () if type.custom else self._api_versions(type.resource)

    @staticmethod
    def _warn(request: Request, obj: Obj) -> None:
        if request.type.deprecation:
            request.warn(request.type.deprecation)
        for text in request.type.strategy.warnings(request, obj):
            request.warn(text)


_FRAME = frozenset(["apiVersion", "kind", "metadata", "spec"])


def _shape(request: Request, obj: Obj) -> tuple[Any, ...] | None:
    """All that the fields of a new object depend on beside its spec; None where that is too much."""
    meta = obj["metadata"]
    if "managedFields" in meta or not (
        _FRAME.issuperset(obj) or _FRAME.union(request.resets).issuperset(obj)
    ):
        return None
    get = meta.get
    owners, finalizers = get("ownerReferences"), get("finalizers")
    return (
        request.options.field_manager,
        request.type.api_version,
        *meta,
        _FRAME,  # no name: the end of those before
        *(get("labels") or ()),
        _FRAME,
        *(get("annotations") or ()),
        orjson.dumps(owners) if owners else b"",
        tuple(finalizers) if finalizers else (),
    )


def _unstored(type: ResourceType, obj: Any) -> Record:
    if not isinstance(obj, dict):
        raise ApiError(f"the handler of {type.qualified} gave no object")
    return Record(Key(type.resource, "", ""), 0, 0, orjson.dumps(obj), obj)
