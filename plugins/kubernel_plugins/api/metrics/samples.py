"""From what is added up to what is consumed a second: the difference of two samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.plugin.contract import NodeUsage

__all__ = ["Rate", "Samples"]


@dataclass(frozen=True, slots=True)
class Rate:
    """``cores`` kept busy over ``window`` seconds up to ``taken`` (epoch seconds), and bytes held then."""

    cores: float
    memory: int
    taken: float
    window: float


class Samples:
    """``nodes`` by name, ``pods`` by uid and container: what had a sample before the last."""

    def __init__(self) -> None:
        self.nodes: dict[str, Rate] = {}
        self.pods: dict[str, dict[str, Rate]] = {}
        self._at = 0.0
        self._last_nodes: dict[str, float] = {}
        self._last_pods: Mapping[str, Mapping[str, tuple[float, int]]] = {}

    def take(self, now: float, usage: Iterable[NodeUsage]) -> None:
        window = now - self._at
        nodes: dict[str, float] = {}
        pods: dict[str, Mapping[str, tuple[float, int]]] = {}
        self.nodes, self.pods = {}, {}
        for node in usage:
            nodes[node.node] = node.cpu
            before = self._last_nodes.get(node.node)
            if before is not None and node.cpu >= before and window > 0:
                self.nodes[node.node] = Rate((node.cpu - before) / window, node.memory, now, window)
            pods.update(node.pods)
        if window > 0:
            for uid, containers in pods.items():
                known = self._last_pods.get(uid)
                if not known:
                    continue
                self.pods[uid] = {
                    name: Rate((cpu - known[name][0]) / window, memory, now, window)
                    for name, (cpu, memory) in containers.items()
                    # One that went down counts for a container that was restarted.
                    if name in known and cpu >= known[name][0]
                }
        self._at, self._last_nodes, self._last_pods = now, nodes, pods
