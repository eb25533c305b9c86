"""Pods: what the server sets, what may change, how they go.

Source: pkg/registry/core/pod/strategy.go and pkg/apis/core/validation (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.registry.metadata import keep_reset
from kubernel_plugins.api.builtin.strategies.app_armor import sync_app_armor
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.strategies.pod_defaults import default_addresses, default_spec
from kubernel_plugins.api.builtin.strategies.pod_preparation import (
    complete_resources,
    keep_all_but_resources,
    keep_observations,
    merge_label_keys,
)
from kubernel_plugins.api.builtin.strategies.pod_subresources import Binder, Evictor
from kubernel_plugins.api.builtin.strategies.pod_warnings import pod_warnings
from kubernel_plugins.api.builtin.strategies.qos import qos_class
from kubernel_plugins.api.builtin.strategies.warned import name_warnings
from kubernel_plugins.api.builtin.validation.pod_specs import pod_create, spec_stands_alone
from kubernel_plugins.api.builtin.validation.pod_status import pod_status_update
from kubernel_plugins.api.builtin.validation.pod_updates import (
    ephemeral_containers_update,
    pod_update,
    resize,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["PodStrategy"]


class PodStrategy(Builtin):
    resets = MappingProxyType({"status": ("spec", "metadata.deletionTimestamp", "metadata.ownerReferences")})

    graceful = True

    def __init__(self, context: Context) -> None:
        super().__init__(generation=True, returns=True, thorough=True)
        self.context = context
        self.bind = Binder(context)
        self.evict = Evictor(context)

    def check_binding(self, request: Request) -> None:
        self.bind.check(request)

    def check_eviction(self, request: Request) -> None:
        self.evict.check(request)

    async def bind_named(self, request: Request) -> Obj:
        """POST of ``bindings``: the body names the pod."""
        request.name = field(request.obj or {}, "metadata", "name") or ""
        self.bind.check_target(request)
        return await self.bind(request)

    def spec_apart(self) -> bool:
        return True

    def default(self, obj: Obj) -> None:
        default_addresses(obj)

    def default_spec(self, spec: Obj) -> None:
        default_spec(spec)

    def spec_valid_alone(self, obj: Obj) -> bool:
        return spec_stands_alone(obj["spec"])

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        if request.old is not None or request.subresource:
            # Nobody writes pods by hand once they are there, and much else does so often.
            return []
        known = None if obj["metadata"].get("annotations") else request.of_spec
        told: list[str] | None = known.get("warnings") if known is not None else None
        if told is None:
            told = pod_warnings(obj["metadata"], obj["spec"])
            if known is not None:
                known["warnings"] = told
        return name_warnings(obj, "the Pod's hostname") + told

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        known = request.of_spec
        qos = known.get("qosClass") if known is not None else None
        if qos is None:
            qos = qos_class(obj)
            if known is not None:
                known["qosClass"] = qos
        status: dict[str, Any] = {"phase": "Pending", "qosClass": qos}
        if obj["spec"].get("schedulingGates"):
            status["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": None,
                    "lastTransitionTime": rfc3339(self.context.clock.time()),
                }
            ]
        return status

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        merge_label_keys(obj)
        complete_resources(obj["spec"])
        super().prepare_for_create(request, obj)
        if obj["metadata"].get("annotations"):
            sync_app_armor(request, obj)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        match request.subresource:
            case "status":
                super().prepare_for_update(request, obj, old)
                before = old.get("status") or {}
                status = {**(obj.get("status") or {})}
                if not status.get("qosClass"):
                    status["qosClass"] = before.get("qosClass")
                keep_observations(status, before)
                obj["status"] = status
                return
            case "binding":
                return
            case "ephemeralcontainers":
                wanted = field(obj, "spec", "ephemeralContainers")
                self.keep_all_but(obj, old)
                spec = dict(old["spec"])
                if wanted:
                    spec["ephemeralContainers"] = wanted
                else:
                    spec.pop("ephemeralContainers", None)
                obj["spec"] = spec
                keep_reset(obj["metadata"], old["metadata"], ("metadata",))
            case "resize":
                self.keep(obj, old, "status")
                keep_all_but_resources(obj, old)
            case _:
                self.keep(obj, old, "status")
                if obj["spec"].get("resources") is None and old["spec"].get("resources") is not None:
                    obj["spec"]["resources"] = old["spec"]["resources"]
        if obj.get("spec") != old.get("spec"):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return pod_create(obj, spec_valid=request.spec_valid)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        match request.subresource:
            case "status":
                return pod_status_update(obj, old)
            case "binding":
                return []
            case "ephemeralcontainers":
                return ephemeral_containers_update(obj, old)
            case "resize":
                return resize(obj, old)
            case _:
                return pod_update(obj, old)

    def grace_period(self, request: Request, obj: Obj, wanted: int | None) -> int:
        if not field(obj, "spec", "nodeName") or field(obj, "status", "phase") in ("Failed", "Succeeded"):
            return 0
        period = field(obj, "spec", "terminationGracePeriodSeconds") if wanted is None else wanted
        return 0 if period is None else 1 if period < 0 else int(period)
