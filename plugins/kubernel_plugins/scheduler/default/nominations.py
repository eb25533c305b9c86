"""Promises: nodes on which preemption is making room for a pod.

Source: k8s.io/kubernetes/pkg/scheduler/backend/queue/nominator.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState
    from kubernel_plugins.scheduler.default.table import NodeTable

__all__ = ["Nominations"]


class Nominations:
    """Pods without a node, by the node they were promised."""

    def __init__(self) -> None:
        self._by_node: dict[str, dict[str, PodState]] = {}
        self._node_of: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._node_of)

    def add(self, pod: PodState, node: str) -> None:
        """Replaces an earlier promise."""
        self.remove(pod.uid)
        self._by_node.setdefault(node, {})[pod.uid] = pod
        self._node_of[pod.uid] = node

    def remove(self, uid: str) -> None:
        node = self._node_of.pop(uid, None)
        if node is not None:
            pods = self._by_node[node]
            del pods[uid]
            if not pods:
                del self._by_node[node]

    def node_of(self, uid: str) -> str:
        """Empty for a pod that was promised nothing."""
        return self._node_of.get(uid, "")

    def on(self, node: str) -> Collection[PodState]:
        return tuple(self._by_node.get(node, {}).values())

    def for_row(self, pod: PodState, node: str, table: NodeTable) -> list[PodState]:
        """The pods of at least this pod's priority that come to a node and are not there yet."""
        return [
            each
            for each in self._by_node.get(node, {}).values()
            if each.uid != pod.uid and each.priority >= pod.priority and table.pod(each.uid) is None
        ]

    def against(self, pod: PodState, table: NodeTable) -> Iterator[tuple[int, list[PodState]]]:
        """``for_row`` of each row with such pods."""
        for node in self._by_node:
            row = table.row(node)
            if row is not None and (promised := self.for_row(pod, node, table)):
                yield row, promised
