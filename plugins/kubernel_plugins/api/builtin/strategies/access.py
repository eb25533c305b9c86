"""Roles and bindings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.base import Builtin
from kubernel_plugins.api.builtin.validation import access

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = [
    "RoleBindingStrategy",
    "RoleStrategy",
]

Obj = dict[str, Any]


class RoleStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return access.role(obj, namespaced=request.type.namespaced)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return access.role(obj, namespaced=request.type.namespaced)


class RoleBindingStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def default(self, obj: Obj) -> None:
        reference = obj.get("roleRef")
        if isinstance(reference, dict) and not reference.get("apiGroup"):
            reference["apiGroup"] = access.GROUP
        for subject in obj.get("subjects") or ():
            named = isinstance(subject, dict) and subject.get("kind") in ("Group", "User")
            if named and not subject.get("apiGroup"):
                subject["apiGroup"] = access.GROUP

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return access.binding(obj, namespaced=request.type.namespaced)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return access.binding_update(obj, old, namespaced=request.type.namespaced)
