"""Hints by the annotation ``service.kubernetes.io/topology-mode: Auto``: endpoints are given to zones in proportion
to the CPU of their nodes, as long as no endpoint has to bear more than a fifth too much.

Source: k8s.io/endpointslice/topologycache (v1.37). Where upstream goes through a map in any order, zones are taken
by name here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kubernel.objects import conditions, meta, quantity
from kubernel_plugins.controller.endpointslice.packing import is_ready, without_hints
from kubernel_plugins.controller.slicewriter import Changes

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import Obj

__all__ = ["Event", "TopologyCache", "is_asked_for", "remove_hints", "zone_of"]

_MODE = "service.kubernetes.io/topology-mode"
_OLDER_MODE = "service.kubernetes.io/topology-aware-hints"
_ZONE = "topology.kubernetes.io/zone"
_LEFT_OUT = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
_OVERLOAD = 0.2

_DISABLED = "TopologyAwareHintsDisabled"
_ENABLED = "TopologyAwareHintsEnabled"

Event = tuple[Literal["Normal", "Warning"], str, str]
"""(type, reason, message)."""


@dataclass(frozen=True, slots=True)
class _Allocation:
    """How many endpoints a zone is to have."""

    minimum: int
    maximum: int
    desired: float


class _Refused(Exception):
    """No hints can be given."""


def is_asked_for(service: Obj) -> bool:
    annotations = meta.annotations(service)
    return annotations.get(_OLDER_MODE, annotations.get(_MODE)) in ("Auto", "auto")


def zone_of(node: Obj | None) -> str:
    return meta.labels(node).get(_ZONE, "") if node is not None else ""


def remove_hints(changes: Changes, unchanged: Iterable[Obj]) -> None:
    """From all slices; those that had some are written."""
    changes.update += [
        entry for entry in unchanged if any("hints" in one for one in entry.get("endpoints") or ())
    ]
    for entries in (changes.create, changes.update):
        entries[:] = [
            {**entry, "endpoints": [without_hints(endpoint) for endpoint in entry.get("endpoints") or ()]}
            for entry in entries
        ]


class TopologyCache:
    """The CPU of the ready nodes of each zone, and what was given to each zone of each service."""

    def __init__(self) -> None:
        self._nodes: dict[str, tuple[str, int]] = {}
        self._cpu: Counter[str] = Counter()
        self._unclear = 0
        self._given: dict[ObjectKey, dict[str, Counter[str]]] = {}
        self._hinted: set[ObjectKey] = set()

    # --- nodes

    def node_changed(self, name: str, node: Obj | None) -> bool:
        """Take in what a node is now, None when it is gone; whether that changes anything."""
        now = self._contribution(node)
        before = self._nodes.get(name)
        if now == before:
            return False
        for held, sign in ((before, -1), (now, 1)):
            if held is None:
                continue
            zone, cpu = held
            if not zone or not cpu:
                self._unclear += sign
            else:
                self._cpu[zone] += sign * cpu
                if not self._cpu[zone]:
                    del self._cpu[zone]
        if now is None:
            del self._nodes[name]
        else:
            self._nodes[name] = now
        return True

    @staticmethod
    def _contribution(node: Obj | None) -> tuple[str, int] | None:
        """(zone, thousandths of a CPU), of a ready node that takes workload."""
        if node is None or any(label in meta.labels(node) for label in _LEFT_OUT):
            return None
        if not conditions.is_true(node, "Ready"):
            return None
        cpu = meta.get(node, "status", "allocatable", "cpu", default="0")
        return zone_of(node), quantity.to_int_milli(cpu)

    def _ratios(self) -> dict[str, float]:
        """The share of each zone; empty when it cannot be told, or when there is only one."""
        if self._unclear or len(self._cpu) < 2:
            return {}
        total = sum(self._cpu.values())
        return {zone: self._cpu[zone] / total for zone in sorted(self._cpu)}

    def overloaded(self) -> list[ObjectKey]:
        """Services of whose zones one has too few endpoints now."""
        ratios = self._ratios()
        return [
            key
            for key, by_family in self._given.items()
            if any(_is_overloaded(given, ratios) for given in by_family.values())
        ]

    # --- hints

    def forget(self, service: ObjectKey, family: str = "") -> None:
        """What was given; ``family`` empty is in both."""
        by_family = self._given.get(service, {})
        by_family.pop(family, None)
        if not by_family or not family:
            self._given.pop(service, None)
        self._hinted.discard(service)

    def give_up(self, service: ObjectKey, family: str) -> list[Event]:
        """Nobody asks for hints any more."""
        told = service in self._hinted
        self.forget(service, family)
        return [_event(_DISABLED, "Topology Aware Hints has been disabled", family)] if told else []

    def add_hints(
        self, service: ObjectKey, family: str, changes: Changes, unchanged: list[Obj]
    ) -> list[Event]:
        """``unchanged`` slices whose hints are no longer right are written too."""
        slices = [*changes.create, *changes.update, *unchanged]
        count = sum(is_ready(endpoint) for entry in slices for endpoint in entry.get("endpoints") or ())
        still = list(unchanged)
        try:
            allocations = self._allocations(count)
            given: Counter[str] = Counter()
            for entry in unchanged:
                hints = _hints_by_zone(entry, given, allocations)
                if hints is None:
                    changes.update.append(entry)
                    still.remove(entry)
                else:
                    given += hints
            zones = _own_zones([*changes.create, *changes.update])
        except _Refused as refused:
            self.forget(service, family)
            remove_hints(changes, still)
            return [_event(_DISABLED, str(refused), family)]
        given.update(zone for hints in zones for zone in hints if zone)
        _redistribute(zones, *_exchange(allocations, given), given)
        if not given:
            self.forget(service, family)
            remove_hints(changes, still)
            return [_event(_DISABLED, "No hints allocated for zones", family)]
        entries = len(changes.create)
        changes.create[:] = map(_hinted, changes.create, zones[:entries])
        changes.update[:] = map(_hinted, changes.update, zones[entries:])
        known = service in self._hinted
        self._given.setdefault(service, {})[family] = given
        self._hinted.add(service)
        return [] if known else [_event(_ENABLED, "Topology Aware Hints has been enabled", family)]

    def _allocations(self, count: int) -> dict[str, _Allocation]:
        ratios = self._ratios()
        if not ratios:
            raise _Refused(
                "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
            )
        numbers = f"({count} endpoints, {len(ratios)} zones)"
        if len(ratios) > count:
            raise _Refused(f"Insufficient number of endpoints {numbers}")
        least = {zone: math.ceil(ratio * count * (1 / (1 + _OVERLOAD))) for zone, ratio in ratios.items()}
        spare = count - sum(least.values())
        if spare < 0:
            raise _Refused(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload "
                f"threshold {numbers}"
            )
        return {
            zone: _Allocation(least[zone], least[zone] + spare, max(ratio * count, float(least[zone])))
            for zone, ratio in ratios.items()
        }


def _event(reason: str, message: str, family: str) -> Event:
    return "Normal" if reason == _ENABLED else "Warning", reason, f"{message}, addressType: {family}"


def _own_zones(slices: Iterable[Obj]) -> list[list[str]]:
    """The zone of each endpoint of each slice, empty for one that is not ready."""
    found = []
    for entry in slices:
        endpoints = entry.get("endpoints") or ()
        if any(is_ready(endpoint) and not endpoint.get("zone") for endpoint in endpoints):
            raise _Refused("One or more endpoints do not have a zone specified")
        found.append([endpoint["zone"] if is_ready(endpoint) else "" for endpoint in endpoints])
    return found


def _hints_by_zone(
    entry: Obj, given: Mapping[str, int], allocations: Mapping[str, _Allocation]
) -> Counter[str] | None:
    """Of a slice that is not written; None when its hints cannot stay."""
    found: Counter[str] = Counter()
    for endpoint in entry.get("endpoints") or ():
        if not is_ready(endpoint):
            continue
        zones = [hint["name"] for hint in (endpoint.get("hints") or {}).get("forZones") or ()]
        if not zones or any(zone not in allocations for zone in zones):
            return None
        found.update(zones)
    if any(count + given.get(zone, 0) > allocations[zone].maximum for zone, count in found.items()):
        return None
    return found


def _exchange(
    allocations: Mapping[str, _Allocation], given: Mapping[str, int]
) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints zones give away, and how many they get."""
    differences = {zone: given.get(zone, 0) - each.desired for zone, each in sorted(allocations.items())}
    over = {zone: by for zone, by in differences.items() if by > 0}
    under = {zone: -by for zone, by in differences.items() if by < 0}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while True:
        giver, surplus = _most(over)
        receiver, lack = _most(under)
        if not giver or not receiver or (surplus < 1 and lack < 1) or surplus < 0.5 or lack < 0.5:
            return giving, receiving
        giving[giver] += 1
        over[giver] -= 1
        receiving[receiver] += 1
        under[receiver] -= 1


