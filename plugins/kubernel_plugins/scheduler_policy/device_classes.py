"""Which device class stands for an extended resource (KEP-5004).

Source: k8s.io/dynamic-resource-allocation/deviceclass/extendedresourcecache (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Change, PodState
    from kubernel.store.records import Obj

__all__ = ["CLASSES", "DeviceClasses"]

CLASSES = "deviceclasses.v1.resource.k8s.io"
_PREFIX = "deviceclass.resource.kubernetes.io/"
_BY_RESOURCE = "extended resource"


class DeviceClasses:
    """By the resources that they stand for: the one they name, and one with the class's own name."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        informer.add_index(_BY_RESOURCE, lambda found: [name] if (name := _named(found)) else [])

    def of(self, resource: str) -> Obj | None:
        """The newest class, of equally new ones the first by name."""
        if "/" not in resource:
            return None
        if resource.startswith(_PREFIX):
            return self._informer.get(resource.removeprefix(_PREFIX))
        found = sorted(self._informer.by(_BY_RESOURCE, resource), key=meta.name)
        return max(found, key=lambda each: str(each["metadata"].get("creationTimestamp")), default=None)

    @staticmethod
    def renamed(change: Change) -> bool:
        """Whether a change of a class makes it stand for other resources than before."""
        return change.type == "DELETED" or change.old is None or _named(change.old) != _named(change.obj)

    @staticmethod
    def help(pod: PodState, change: Change) -> bool:
        """Whether a class came to stand for a resource that the pod asks for."""
        if change.type == "DELETED" or not DeviceClasses.renamed(change):
            return False
        own = f"{_PREFIX}{meta.name(change.obj)}" if change.old is None else ""
        return own in pod.requests or _named(change.obj) in pod.requests


def _named(found: Obj) -> str:
    return found["spec"].get("extendedResourceName") or ""
