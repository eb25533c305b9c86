"""Certificate signing requests: who asks is what the server saw, not what the client says.

Source: pkg/registry/certificates/certificates (v1.37).
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import Builtin, field, immutable
from kubernel_plugins.api.builtin.validation.signers import signer_name

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request
    from kubernel_plugins.api.builtin.context import Context

__all__ = ["CertificateSigningRequestStrategy", "ClusterTrustBundleStrategy", "PodCertificateRequestStrategy"]

Obj = dict[str, Any]

_DECISIONS = ("Approved", "Denied")
_SHORTEST_SECONDS = 600
_PEM_START = b"-----BEGIN CERTIFICATE REQUEST-----"
_USAGES = (
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
)


def _conditions(obj: Obj) -> dict[str, Obj]:
    return {one.get("type", ""): one for one in field(obj, "status", "conditions") or ()}


class CertificateSigningRequestStrategy(Builtin):
    def __init__(self, context: Context) -> None:
        super().__init__()
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
                decided = [one for one in before.get("conditions") or () if one.get("type") in _DECISIONS]
                rest = [one for one in wanted.get("conditions") or () if one.get("type") not in _DECISIONS]
                obj["status"] = {**wanted, "conditions": decided + rest}
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
        spec = obj.get("spec") or {}
        found = []
        text = spec.get("request") or ""
        if _PEM_START not in base64.b64decode(text):
            told = "PEM block type must be CERTIFICATE REQUEST"
            found.append(causes.invalid("spec.request", text or None, told))
        usages = spec.get("usages") or ()
        if not usages:
            found.append(causes.required("spec.usages"))
        for index, usage in enumerate(usages):
            path = f"spec.usages[{index}]"
            if usage not in _USAGES:
                found.append(causes.not_supported(path, usage, _USAGES))
            elif usage in usages[:index]:
                found.append(causes.duplicate(path, usage))
        signer = spec.get("signerName") or ""
        if not signer:
            found.append(causes.required("spec.signerName"))
        else:
            signer_name(signer, "spec.signerName", found)
        if signer == "kubernetes.io/legacy-unknown":
            told = "the legacy signerName is not allowed via this API version"
            found.append(causes.invalid("spec.signerName", signer, told))
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _SHORTEST_SECONDS:
            found.append(
                causes.invalid(
                    "spec.expirationSeconds",
                    seconds,
                    "may not specify a duration less than 600 seconds (10 minutes)",
                )
            )
        return found

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if not request.subresource:
            return []
        found = []
        now, before = _conditions(obj), _conditions(old)
        found += [
            causes.forbidden("status.conditions", f'updates may not remove a condition of type "{type}"')
            for type in (*_DECISIONS, "Failed")
            if type in before and type not in now
        ]
        if "Approved" in now and "Denied" in now:
            found.append(
                causes.invalid(
                    "status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive"
                )
            )
        if field(old, "status", "certificate"):
            found += immutable(obj, old, "status.certificate")
        return found


class ClusterTrustBundleStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(unconditional_update=False, immutable=("spec.signerName",))

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        if not field(obj, "spec", "trustBundle"):
            return [
                causes.invalid(
                    "spec.trustBundle", "<value omitted>", "at least one trust anchor must be provided"
                )
            ]
        return []


class PodCertificateRequestStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(immutable=("spec",))
