"""PV protection controller: a volume stays as long as a claim is bound to it.

Source: k8s.io/kubernetes/pkg/controller/volume/pvprotection (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel_plugins import volumes as v
from kubernel_plugins.controller.protection import Protection

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(Protection):
    """The ``pvprotection`` controller."""

    resource = v.VOLUMES
    finalizer = "kubernetes.io/pv-protection"
    user = "system:serviceaccount:kube-system:pv-protection-controller"

    def in_use(self, obj: Obj) -> bool:
        return (obj.get("status") or {}).get("phase") == "Bound"
