"""Certificate signing requests: who asks is what the server saw, not what the client says.

Source: pkg/registry/certificates/certificates (v1.37).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin.strategies.base import STATUS_ALONE, Builtin, field
from kubernel_plugins.api.builtin.validation.certificates import (
    pod_certificate_request,
    pod_certificate_status,
    pod_certificate_update,
    signing_request,
    signing_request_update,
    trust_bundle,
)

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["CertificateSigningRequestStrategy", "ClusterTrustBundleStrategy", "PodCertificateRequestStrategy"]

Obj = dict[str, Any]

_DECISIONS = ("Approved", "Denied")
_DAY = 24 * 60 * 60


def _conditions(obj: Obj) -> dict[str, Obj]:
    return {one.get("type", ""): one for one in field(obj, "status", "conditions") or ()}


def _keep_decisions(wanted: Obj, before: Obj) -> list[Obj]:
    """Decisions stay as they were; where one came or went, validation says so."""
    kept = list(wanted.get("conditions") or ())
    for type in _DECISIONS:
        places = [index for index, one in enumerate(kept) if one.get("type") == type]
        known = [one for one in before.get("conditions") or () if one.get("type") == type]
        if len(places) == len(known):
            for index, one in zip(places, known, strict=True):
                kept[index] = one
    return kept


class CertificateSigningRequestStrategy(Builtin):
    resets = MappingProxyType(
        {
            "": ("spec", "status"),
            "status": ("spec", "status.conditions"),
            "approval": ("spec", "status.certificate"),
        }
    )

    def __init__(self, context: Context) -> None:
        super().__init__(thorough=True)
        self.context = context

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        spec = obj.setdefault("spec", {})
        for key in ("username", "uid", "groups", "extra"):
            spec.pop(key, None)
        spec.update(request.user.as_dict())
        obj["status"] = {}

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        wanted = obj.get("status") or {}
        self.keep(obj, old, "spec")
        before = old.get("status") or {}
        match request.subresource:
            case "":
                self.keep(obj, old, "status")
                return
            case "approval":
                # Deciding is all that approval may do.
                obj["status"] = {**before, "conditions": wanted.get("conditions") or []}
            case "status":
                obj["status"] = {**wanted, "conditions": _keep_decisions(wanted, before)}
        self._stamp(obj, old)

    def _stamp(self, obj: Obj, old: Obj) -> None:
        now = rfc3339(self.context.clock.time())
        before = _conditions(old)
        stamped = []
        for condition in obj["status"]["conditions"]:
            known = before.get(condition.get("type", ""), {})
            stamped.append(
                {
                    **condition,
                    "lastUpdateTime": condition.get("lastUpdateTime") or now,
                    "lastTransitionTime": condition.get("lastTransitionTime")
                    or (known.get("status") == condition.get("status") and known.get("lastTransitionTime"))
                    or now,
                }
            )
        if stamped:
            obj["status"]["conditions"] = stamped
        else:
            obj["status"].pop("conditions")

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return signing_request(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return signing_request_update(obj, old, request.subresource)


class ClusterTrustBundleStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(unconditional_update=False, thorough=True)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return trust_bundle(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        return trust_bundle(obj, old)


class PodCertificateRequestStrategy(Builtin):
    selects_namespace = False
    resets = STATUS_ALONE

    def __init__(self, context: Context) -> None:
        super().__init__(thorough=True)
        self.context = context

    def default(self, obj: Obj) -> None:
        obj["spec"].setdefault("maxExpirationSeconds", _DAY)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return pod_certificate_request(obj)

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return pod_certificate_status(obj, old, self.context.clock.time())
        return pod_certificate_update(obj, old)
