"""What the protection controllers share: a finalizer that keeps an object for as long as others use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from kubernel.client.reconciler import Reconciler
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Protection"]


class Protection(Reconciler):
    """Keeps ``finalizer`` on the objects of ``resource`` and takes it from a deleted one that is not ``in_use``.
    With ``adds`` false others put it there."""

    finalizer: ClassVar[str]
    adds: ClassVar[bool] = True

    def in_use(self, obj: Obj) -> bool:
        raise NotImplementedError

    async def reconcile(self, namespace: str, name: str) -> None:
        found = self.primary.get(name, namespace)
        if found is None:
            return
        finalizers = found["metadata"].get("finalizers") or []
        there = self.finalizer in finalizers
        if meta.is_deleting(found):
            if not there or self.in_use(found):
                return
            wanted = [one for one in finalizers if one != self.finalizer]
        elif there or not self.adds:
            return
        else:
            wanted = [*finalizers, self.finalizer]
        await self.client.update(self.resource, meta.replace(found, ("metadata", "finalizers"), wanted))
