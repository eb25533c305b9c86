"""Token cleaner: deletes bootstrap tokens that have expired.

Source: k8s.io/kubernetes/pkg/controller/bootstrap/tokencleaner.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import bootstrap_tokens as tokens

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]


class Plugin(Reconciler):
    """The ``tokencleaner`` controller."""

    resource = "secrets"
    user = "system:serviceaccount:kube-system:token-cleaner"
    workers = 1

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if type != "DELETED" and _is_token(obj):
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        secret = self.primary.get(name, namespace)
        if secret is None or not _is_token(secret):
            return None
        end = tokens.expires(secret)
        if end is None:
            return None
        left = end - self.clock.time()
        if left > 0:
            return left
        await self.client.delete("secrets", name, namespace, uid=meta.uid(secret))
        return None


def _is_token(secret: Obj) -> bool:
    return secret.get("type") == tokens.TYPE and meta.namespace(secret) == tokens.NAMESPACE
