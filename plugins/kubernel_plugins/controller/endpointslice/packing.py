"""Which endpoint stands in which slice: as few writes as can be, not as few slices.

Source: ``reconcileByPortMapping`` of k8s.io/endpointslice/reconciler.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller.slicewriter import Changes

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Endpoint", "Endpoints", "endpoint_key", "is_ready", "pack", "without_hints"]

Endpoint = dict[str, Any]
Endpoints = dict[tuple[Any, ...], Endpoint]
"""By ``endpoint_key``."""

_COMPARED = ("nodeName", "zone", "conditions", "targetRef")


def endpoint_key(endpoint: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two endpoints the same one."""
    target = endpoint.get("targetRef") or {}
    addresses = tuple(sorted(endpoint["addresses"]))
    return addresses, endpoint.get("hostname"), target.get("namespace"), target.get("name")


def is_ready(endpoint: Mapping[str, Any]) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready"))


def without_hints(endpoint: Mapping[str, Any]) -> Endpoint:
    return {key: value for key, value in endpoint.items() if key != "hints"}


def pack(
    existing: Sequence[Obj],
    wanted: Endpoints,
    limit: int,
    labels: Callable[[Obj], tuple[dict[str, str], bool]],
    fresh: Callable[[], Obj],
) -> Changes:
    """``wanted`` is used up. ``labels`` gives a slice's labels and whether they differ from what it has;
    ``fresh`` a new slice of this service, with these ports and without endpoints."""
    changes = Changes()
    updated: list[Obj] = []
    unchanged: list[Obj] = []
    for entry in existing:
        before = entry.get("endpoints") or []
        kept, changed = _kept(before, wanted)
        wanted_labels, relabelled = labels(entry)
        if changed and not kept:
            changes.delete.append(entry)
        elif changed or relabelled:
            copy = meta.replace(entry, ("metadata", "labels"), wanted_labels)
            updated.append({**copy, "endpoints": kept if changed else list(before)})
        else:
            unchanged.append(entry)
    for entry in sorted(updated, key=lambda entry: -len(entry["endpoints"])):
        _fill(entry, wanted, limit)
    while wanted:
        roomy = _roomiest(unchanged, len(wanted), limit) if len(wanted) < limit else None
        if roomy is None:
            entry = {**fresh(), "endpoints": []}
            changes.create.append(entry)
        else:
            unchanged.remove(roomy)
            entry = {**roomy, "endpoints": list(roomy.get("endpoints") or ())}
            updated.append(entry)
        _fill(entry, wanted, limit)
    changes.update = updated
    return changes


def _kept(before: Iterable[Endpoint], wanted: Endpoints) -> tuple[list[Endpoint], bool]:
    """The endpoints of a slice that stay, as they are to be, and whether that differs from before."""
    kept = []
    changed = False
    for endpoint in before:
        found = wanted.pop(endpoint_key(endpoint), None)
        if found is None:
            changed = True
            continue
        kept.append(found)
        changed = changed or any(endpoint.get(key) != found.get(key) for key in _COMPARED)
    return kept, changed


def _fill(entry: Obj, wanted: Endpoints, limit: int) -> None:
    endpoints = entry["endpoints"]
    for key in list(wanted)[: max(limit - len(endpoints), 0)]:
        endpoints.append(wanted.pop(key))


def _roomiest(slices: Iterable[Obj], count: int, limit: int) -> Obj | None:
    """The slice that ``count`` more endpoints fill best; an empty one is no better than a new one."""
    best, least = None, limit
    for entry in slices:
        left = limit - count - len(entry.get("endpoints") or ())
        if 0 <= left < least:
            best, least = entry, left
    return best
