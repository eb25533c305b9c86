"""NodeDeclaredFeatureValidator: a pod on a node is changed only in ways that the node says it can follow.

Source: k8s.io/kubernetes/plugin/pkg/admission/nodedeclaredfeatures and k8s.io/component-helpers/nodedeclaredfeatures
(v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import quantity
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel_plugins.admission.bound_pods import changed_spec, node_of, refused

if TYPE_CHECKING:
    from kubernel.registry.request import Request
    from kubernel.store.records import Obj

__all__ = ["Plugin"]


class Plugin(Base):
    """The ``node_declared_features`` admission plugin."""

    @hookimpl
    def kubernel_validate(self, request: Request) -> None:
        change = changed_spec(request, ("", "resize"))
        if change is None:
            return
        obj, old = change
        needed = _needed(obj["spec"], old["spec"])
        if not needed:
            return
        name, node = obj["spec"]["nodeName"], node_of(self.handle.registry, request, obj)
        declared = (node.get("status") or {}).get("declaredFeatures") or ()
        if missing := [feature for feature in needed if feature not in declared]:
            why = (
                f'pod update requires features {", ".join(missing)} which are not available on node "{name}"'
            )
            raise refused(request, why)


def _needed(spec: Obj, old: Obj) -> list[str]:
    """The features that following this change takes, by name."""
    found = []
    if (spec.get("resources") or None) != (old.get("resources") or None):
        found.append("InPlacePodLevelResourcesVerticalScaling")
    if any(
        one.get("restartPolicy") != "Always" and one.get("resources") != new.get("resources")
        for one, new in zip(old.get("initContainers") or (), spec.get("initContainers") or (), strict=False)
    ):
        found.append("InPlacePodVerticalScalingInitContainers")
    volumes, before = spec.get("volumes") or (), old.get("volumes") or ()
    if len(volumes) == len(before) and any(map(_resized, volumes, before)):
        found.append("InPlacePodVerticalScalingMemoryBackedVolumes")
    return found


def _resized(volume: Obj, old: Obj) -> bool:
    """Whether a volume in memory got another limit; every other change is for validation to refuse."""
    new, was = volume.get("emptyDir") or {}, old.get("emptyDir") or {}
    if volume.get("name") != old.get("name") or new.get("medium") != "Memory":
        return False
    size, before = new.get("sizeLimit"), was.get("sizeLimit")
    return size is not None and before is not None and quantity.parse(size) != quantity.parse(before)
