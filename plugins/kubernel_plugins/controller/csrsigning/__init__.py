"""Certificate signing controller: signs what was approved for the signers of Kubernetes itself.

Source: k8s.io/kubernetes/pkg/controller/certificates/signer (v1.37).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import conditions
from kubernel_plugins import certificates as c

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin", "Settings"]

_SIGNERS = (c.API_CLIENT, c.KUBELET_CLIENT, c.KUBELET_SERVING, c.LEGACY_UNKNOWN)
_SHORTEST = 600


@dataclass(frozen=True, slots=True)
class Settings:
    """``duration``: seconds for which a certificate is valid, at most."""

    duration: int = 365 * 86_400

    def __post_init__(self) -> None:
        if self.duration < _SHORTEST:
            raise ValueError(f"duration must be at least {_SHORTEST} seconds")


class Plugin(Reconciler):
    """The ``csrsigning`` controller. Idle in a cluster without a certificate authority."""

    Settings = Settings
    resource = c.REQUESTS
    user = "system:serviceaccount:kube-system:certificate-controller"

    async def reconcile(self, namespace: str, name: str) -> None:
        request = self.primary.get(name)
        if request is None or request["spec"]["signerName"] not in _SIGNERS:
            return
        status = request.get("status") or {}
        if status.get("certificate") or c.decided(request) != "Approved":
            return
        authority = self.handle.hooks.certificate_authority()
        if conditions.is_true(request, "Failed") or authority is None:
            return
        usages = request["spec"]["usages"]
        try:
            parsed = c.parse(request)
            c.check_request(request["spec"]["signerName"], parsed, usages)
        except (ValueError, c.SignerRefusal) as error:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
            }
            await self._put(request, {**status, "conditions": [*(status.get("conditions") or ()), failed]})
            return
        certificate = authority.sign(parsed.pem, usages, self._seconds(request))
        await self._put(request, {**status, "certificate": base64.b64encode(certificate).decode()})

    def _seconds(self, request: Obj) -> int:
        longest: int = self.settings.duration
        wanted: int | None = request["spec"].get("expirationSeconds")
        return longest if wanted is None else max(min(wanted, longest), _SHORTEST)

    async def _put(self, request: Obj, status: Obj) -> None:
        await self.client.update(self.resource, {**request, "status": status}, subresource="status")
