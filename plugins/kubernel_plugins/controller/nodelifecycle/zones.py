"""Zones of nodes: how disrupted each is, and how fast its nodes may be given NoExecute taints.

Source: ``handleDisruption``, ``ComputeZoneState`` and ``RateLimitedTimedQueue`` of
k8s.io/kubernetes/pkg/controller/nodelifecycle (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from kubernel.config.convert import Duration
from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Change", "Settings", "State", "Zone", "Zones", "is_excluded", "state_of", "zone_of"]

_SUBSYSTEM = "node_collector"
_EXCLUDED = "node.kubernetes.io/exclude-disruption"
_FEWEST_UNHEALTHY = 3
"""Fewer nodes that are not ready never make a zone unhealthy."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What kube-controller-manager's flags of the same names say."""

    node_monitor_period: Duration = 5.0
    node_monitor_grace_period: Duration = 50.0
    node_startup_grace_period: Duration = 60.0
    node_eviction_rate: float = 0.1
    """Nodes a second."""
    secondary_node_eviction_rate: float = 0.01
    large_cluster_size_threshold: int = 50
    unhealthy_zone_threshold: float = 0.55

    def __post_init__(self) -> None:
        if self.node_monitor_period <= 0:
            raise ValueError("nodeMonitorPeriod must be greater than 0")
        if self.node_monitor_grace_period <= 0:
            raise ValueError("nodeMonitorGracePeriod must be greater than 0")
        if self.node_eviction_rate < 0:
            raise ValueError("nodeEvictionRate must not be negative")
        if self.secondary_node_eviction_rate < 0:
            raise ValueError("secondaryNodeEvictionRate must not be negative")
        if not 0 < self.unhealthy_zone_threshold <= 1:
            raise ValueError("unhealthyZoneThreshold must be greater than 0 and at most 1")


class State(Enum):
    INITIAL = "Initial"
    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_of(node: Obj) -> str:
    """What tells the node's zone from others: region and zone, empty when it is in neither."""
    labels = meta.labels(node)
    region, zone = (
        labels.get(f"topology.kubernetes.io/{level}")
        or labels.get(f"failure-domain.beta.kubernetes.io/{level}")
        or ""
        for level in ("region", "zone")
    )
    return f"{region}:\x00:{zone}" if region or zone else ""


def is_excluded(node: Obj) -> bool:
    return _EXCLUDED in meta.labels(node)


def state_of(ready: int, not_ready: int, threshold: float) -> State:
    """How disrupted a zone with so many nodes is."""
    if not ready and not_ready:
        return State.FULL
    if not_ready >= _FEWEST_UNHEALTHY and not_ready / (ready + not_ready) >= threshold:
        return State.PARTIAL
    return State.NORMAL


class Zone:
    """The nodes of a zone, and those of them that wait for their NoExecute taint."""

    def __init__(self, rate: float) -> None:
        self.ready = 0
        self.not_ready = 0
        self.state = State.INITIAL
        self.rate = rate
        """Nodes a second; 0 is none."""
        self._free_at = float("-inf")
        self._waiting: dict[str, None] = {}

    @property
    def size(self) -> int:
        return self.ready + self.not_ready

    def add(self, node: str) -> bool:
        """Put the node at the end of the queue; False when it is in it."""
        if node in self._waiting:
            return False
        self._waiting[node] = None
        return True

    def remove(self, node: str) -> bool:
        """Take the node out of the queue; False when it is not in it."""
        return self._waiting.pop(node, self) is None

    def next(self, now: float) -> str | None:
        """The node whose turn it is, None while there is none or it is too early; it stays in the queue."""
        if not self._waiting or self.rate <= 0 or now < self._free_at:
            return None
        self._free_at = now + 1.0 / self.rate
        return next(iter(self._waiting))

    def wait(self, now: float) -> float | None:
        """Seconds until ``next`` has something to say, None until the zone's state or queue changes."""
        return max(self._free_at - now, 0.0) if self._waiting and self.rate > 0 else None

    def set_rate(self, rate: float, now: float) -> None:
        """Go on at another rate; who waits for the limiter now waits a full turn of the new one."""
        if rate == self.rate:
            return
        is_waiting = self.rate <= 0 or now < self._free_at
        self.rate = rate
        self._free_at = now + 1.0 / rate if rate > 0 and is_waiting else now


