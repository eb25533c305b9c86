"""ExtendedResourceToleration: a pod that asks for a device tolerates the taint of the nodes that have it.

Source: k8s.io/kubernetes/plugin/pkg/admission/extendedresourcetoleration (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``extended_resource_toleration`` admission plugin."""

    @hookimpl
    def kubernel_admit(self, request: Request) -> None:
        if request.type.plural != "pods" or request.type.group or request.subresource:
            return
        if request.operation not in ("CREATE", "UPDATE") or request.obj is None:
            return
        spec = request.obj["spec"]
        wanted = {
            resource
            for kind in ("initContainers", "containers")
            for container in spec.get(kind) or ()
            for resource in (container.get("resources") or {}).get("requests") or ()
            if _is_extended(resource)
        }
        tolerations = list(spec.get("tolerations") or ())
        for resource in sorted(wanted):
            toleration = {"key": resource, "operator": "Exists", "effect": "NoSchedule"}
            if toleration not in tolerations:
                tolerations.append(toleration)
        if tolerations:
            spec["tolerations"] = tolerations


def _is_extended(resource: str) -> bool:
    domain, separator, _ = resource.partition("/")
    return bool(separator) and not domain.endswith("kubernetes.io") and not resource.startswith("requests.")
