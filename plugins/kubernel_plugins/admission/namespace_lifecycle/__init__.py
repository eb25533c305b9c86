"""NamespaceLifecycle: nothing is created in a namespace that is missing or going away.

Source: k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from kubernel.errors import Cause, Forbidden
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_IMMORTAL = frozenset(("default", "kube-system", "kube-public"))
_REVIEWS = "authorization.k8s.io"
"""Whether somebody may do something in a namespace can be asked before there is one."""


class Plugin(Base):
    """The ``namespace_lifecycle`` admission plugin."""

    async def start(self) -> None:
        self._client = self.handle.client("system:apiserver", ("system:masters",))
        self._namespaces = self._client.informer("namespaces")

    @hookimpl
    def kubernel_admit(self, request: Request) -> Awaitable[None] | None:
        operation = request.operation
        type = request.type
        if type.plural == "namespaces" and not type.group:
            if operation == "DELETE" and request.name in _IMMORTAL:
                raise Forbidden.for_object(
                    type.plural, type.group, request.name, "this namespace may not be deleted"
                )
            return None
        if operation != "CREATE" or not type.namespaced or type.group == _REVIEWS:
            return None
        namespace = self._namespaces.get(request.namespace)
        if namespace is None:
            return self._look_again(request)
        self._check(request, namespace)
        return None

    async def _look_again(self, request: Request) -> None:
        """The view may be a moment behind a namespace that was just created. Raises NotFound."""
        self._check(request, await self._client.get("namespaces", request.namespace))

    @staticmethod
    def _check(request: Request, namespace: Obj) -> None:
        if not meta.is_deleting(namespace):
            return
        name = request.namespace
        raise Forbidden.for_object(
            request.type.plural,
            request.type.group,
            request.name,
            f"unable to create new content in namespace {name} because it is being terminated",
            (Cause("NamespaceTerminating", f"namespace {name} is being terminated", "metadata.namespace"),),
        )
