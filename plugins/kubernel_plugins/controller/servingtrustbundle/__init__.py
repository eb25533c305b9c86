"""Who signs the API server's certificate, told to everybody as a ClusterTrustBundle.

Source: k8s.io/kubernetes/pkg/controller/certificates/clustertrustbundlepublisher (v1.37).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.errors import NotFound
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_SIGNER = "kubernetes.io/kube-apiserver-serving"


class Plugin(Reconciler):
    """The ``servingtrustbundle`` controller; its one key is the signer's."""

    resource = "clustertrustbundles.v1.certificates.k8s.io"
    user = "system:serviceaccount:kube-system:kube-apiserver-serving-clustertrustbundle-publisher"
    workers = 1

    async def setup(self) -> None:
        authority = self.handle.hooks.certificate_authority()
        self._bundle = "" if authority is None else authority.ca_certificate.decode()
        if self._bundle:
            self.queue.add(("", _SIGNER))

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if obj["spec"].get("signerName") == _SIGNER:
            self.queue.add(("", _SIGNER))

    async def reconcile(self, namespace: str, name: str) -> None:
        if name != _SIGNER or not self._bundle:
            return
        digest = hashlib.sha256(self._bundle.encode()).hexdigest()[:24]
        wanted = f"{_SIGNER.replace('/', ':')}:{digest}"
        found = self.primary.get(wanted)
        spec = {"signerName": _SIGNER, "trustBundle": self._bundle}
        if found is None:
            frame = {"apiVersion": "certificates.k8s.io/v1", "kind": "ClusterTrustBundle"}
            await self.client.create(self.resource, {**frame, "metadata": {"name": wanted}, "spec": spec})
        elif found["spec"].get("trustBundle") != self._bundle:
            await self.client.update(self.resource, {**found, "spec": spec})
        for one in self.primary.list():
            if one["spec"].get("signerName") == _SIGNER and meta.name(one) != wanted:
                try:
                    await self.client.delete(self.resource, meta.name(one))
                except NotFound:
                    continue
