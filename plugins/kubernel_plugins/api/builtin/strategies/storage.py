"""Volumes, claims and their classes.

Source: pkg/apis/core/validation, pkg/apis/storage/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        persistent_volume_spec(obj["spec"], obj["metadata"].get("name") or "", "spec", found)
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [] if request.subresource == "status" else persistent_volume_update(obj, old)


class PersistentVolumeClaimStrategy(_Bindable):
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
