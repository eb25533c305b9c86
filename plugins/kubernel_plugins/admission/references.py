"""What kinds of objects a pod refers to: mirror pods may refer to none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["references"]


def references(spec: Mapping[str, Any]) -> Iterator[str]:
    """Plurals, in the order in which upstream looks."""
    secrets = bool(spec.get("imagePullSecrets"))
    maps = bundles = claims = False
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for source in container.get("envFrom") or ():
                secrets |= "secretRef" in source
                maps |= "configMapRef" in source
            for variable in container.get("env") or ():
                value = variable.get("valueFrom") or {}
                secrets |= "secretKeyRef" in value
                maps |= "configMapKeyRef" in value
    for volume in spec.get("volumes") or ():
        secrets |= "secret" in volume
        maps |= "configMap" in volume
        claims |= "persistentVolumeClaim" in volume
        for source in (volume.get("projected") or {}).get("sources") or ():
            secrets |= "secret" in source
            maps |= "configMap" in source
            bundles |= "clusterTrustBundle" in source
    for there, what in (
        (secrets, "secrets"),
        (maps, "configmaps"),
        (bundles, "clustertrustbundles"),
        (claims, "persistentvolumeclaims"),
        (bool(spec.get("resourceClaims")), "resourceclaims"),
    ):
        if there:
            yield what
