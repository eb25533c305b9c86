"""Adoption and release: which objects a controller owns, and making the owner references say so.

Source: k8s.io/kubernetes/pkg/controller/controller_ref_manager.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from kubernel.errors import Invalid, NotFound
from kubernel.objects import meta
from kubernel.objects.selectors import from_object

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.client.reconciler import ObjectKey
    from kubernel.objects.selectors import Selector
    from kubernel.store.records import EventType, Obj

__all__ = ["ORPHANS", "adopters", "claim", "index_orphans"]

ORPHANS = "orphans"
"""Name of the index of objects that no controller owns, by namespace."""


def index_orphans(informer: Informer) -> None:
    informer.add_index(ORPHANS, _orphan_namespace)


def _orphan_namespace(obj: Obj) -> Iterable[str]:
    return () if meta.controller_of(obj) else (meta.namespace(obj),)


def adopters(primary: Informer, type: EventType, obj: Obj) -> list[ObjectKey]:
    """Keys of the objects of ``primary`` whose ``spec.selector`` matches an object nobody controls."""
    if type == "DELETED" or meta.controller_of(obj) is not None:
        return []
    labels = meta.labels(obj)
    if not labels:
        return []
    return [
        meta.key(owner)
        for owner in primary.list(meta.namespace(obj))
        if from_object(owner["spec"].get("selector") or {}).matches(labels)
    ]


async def claim(
    client: Client,
    resource: str,
    informer: Informer,
    owner: Obj,
    selector: Selector,
    accept: Callable[[Obj], bool] = lambda obj: True,
) -> list[Obj]:
    """The objects of ``resource`` that ``owner`` controls, after adopting and releasing.

    Orphans that match are adopted, owned objects that no longer match are let go; neither while ``owner`` is
    being deleted. ``accept`` narrows what matches. ``informer`` must have the index ``ORPHANS``.
    """
    uid, namespace = meta.uid(owner), meta.namespace(owner)
    leaving = meta.is_deleting(owner)
    claimed: list[Obj] = []
    for obj in informer.by("owner", uid):
        controller = meta.controller_of(obj)
        if controller is None or controller["uid"] != uid:
            continue
        if selector.matches(meta.labels(obj)) and accept(obj):
            claimed.append(obj)
        elif not leaving:
            await _release(client, resource, obj, uid)
    if leaving:
        return claimed
    for obj in informer.by(ORPHANS, namespace):
        if not meta.is_deleting(obj) and selector.matches(meta.labels(obj)) and accept(obj):
            adopted = await _adopt(client, resource, obj, owner)
            if adopted is not None:
                claimed.append(adopted)
    return claimed


async def _adopt(client: Client, resource: str, obj: Obj, owner: Obj) -> Obj | None:
    references = [*(meta.owners(obj)), meta.owner_reference(owner)]
    patch = {"metadata": {"uid": meta.uid(obj), "ownerReferences": references}}
    try:
        return await client.patch(resource, meta.name(obj), patch, meta.namespace(obj), type="merge")
    except NotFound:
        return None


async def _release(client: Client, resource: str, obj: Obj, uid: str) -> None:
    references = [reference for reference in meta.owners(obj) if reference.get("uid") != uid]
    patch = {"metadata": {"uid": meta.uid(obj), "ownerReferences": references or None}}
    try:
        await client.patch(resource, meta.name(obj), patch, meta.namespace(obj), type="merge")
    except (NotFound, Invalid):
        # Gone, or somebody else's by now: not ours either way.
        return
