"""APIServices: those without a Service are served here, and so are available at once.

Source: k8s.io/kube-aggregator/pkg/registry/apiservice/strategy.go, pkg/apis/apiregistration/validation (v1.37).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin, field
from kubernel_plugins.api.builtin.validation.values import named

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["APIServiceStrategy"]

Obj = dict[str, Any]
_HIGHEST_GROUP = 20000
_HIGHEST_VERSION = 1000
_STATUSES = ("True", "False", "Unknown")


class APIServiceStrategy(Builtin):
    resets = STATUS_ALONE

    def __init__(self) -> None:
        super().__init__(unconditional_update=False, thorough=True)

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
        if request.subresource != "status":
            return _problems(obj)
        return [
            causes.not_supported(f"status.conditions[{index}].status", one.get("status") or "", _STATUSES)
            for index, one in enumerate(field(obj, "status", "conditions") or ())
            if one.get("status") not in _STATUSES
        ]


def _problems(obj: Obj) -> list[Cause]:
    spec = obj.get("spec") or {}
    version, group = spec.get("version") or "", spec.get("group") or ""
    found: list[Cause] = []
    for key in ("generateName", "name"):
        name = obj["metadata"].get(key)
        if name and name != f"{version}.{group}":
            told = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
            found.append(causes.invalid(f"metadata.{key}", name, told))
    if group:
        named(group, "spec.group", names.check_dns1123_subdomain, found)
    elif version != "v1":
        told = "only v1 may have an empty group and it better be legacy kube"
        found.append(causes.required("spec.group", told))
    named(version, "spec.version", names.check_dns1035_label, found)
    for key, highest in (("groupPriorityMinimum", _HIGHEST_GROUP), ("versionPriority", _HIGHEST_VERSION)):
        value = spec.get(key) or 0
        if not 0 < value <= highest:
            found.append(causes.invalid(f"spec.{key}", value, f"must be positive and less than {highest}"))
    service = spec.get("service")
    if service is None:
        if spec.get("caBundle"):
            size = f"{len(base64.b64decode(spec['caBundle']))} bytes"
            found.append(causes.invalid("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if spec.get("insecureSkipTLSVerify"):
            found.append(
                causes.invalid(
                    "spec.insecureSkipTLSVerify", True, "local APIServices may not have insecureSkipTLSVerify"
                )
            )
        return found
    found += [causes.required(f"spec.service.{key}") for key in ("namespace", "name") if not service.get(key)]
    number = service.get("port") or 0
    if not 1 <= number <= 65535:
        told = "port is not valid: must be between 1 and 65535, inclusive"
        found.append(causes.invalid("spec.service.port", number, told))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        found.append(
            causes.invalid("spec.insecureSkipTLSVerify", True, "may not be true if caBundle is present")
        )
    return found
