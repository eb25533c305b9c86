"""Root CA publisher: the cluster's CA certificate in every namespace, as ConfigMap ``kube-root-ca.crt``.

Source: k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher/publisher.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_NAME = "kube-root-ca.crt"
_DESCRIPTION = {
    "kubernetes.io/description": "Contains a CA bundle that can be used to verify the kube-apiserver when "
    "using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is "
    "guaranteed across distributions of Kubernetes clusters."
}


def _namespace_of(self: Plugin, type: EventType, bundle: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if meta.name(bundle) == _NAME:
        yield "", meta.namespace(bundle)


class Plugin(Reconciler):
    """The ``rootca`` controller. Idle in a cluster without a certificate authority."""

    resource = "namespaces"
    watches = {"configmaps": _namespace_of}  # noqa: RUF012 - typed ClassVar in the base
    user = "system:serviceaccount:kube-system:root-ca-cert-publisher"

    async def setup(self) -> None:
        authority = self.handle.hooks.certificate_authority()
        self._data = {"ca.crt": authority.ca_certificate.decode()} if authority is not None else None

    async def reconcile(self, namespace: str, name: str) -> None:
        owner = self.primary.get(name)
        if self._data is None or owner is None or meta.is_deleting(owner):
            return
        bundle = self.informer("configmaps").get(_NAME, name)
        if bundle is None:
            metadata = {"name": _NAME, "namespace": name, "annotations": _DESCRIPTION}
            fresh = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data}
            await self.client.create("configmaps", fresh, name)
            return
        described = _DESCRIPTION.items() <= meta.annotations(bundle).items()
        if bundle.get("data") != self._data or not described:
            # In place of what it was: a changed object, of which only the labels are its editor's.
            annotations = {**meta.annotations(bundle), **_DESCRIPTION}
            wanted = {**meta.replace(bundle, ("metadata", "annotations"), annotations), "data": self._data}
            await self.client.update("configmaps", wanted)
