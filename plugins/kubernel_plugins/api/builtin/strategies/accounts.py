"""ServiceAccounts.

Source: kubernetes/pkg/registry/core/serviceaccount/strategy.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.api.builtin.strategies.base import Builtin

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["ServiceAccountStrategy"]

Obj = dict[str, Any]

_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_DEPRECATED = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"


class ServiceAccountStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(returns=True)

    def prepare_for_create(self, request: Request, obj: Obj) -> None:
        super().prepare_for_create(request, obj)
        _name_alone(obj)

    def prepare_for_update(self, request: Request, obj: Obj, old: Obj) -> None:
        super().prepare_for_update(request, obj, old)
        _name_alone(obj)

    def warnings(self, request: Request, obj: Obj) -> list[str]:
        newly = request.old is None or _MOUNTABLE not in meta.annotations(request.old)
        if not newly or _MOUNTABLE not in meta.annotations(obj):
            return []
        return [f"metadata.annotations[{_MOUNTABLE}]: {_DEPRECATED}"]


def _name_alone(obj: Obj) -> None:
    """Nothing but the name is kept of a reference to a Secret."""
    if obj.get("secrets"):
        obj["secrets"] = [{"name": one["name"]} if one.get("name") else {} for one in obj["secrets"]]