class Change(Enum):
    """What a node's new health meant to the cluster as a whole."""

    NONE = "none"
    ZONES = "zones"
    """A zone goes on at another rate."""
    STOPPED = "stopped"
    """Now all zones are fully disrupted: nothing is tainted any more."""
    RESUMED = "resumed"
    """A node of an all disrupted cluster is ready."""


class Zones:
    """All zones of a cluster."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._zones: dict[str, Zone] = {}
        self._health: dict[str, tuple[str, bool]] = {}
        self._evictions: Counter[str] = Counter()
        self.stopped = False
        """Whether every zone is fully disrupted: the master, not the nodes, is thought to be cut off."""

    def zone(self, key: str) -> Zone:
        """The zone of that key; made when it was not known."""
        found = self._zones.get(key)
        if found is None:
            found = self._zones[key] = Zone(self._settings.node_eviction_rate)
        return found

    @property
    def keys(self) -> Iterable[str]:
        return self._zones.keys()

    def fill(self, nodes: Iterable[tuple[Obj, bool]], now: float) -> Change:
        """Take note of (node, whether it is ready) for all there are, before judging any zone."""
        for node, ready in nodes:
            self._count(node, ready)
        return self._judge(now)

    def note(self, node: Obj, ready: bool, now: float) -> Change:
        """Take note of one node's health."""
        return self._judge(now) if self._count(node, ready) else Change.NONE

    def forget(self, node: str, now: float) -> Change:
        """The node is gone."""
        for zone in self._zones.values():
            zone.remove(node)
        return self._judge(now) if self._uncount(node) else Change.NONE

    def _count(self, node: Obj, ready: bool) -> bool:
        name = meta.name(node)
        if is_excluded(node):
            return self._uncount(name)
        health = zone_of(node), ready
        before = self._health.get(name)
        if before == health:
            return False
        self._uncount(name)
        if before is not None and before[0] != health[0]:
            self._zones[before[0]].remove(name)
        self._health[name] = health
        zone = self.zone(health[0])
        zone.ready += ready
        zone.not_ready += not ready
        return True

    def _uncount(self, node: str) -> bool:
        health = self._health.pop(node, None)
        if health is None:
            return False
        zone = self._zones[health[0]]
        zone.ready -= health[1]
        zone.not_ready -= not health[1]
        if not zone.size:
            zone.state = State.INITIAL
        return True

    def _judge(self, now: float) -> Change:
        threshold = self._settings.unhealthy_zone_threshold
        states = {
            zone: state_of(zone.ready, zone.not_ready, threshold)
            for zone in self._zones.values()
            if zone.size
        }
        if not states:
            return Change.NONE
        was_stopped = self.stopped
        self.stopped = all(state is State.FULL for state in states.values())
        if self.stopped:
            for zone in states:
                zone.state = State.FULL
                zone.set_rate(0.0, now)
            return Change.NONE if was_stopped else Change.STOPPED
        changed = [zone for zone, state in states.items() if was_stopped or state is not zone.state]
        for zone in changed:
            zone.state = states[zone]
            zone.set_rate(self._rate(zone), now)
        if was_stopped:
            return Change.RESUMED
        return Change.ZONES if changed else Change.NONE

    def evicted(self, node: Obj) -> None:
        """The node got its NoExecute taint."""
        self._evictions[zone_of(node)] += 1

    def render(self) -> str:
        """What upstream counts (nodelifecycle/metrics.go), in the Prometheus text format."""
        lines: list[str] = []
        found = sorted(self._zones.items())
        for name, type, values in (
            ("evictions_total", "counter", [self._evictions[key] for key, _ in found]),
            ("unhealthy_nodes_in_zone", "gauge", [zone.not_ready for _, zone in found]),
            ("zone_health", "gauge", [_health(zone) for _, zone in found]),
            ("zone_size", "gauge", [zone.size for _, zone in found]),
        ):
            if found:
                lines.append(f"# TYPE {_SUBSYSTEM}_{name} {type}")
            lines += [
                f'{_SUBSYSTEM}_{name}{{zone="{key}"}} {value:g}'
                for (key, _), value in zip(found, values, strict=True)
            ]
        return "".join(f"{line}\n" for line in lines)

    def _rate(self, zone: Zone) -> float:
        if zone.state is not State.PARTIAL:
            return self._settings.node_eviction_rate
        if zone.size > self._settings.large_cluster_size_threshold:
            return self._settings.secondary_node_eviction_rate
        return 0.0


def _health(zone: Zone) -> float:
    """Percent of its nodes that are ready."""
    return 100 * zone.ready / zone.size if zone.size else 100.0
