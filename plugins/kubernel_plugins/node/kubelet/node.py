"""The Node object and its Lease: registration and heartbeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.clock import micro_time, rfc3339
from kubernel.errors import AlreadyExists, ApiError, NotFound
from kubernel_plugins.node.kubelet import machine

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["KUBELET_VERSION", "NodeReporter"]

KUBELET_VERSION = "v1.37.0"
_LEASES = "leases.v1.coordination.k8s.io"
_LEASE_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
_RENEW = 10.0
_RETRY = 1.0
_REPORT = 300.0
_OWN = ("cpu", "memory", "pods", "ephemeral-storage")

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


class NodeReporter:
    """Keeps one Node and its Lease up to date.

    The Lease is renewed every 10 s, the status every 5 min or when it changes (kubelet's
    ``nodeStatusReportFrequency``).
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        log: Any,
        name: str,
        *,
        addresses: Sequence[str],
        runtime_version: str,
        data_dir: Path,
        max_pods: int,
        labels: Mapping[str, str],
    ) -> None:
        self._client = client
        self._clock = clock
        self._log = log
        self.name = name
        self.addresses = tuple(addresses)
        self._capacity = machine.capacity(data_dir, max_pods)
        self._info = machine.node_info(runtime_version, KUBELET_VERSION)
        self._labels = dict(labels)
        self.allocatable: Mapping[str, str] = self._capacity
        self._node: Obj = {}

    async def register(self) -> None:
        """Create the Node, or take over the one that is there, and report Ready."""
        labels = {
            "kubernetes.io/arch": machine.architecture(),
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": self._info["operatingSystem"],
            **self._labels,
        }
        node: Obj = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": labels},
            "spec": {},
            "status": self._status(),
        }
        try:
            self._node = await self._client.create("nodes", node)
        except AlreadyExists:
            self._node = await self._client.patch("nodes", self.name, {"metadata": {"labels": labels}})
            await self.report()
        else:
            if not (self._node.get("status") or {}).get("conditions"):
                await self.report()

    async def report(self) -> None:
        """Write the status. Resources that others added to the capacity are kept and offered as
        allocatable."""
        status = self._status()
        patch = {"status": status}
        self._node = await self._client.patch("nodes", self.name, patch, subresource="status")
        self.allocatable = status["capacity"]

    def _status(self) -> dict[str, Any]:
        status = self._node.get("status", {})
        now = rfc3339(self._clock.time())
        extended = {k: v for k, v in (status.get("capacity") or {}).items() if k not in _OWN}
        capacity = {**extended, **self._capacity}
        before = {condition["type"]: condition for condition in status.get("conditions") or ()}
        conditions = [
            condition for name, condition in before.items() if name not in {c[0] for c in _CONDITIONS}
        ]
        for type, value, reason, message in _CONDITIONS:
            old = before.get(type)
            same = old is not None and old.get("status") == value
            conditions.append(
                {
                    "type": type,
                    "status": value,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": old["lastTransitionTime"] if old and same else now,
                }
            )
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": address} for address in self.addresses]
            + [{"type": "Hostname", "address": self.name}],
            "conditions": conditions,
            "nodeInfo": self._info,
        }

    async def renew(self) -> None:
        """Renew the Lease, creating it when it is not there."""
        spec = {
            "holderIdentity": self.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": micro_time(self._clock.time()),
        }
        try:
            await self._client.patch(_LEASES, self.name, {"spec": spec}, _LEASE_NAMESPACE)
        except NotFound:
            lease: Obj = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {
                    "name": self.name,
                    "namespace": _LEASE_NAMESPACE,
                    "ownerReferences": [
                        {
                            "apiVersion": "v1",
                            "kind": "Node",
                            "name": self.name,
                            "uid": self._node.get("metadata", {}).get("uid", ""),
                        }
                    ],
                },
                "spec": spec,
            }
            await self._client.create(_LEASES, lease, _LEASE_NAMESPACE)

    def _changed(self, _type: str, node: Obj, _old: Obj | None) -> None:
        self._node = node

    async def beat(self) -> None:
        """Renew and report for ever; a failed attempt is repeated with the next beat."""
        informer = self._client.informer("nodes", fields=f"metadata.name={self.name}")
        informer.add_listener(self._changed)
        await informer.synced()
        reported = self._clock.monotonic()
        delay = 0.0
        while True:
            await self._clock.sleep(delay)
            try:
                delay = _RETRY
                await self.renew()
                delay = _RENEW
                if informer.get(self.name) is None:
                    # Deleted by someone on purpose: it comes back with the next start, as upstream's.
                    continue
                if self._stale() or self._clock.monotonic() - reported >= _REPORT:
                    await self.report()
                    reported = self._clock.monotonic()
            except ApiError as error:
                self._log.debug("node {}: heartbeat failed: {}", self.name, error)

    def _stale(self) -> bool:
        status = self._node.get("status", {})
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
        return not ready or status.get("capacity") != status.get("allocatable")
