"""Flow schemas and priority levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin
from kubernel_plugins.api.builtin.validation import flow_control

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = [
    "FlowSchemaStrategy",
    "PriorityLevelStrategy",
]

Obj = dict[str, Any]

_PRECEDENCE = 1000


class FlowSchemaStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if isinstance(spec, dict) and not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = _PRECEDENCE

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return flow_control.flow_schema(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = [] if request.subresource == "status" else flow_control.flow_schema(obj)
        return found + flow_control.conditions(obj)


class PriorityLevelStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return flow_control.priority_level(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return flow_control.conditions(obj)
        return flow_control.priority_level(obj)
