"""Certificate request cleaner: removes requests that nobody will come back for.

Source: k8s.io/kubernetes/pkg/controller/certificates/cleaner (v1.37).
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta, times
from kubernel_plugins import certificates as c

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_AGES = {"Approved": 3600.0, "Denied": 3600.0, "Failed": 3600.0}
_PENDING = 86_400.0


class Plugin(Reconciler):
    """The ``csrcleaner`` controller."""

    resource = c.REQUESTS
    user = "system:serviceaccount:kube-system:certificate-controller"
    workers = 1

    async def reconcile(self, namespace: str, name: str) -> float | None:
        request = self.primary.get(name)
        if request is None:
            return None
        left = self._ends(request) - self.clock.time()
        if left == math.inf:
            return None
        if left > 0:
            return left
        await self.client.delete(self.resource, name, uid=meta.uid(request))
        return None

    def _ends(self, request: Obj) -> float:
        """Epoch seconds at which the request has no use any more; infinite for a state that nobody gives up."""
        status = request.get("status") or {}
        certificate = status.get("certificate")
        told = status.get("conditions") or ()
        if not told:
            return times.parse(request["metadata"]["creationTimestamp"]) + _PENDING
        ends = [math.inf]
        for condition in told:
            age = _AGES.get(condition["type"])
            if age is None:
                continue
            if condition["type"] == "Approved":
                if certificate:
                    ends.append(_expires(certificate))
                else:
                    age = _PENDING
            if condition.get("lastUpdateTime"):
                ends.append(times.parse(condition["lastUpdateTime"]) + age)
        return min(ends)


def _expires(encoded: str) -> float:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    except ValueError:
        return math.inf
    return found.not_valid_after_utc.timestamp()
