"""Storage version migrator: writes every object of a resource once more, in the version that is stored now.

Source: k8s.io/kubernetes/pkg/controller/storageversionmigrator (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.client.reconciler import Reconciler
from kubernel.clock import rfc3339
from kubernel.errors import (
    ApiError,
    Conflict,
    InternalError,
    NotFound,
    ServerTimeout,
    ServiceUnavailable,
    TooManyRequests,
)
from kubernel.objects import conditions, meta, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_PAGE = 500
_PATIENCE = 60.0
"""Seconds for which a resource may be too new to be known."""
_PASSING = (ServerTimeout, ServiceUnavailable, TooManyRequests, InternalError)
_DEFINITIONS = "customresourcedefinitions.v1.apiextensions.k8s.io"


class _Broken(Exception):
    """The migration cannot be finished."""


class Plugin(Reconciler):
    """The ``storageversionmigrator`` controller."""

    resource = "storageversionmigrations.v1.storagemigration.k8s.io"
    user = "system:serviceaccount:kube-system:storage-version-migrator-controller"
    workers = 1

    async def reconcile(self, namespace: str, name: str) -> float | None:
        migration = self.primary.get(name)
        if migration is None or any(conditions.is_true(migration, type) for type in ("Succeeded", "Failed")):
            return None
        wanted = migration["spec"]["resource"]
        group, plural = wanted.get("group") or "", wanted["resource"]
        served = [
            one for one in await self.client.discover() if (one["group"], one["resource"]) == (group, plural)
        ]
        if not served:
            made = times.parse(migration["metadata"]["creationTimestamp"])
            if made + _PATIENCE > self.clock.time():
                return 5.0
            await self._fail(migration, f"resource does not exist: {group}/{plural}".replace(": /", ": "))
            return None
        kind = served[0]
        resource = ".".join(filter(None, (plural, kind["version"], group)))
        if not (migration.get("status") or {}).get("resourceVersion"):
            page = await self.client.list(resource, limit=1)
            status = {**(migration.get("status") or {}), "resourceVersion": page.resource_version}
            migration = await self._put(migration, status)
        if not conditions.is_true(migration, "Running"):
            migration = await self._condition(
                migration, "Running", "True", "StorageVersionMigrationInProgress"
            )
        try:
            await self._migrate(resource, kind, int(migration["status"]["resourceVersion"]))
            await self._trim(f"{plural}.{group}")
        except _Broken as broken:
            await self._fail(migration, str(broken))
            return None
        migration = await self._condition(migration, "Running", "False", "MigrationCompleted")
        await self._condition(migration, "Succeeded", "True", "StorageVersionMigrationSucceeded")
        return None

    async def _migrate(self, resource: str, kind: dict[str, Any], until: int) -> None:
        token = ""
        version = f"{kind['group']}/{kind['version']}" if kind["group"] else kind["version"]
        while True:
            page = await self.client.list(resource, limit=_PAGE, continue_token=token)
            for obj in page.items:
                # What was written since is in the new version already.
                if int(meta.resource_version(obj)) <= until:
                    await self._write(resource, version, kind["kind"], obj)
            token = page.continue_token
            if not token:
                return

    async def _write(self, resource: str, version: str, kind: str, obj: Obj) -> None:
        metadata = {
            "name": meta.name(obj),
            "uid": meta.uid(obj),
            "resourceVersion": meta.resource_version(obj),
        }
        patch = {"apiVersion": version, "kind": kind, "metadata": metadata}
        try:
            await self.client.patch(resource, meta.name(obj), patch, meta.namespace(obj), type="apply")
        except (Conflict, NotFound):
            # Changed or gone meanwhile: done either way.
            return
        except _PASSING:
            raise
        except ApiError as error:
            raise _Broken(error.message) from error

    async def _trim(self, name: str) -> None:
        """No object of an older version is left: the definition need not remember it."""
        try:
            definition = await self.client.get(_DEFINITIONS, name)
        except NotFound:
            return
        stored = next(one["name"] for one in definition["spec"]["versions"] if one.get("storage"))
        if (definition.get("status") or {}).get("storedVersions") not in (None, [stored]):
            change = {"status": {"storedVersions": [stored]}}
            await self.client.patch(_DEFINITIONS, name, change, subresource="status")

    async def _fail(self, migration: Obj, why: str) -> None:
        message = f"migration encountered unhandled error: {why}"
        if conditions.is_true(migration, "Running"):
            migration = await self._condition(migration, "Running", "False", "MigrationCompleted")
        await self._condition(migration, "Failed", "True", "StorageVersionMigrationFailed", message)

    async def _condition(self, migration: Obj, type: str, truth: str, reason: str, message: str = "") -> Obj:
        status = migration.get("status") or {}
        now = rfc3339(self.clock.time())
        wanted, _ = conditions.set(status.get("conditions"), type, truth, reason, message, now)
        # ``message`` is required in Go's metav1.Condition.
        wanted = [{"message": "", **one} for one in wanted]
        return await self._put(migration, {**status, "conditions": wanted})

    async def _put(self, migration: Obj, status: dict[str, Any]) -> Obj:
        return await self.client.update(self.resource, {**migration, "status": status}, subresource="status")
