"""TTL controller: how long a kubelet may trust what it read of secrets and config maps, by the cluster's size.

Source: k8s.io/kubernetes/pkg/controller/ttl (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin"]

_ANNOTATION = "node.alpha.kubernetes.io/ttl"
_BOUNDARIES = ((0, 100, 0), (90, 500, 15), (450, 1000, 30), (900, 2000, 60), (1800, 2**31 - 1, 300))
"""(from so many nodes, to so many, seconds): they overlap so that the answer does not go to and fro."""


class Plugin(Reconciler):
    """The ``nodettl`` controller."""

    resource = "nodes"
    user = "system:serviceaccount:kube-system:ttl-controller"

    def __init__(self, settings: object, handle: object) -> None:
        super().__init__(settings, handle)  # type: ignore[arg-type]
        self._step = 0

    def primary_changed(self, type: EventType, obj: Obj, old: Obj | None) -> None:
        count, before = len(self.primary), self._step
        while count > _BOUNDARIES[self._step][1]:
            self._step += 1
        while count < _BOUNDARIES[self._step][0]:
            self._step -= 1
        if self._step != before:
            for node in self.primary.list():
                self.queue.add(meta.key(node))
        elif type != "DELETED" and old is None:
            super().primary_changed(type, obj, old)

    async def reconcile(self, namespace: str, name: str) -> None:
        node = self.primary.get(name)
        seconds = str(_BOUNDARIES[self._step][2])
        if node is not None and meta.annotations(node).get(_ANNOTATION) != seconds:
            await self.client.patch("nodes", name, {"metadata": {"annotations": {_ANNOTATION: seconds}}})
