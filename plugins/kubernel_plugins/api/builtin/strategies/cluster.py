"""Nodes, priorities, leases, limits, quotas, budgets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel.errors import NotFound
from kubernel.objects import names
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.validation import cluster, limits, nodes

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel_plugins.api.builtin.context import Context

__all__ = [
    "DisruptionBudgetStrategy",
    "LeaseStrategy",
    "LimitRangeStrategy",
    "NodeStrategy",
    "PriorityClassStrategy",
    "ResourceQuotaStrategy",
    "RuntimeClassStrategy",
    "component_statuses",
]

Obj = dict[str, Any]


class NodeStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(thorough=True)

    def default(self, obj: Obj) -> None:
        spec, status = obj.get("spec"), obj.get("status")
        if isinstance(status, dict) and status.get("capacity") and status.get("allocatable") is None:
            status["allocatable"] = dict(status["capacity"])
        if isinstance(spec, dict):
            # An older client knows the first range alone.
            if spec.get("podCIDR") and spec["podCIDR"] not in (spec.get("podCIDRs") or ())[:1]:
                spec["podCIDRs"] = [spec["podCIDR"]]
            elif spec.get("podCIDRs"):
                spec["podCIDR"] = spec["podCIDRs"][0]

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        """A kubelet registers itself together with its status."""
        (obj.get("spec") or {}).pop("configSource", None)
        (obj.get("status") or {}).pop("config", None)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return nodes.node(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        again = [] if request.subresource == "status" else nodes.node(obj)
        return again + nodes.node_update(obj, old)


class PriorityClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def changed_generation(self, obj: Obj, old: Obj) -> bool:
        return False

    def default(self, obj: Obj) -> None:
        obj.setdefault("value", 0)
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return cluster.priority_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return cluster.priority_class_update(obj, old)


class LeaseStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, unconditional_update=False, thorough=True)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        self._drop_coordination(obj, {})

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        self._drop_coordination(obj, old.get("spec") or {})

    @staticmethod
    def _drop_coordination(obj: Obj, old: Obj) -> None:
        """Upstream's gate CoordinatedLeaderElection is off: what it is for is kept where it was."""
        for key in ("strategy", "preferredHolder"):
            if key not in old:
                (obj.get("spec") or {}).pop(key, None)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return cluster.lease(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return cluster.lease(obj)


class LimitRangeStrategy(Builtin):
    """Defaults of container limits follow from max, default and min (SetDefaults_LimitRangeItem)."""

    def __init__(self, context: Context) -> None:
        super().__init__(create_on_update=True, thorough=True)
        self.context = context

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        if not obj["metadata"].get("name"):
            # Upstream names it by chance.
            obj["metadata"]["name"] = request.name = names.uuid(self.context.rng)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return limits.limit_range(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return limits.limit_range(obj)

    def default(self, obj: Obj) -> None:
        for item in field(obj, "spec", "limits") or ():
            if not isinstance(item, dict) or item.get("type") != "Container":
                continue
            limits = {**(item.get("max") or {}), **(item.get("default") or {})}
            requests = {**(item.get("min") or {}), **limits, **(item.get("defaultRequest") or {})}
            if limits:
                item["default"] = limits
            if requests:
                item["defaultRequest"] = requests


class ResourceQuotaStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return limits.quota(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return limits.quota_status(obj) if request.subresource == "status" else limits.quota_update(obj, old)


class DisruptionBudgetStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return cluster.disruption_budget(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return cluster.disruption_budget_status(obj)
        return cluster.disruption_budget(obj)


class RuntimeClassStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(create_on_update=True, unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return cluster.runtime_class(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return cluster.runtime_class_update(obj, old)


def component_statuses(namespace: str, name: str) -> Iterable[Obj]:
    """There are none: upstream's ask a scheduler and a controller manager that stand alone."""
    if name:
        raise NotFound.for_object("componentstatus", "", name)
    return ()
