"""Nodes of which nothing exists but what a kubelet would tell of them, for as long as a test lets it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernel.clock import micro_time, rfc3339
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

LEASES = "leases.v1.coordination.k8s.io"
_PERIOD = 10.0
"""Seconds between two signs of life."""


class Fleet:
    def __init__(self, cluster: Cluster, zones: dict[str, Iterable[str]]) -> None:
        """``zones``: names of zones, empty for none, with those of their nodes. They begin ready."""
        self.cluster = cluster
        self.alive: list[str] = []
        for zone, names in zones.items():
            for name in names:
                self.add(name, zone)

    def add(self, name: str, zone: str = "", ready: str = "True", **metadata: Any) -> None:
        labels = {"topology.kubernetes.io/zone": zone} if zone else {}
        labels.update(metadata.pop("labels", {}))
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "kube-node-lease"},
            "spec": {"holderIdentity": name},
        }
        self.cluster.create(lease)
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels, **metadata}}
        self.cluster.create(node)
        self.say(name, ready)
        self.alive.append(name)

    def say(self, name: str, ready: str, **others: str) -> None:
        """What the kubelet of that node says of it."""
        at = rfc3339(self.cluster.clock.time())
        found: Any = meta.get(self.cluster.get("nodes", name), "status", "conditions")
        for type, status in {"Ready": ready, **others}.items():
            found, _ = conditions.set(found, type, status, "Said", "", at, lastHeartbeatTime=at)
        self.cluster.patch("nodes", name, {"status": {"conditions": found}}, subresource="status")

    def silence(self, *names: str) -> None:
        self.alive = [name for name in self.alive if name not in names]

    def revive(self, *names: str) -> None:
        self.alive += names
        self.beat()
        for name in names:
            self.say(name, "True")

    def beat(self) -> None:
        for name in self.alive:
            renewed = {"spec": {"renewTime": micro_time(self.cluster.clock.time())}}
            self.cluster.patch(LEASES, name, renewed, "kube-node-lease")

    def live(self, seconds: float) -> None:
        """Time goes by, in which those that are alive give signs of it."""
        while seconds > 0:
            self.beat()
            self.cluster.clock.advance(min(seconds, _PERIOD))
            seconds -= _PERIOD

    def tainted(self, effect: str = "NoExecute") -> dict[str, list[str]]:
        """Keys of the taints of this effect, without their prefix, of the nodes that have any."""
        found = {}
        for node in self.cluster.list("nodes"):
            taints = (node.get("spec") or {}).get("taints") or ()
            keys = [
                each["key"].removeprefix("node.kubernetes.io/") for each in taints if each["effect"] == effect
            ]
            if keys:
                found[meta.name(node)] = keys
        return found

    def ready(self, name: str) -> dict[str, Any]:
        found = conditions.find(self.cluster.get("nodes", name), "Ready")
        assert found is not None
        return found
