"""Objects as they will be once writes that are under way have come back.

Source: k8s.io/kubernetes/pkg/scheduler/util/assumecache (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.store.records import Obj

__all__ = ["Assumed"]


class Assumed:
    """An informer's objects, some of them replaced until the informer has another version than the one that was
    replaced."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._changed: dict[tuple[str, str], Obj] = {}

    def stored(self, name: str, namespace: str = "") -> Obj | None:
        """As the server has it."""
        return self._informer.get(name, namespace)

    def get(self, name: str, namespace: str = "") -> Obj | None:
        stored = self._informer.get(name, namespace)
        return None if stored is None else self._now(stored)

    def by(self, index: str, value: str) -> list[Obj]:
        return [self._now(stored) for stored in self._informer.by(index, value)]

    def assume(self, obj: Obj) -> None:
        """``obj`` keeps the resourceVersion of what it was made from."""
        self._changed[_key(obj)] = obj

    def forget(self, obj: Obj) -> None:
        self._changed.pop(_key(obj), None)

    def _now(self, stored: Obj) -> Obj:
        if not self._changed:
            return stored
        key = _key(stored)
        changed = self._changed.get(key)
        if changed is None:
            return stored
        if int(meta.resource_version(stored)) > int(meta.resource_version(changed)):
            del self._changed[key]
            return stored
        return changed


def _key(obj: Obj) -> tuple[str, str]:
    return meta.namespace(obj), meta.name(obj)
