"""Pods: what the server sets, what may change, how they go.

Source: pkg/registry/core/pod/strategy.go and pkg/apis/core/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.strategies.pod_defaults import default_pod
from kubernel_plugins.api.builtin.strategies.pod_subresources import Binder, Evictor
from kubernel_plugins.api.builtin.strategies.pod_updates import (
    validate_ephemeral_containers,
    validate_resize,
    validate_spec_update,
)
from kubernel_plugins.api.builtin.strategies.pod_validation import validate_pod
from kubernel_plugins.api.builtin.strategies.qos import qos_class

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["PodStrategy"]


class PodStrategy(Builtin):
    def __init__(self, context: Context) -> None:
        super().__init__(generation=True, returns=True)
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
        self.bind.check(request)
        return await self.bind(request)

    def default(self, obj: Obj) -> None:
        default_pod(obj)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        status: dict[str, Any] = {"phase": "Pending", "qosClass": qos_class(obj)}
        if field(obj, "spec", "schedulingGates"):
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

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        match request.subresource:
            case "status":
                self.keep_all_but(obj, old, "status")
                self._keep_owners(obj, old)
                status = obj.get("status") or {}
                obj["status"] = {"qosClass": field(old, "status", "qosClass"), **status}
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
            case "resize":
                self.keep(obj, old, "status")
            case _:
                self.keep(obj, old, "status")
        if obj.get("spec") != old.get("spec"):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    @staticmethod
    def _keep_owners(obj: Obj, old: Obj) -> None:
        owners = old["metadata"].get("ownerReferences")
        if owners is None:
            obj["metadata"].pop("ownerReferences", None)
        else:
            obj["metadata"]["ownerReferences"] = owners

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return validate_pod(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        match request.subresource:
            case "status":
                return self._validate_status(obj, old)
            case "binding":
                return []
            case "ephemeralcontainers":
                return validate_ephemeral_containers(obj, old)
            case "resize":
                return validate_resize(obj, old)
            case _:
                return validate_spec_update(obj, old)

    @staticmethod
    def _validate_status(obj: Obj, old: Obj) -> list[Cause]:
        nominated = field(obj, "status", "nominatedNodeName")
        node = field(obj, "spec", "nodeName")
        if (
            node
            and nominated
            and nominated != field(old, "status", "nominatedNodeName")
            and nominated != node
        ):
            return [
                causes.forbidden(
                    "status.nominatedNodeName", "may not be set for a pod that is bound to another node"
                )
            ]
        return []

    def grace_period(self, request: Request, obj: Obj, wanted: int | None) -> int:
        if not field(obj, "spec", "nodeName") or field(obj, "status", "phase") in ("Failed", "Succeeded"):
            return 0
        period = field(obj, "spec", "terminationGracePeriodSeconds") if wanted is None else wanted
        return 0 if period is None else 1 if period < 0 else int(period)
