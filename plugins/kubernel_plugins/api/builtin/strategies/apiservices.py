"""APIServices: those without a Service are served here, and so are available at once.

Source: k8s.io/kube-aggregator/pkg/registry/apiservice/strategy.go, pkg/apis/apiregistration/validation (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["APIServiceStrategy"]

Obj = dict[str, Any]
_HIGHEST_GROUP = 20000
_HIGHEST_VERSION = 1000


class APIServiceStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(unconditional_update=False)

    def initial_status(self, request: Request, obj: Obj) -> Obj:
        if field(obj, "spec", "service") is not None:
            return {}
        local = {
            "type": "Available",
            "status": "True",
            "lastTransitionTime": obj["metadata"]["creationTimestamp"],
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        return {"conditions": [local]}

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return _problems(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return [*super().validate_update(request, obj, old), *_problems(obj)]


def _problems(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    version, group, name = spec.get("version") or "", spec.get("group") or "", obj["metadata"].get("name")
    found = []
    if name and name != f"{version}.{group}":
        found.append(
            causes.invalid(
                "metadata.name", name, f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
            )
        )
    for key, highest in (("groupPriorityMinimum", _HIGHEST_GROUP), ("versionPriority", _HIGHEST_VERSION)):
        value = spec.get(key) or 0
        if not 0 < value <= highest:
            found.append(causes.invalid(f"spec.{key}", value, f"must be positive and less than {highest}"))
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            found.append(causes.invalid("spec.caBundle", "", "local APIServices may not have a caBundle"))
        if spec.get("insecureSkipTLSVerify"):
            found.append(
                causes.invalid(
                    "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
                )
            )
        return found
    found += [causes.required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        found.append(
            causes.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
        )
    return found
