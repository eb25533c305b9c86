"""Events: one store, two shapes.

core/v1 is what is kept; events.k8s.io/v1 renames fields (KEP-383).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field

if TYPE_CHECKING:
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


def from_core(event: Obj) -> Obj:
    """A core/v1 Event as events.k8s.io/v1."""
    return {_RENAMED.get(key, key): value for key, value in event.items()} | {
        "apiVersion": "events.k8s.io/v1"
    }


def to_core(event: Obj) -> Obj:
    """An events.k8s.io/v1 Event as core/v1."""
    return {_BACK.get(key, key): value for key, value in event.items()} | {"apiVersion": "v1"}


class EventStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        target = "regarding" if request.type.group else "involvedObject"
        namespace = field(obj, target, "namespace") or ""
        own = obj["metadata"].get("namespace") or ""
        found: list[Cause] = []
        if namespace != own and not (namespace == "" and own == "default"):
            found.append(
                causes.invalid("involvedObject.namespace", namespace, "does not match event.namespace")
            )
        if request.type.group and request.old is None:
            found += self._strict(obj)
        return found

    @staticmethod
    def _strict(obj: Obj) -> list[Cause]:
        """events.k8s.io/v1 demands what core/v1 leaves open."""
        found = []
        if not obj.get("eventTime"):
            found.append(causes.required("eventTime"))
        if obj.get("type") not in ("Normal", "Warning"):
            found.append(causes.invalid("type", obj.get("type") or "", ""))
        found += [
            causes.required(key)
            for key in ("reportingController", "reportingInstance", "action", "reason")
            if not obj.get(key)
        ]
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return self.validate_create(request, obj)
