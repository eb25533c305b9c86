"""Hints by ``spec.trafficDistribution``: each ready endpoint is for its own zone, or its own node.

Source: k8s.io/endpointslice/trafficdist (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubernel_plugins.controller.endpointslice.packing import Endpoint, is_ready, without_hints
from kubernel_plugins.controller.slicewriter import Changes

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["PREFERENCES", "add_hints"]

_SAME_NODE = "PreferSameNode"
PREFERENCES = frozenset(("PreferClose", "PreferSameZone", _SAME_NODE))


def add_hints(preference: str, changes: Changes, unchanged: Iterable[Obj]) -> None:
    """Give the slices that are written their hints, and write those whose hints are not right."""
    by_node = preference == _SAME_NODE
    changes.update += [entry for entry in unchanged if not _is_right(entry, by_node)]
    for entries in (changes.create, changes.update):
        entries[:] = [_hinted(entry, by_node) for entry in entries]


def _hints(endpoint: Endpoint, by_node: bool) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    if zone := endpoint.get("zone"):
        hints["forZones"] = [{"name": zone}]
    if by_node and (node := endpoint.get("nodeName")):
        hints["forNodes"] = [{"name": node}]
    return hints


def _is_right(entry: Obj, by_node: bool) -> bool:
    return all(
        (endpoint.get("hints") or {}) == _hints(endpoint, by_node)
        for endpoint in entry.get("endpoints") or ()
        if is_ready(endpoint)
    )


def _hinted(entry: Obj, by_node: bool) -> Obj:
    endpoints = []
    for endpoint in entry.get("endpoints") or ():
        if is_ready(endpoint):
            endpoint = without_hints(endpoint)
            if hints := _hints(endpoint, by_node):
                endpoint["hints"] = hints
        endpoints.append(endpoint)
    return {**entry, "endpoints": endpoints}
