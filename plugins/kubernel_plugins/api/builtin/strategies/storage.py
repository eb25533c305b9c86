"""Volumes, claims and their classes.

Source: pkg/apis/core/validation, pkg/apis/storage/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.objects import quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field, immutable

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

_NOT_A_SOURCE = {
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
}


def _source(volume: Obj) -> dict[str, Any]:
    return {key: value for key, value in (volume.get("spec") or {}).items() if key not in _NOT_A_SOURCE}


class _Bindable(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"phase": "Pending"}


class PersistentVolumeStrategy(_Bindable):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = []
        if not spec.get("accessModes"):
            found.append(causes.required("spec.accessModes"))
        capacity = spec.get("capacity") or {}
        if not capacity:
            found.append(causes.required("spec.capacity"))
        elif "storage" not in capacity or len(capacity) > 1:
            found.append(causes.not_supported("spec.capacity", capacity, ["storage"]))
        sources = _source(obj)
        if not sources:
            found.append(causes.required("spec", "must specify a volume type"))
        found += [
            causes.forbidden(f"spec.{extra}", "may not specify more than 1 volume type")
            for extra in list(sources)[1:]
        ]
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        found = self.validate_create(request, obj)
        if _source(obj) != _source(old):
            found.append(
                causes.forbidden(
                    "spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation"
                )
            )
        return found + immutable(obj, old, "spec.volumeMode")


_CLAIM = (
    "spec is immutable after creation except resources.requests and "
    "volumeAttributesClassName for bound claims"
)


def _requested(obj: Obj) -> Any:
    text = field(obj, "spec", "resources", "requests", "storage")
    try:
        return quantity.parse(text) if text is not None else None
    except ValueError:
        return None


class PersistentVolumeClaimStrategy(_Bindable):
    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        spec = obj.get("spec") or {}
        found = []
        modes = spec.get("accessModes") or []
        if not modes:
            found.append(causes.required("spec.accessModes", "at least 1 access mode is required"))
        if "ReadWriteOncePod" in modes and len(modes) > 1:
            found.append(
                causes.forbidden("spec.accessModes", "may not use ReadWriteOncePod with other access modes")
            )
        size = _requested(obj)
        if field(spec, "resources", "requests", "storage") is None:
            found.append(causes.required("spec.resources[storage]"))
        elif size is not None and size <= 0:
            found.append(
                causes.invalid(
                    "spec.resources[storage]",
                    spec["resources"]["requests"]["storage"],
                    "must be greater than zero",
                )
            )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return []
        found = self.validate_create(request, obj)
        bound = field(old, "status", "phase") == "Bound"
        mutable = {"volumeName"} if not field(old, "spec", "volumeName") else set()
        if bound:
            mutable |= {"resources", "volumeAttributesClassName"}
        if not field(old, "spec", "storageClassName"):
            mutable.add("storageClassName")  # retroactive default class (KEP-3333)
        fixed = [
            {key: value for key, value in (one.get("spec") or {}).items() if key not in mutable}
            for one in (obj, old)
        ]
        if fixed[0] != fixed[1]:
            found.append(causes.forbidden("spec", _CLAIM))
        new, before = _requested(obj), _requested(old)
        floor = field(old, "status", "capacity", "storage")
        if bound and new is not None and before is not None and new < before:
            try:
                allowed = floor is not None and new > quantity.parse(floor)
            except ValueError:
                allowed = False
            if not allowed:
                found.append(
                    causes.forbidden(
                        "spec.resources.requests.storage", "field can not be less than status.capacity"
                    )
                )
        return found


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
