"""Create, update, patch: the one way a write goes.

    decode -> default -> admit -> default -> prepare -> validate -> validating admission
    -> managed fields -> no-op check -> store

Every step works on an object of its own: what a client component hands in may share structure with
stored objects, so it is taken over by one encode and decode (the price of 30 µs a 5 KB object, instead
of a rule that every admission plugin and strategy would have to keep).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

from kubernel.clock import rfc3339
from kubernel.errors import (
    AlreadyExists,
    BadRequest,
    Cause,
    Conflict,
    Invalid,
    MethodNotSupported,
    NotFound,
    UnnamedError,
    UnsupportedMediaType,
)
from kubernel.objects.equality import same
from kubernel.registry import metadata
from kubernel.registry.apply import (
    apply_object,
    entries_of_object,
    entries_of_view,
    same_but_for_times,
    track_update,
)
from kubernel.registry.beside import LARGE
from kubernel.registry.causes import show
from kubernel.registry.conversion import from_storage, is_stored, read_record, store_form, to_storage
from kubernel.registry.creating import ADMITTED, Creator, own
from kubernel.registry.decoding import decode
from kubernel.registry.defaulting import complete_object, settle
from kubernel.registry.operations import PatchType, Result
from kubernel.registry.patching import (
    check_configuration,
    check_patched,
    decode_applied,
    names_version,
    patched,
    repeated_fields,
)
from kubernel.registry.request import Request, UserInfo, WriteOptions
from kubernel.store import MissingKey, StaleRevision
from kubernel.store.records import Key, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.registry.fields import Tree
    from kubernel.registry.schema import Node
    from kubernel.registry.types import GroupVersionKind, ResourceType, Subresource
    from kubernel.store.records import Obj

__all__ = ["PATCH_TRIES", "Writer"]

PATCH_TRIES = 30
"""How often a write without a resourceVersion is retried when others write in between."""


class Writer(Creator):
    """Create, update and patch for the registry."""

    # --- update

    async def update(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        obj: Obj,
        options: WriteOptions,
        *,
        subresource: str = "",
        raw: bytes | None = None,
    ) -> Result:
        obj = obj if raw is not None else own(obj)
        key = Key(type.resource, namespace, name)
        sub = type.subresource(subresource, "update") if subresource else None
        if sub is not None and sub.write is not None:
            return await self._update_through(user, type, key, sub, obj, options, raw)
        if "update" not in type.verbs:
            raise MethodNotSupported.for_verb(type.plural, type.group, "update")
        request = Request(user, "update", type, namespace, name, subresource, options, obj=obj)
        with request:
            metadata.check_kind(type, obj)
            if raw is not None and len(raw) > LARGE:
                request.large = True
                await self._beside(decode, request, type.schema(), obj, raw)
            else:
                decode(request, type.schema(), obj, raw)
            metadata.check_name_and_namespace(type, obj, namespace, name, needed=True)
            self._unite_owners(request, obj["metadata"])
            body = None
            for _ in range(PATCH_TRIES):
                current = self.store.get(key)
                if current is None:
                    if type.strategy.create_on_update and not subresource:
                        uid = obj["metadata"].get("uid")
                        if uid:
                            raise Conflict.for_object(
                                type.plural, type.group, name, metadata.other_uid(type, key, uid, "")
                            )
                        obj["metadata"].pop("resourceVersion", None)
                        return await self._create(request, obj)
                    raise NotFound.for_object(type.plural, type.group, name)
                told = metadata.told_version(obj["metadata"])
                self._check_preconditions(type, obj, current, told)
                if not told and body is None:
                    body = orjson.dumps(obj)
                try:
                    return await self._replace(request, obj, current)
                except StaleRevision:
                    if told:
                        raise Conflict.for_object(type.plural, type.group, name) from None
                    obj = request.obj = orjson.loads(body or b"{}")
                except MissingKey:
                    raise NotFound.for_object(type.plural, type.group, name) from None
            raise Conflict.for_object(type.plural, type.group, name)

    def _check_preconditions(self, type: ResourceType, obj: Obj, current: Record, told: str) -> None:
        name = current.key.name
        if not told:
            if not type.strategy.unconditional_update:
                cause = Cause(
                    "FieldValueInvalid",
                    "Invalid value: 0: must be specified for an update",
                    "metadata.resourceVersion",
                )
                # The one refusal in which upstream names the resource instead of the kind.
                raise Invalid.for_object(type.plural, type.group, name, [cause])
        elif told != str(current.revision):
            raise _other_version(type, name, told)
        uid = obj["metadata"].get("uid")
        real = current.obj["metadata"].get("uid")
        if uid and uid != real:
            raise Conflict.for_object(
                type.plural, type.group, name, metadata.other_uid(type, current.key, uid, real)
            )

    async def _replace(
        self, request: Request, obj: Obj, current: Record, done: Collection[str] = ()
    ) -> Result:
        """The pipeline from decoded object to stored record, for an existing object; ``done``: it is ``defaulted``, or
        ``tracked`` (managedFields are final) already."""
        type, node = request.type, request.type.schema()
        before = current if type.converter is None else await read_record(type, current)
        old = request.old = from_storage(type, before.obj)
        if request.large:
            complete = await self._beside(self._complete_replaced, request, obj, old, done)
        else:
            complete = self._complete_replaced(request, obj, old, done)
        await self.admission.admit(request)
        if request.large:
            obj = request.obj = await self._beside(self._after_admission, request, complete)
        else:
            obj = request.obj = self._after_admission(request, complete)
        self._unite_owners(request, obj["metadata"], ADMITTED)
        metadata.keep_undeleted(obj["metadata"], old["metadata"])
        type.strategy.prepare_for_update(request, obj, old)
        committed = False
        try:
            if request.large:
                await self._beside(self._judge_replaced, request, obj, old)
            else:
                self._judge_replaced(request, obj, old)
            await self.admission.validate(request)
            self._warn(request, obj)
            if not type.custom:
                settle(node, obj)
            if same(obj, old) and (type.converter is None or await is_stored(type, obj, current)):
                return Result(before, warnings=tuple(request.warnings))
            if not request.dry_run and (taken := type.strategy.reserve(request, obj)) is not None:
                await taken
            record = await self._store_update(request, obj, current)
            committed = not request.dry_run
        finally:
            if (ended := type.strategy.finish(request, obj, committed=committed)) is not None:
                await ended
        if type.converter is not None:
            record = await read_record(type, record)
        return Result(record, warnings=tuple(request.warnings))

    def _complete_replaced(self, request: Request, obj: Obj, old: Obj, done: Collection[str]) -> bytes:
        """The JSON of the object as admission gets it."""
        meta = obj["metadata"]
        untold = metadata.untold(meta)
        metadata.stamp_update(meta, old["metadata"])
        if "defaulted" not in done:
            complete_object(request.type, request.type.schema(), obj)
        if "tracked" not in done:
            self._track(request, old, obj)
        elif not meta.get("managedFields"):
            meta.pop("managedFields", None)
        for key in untold:
            meta.pop(key, None)
        return orjson.dumps(obj)

    @staticmethod
    def _judge_replaced(request: Request, obj: Obj, old: Obj) -> None:
        """Raises Invalid with all that is wrong."""
        type = request.type
        causes: list[Cause] = []
        metadata.validate_update(type, obj["metadata"], old["metadata"], causes)
        causes += type.strategy.validate_update(request, obj, old)
        causes += type.strategy.validate_schema(request, obj, old, causes)
        causes += type.strategy.validate_last(request, obj, old, causes)
        if causes:
            raise Invalid.for_object(type.kind, type.group, request.name, causes)

    async def _store_update(self, request: Request, obj: Obj, current: Record) -> Record:
        type = request.type
        stored = to_storage(type, obj) if type.converter is None else await store_form(type, obj)
        meta = obj["metadata"]
        last = (
            "deletionTimestamp" in meta
            and not meta.get("finalizers")
            and not meta.get("deletionGracePeriodSeconds")
            and not type.strategy.pending_finalizers(obj)
        )
        if last and not request.dry_run:
            # The update itself is not stored: watchers are told the object as it was kept.
            await self.store.delete(current.key, current.obj, expect=current.revision)
            if (released := type.strategy.after_delete(request, obj)) is not None:
                await released
        if last or request.dry_run:
            return Record(current.key, current.revision, current.created, orjson.dumps(stored), stored)
        return await self.store.update(current.key, stored, expect=current.revision)

    async def _update_through(
        self,
        user: UserInfo,
        type: ResourceType,
        key: Key,
        sub: Subresource,
        body: Obj,
        options: WriteOptions,
        raw: bytes | None,
    ) -> Result:
        """PUT of a view of the object (a Scale): written into the object, which is then updated."""
        request = Request(user, "update", type, key.namespace, key.name, sub.name, options, obj=body)
        try:
            metadata.check_kind(type, body, sub.kind.api_version, sub.kind.kind)
            if sub.schema is not None:
                decode(request, sub.schema(), body, raw, kind=sub.kind)
        except BadRequest:
            if not type.custom:
                raise
            # Where it wants to say more, upstream does not find the kind among those of custom resources.
            told = f"{sub.kind.version}.{sub.kind.kind}"
            raise BadRequest(
                f'no kind is registered for the type {told} in scheme "{metadata.SCHEME}"'
            ) from None
        meta = metadata.check_name_and_namespace(type, body, key.namespace, key.name, needed=type.custom)
        told = metadata.told_version(meta)
        for _ in range(PATCH_TRIES):
            current = self._existing(type, key)
            uid, real = meta.get("uid"), current.obj["metadata"].get("uid")
            if uid and uid != real:
                raise Conflict.for_object(
                    type.plural, type.group, key.name, metadata.other_uid(type, current.key, uid, real)
                )
            if told and told != str(current.revision):
                raise Conflict.for_object(type.plural, type.group, key.name)
            seen = await self._seen(type, current, sub)
            result = await self._write_view(request, current, sub, seen, own(body))
            if result is not None:
                return result
        raise Conflict.for_object(type.plural, type.group, key.name)

    async def _seen(self, type: ResourceType, current: Record, sub: Subresource) -> Obj:
        """The view of the object as it is, with who manages it."""
        assert sub.read is not None  # noqa: S101 - comes with write
        obj = from_storage(type, (await read_record(type, current)).obj)
        seen = (sub.begin or sub.read)(obj)
        there, here = map(_at, sub.field)
        managed = obj["metadata"].get("managedFields") if here else None
        entries = entries_of_view(managed or (), here, there, sub.kind.api_version)
        return {**seen, "metadata": {**seen["metadata"], "managedFields": entries}} if entries else seen

    async def _write_view(
        self,
        asked: Request,
        current: Record,
        sub: Subresource,
        seen: Obj,
        view: Obj,
        *,
        applied: bool = False,
    ) -> Result | None:
        """None when somebody else wrote in between."""
        assert sub.write is not None  # noqa: S101 - the caller looked
        assert sub.read is not None  # noqa: S101 - comes with write
        type = asked.type
        before = await read_record(type, current)
        live = from_storage(type, before.obj)
        obj = own(sub.write(live, view))
        done = ["defaulted"] if sub.complete else []
        there, here = map(_at, sub.field)
        if here:
            done.append("tracked")
            managed = view["metadata"].get("managedFields") or []
            if not applied:
                managed = track_update(
                    sub.schema() if sub.schema is not None else None,
                    seen,
                    (sub.begin or sub.read)(obj),
                    manager=asked.options.field_manager,
                    api_version=sub.kind.api_version,
                    subresource=sub.name,
                    now=rfc3339(self.clock.time()),
                )
            entries = live["metadata"].get("managedFields") or []
            managed = entries_of_object(entries, here, managed, there, type.api_version)
            obj["metadata"]["managedFields"] = orjson.loads(orjson.dumps(managed))
        request = replace(asked, obj=obj, old=None, warnings=list(asked.warnings))
        try:
            result = await self._replace(request, obj, current, done)
        except StaleRevision:
            return None
        except MissingKey:
            raise NotFound.for_object(type.plural, type.group, current.key.name) from None
        seen = sub.read(from_storage(type, result.record.obj))
        return Result(result.record, warnings=result.warnings, obj=seen)

    # --- patch

    async def patch(
        self,
        user: UserInfo,
        type: ResourceType,
        namespace: str,
        name: str,
        patch_type: PatchType,
        body: Any,
        options: WriteOptions,
        *,
        subresource: str = "",
        raw: bytes | None = None,
    ) -> Result:
        sub = type.subresource(subresource, "patch") if subresource else None
        if "patch" not in type.verbs:
            raise MethodNotSupported.for_verb(type.plural, type.group, "patch")
        if patch_type == "strategic" and type.custom:
            raise UnsupportedMediaType(
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
            )
        key = Key(type.resource, namespace, name)
        request = Request(user, "patch", type, namespace, name, subresource, options)
        with request:
            repeated: list[str] = []
            long = raw is not None and len(raw) > LARGE
            if patch_type == "apply":
                if long:
                    await self._beside(self._check_applied, request, body, sub)
                else:
                    self._check_applied(request, body, sub)
            elif raw is not None and options.field_validation != "Ignore":
                if long:
                    repeated = await self._beside(repeated_fields, patch_type, body, raw)
                else:
                    repeated = repeated_fields(patch_type, body, raw)
            for _ in range(PATCH_TRIES):
                current = self.store.get(key)
                if current is None:
                    request.large = long
                    if patch_type == "apply" and not subresource:
                        try:
                            return await self._apply_new(request, body)
                        except AlreadyExists:
                            continue
                    raise NotFound.for_object(type.plural, type.group, name)
                request.large = raw is not None and len(raw) + len(current.data) > LARGE
                if sub is not None and sub.write is not None:
                    seen = await self._seen(type, current, sub)
                    if patch_type == "apply":
                        view = self._laid_over(request, sub.schema, sub.kind, seen, body)
                    else:
                        view = own(patched(seen, None, patch_type, body))
                        if sub.schema is not None:
                            check_patched(request, seen, view, patch_type, body, repeated, sub)
                    meta = metadata.check_name_and_namespace(type, view, namespace, name)
                    wanted = metadata.told_version(meta)
                    if wanted and wanted != str(current.revision):
                        raise Conflict.for_object(type.plural, type.group, name)
                    result = await self._write_view(
                        request, current, sub, seen, view, applied=patch_type == "apply"
                    )
                    if result is not None:
                        return result
                    continue
                told = names_version(patch_type, body)
                try:
                    return await self._patch_once(request, current, patch_type, body, repeated)
                except StaleRevision:
                    if told:
                        raise Conflict.for_object(type.plural, type.group, name) from None
                except MissingKey:
                    raise NotFound.for_object(type.plural, type.group, name) from None
            raise Conflict.for_object(type.plural, type.group, name)

    async def _patch_once(
        self, request: Request, current: Record, patch_type: PatchType, body: Any, repeated: Sequence[str]
    ) -> Result:
        type, node = request.type, request.type.schema()
        before = current if type.converter is None else await read_record(type, current)
        live = from_storage(type, before.obj)
        if request.large:
            obj = await self._beside(self._patched, request, node, live, patch_type, body, repeated)
        else:
            obj = self._patched(request, node, live, patch_type, body, repeated)
        request.obj = obj
        metadata.check_name_and_namespace(type, obj, request.namespace, request.name)
        told = metadata.told_version(obj["metadata"])
        if told and told != str(current.revision):
            raise _other_version(type, request.name, told)
        uid = obj["metadata"].get("uid")
        if uid and uid != live["metadata"].get("uid"):
            told = f"Invalid value: {show(uid or '')}: field is immutable"
            cause = Cause("FieldValueInvalid", told, "metadata.uid")
            raise Invalid.for_object(type.kind, type.group, request.name, [cause])
        return await self._replace(request, obj, current, ("tracked",) if patch_type == "apply" else ())

    def _patched(
        self,
        request: Request,
        node: Node,
        live: Obj,
        patch_type: PatchType,
        body: Any,
        repeated: Sequence[str],
    ) -> Obj:
        """The object that the patch makes, decoded and of its own."""
        if patch_type == "apply":
            return self._laid_over(request, request.type.schema, request.type.gvk, live, body)
        obj = own(patched(live, node, patch_type, body))
        request.obj = obj
        check_patched(request, live, obj, patch_type, body, repeated)
        return obj

    # --- apply

    def _check_applied(self, request: Request, body: Any, sub: Subresource | None) -> None:
        type = request.type
        if not request.options.field_manager:
            cause = Cause(
                "FieldValueRequired",
                "Required value: is required for apply patch",
                "fieldManager",
            )
            raise Invalid.for_object("PatchOptions", "meta.k8s.io", "", [cause])
        if not isinstance(body, dict):
            raise BadRequest("error decoding YAML: the applied configuration must be an object")
        if sub is not None and sub.write is not None:
            node = sub.schema() if sub.schema is not None else None
            check_configuration(request, body, node, sub.kind)
        else:
            check_configuration(request, body, type.schema(), type.gvk)

    def _laid_over(
        self,
        request: Request,
        schema: Callable[[], Node] | None,
        kind: GroupVersionKind,
        live: Obj | None,
        body: Obj,
    ) -> Obj:
        """What applying ``body`` makes of ``live``, decoded and of its own."""
        node = schema() if schema is not None else None
        merged = apply_object(
            node,
            live,
            body,
            manager=request.options.field_manager,
            api_version=kind.api_version,
            subresource=request.subresource,
            now=rfc3339(self.clock.time()),
            force=request.options.force,
            reset=request.resets,
            versions=self._versions(request.type) if kind == request.type.gvk else (),
        )
        obj: Obj = own(merged)
        decode_applied(request, node, obj, body, kind)
        if request.options.repeated and request.options.field_validation == "Strict":
            raise BadRequest(
                f"error strict decoding patch: error converting YAML to JSON: {request.options.repeated}"
            )
        if live is not None and merged is not live and same_but_for_times(live, obj):
            return own(live)
        return obj

    async def _apply_new(self, request: Request, body: Obj) -> Result:
        type = request.type
        if "create" not in type.verbs:
            raise NotFound.for_object(type.plural, type.group, request.name)
        if request.large:
            obj = await self._beside(self._laid_over, request, type.schema, type.gvk, None, body)
        else:
            obj = self._laid_over(request, type.schema, type.gvk, None, body)
        meta = metadata.check_name_and_namespace(type, obj, request.namespace, request.name, needed=True)
        if uid := meta.get("uid"):
            # A uid says "that very object"; it is not there (KEP-555).
            raise Conflict.for_object(
                type.plural,
                type.group,
                request.name,
                f"uid mismatch: the provided object specified uid {uid}, and no existing object was found",
            )
        request.old = None
        return await self._create(request, obj, tracked=True)

    # --- common

    def _existing(self, type: ResourceType, key: Key) -> Record:
        record = self.store.get(key)
        if record is None:
            raise NotFound.for_object(type.plural, type.group, key.name)
        return record


def _at(field: str) -> Tree:
    """The set that has one field alone, none without a ``field``: ``spec.replicas``."""
    tree: Tree = {}
    for part in reversed(field.split(".") if field else ()):
        tree = {f"f:{part}": tree}
    return tree


def _other_version(type: ResourceType, name: str, told: str) -> Conflict | UnnamedError:
    if not told.isdigit():
        return UnnamedError(f'strconv.ParseUint: parsing "{told}": invalid syntax')
    return Conflict.for_object(type.plural, type.group, name)
