"""ControllerRevisions: the history of a pod template, for StatefulSets and DaemonSets.

``data`` is the strategic patch that brings the template back, byte for byte what ``kubectl rollout`` compares
and applies. Source: k8s.io/kubernetes/pkg/controller/history/controller_history.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.errors import AlreadyExists, NotFound
from kubernel.objects import meta, names

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.store.records import Obj

__all__ = [
    "HASH_LABEL",
    "RESOURCE",
    "apply",
    "create",
    "matches",
    "newest",
    "number",
    "ordered",
    "prune",
    "renumber",
]

RESOURCE = "controllerrevisions.v1.apps"
HASH_LABEL = "controller-revision-hash"
"""On pods: which revision they were made from."""

_NAME_LIMIT = 223
"""Longest part of the owner's name in a revision's."""


def _patch(template: Mapping[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {**template, "$patch": "replace"}}}


def matches(owner: Obj, revision: Obj) -> bool:
    """Whether the revision holds the owner's template of now."""
    return bool(revision.get("data") == _patch(owner["spec"]["template"]))


def apply(owner: Obj, revision: Obj) -> dict[str, Any]:
    """The owner with the template of the revision."""
    kept = meta.get(revision, "data", "spec", "template", default={})
    template = {key: value for key, value in kept.items() if key != "$patch"}
    return meta.replace(owner, ("spec", "template"), template)


def number(revision: Obj) -> int:
    return int(revision.get("revision") or 0)


def ordered(found: Iterable[Obj]) -> list[Obj]:
    """Oldest first: by number, then by age, then by name."""
    return sorted(
        found,
        key=lambda one: (number(one), one["metadata"].get("creationTimestamp", ""), meta.name(one)),
    )


def newest(found: Iterable[Obj]) -> int:
    """The largest number; 0 when there is none."""
    return max((number(one) for one in found), default=0)


async def create(
    client: Client, owner: Obj, revision: int, collisions: int, hash_label: str
) -> tuple[Obj, int]:
    """The revision of the owner's template with that number, and the collision count that named it.

    One of that name with the same data is taken as it is: the view was late. Another template with the same
    hash counts as a collision and changes the name.
    """
    template = owner["spec"]["template"]
    data = _patch(template)
    while True:
        digest = names.pod_hash(template, collisions or None)
        name = f"{meta.name(owner)[:_NAME_LIMIT]}-{digest}"
        metadata: dict[str, Any] = {
            "name": name,
            "namespace": meta.namespace(owner),
            "labels": {**meta.labels(template), hash_label: digest},
            "ownerReferences": [meta.owner_reference(owner)],
        }
        if meta.annotations(owner):
            metadata["annotations"] = dict(meta.annotations(owner))
        obj: Obj = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": metadata,
            "data": data,
            "revision": revision,
        }
        try:
            return await client.create(RESOURCE, obj, meta.namespace(owner)), collisions
        except AlreadyExists:
            found = await client.get(RESOURCE, name, meta.namespace(owner))
            if found.get("data") == data:
                return found, collisions
            collisions += 1


async def renumber(client: Client, revision: Obj, to: int) -> Obj:
    """Give an old revision a new number: its template is current again."""
    if number(revision) == to:
        return revision
    return await client.update(RESOURCE, {**revision, "revision": to})


async def prune(client: Client, old: Sequence[Obj], keep: int) -> None:
    """Delete the oldest of ``old`` (which nothing lives by) until ``keep`` are left."""
    for revision in ordered(old)[: max(len(old) - keep, 0)]:
        try:
            await client.delete(
                RESOURCE, meta.name(revision), meta.namespace(revision), uid=meta.uid(revision)
            )
        except NotFound:
            continue
