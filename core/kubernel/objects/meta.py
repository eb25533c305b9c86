"""Reading metadata, and changing objects without touching them.

Stored objects are shared: nothing here mutates its argument. ``replace`` and ``remove`` copy the dicts along
one path and share everything else.
"""

from collections.abc import Mapping
from typing import Any

__all__ = [
    "annotations",
    "controller_of",
    "get",
    "is_deleting",
    "key",
    "labels",
    "name",
    "namespace",
    "owner_reference",
    "owners",
    "remove",
    "replace",
    "resource_version",
    "uid",
]

Obj = Mapping[str, Any]


def _metadata(obj: Obj) -> Mapping[str, Any]:
    return obj.get("metadata") or {}


def name(obj: Obj) -> str:
    """``metadata.name``, empty when absent."""
    return _metadata(obj).get("name") or ""


def namespace(obj: Obj) -> str:
    """``metadata.namespace``, empty for cluster-scoped objects."""
    return _metadata(obj).get("namespace") or ""


def uid(obj: Obj) -> str:
    """``metadata.uid``, empty when absent."""
    return _metadata(obj).get("uid") or ""


def resource_version(obj: Obj) -> str:
    """``metadata.resourceVersion``, empty when absent."""
    return _metadata(obj).get("resourceVersion") or ""


def labels(obj: Obj) -> Mapping[str, str]:
    """``metadata.labels``; an empty mapping when absent."""
    return _metadata(obj).get("labels") or {}


def annotations(obj: Obj) -> Mapping[str, str]:
    """``metadata.annotations``; an empty mapping when absent."""
    return _metadata(obj).get("annotations") or {}


def key(obj: Obj) -> tuple[str, str]:
    """``(namespace, name)``: what informers, queues and listings sort by."""
    metadata = _metadata(obj)
    return metadata.get("namespace") or "", metadata.get("name") or ""


def is_deleting(obj: Obj) -> bool:
    """Whether deletion has been asked for (``metadata.deletionTimestamp`` is set)."""
    return bool(_metadata(obj).get("deletionTimestamp"))


def owners(obj: Obj) -> list[dict[str, Any]]:
    """``metadata.ownerReferences``; an empty list when absent."""
    return _metadata(obj).get("ownerReferences") or []


def controller_of(obj: Obj) -> dict[str, Any] | None:
    """The owner reference with ``controller: true``, or None. An object has at most one."""
    for reference in owners(obj):
        if reference.get("controller"):
            return reference
    return None


def owner_reference(obj: Obj, *, controller: bool = True) -> dict[str, Any]:
    """A reference to ``obj`` for the objects it owns.

    A controller's reference also blocks the owner's foreground deletion, as upstream's
    ``metav1.NewControllerRef`` does.
    """
    reference: dict[str, Any] = {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "name": name(obj),
        "uid": uid(obj),
    }
    if controller:
        reference["controller"] = True
        reference["blockOwnerDeletion"] = True
    return reference


def get(obj: Any, *path: str | int, default: Any = None) -> Any:
    """The value at ``path`` (dict keys, list indexes); ``default`` when any part is absent or null."""
    value = obj
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and -len(value) <= part < len(value):
            value = value[part]
        else:
            return default
        if value is None:
            return default
    return value


def replace(obj: Obj, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """``obj`` with ``value`` at ``path``; absent dicts on the way are created.

    Raises TypeError when something on the way is neither absent, null nor a dict, ValueError for an
    empty path.
    """
    if not path:
        raise ValueError("path is empty")
    result = dict(obj)
    place = result
    for part in path[:-1]:
        child = place.get(part)
        if child is not None and not isinstance(child, Mapping):
            raise TypeError(f"{'.'.join(path)}: {part} is a {type(child).__name__}, not a map")
        below = dict(child or {})
        place[part] = below
        place = below
    place[path[-1]] = value
    return result


def remove(obj: Obj, path: tuple[str, ...]) -> dict[str, Any]:
    """``obj`` without what is at ``path``; a copy along the path even when nothing is there."""
    if not path:
        raise ValueError("path is empty")
    result = dict(obj)
    place = result
    for part in path[:-1]:
        child = place.get(part)
        if not isinstance(child, Mapping):
            return result
        below = dict(child)
        place[part] = below
        place = below
    place.pop(path[-1], None)
    return result
