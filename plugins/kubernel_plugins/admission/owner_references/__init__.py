"""OwnerReferencesPermissionEnforcement: who makes an object another's must be allowed to delete it.

Source: k8s.io/kubernetes/plugin/pkg/admission/gc (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel.errors import Forbidden
from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.registry.attributes import Attributes

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``owner_references`` admission plugin."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        obj, old, hooks = request.obj, request.old, self.handle.hooks
        if obj is None or request.verb == "connect" or "metadata" not in obj:
            return
        owners, before = meta.owners(obj), [] if old is None else meta.owners(old)
        if not owners and not before:
            return
        type = request.type
        if owners != before and old is not None:
            asked = Attributes(
                request.user,
                "delete",
                type.group,
                type.version,
                type.plural,
                "",
                request.namespace,
                request.name,
            )
            decision = hooks.authorize(asked)
            if not decision.allowed:
                raise self._refused(
                    request, f"cannot set an ownerRef on a resource you can't delete: {decision.reason}"
                )
        blocked = {one.get("uid") for one in before if one.get("blockOwnerDeletion")}
        for owner in owners:
            if not owner.get("blockOwnerDeletion") or owner.get("uid") in blocked:
                continue
            decision = hooks.authorize(self._finalizers(request, owner))
            if not decision.allowed:
                raise self._refused(
                    request,
                    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers "
                    f"on: {decision.reason}",
                )

    def _finalizers(self, request: Request, owner: Mapping[str, Any]) -> Attributes:
        group, _, version = str(owner.get("apiVersion", "")).rpartition("/")
        type = self.handle.registry.by_kind(group, version, str(owner.get("kind", "")))
        if type is None:
            raise self._refused(
                request, f"cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
                f"APIVersion {owner.get('apiVersion')} Kind {owner.get('kind')}"
            )  # fmt: skip
        namespace = request.namespace if type.namespaced else ""
        name = str(owner.get("name", ""))
        return Attributes(request.user, "update", group, version, type.plural, "finalizers", namespace, name)

    @staticmethod
    def _refused(request: Request, why: str) -> Forbidden:
        return Forbidden.for_object(request.type.plural, request.type.group, request.name, why)
