"""Pod groups and the workloads whose templates they come from.

Source: k8s.io/api/scheduling/v1beta1 and k8s.io/kubernetes/pkg/apis/scheduling/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field, immutable

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["PodGroupStrategy", "WorkloadStrategy"]

_POLICIES = ("basic", "gang")
_MOST_TEMPLATES = 8


class PodGroupStrategy(Builtin):
    """Of the spec only the size of a gang may change."""

    def __init__(self) -> None:
        super().__init__(
            immutable=(
                "spec.workloadRef",
                "spec.parentCompositePodGroupName",
                "spec.schedulingConstraints",
                "spec.disruptionMode",
                "spec.resourceClaims",
                "spec.priorityClassName",
                "spec.priority",
                "spec.preemptionPolicy",
            ),
        )

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return _policy(field(obj, "spec", "schedulingPolicy"), "spec.schedulingPolicy")

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = super().validate_update(request, obj, old)
        found += self.validate_create(request, obj)
        before, after = (field(each, "spec", "schedulingPolicy") or {} for each in (old, obj))
        if before.keys() != after.keys():
            found.append(causes.invalid("spec.schedulingPolicy", after, causes.FIELD_IMMUTABLE))
        return found


class WorkloadStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__()

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        found: list[Cause] = []
        templates = field(obj, "spec", "podGroupTemplates") or []
        if len(templates) > _MOST_TEMPLATES:
            found.append(causes.too_many("spec.podGroupTemplates", len(templates), _MOST_TEMPLATES))
        seen = set()
        for position, template in enumerate(templates):
            path = f"spec.podGroupTemplates[{position}]"
            if template["name"] in seen:
                found.append(causes.duplicate(path, {"name": template["name"]}))
            seen.add(template["name"])
            found += _policy(template.get("schedulingPolicy"), f"{path}.schedulingPolicy")
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        found = super().validate_update(request, obj, old)
        found += immutable(obj, old, "spec.podGroupTemplates", "spec.compositePodGroupTemplates")
        if field(old, "spec", "controllerRef") is not None:
            found += immutable(obj, old, "spec.controllerRef")
        return found


def _policy(policy: Any, path: str) -> list[Cause]:
    """Exactly one kind of policy; a gang has at least one pod."""
    chosen = [name for name in _POLICIES if (policy or {}).get(name) is not None]
    if not chosen:
        return [causes.invalid(path, "", "must specify one of: `basic`, `gang`")]
    if len(chosen) > 1:
        told = "{" + ", ".join(chosen) + "}"
        return [causes.invalid(path, told, "must specify exactly one of: `basic`, `gang`")]
    count = field(policy, "gang", "minCount")
    if chosen == ["gang"] and isinstance(count, int) and count < 1:
        return [causes.invalid(f"{path}.gang.minCount", count, "must be greater than or equal to 1")]
    return []
