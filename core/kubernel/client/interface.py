"""How every component talks to the API: one interface, in-process or over HTTPS.

A resource is named ``plural.version.group`` or, shorter, ``plural`` for core/v1
(``pods``, ``deployments.v1.apps``, ``leases.v1.coordination.k8s.io``). Objects handed out are shared and
immutable: change a copy (``kubernel.objects.meta.replace`` copies along a path). Errors are
``kubernel.errors.ApiError``.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.store.records import EventType, Obj

__all__ = ["Client", "ObjectList", "PatchType", "Propagation"]

PatchType = Literal["json", "merge", "strategic", "apply"]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class ObjectList:
    items: list[Obj]
    resource_version: str
    continue_token: str = ""


class Client(Protocol):
    """The API as one user sees it."""

    async def get(
        self, resource: str, name: str, namespace: str = "", *, at: str = "", subresource: str = ""
    ) -> Obj:
        """``subresource`` is one that is read as a view of the object (``scale``).

        ``at`` is a resourceVersion: the object as it was then (NotFound: it was not there; Expired: that is
        forgotten). An extension: other servers may give the present."""
        ...

    async def list(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_token: str = "",
        at: str = "",
    ) -> ObjectList:
        """``namespace`` empty is all namespaces; ``at`` is a resourceVersion: what there was then."""
        ...

    async def create(
        self, resource: str, obj: Obj, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> Obj:
        """``subresource`` with ``name`` posts to e.g. ``pods/NAME/binding``."""
        ...

    async def update(self, resource: str, obj: Obj, *, subresource: str = "") -> Obj:
        """Name, namespace and resourceVersion are the object's own."""
        ...

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj: ...

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Obj: ...

    async def delete_collection(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        grace_period: int | None = None,
        propagation: Propagation | None = None,
    ) -> None:
        """Delete all that ``list`` with these arguments gives, each as ``delete`` would."""
        ...

    def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[tuple[EventType, Obj]]:
        """Changes after ``resource_version`` (empty: everything there is as ADDED, then changes).
        Raises Expired when that is too old. Ends when the server ends it, as servers do from time to
        time: go on with the last resourceVersion seen. ``informer`` does all that."""
        ...

    def informer(self, resource: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Informer:
        """A started-on-first-use, shared view of a resource: ``await informer.synced()``, then
        ``get(name, namespace)``, ``list(namespace)``, ``by(index, value)`` without any request."""
        ...

    async def discover(self) -> builtins.list[dict[str, Any]]:
        """All served resources, each in its preferred version first: dicts with group, version, kind, resource,
        singular, short_names, namespaced, verbs."""
        ...

    async def close(self) -> None: ...
