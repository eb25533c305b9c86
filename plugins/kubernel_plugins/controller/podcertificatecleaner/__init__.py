"""Pod certificate request cleaner: removes requests that are older than any of them takes.

Source: k8s.io/kubernetes/pkg/controller/certificates/cleaner/pcrcleaner.go (v1.37).
"""

from __future__ import annotations

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta, times

__all__ = ["Plugin"]

_AGE = 900.0


class Plugin(Reconciler):
    """The ``podcertificatecleaner`` controller."""

    resource = "podcertificaterequests.v1.certificates.k8s.io"
    user = "system:serviceaccount:kube-system:podcertificaterequestcleaner"
    workers = 1

    async def reconcile(self, namespace: str, name: str) -> float | None:
        request = self.primary.get(name, namespace)
        if request is None:
            return None
        left = times.parse(request["metadata"]["creationTimestamp"]) + _AGE - self.clock.time()
        if left > 0:
            return left
        await self.client.delete(self.resource, name, namespace, uid=meta.uid(request))
        return None
