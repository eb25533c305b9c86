"""Volumes and where containers mount them."""

from __future__ import annotations

from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes

__all__ = ["validate_volume_mounts", "validate_volumes"]

Obj = dict[str, Any]

_REQUIRED = {
    "hostPath": "path",
    "secret": "secretName",
    "configMap": "name",
    "persistentVolumeClaim": "claimName",
}


def validate_volumes(volumes: list[Obj], path: str) -> tuple[set[str], list[Cause]]:
    """The volumes' names and what is wrong with them."""
    known: set[str] = set()
    found: list[Cause] = []
    for index, volume in enumerate(volumes):
        field = f"{path}[{index}]"
        name = volume.get("name") or ""
        if not name:
            found.append(causes.required(f"{field}.name"))
        else:
            problems = names.check_dns1123_label(name)
            if problems:
                found += [causes.invalid(f"{field}.name", name, problem) for problem in problems]
            if name in known:
                found.append(causes.duplicate(f"{field}.name", name))
            known.add(name)
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not sources:
            found.append(causes.required(field, "must specify a volume type"))
        found += [
            causes.forbidden(f"{field}.{source}", "may not specify more than 1 volume type")
            for source in sources[1:]
        ]
        for source in sources[:1]:
            wanted = _REQUIRED.get(source)
            if wanted and not volume[source].get(wanted):
                found.append(causes.required(f"{field}.{source}.{wanted}"))
            found += _validate_items(volume[source], f"{field}.{source}")
    return known, found


def _validate_items(source: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    if not isinstance(source, dict):
        return found
    for index, item in enumerate(source.get("items") or ()):
        if "key" in item and not item["key"]:
            found.append(causes.required(f"{path}.items[{index}].key"))
        if not item.get("path"):
            found.append(causes.required(f"{path}.items[{index}].path"))
        else:
            found += _relative(item["path"], f"{path}.items[{index}].path")
    return found


def _relative(value: str, path: str) -> list[Cause]:
    found: list[Cause] = []
    if value.startswith("/"):
        found.append(causes.invalid(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        found.append(causes.invalid(path, value, "must not contain '..'"))
    return found


def validate_volume_mounts(container: Obj, path: str, volumes: set[str]) -> list[Cause]:
    found: list[Cause] = []
    places: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        field = f"{path}.volumeMounts[{index}]"
        name = mount.get("name") or ""
        if not name:
            found.append(causes.required(f"{field}.name"))
        elif name not in volumes:
            found.append(causes.not_found(f"{field}.name", name))
        place = mount.get("mountPath") or ""
        if not place:
            found.append(causes.required(f"{field}.mountPath"))
        elif place in places:
            found.append(causes.invalid(f"{field}.mountPath", place, "must be unique"))
        places.add(place)
        if mount.get("subPath"):
            found += _relative(mount["subPath"], f"{field}.subPath")
        if mount.get("subPathExpr"):
            if mount.get("subPath"):
                found.append(
                    causes.invalid(
                        f"{field}.subPathExpr",
                        mount["subPathExpr"],
                        "subPathExpr and subPath are mutually exclusive",
                    )
                )
            found += _relative(mount["subPathExpr"], f"{field}.subPathExpr")
    return found
