"""AppArmor profiles that annotations of a new pod name become fields of its containers.

Source: applyAppArmorVersionSkew in k8s.io/kubernetes/pkg/registry/core/pod/strategy.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel_plugins.api.builtin.strategies.pod_warnings import APP_ARMOR, app_armor_field, app_armor_warning

if TYPE_CHECKING:
    from kubernel.registry.request import Request

__all__ = ["sync_app_armor"]

_LONGEST = 4095


def sync_app_armor(request: Request, obj: dict[str, Any]) -> None:
    """In place; what an annotation decides, or cannot decide, is warned of."""
    annotations = obj["metadata"]["annotations"]
    spec = obj["spec"]
    if (spec.get("os") or {}).get("name") == "windows":
        return
    profile = (spec.get("securityContext") or {}).get("appArmorProfile")
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            key = f"{APP_ARMOR}{container.get('name', '')}"
            security = container.get("securityContext") or {}
            if key not in annotations or security.get("appArmorProfile") is not None:
                continue
            told = app_armor_field(annotations[key])
            local = "" if told is None else told.get("localhostProfile", "")
            if local.strip() != local or len(local) > _LONGEST:
                told = None
            if told is None or told != profile:
                request.warn(app_armor_warning(f"metadata.annotations[{key}]"))
            if told is not None and told != profile:
                container["securityContext"] = {**security, "appArmorProfile": told}
