"""Deletion: preconditions, grace, finalizers, propagation.

Source: k8s.io/apiserver/pkg/registry/{rest/delete.go,generic/registry/store.go} (v1.37).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson
from msgspec.structs import replace

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Cause, Conflict, Invalid, MethodNotSupported, NotFound
from kubernel.objects import times
from kubernel.registry.conversion import from_storage, read_one, read_record, store_form
from kubernel.registry.operations import Result
from kubernel.registry.request import DeleteOptions, Request, UserInfo
from kubernel.registry.writing import PATCH_TRIES
from kubernel.store import MissingKey, StaleRevision
from kubernel.store.records import Key, Record

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.registry.operations import Admission
    from kubernel.registry.types import ResourceType
    from kubernel.store import ObjectStore
    from kubernel.store.records import Obj

__all__ = ["DELETE_COLLECTION_WORKERS", "Deleter", "check_preconditions"]

DELETE_COLLECTION_WORKERS = 16
_PROPAGATION_FINALIZERS = {"Foreground": "foregroundDeletion", "Orphan": "orphan"}


def check_preconditions(
    type: ResourceType, name: str, uid: str | None, version: str, options: DeleteOptions
) -> None:
    """Conflict when an object that is about to be deleted is not the one, or not as, that was meant."""
    why = ""
    if options.uid is not None and options.uid != uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated"
        )
    elif options.resource_version is not None and options.resource_version != version:
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
            f"ResourceVersion in record ({version}). The object might have been modified"
        )
    if why:
        # Here upstream names the kind.
        raise Conflict.for_object(type.kind, type.group, name, why)


class Deleter:
    """Delete and deletecollection for the registry."""

    def __init__(self, store: ObjectStore, clock: Clock, admission: Admission) -> None:
        self.store = store
        self.clock = clock
        self.admission = admission

    async def delete(
        self, user: UserInfo, type: ResourceType, namespace: str, name: str, options: DeleteOptions
    ) -> Result:
        if "delete" not in type.verbs:
            raise MethodNotSupported.for_verb(type.plural, type.group, "delete")
        if options.grace_period is not None and options.grace_period < 0:
            # Upstream takes a negative grace period as "one second" (KEP-less, since v1.27).
            options = DeleteOptions(
                1, options.propagation, options.uid, options.resource_version, options.dry_run
            )
        key = Key(type.resource, namespace, name)
        for _ in range(PATCH_TRIES):
            current = self.store.get(key)
            if current is None:
                raise NotFound.for_object(type.plural, type.group, name)
            old = from_storage(type, (await read_one(type, current)).obj)
            uid, version = old["metadata"].get("uid"), str(current.revision)
            check_preconditions(type, name, uid, version, options)
            request = Request(user, "delete", type, namespace, name, delete_options=options, old=old)
            with request:
                await self.admission.admit(request)
                await self.admission.validate(request)
                warned = type.strategy.propagation_warning if options.propagation is None else ""
                try:
                    result = await self._delete_once(request, old, current)
                    return replace(result, warnings=(warned,)) if warned else result
                except StaleRevision:
                    continue
                except MissingKey:
                    raise NotFound.for_object(type.plural, type.group, name) from None
        raise Conflict.for_object(type.plural, type.group, name)

    async def delete_collection(
        self, user: UserInfo, type: ResourceType, records: Sequence[Record], options: DeleteOptions
    ) -> None:
        """Delete each as ``delete`` would; one that is gone meanwhile is no error."""
        gate = asyncio.Semaphore(DELETE_COLLECTION_WORKERS)

        async def one(key: Key) -> None:
            async with gate:
                try:
                    await self.delete(user, type, key.namespace, key.name, options)
                except NotFound:
                    return

        results = await asyncio.gather(*(one(record.key) for record in records), return_exceptions=True)
        failed = [result for result in results if isinstance(result, BaseException)]
        if failed:
            raise failed[0]

    async def _delete_once(self, request: Request, old: Obj, current: Record) -> Result:
        type = request.type
        options = request.delete_options or DeleteOptions()
        meta = old["metadata"]
        finalizers = self._finalizers(type, meta, options)
        grace = type.strategy.grace_period(request, old, options.grace_period)
        waits = bool(finalizers) or type.strategy.pending_finalizers(old)
        if "deletionTimestamp" in meta:
            left = meta.get("deletionGracePeriodSeconds") or 0
            if grace >= left and (left > 0 or waits):
                if finalizers == (meta.get("finalizers") or []):
                    return Result(await read_record(type, current))
                changed: dict[str, Any] = {}
            else:
                began = times.parse(meta["deletionTimestamp"]) - left
                changed = {
                    "deletionTimestamp": rfc3339(began + grace),
                    "deletionGracePeriodSeconds": grace,
                }
                if grace == 0 and not waits:
                    return await self._remove(request, old, current, changed)
        else:
            changed = {
                "deletionTimestamp": rfc3339(self.clock.time() + grace),
                "deletionGracePeriodSeconds": grace,
            }
            if meta.get("generation"):
                changed["generation"] = meta["generation"] + 1
            if grace == 0 and not waits:
                return await self._remove(request, old, current, changed)
        if finalizers:
            changed["finalizers"] = finalizers
        terminating = {**old, "metadata": {**meta, **changed}}
        if not finalizers:
            terminating["metadata"].pop("finalizers", None)
        type.strategy.prepare_for_delete(request, terminating)
        stored = await store_form(type, terminating)
        if request.dry_run:
            record = Record(current.key, current.revision, current.created, orjson.dumps(stored), stored)
        else:
            record = await self.store.update(current.key, stored, expect=current.revision)
        return Result(await read_record(type, record))

    async def _remove(self, request: Request, old: Obj, current: Record, changed: dict[str, Any]) -> Result:
        type = request.type
        final = current.obj
        if type.strategy.graceful:
            final = await store_form(type, {**old, "metadata": {**old["metadata"], **changed}})
        if request.dry_run:
            record = Record(current.key, current.revision, current.created, orjson.dumps(final), final)
        else:
            record = await self.store.delete(current.key, final, expect=current.revision)
            if (released := type.strategy.after_delete(request, old)) is not None:
                await released
        if type.strategy.delete_returns_object:
            return Result(await read_record(type, record))
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {
                "name": current.key.name,
                **({"group": type.group} if type.group else {}),
                "kind": type.plural,
                "uid": old["metadata"].get("uid", ""),
            },
        }
        return Result(record, status=status)

    @staticmethod
    def _finalizers(type: ResourceType, meta: dict[str, Any], options: DeleteOptions) -> list[str]:
        """The object's finalizers once this deletion's propagation policy is among them."""
        present = meta.get("finalizers") or []
        policy = options.propagation
        if policy is None:
            if any(entry in present for entry in _PROPAGATION_FINALIZERS.values()):
                return list(present)
            policy = type.strategy.default_propagation
        kept = [entry for entry in present if entry not in _PROPAGATION_FINALIZERS.values()]
        if policy in _PROPAGATION_FINALIZERS:
            kept.append(_PROPAGATION_FINALIZERS[policy])
        return kept


def check_delete_options(body: Obj) -> DeleteOptions:
    """metav1.DeleteOptions of a request body; Invalid or BadRequest where it is wrong."""
    causes: list[Cause] = []
    propagation = body.get("propagationPolicy")
    orphan = body.get("orphanDependents")
    if propagation is not None and orphan is not None:
        causes.append(
            Cause(
                "FieldValueInvalid",
                f'Invalid value: "{propagation}": orphanDependents and deletionPropagation cannot be both set',
                "propagationPolicy",
            )
        )
    if propagation not in (None, "Background", "Foreground", "Orphan"):
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{propagation}": supported values: "Background", "Foreground", "Orphan"',
                "propagationPolicy",
            )
        )
    dry_run = body.get("dryRun") or []
    if dry_run not in ([], ["All"]):
        causes.append(
            Cause(
                "FieldValueNotSupported", f'Unsupported value: {dry_run}: supported values: "All"', "dryRun"
            )
        )
    grace = body.get("gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise ApiError(
            'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: json: cannot unmarshal '
            f"{_json_kind(grace)} into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
            code=400,
            reason="BadRequest",
        )
    if causes:
        raise Invalid.for_object("DeleteOptions", "", "", causes)
    if propagation is None and orphan is not None:
        propagation = "Orphan" if orphan else "Background"
    preconditions = body.get("preconditions") or {}
    return DeleteOptions(
        grace,
        propagation,
        preconditions.get("uid"),
        preconditions.get("resourceVersion"),
        bool(dry_run),
    )


def _json_kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    return "bool" if isinstance(value, bool) else "number"
