"""Bootstrap signer: signs ``kube-public/cluster-info`` with each bootstrap token.

Source: k8s.io/kubernetes/pkg/controller/bootstrap/bootstrapsigner.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta
from kubernel_plugins import bootstrap_tokens as tokens

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_KEY = ("kube-public", "cluster-info")
_PREFIX = "jws-kubeconfig-"


def _of_token(self: Plugin, type: EventType, secret: Obj, old: Obj | None) -> Iterable[ObjectKey]:
    return (_KEY,) if secret.get("type") == tokens.TYPE else ()


class Plugin(Reconciler):
    """The ``bootstrapsigner`` controller."""

    resource = "configmaps"
    watches = {"secrets": _of_token}  # noqa: RUF012 - typed in the base
    user = "system:serviceaccount:kube-system:bootstrap-signer"
    workers = 1

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        if meta.key(obj) == _KEY:
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        if (namespace, name) != _KEY:
            return None
        found = self.primary.get(name, namespace)
        if found is None:
            return None
        now = self.clock.time()
        data = found.get("data") or {}
        content = data.get("kubeconfig")
        wanted = {key: value for key, value in data.items() if not key.startswith(_PREFIX)}
        ends = []
        for secret in self.informer("secrets").list(tokens.NAMESPACE):
            token = tokens.signing_token(secret, now)
            if token is None or content is None:
                continue
            wanted[_PREFIX + token[0]] = tokens.signature(content, *token)
            end = tokens.expires(secret)
            if end is not None:
                ends.append(end)
        if wanted != data:
            await self.client.update("configmaps", {**found, "data": wanted})
        return min(ends) - now if ends else None
