"""Namespaces: a finalizer of their own, in the spec.

Source: pkg/registry/core/namespace (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["FINALIZER", "NAME_LABEL", "NamespaceStrategy"]

FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


class NamespaceStrategy(Builtin):
    deletion_published_as_status = True
    resets = MappingProxyType({"finalize": ("status",)})

    def __init__(self) -> None:
        super().__init__(returns=True)

    def default(self, obj: Obj) -> None:
        name = obj["metadata"].get("name")
        if name:
            obj["metadata"].setdefault("labels", {})[NAME_LABEL] = name

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        return {"phase": "Active"}

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        spec = obj.setdefault("spec", {})
        finalizers = spec.get("finalizers") or []
        if FINALIZER not in finalizers:
            spec["finalizers"] = [*finalizers, FINALIZER]

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        match request.subresource:
            case "status":
                self.keep_all_but(obj, old, "status")
            case "finalize":
                finalizers = field(obj, "spec", "finalizers")
                self.keep_all_but(obj, old)
                obj["spec"] = {**(old.get("spec") or {}), "finalizers": finalizers or []}
                if not finalizers:
                    obj["spec"].pop("finalizers")
            case _:
                self.keep(obj, old, "status")
                # Only ``finalize`` may change the finalizers.
                self.keep(obj, old, "spec")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return self._validate_finalizers(obj, indexed=False)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            deleting = bool(obj["metadata"].get("deletionTimestamp"))
            phase = field(obj, "status", "phase")
            if deleting != (phase == "Terminating"):
                wanted = "Terminating" if deleting else "Active"
                detail = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if deleting else ''}empty"
                return [causes.invalid("status.Phase", phase, detail)]
            return []
        return self._validate_finalizers(obj, indexed=True) if request.subresource == "finalize" else []

    @staticmethod
    def _validate_finalizers(obj: Obj, *, indexed: bool) -> list[Cause]:
        found: list[Cause] = []
        for index, entry in enumerate(field(obj, "spec", "finalizers") or ()):
            problems = names.check_qualified_name(entry)
            if "/" not in entry and entry not in (FINALIZER, "orphan", "foregroundDeletion"):
                problems = [*problems, "name is neither a standard finalizer name nor is it fully qualified"]
            path = f"spec.finalizers[{index}]" if indexed else "spec.finalizers"
            found += causes.invalid_each(path, entry, problems)
        return found

    def pending_finalizers(self, obj: Obj) -> bool:
        return bool(field(obj, "spec", "finalizers"))

    def prepare_for_delete(self, request: Request, obj: Obj) -> None:
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
