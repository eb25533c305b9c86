"""Volumes, claims and their classes.

Source: pkg/apis/core/validation, pkg/apis/storage/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, immutable
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
    "PersistentVolumeClaimStrategy",
    "PersistentVolumeStrategy",
    "StorageClassStrategy",
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
    if source and not reference and not (old.get("dataSource") or old.get("dataSourceRef")):
        what = {key: value for key, value in source.items() if key != "name" and value}
        if what not in (_CLAIM, _SNAPSHOT):
            del spec["dataSource"]
            return
    if source and not reference:
        spec["dataSourceRef"] = dict(source)
    elif reference and not source and not reference.get("namespace"):
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
        super().__init__(create_on_update=False)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return [] if obj.get("provisioner") else [causes.required("provisioner")]

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = self.validate_create(request, obj)
        for key, absent in (("parameters", {}), ("provisioner", ""), ("reclaimPolicy", "Delete")):
            if (obj.get(key) or absent) != (old.get(key) or absent):
                found.append(causes.forbidden(key, f"updates to {key} are forbidden."))
        return found + immutable(obj, old, "volumeBindingMode")


class VolumeAttributesClassStrategy(Builtin):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found = [] if obj.get("driverName") else [causes.required("driverName")]
        if not obj.get("parameters"):
            found.append(causes.required("parameters", "must contain at least one key/value pair"))
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj) + [
            causes.forbidden(key, f"updates to {key} are forbidden.")
            for key in ("driverName", "parameters")
            if obj.get(key) != old.get(key)
        ]
