"""Service account controller: a ServiceAccount ``default`` in every namespace.

Source: k8s.io/kubernetes/pkg/controller/serviceaccount/serviceaccounts_controller.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import ObjectKey, Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_NAME = "default"


def _namespace_of(self: Plugin, type: EventType, account: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    if type == "DELETED" and meta.name(account) == _NAME:
        yield "", meta.namespace(account)


class Plugin(Reconciler):
    """The ``serviceaccount`` controller."""

    resource = "namespaces"
    watches = {"serviceaccounts": _namespace_of}  # noqa: RUF012 - typed ClassVar in the base
    user = "system:serviceaccount:kube-system:service-account-controller"

    async def reconcile(self, namespace: str, name: str) -> None:
        owner = self.primary.get(name)
        if owner is None or meta.is_deleting(owner):
            return
        if self.informer("serviceaccounts").get(_NAME, name) is None:
            account = {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": _NAME, "namespace": name},
            }
            await self.client.create("serviceaccounts", account, name)