def _most(zones: Mapping[str, float]) -> tuple[str, float]:
    zone = max(zones, key=lambda zone: zones[zone], default="")
    return (zone, zones[zone]) if zone and zones[zone] > 0 else ("", 0.0)


def _redistribute(
    zones: list[list[str]], giving: Counter[str], receiving: Counter[str], given: Counter[str]
) -> None:
    for hints in zones:
        for index, zone in enumerate(hints):
            receiver = next((name for name, count in receiving.items() if count > 0), "")
            if not receiver or giving.total() <= 0:
                return
            if zone and giving[zone] > 0:
                hints[index] = receiver
                giving[zone] -= 1
                receiving[receiver] -= 1
                given[zone] -= 1
                given[receiver] += 1


def _hinted(entry: Obj, zones: list[str]) -> Obj:
    endpoints = []
    for endpoint, zone in zip(entry.get("endpoints") or (), zones, strict=True):
        hints = {"forZones": [{"name": zone}]}
        endpoints.append({**without_hints(endpoint), "hints": hints} if zone else endpoint)
    return {**entry, "endpoints": endpoints}


def _is_overloaded(given: Mapping[str, int], ratios: Mapping[str, float]) -> bool:
    if not given:
        return False
    total = sum(given.values())
    return not ratios or any(
        zone not in given or given[zone] < math.ceil(total * ratio * (1 / (1 + _OVERLOAD)))
        for zone, ratio in ratios.items()
    )
