"""Adoption and release: which objects a controller owns, and making the owner references say so.

Source: k8s.io/kubernetes/pkg/controller/controller_ref_manager.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden, Invalid, NotFound
from kubernel.objects import meta
from kubernel.objects.selectors import from_object

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.client.reconciler import ObjectKey
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj

__all__ = ["ORPHANS", "Claims", "adopters", "index_orphans", "namespace_is_terminating"]

ORPHANS = "orphans"
"""Name of the index of objects that no controller owns, by namespace."""


def index_orphans(informer: Informer) -> None:
    informer.add_index(ORPHANS, _orphan_namespace)


def _orphan_namespace(obj: Obj) -> Iterable[str]:
    return () if meta.controller_of(obj) else (meta.namespace(obj),)


def _selector_of(owner: Obj) -> Selector:
    return from_object(owner["spec"].get("selector") or {})


def namespace_is_terminating(error: BaseException) -> bool:
    """Whether a create was refused because its namespace goes away: nothing is left to be done then."""
    return isinstance(error, Forbidden) and any(
        cause.reason == "NamespaceTerminating" for cause in error.causes
    )


def adopters(
    primary: Informer,
    type: EventType,
    obj: Obj,
    selector: Callable[[Obj], Selector] = _selector_of,
) -> list[ObjectKey]:
    """Keys of the objects of ``primary`` whose selector matches an object nobody controls."""
    if type == "DELETED" or meta.controller_of(obj) is not None:
        return []
    labels = meta.labels(obj)
    if not labels:
        return []
    return [meta.key(owner) for owner in primary.list(meta.namespace(obj)) if selector(owner).matches(labels)]


def _any(obj: Obj) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Claims:
    """What owners of one resource (``owners``) claim among the objects of another (``resource``).

    ``informer`` shows ``resource`` and must have the index ``ORPHANS``. ``finalizer`` is put on what is
    adopted and taken off what is released.
    """

    client: Client
    owners: str
    resource: str
    informer: Informer
    finalizer: str = ""

    async def of(
        self,
        owner: Obj,
        selector: Selector,
        *,
        wanted: Callable[[Obj], bool] = _any,
        accept: Callable[[Obj], bool] = _any,
    ) -> list[Obj]:
        """The objects that ``owner`` controls, after adopting and releasing.

        Orphans that match are adopted, owned objects that no longer match are let go; neither while
        ``owner`` is being deleted, neither for objects that are not ``wanted``. ``accept`` narrows what
        matches.
        """
        uid, namespace = meta.uid(owner), meta.namespace(owner)
        leaving = meta.is_deleting(owner)
        claimed: list[Obj] = []
        for obj in self.informer.by("owner", uid):
            if selector.matches(meta.labels(obj)) and accept(obj):
                claimed.append(obj)
            elif not leaving and wanted(obj):
                await self._release(obj, uid)
        if leaving:
            return claimed
        orphans = self.adoptable(namespace, selector, wanted=wanted, accept=accept)
        if orphans and await self._may_adopt(owner):
            for obj in orphans:
                adopted = await self._adopt(obj, owner)
                if adopted is not None:
                    claimed.append(adopted)
        return claimed

    def adoptable(
        self,
        namespace: str,
        selector: Selector,
        *,
        wanted: Callable[[Obj], bool] = _any,
        accept: Callable[[Obj], bool] = _any,
    ) -> list[Obj]:
        """The orphans that an owner with this selector would adopt."""
        return [
            obj
            for obj in self.informer.by(ORPHANS, namespace)
            if not meta.is_deleting(obj)
            and selector.matches(meta.labels(obj))
            and accept(obj)
            and wanted(obj)
        ]

    async def _may_adopt(self, owner: Obj) -> bool:
        """The informer may be behind: what a deleted owner adopts, the garbage collector deletes."""
        try:
            current = await self.client.get(self.owners, meta.name(owner), meta.namespace(owner))
        except NotFound:
            return False
        return meta.uid(current) == meta.uid(owner) and not meta.is_deleting(current)

    async def _adopt(self, obj: Obj, owner: Obj) -> Obj | None:
        # Merged into the references there are: a second controller in the object is refused.
        metadata: dict[str, Any] = {"uid": meta.uid(obj), "ownerReferences": [meta.owner_reference(owner)]}
        if self.finalizer:
            metadata["finalizers"] = [self.finalizer]
        return await self._patch(obj, metadata, (NotFound,))

    async def _release(self, obj: Obj, uid: str) -> None:
        metadata: dict[str, Any] = {
            "uid": meta.uid(obj),
            "ownerReferences": [{"$patch": "delete", "uid": uid}],
        }
        if self.finalizer:
            metadata["$deleteFromPrimitiveList/finalizers"] = [self.finalizer]
        # Gone, or somebody else's by now: not ours either way.
        await self._patch(obj, metadata, (NotFound, Invalid))

    async def _patch(
        self, obj: Obj, metadata: dict[str, Any], passed: tuple[type[Exception], ...]
    ) -> Obj | None:
        patch = {"metadata": metadata}
        try:
            return await self.client.patch(
                self.resource, meta.name(obj), patch, meta.namespace(obj), type="strategic"
            )
        except passed:
            return None
