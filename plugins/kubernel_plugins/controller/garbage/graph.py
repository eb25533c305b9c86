"""Who owns whom: a graph of all objects by uid, kept from their changes alone.

A node is *virtual* while it is known only from the reference of a dependent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["FOREGROUND", "ORPHAN", "Graph", "Node", "Reference"]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Reference:
    """One owner reference; ``namespace`` is the dependent's, where a namespaced owner must live."""

    uid: str
    group: str
    version: str
    kind: str
    name: str
    namespace: str
    blocks: bool


@dataclass(slots=True)
class Node:
    uid: str
    resource: str
    group: str
    kind: str
    namespace: str
    name: str
    owners: Mapping[str, Reference] = field(default_factory=dict)
    dependents: dict[str, None] = field(default_factory=dict)
    deleting: bool = False
    waits: bool = False
    """In foreground deletion: it goes once the dependents that block it are gone."""
    orphans: bool = False
    virtual: bool = False
    reference: Reference | None = None
    """Of a virtual node: the reference it is known from."""


def references(obj: Obj) -> dict[str, Reference]:
    metadata = obj["metadata"]
    found: dict[str, Reference] = {}
    for entry in metadata.get("ownerReferences") or ():
        group, _, version = str(entry.get("apiVersion", "")).rpartition("/")
        found[entry.get("uid", "")] = Reference(
            entry.get("uid", ""),
            group,
            version,
            entry.get("kind", ""),
            entry.get("name", ""),
            metadata.get("namespace", ""),
            bool(entry.get("blockOwnerDeletion")),
        )
    return found


class Graph:
    """``observe`` takes changes and gives the uids that have to be looked at because of them."""

    def __init__(self, misplaced: Callable[[Node, Reference], object] = lambda node, reference: None) -> None:
        """``misplaced`` is told of a reference to an owner that has been seen in another namespace."""
        self._nodes: dict[str, Node] = {}
        self._misplaced = misplaced

    def get(self, uid: str) -> Node | None:
        return self._nodes.get(uid)

    def __len__(self) -> int:
        return len(self._nodes)

    def dependents(self, uid: str) -> list[Node]:
        node = self._nodes.get(uid)
        return [] if node is None else [self._nodes[each] for each in node.dependents]

    def blocking(self, uid: str) -> list[Node]:
        """The dependents that a foreground deletion of ``uid`` waits for."""
        return [node for node in self.dependents(uid) if not node.virtual and node.owners[uid].blocks]

    def observe(self, type: EventType, resource: str, obj: Obj) -> Iterator[str]:
        if type == "DELETED":
            yield from self.remove(obj["metadata"]["uid"])
            return
        yield from self._put(resource, obj)

    def _put(self, resource: str, obj: Obj) -> Iterator[str]:
        metadata: Mapping[str, Any] = obj["metadata"]
        uid = metadata["uid"]
        finalizers = metadata.get("finalizers") or ()
        deleting = bool(metadata.get("deletionTimestamp"))
        owners = references(obj) if metadata.get("ownerReferences") else {}
        node = self._nodes.get(uid)
        if node is None or node.virtual:
            # Most objects own nothing and are owned by nobody; they cost one entry.
            before = node
            node = self._nodes[uid] = Node(uid, resource, *_identity(resource, obj))
            if before is not None:
                node.dependents = before.dependents
                if _displaced(before, node):
                    for dependent in map(self._nodes.__getitem__, node.dependents):
                        self._tell_misplaced(dependent, node, dependent.owners[uid])
                    # Some dependents may name it wrongly: each is checked against what is there.
                    yield from tuple(node.dependents)
        for old in node.owners:
            if old not in owners:
                yield from self._detach(uid, old)
        for reference in owners.values():
            if reference.uid not in node.owners:
                yield from self._attach(node, reference)
            elif node.owners[reference.uid].blocks and not reference.blocks:
                yield reference.uid
        node.owners = owners
        was_waiting, was_orphaning = node.waits, node.orphans
        node.deleting = deleting
        node.waits = deleting and FOREGROUND in finalizers
        node.orphans = deleting and ORPHAN in finalizers
        if node.waits and not was_waiting:
            yield from tuple(node.dependents)
            yield uid
        if node.orphans and not was_orphaning:
            yield uid

    def _attach(self, node: Node, reference: Reference) -> Iterator[str]:
        owner = self._nodes.get(reference.uid)
        if owner is None:
            owner = self._nodes[reference.uid] = Node(
                reference.uid, "", reference.group, reference.kind, reference.namespace, reference.name
            )
            owner.virtual, owner.reference = True, reference
            yield reference.uid
        elif owner.virtual or not matches(owner, reference) or owner.waits:
            self._tell_misplaced(node, owner, reference)
            yield node.uid
        owner.dependents[node.uid] = None

    def _tell_misplaced(self, node: Node, owner: Node, reference: Reference) -> None:
        if not owner.virtual and owner.namespace not in ("", node.namespace):
            self._misplaced(node, reference)

    def _detach(self, uid: str, owner_uid: str) -> Iterator[str]:
        owner = self._nodes.get(owner_uid)
        if owner is None:
            return
        owner.dependents.pop(uid, None)
        if owner.waits:
            yield owner_uid
        elif owner.virtual and not owner.dependents:
            del self._nodes[owner_uid]

    def remove(self, uid: str) -> Iterator[str]:
        """The object is gone: its dependents have to be looked at, and owners that waited for it."""
        node = self._nodes.pop(uid, None)
        if node is None:
            return
        for owner in node.owners:
            yield from self._detach(uid, owner)
        for dependent in node.dependents:
            if dependent in self._nodes:
                # It still names the uid; known from now on as a node that is not there.
                reference = self._nodes[dependent].owners.get(uid)
                if reference is not None:
                    ghost = self._nodes.setdefault(
                        uid,
                        Node(uid, "", reference.group, reference.kind, reference.namespace, reference.name),
                    )
                    ghost.virtual, ghost.reference = True, reference
                    ghost.dependents[dependent] = None
                yield dependent


def _identity(resource: str, obj: Obj) -> tuple[str, str, str, str]:
    group = obj["apiVersion"].rpartition("/")[0]
    metadata = obj["metadata"]
    return group, obj["kind"], metadata.get("namespace", ""), metadata["name"]


def _displaced(virtual: Node, node: Node) -> bool:
    return (virtual.group, virtual.kind, virtual.name) != (node.group, node.kind, node.name) or (
        bool(node.namespace) and virtual.namespace != node.namespace
    )


def matches(owner: Node, reference: Reference) -> bool:
    """Whether the reference names this owner rightly: a namespaced one in the dependent's namespace."""
    return (
        (owner.group, owner.kind, owner.name) == (reference.group, reference.kind, reference.name)
    ) and owner.namespace in ("", reference.namespace)
