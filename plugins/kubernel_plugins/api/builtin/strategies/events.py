"""Events: one store, two shapes.

core/v1 is what is kept; events.k8s.io/v1 renames fields (KEP-383).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.base import Builtin
from kubernel_plugins.api.builtin.validation.events import event, event_update

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["EventStrategy", "from_core", "to_core"]

Obj = dict[str, Any]

_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_BACK = {new: old for old, new in _RENAMED.items()}

_ALWAYS: Mapping[str, Any] = MappingProxyType(
    {"source": {}, "reportingComponent": "", "reportingInstance": ""}
)
"""What a core Event has even when it is empty; the other one has no empty strings."""


def from_core(event: Obj) -> Obj:
    """A core/v1 Event as events.k8s.io/v1."""
    renamed = {_RENAMED.get(key, key): value for key, value in event.items() if value != ""}
    return renamed | {"apiVersion": "events.k8s.io/v1"}


def to_core(event: Obj) -> Obj:
    """An events.k8s.io/v1 Event as core/v1."""
    renamed = {_BACK.get(key, key): value for key, value in event.items()}
    return {**_ALWAYS, **renamed, "apiVersion": "v1"}


class EventStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        strict = bool(request.type.group)
        return event(to_core(obj) if strict else obj, strict=strict)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        strict = bool(request.type.group)
        if strict:
            obj, old = to_core(obj), to_core(old)
        return event_update(obj, old, strict=strict)
