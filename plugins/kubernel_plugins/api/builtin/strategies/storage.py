"""Volumes, claims and their classes.

Source: pkg/apis/core/validation, pkg/apis/storage/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin
from kubernel_plugins.api.builtin.validation import storage
from kubernel_plugins.api.builtin.validation.claims import (
    claim_spec,
    claim_status,
    claim_update,
    persistent_volume_spec,
    persistent_volume_update,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel_plugins.api.builtin.context import Context

__all__ = [
    "CSIDriverStrategy",
    "CSINodeStrategy",
    "CSIStorageCapacityStrategy",
    "PersistentVolumeClaimStrategy",
    "PersistentVolumeStrategy",
    "StorageClassStrategy",
    "StorageVersionMigrationStrategy",
    "VolumeAttachmentStrategy",
    "VolumeAttributesClassStrategy",
]

Obj = dict[str, Any]


class _Bindable(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True, thorough=True)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"phase": "Pending"}


class PersistentVolumeStrategy(_Bindable):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def _now(self) -> str:
        return rfc3339(self.context.clock.time())

    def default_spec(self, spec: Obj) -> None:
        # Not of the inline specs of attachments.
        if not spec.get("persistentVolumeReclaimPolicy"):
            spec["persistentVolumeReclaimPolicy"] = "Retain"
        spec.setdefault("volumeMode", "Filesystem")

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"phase": "Pending", "lastPhaseTransitionTime": self._now()}

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource != "status":
            return
        status, before = obj.setdefault("status", {}), old.get("status") or {}
        key = "lastPhaseTransitionTime"
        if status.get("phase") != before.get("phase") and status.get(key) in (None, before.get(key)):
            status[key] = self._now()

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        persistent_volume_spec(obj["spec"], obj["metadata"].get("name") or "", "spec", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else persistent_volume_update(obj, old)


_CLAIM = {"kind": "PersistentVolumeClaim"}
_SNAPSHOT = {"kind": "VolumeSnapshot", "apiGroup": "snapshot.storage.k8s.io"}


def _settle_sources(spec: Obj, old: Obj) -> None:
    """dataSource and dataSourceRef say the same; of the former only claims and snapshots stay (KEP-1495)."""
    if (spec.get("dataSourceRef") or {}).get("namespace") and not old.get("dataSourceRef"):
        del spec["dataSourceRef"]  # upstream's gate CrossNamespaceVolumeDataSource is off
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None and reference is None and not (old.get("dataSource") or old.get("dataSourceRef")):
        what = {key: value for key, value in source.items() if key != "name" and value}
        if what not in (_CLAIM, _SNAPSHOT):
            del spec["dataSource"]
            return
    if source is not None and reference is None:
        spec["dataSourceRef"] = dict(source)
    elif reference is not None and source is None and not reference.get("namespace"):
        spec["dataSource"] = {key: value for key, value in reference.items() if key != "namespace"}


class PersistentVolumeClaimStrategy(_Bindable):
    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        _settle_sources(obj["spec"], {})

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        if request.subresource != "status":
            _settle_sources(obj["spec"], old["spec"])

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        claim_spec(obj["spec"], "spec", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return claim_status(obj, old) if request.subresource == "status" else claim_update(obj, old)


class StorageClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.storage_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.storage_class_update(obj, old)


class VolumeAttributesClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.attributes_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.attributes_class_update(obj, old)


class CSIDriverStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False, returns=True, thorough=True)

    def default(self, obj: Obj) -> None:
        if isinstance(obj.get("spec"), dict):
            obj["spec"].setdefault("preventPodSchedulingIfMissing", False)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        """Its generation is counted from the first change on."""

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.csi_driver(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.csi_driver_update(obj, old)


class CSINodeStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(unconditional_update=False, returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.csi_node(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.csi_node_update(obj, old)


class VolumeAttachmentStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(unconditional_update=False, returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.attachment(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.attachment_update(obj, old)


class CSIStorageCapacityStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.capacity(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return storage.capacity_update(obj, old)


class StorageVersionMigrationStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return storage.migration(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return storage.migration_status(obj, old)
        return storage.migration_update(obj, old)
