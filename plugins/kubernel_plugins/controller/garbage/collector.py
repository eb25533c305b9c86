"""What to do about one object, given who owns it and who is left of them.

Source: k8s.io/kubernetes/pkg/controller/garbagecollector/garbagecollector.go (v1.37) and
https://kubernetes.io/docs/concepts/architecture/garbage-collection/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.objects import meta
from kubernel_plugins.controller.garbage.graph import FOREGROUND, ORPHAN, Graph, Node, Reference, matches

if TYPE_CHECKING:
    from kubernel.client.interface import Client, Propagation
    from kubernel.store.records import Obj

__all__ = ["Collector", "Unresolvable"]


class Unresolvable(Exception):
    """A reference of which nobody can say whether its owner exists: nothing is deleted because of it."""


class Collector:
    """``resolve(group, version, kind)`` gives (resource, namespaced); raises Unresolvable.
    ``enqueue(uid)`` asks for another object to be looked at."""

    def __init__(
        self,
        client: Client,
        graph: Graph,
        resolve: Callable[[str, str, str], tuple[str, bool]],
        enqueue: Callable[[str], None],
    ) -> None:
        self._client = client
        self._graph = graph
        self._resolve = resolve
        self._enqueue = enqueue

    async def collect(self, uid: str) -> None:
        node = self._graph.get(uid)
        if node is None:
            return
        if node.virtual:
            await self._verify(node)
        elif node.orphans:
            await self._orphan(node)
        elif node.waits:
            await self._finish_foreground(node)
        elif not node.deleting and node.owners:
            await self._judge(node)

    async def _verify(self, node: Node) -> None:
        """A node known from references alone: is it there?"""
        reference = node.reference
        if reference is None or await self._exists(reference):
            # Its own event is on the way; until then its dependents count as owned.
            return
        for dependent in list(node.dependents):
            self._enqueue(dependent)

    async def _judge(self, node: Node) -> None:
        live = await self._live(node)
        if live is None or meta.is_deleting(live):
            return
        solid: list[str] = []
        waiting: list[str] = []
        present = meta.owners(live)
        for uid in (entry.get("uid", "") for entry in present):
            reference = node.owners.get(uid)
            if reference is None:
                # The reference is newer than what has been observed; its event brings this object back.
                return
            owner = self._graph.get(uid)
            if owner is not None and not owner.virtual and matches(owner, reference):
                (waiting if owner.waits else solid).append(uid)
            elif await self._exists(reference):
                solid.append(uid)
        if not present:
            return
        if solid:
            if len(solid) < len(present):
                await self._keep_owners(node, live, set(solid))
            return
        if waiting and any(dependent.waits for dependent in self._graph.dependents(node.uid)):
            # A circle of foreground deletions: none may block the other for ever.
            await self._stop_blocking(node, live)
        await self._delete(node, live, "Foreground" if waiting and node.dependents else None)

    async def _delete(self, node: Node, live: Obj, policy: Propagation | None) -> None:
        if policy is None:
            finalizers = live["metadata"].get("finalizers") or ()
            policy = "Background"
            if ORPHAN in finalizers:
                policy = "Orphan"
            elif FOREGROUND in finalizers:
                policy = "Foreground"
        await self._client.delete(node.resource, node.name, node.namespace, propagation=policy, uid=node.uid)

    async def _finish_foreground(self, node: Node) -> None:
        """Let the owner go once nothing that blocks it is left."""
        blocking = self._graph.blocking(node.uid)
        for dependent in blocking:
            if not dependent.deleting:
                self._enqueue(dependent.uid)
        if not blocking:
            await self._drop_finalizer(node, FOREGROUND)

    async def _orphan(self, node: Node) -> None:
        for dependent in self._graph.dependents(node.uid):
            live = await self._live(dependent)
            if live is not None:
                others = {entry["uid"] for entry in meta.owners(live)} - {node.uid}
                await self._keep_owners(dependent, live, others)
        await self._drop_finalizer(node, ORPHAN)

    async def _keep_owners(self, node: Node, live: Obj, kept: set[str]) -> None:
        owners = [entry for entry in meta.owners(live) if entry.get("uid") in kept]
        if len(owners) == len(meta.owners(live)):
            return
        await self._patch(node, live, {"ownerReferences": owners or None})

    async def _stop_blocking(self, node: Node, live: Obj) -> None:
        owners = [{**entry, "blockOwnerDeletion": False} for entry in meta.owners(live)]
        await self._patch(node, live, {"ownerReferences": owners})

    async def _drop_finalizer(self, node: Node, finalizer: str) -> None:
        live = await self._live(node)
        if live is None:
            return
        finalizers = live["metadata"].get("finalizers") or []
        if finalizer in finalizers:
            kept = [entry for entry in finalizers if entry != finalizer]
            await self._patch(node, live, {"finalizers": kept or None})

    async def _patch(self, node: Node, live: Obj, metadata: Obj) -> None:
        # The resourceVersion makes it a conflict, and another look, when the object changed meanwhile.
        guarded = {"uid": node.uid, "resourceVersion": live["metadata"]["resourceVersion"], **metadata}
        try:
            await self._client.patch(node.resource, node.name, {"metadata": guarded}, node.namespace)
        except NotFound:
            return

    async def _live(self, node: Node) -> Obj | None:
        """The object as it is now; None when it, the same one, is no longer there."""
        try:
            live = await self._client.get(node.resource, node.name, node.namespace)
        except NotFound:
            return None
        return live if meta.uid(live) == node.uid else None

    async def _exists(self, reference: Reference) -> bool:
        """Whether the owner is where the reference says, looked up at the server.

        An owner in another namespace is not: it counts as absent. A cluster-scoped object cannot have a
        namespaced owner: Unresolvable.
        """
        resource, namespaced = self._resolve(reference.group, reference.version, reference.kind)
        if namespaced and not reference.namespace:
            raise Unresolvable(
                f"a cluster-scoped object names the namespaced owner {reference.kind} {reference.name}"
            )
        try:
            owner = await self._client.get(
                resource, reference.name, reference.namespace if namespaced else ""
            )
        except NotFound:
            return False
        return meta.uid(owner) == reference.uid
