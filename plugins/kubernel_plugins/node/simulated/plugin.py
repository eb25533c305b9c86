"""N nodes, one view of all pods, one queue of what is to be done."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.clock import micro_time, rfc3339
from kubernel.errors import AlreadyExists, ApiError, BadRequest, NotFound, PluginError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.plugin.contract import NodeUsage
from kubernel.store.records import DELETED
from kubernel_plugins.node.simulated.pod import Delays, SimulatedPod
from kubernel_plugins.simulation import script_of

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.clock import Timer
    from kubernel.plugin.contract import Execution, NodeStreams, PodNetwork
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_LEASES = "leases.v1.coordination.k8s.io"
_LEASE_NAMESPACE = "kube-node-lease"
_ADDRESS = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """``name`` gets the node's number, from 1, at ``{}``. Delays are seconds: from bound to running,
    from running to ready, from deleted to gone (never longer than the grace period). ``adopt``: play the pods of
    nodes that others registered, too."""

    nodes: int = 1
    name: str = "node-{}"
    cpu: str = "32"
    memory: str = "256Gi"
    pods: int = 10000
    labels: Mapping[str, str] = field(default_factory=dict)
    start_delay: float = 0.0
    ready_delay: float = 0.0
    stop_delay: float = 0.0
    heartbeat: float = 10.0
    workers: int = 16
    adopt: bool = False


class Plugin(BasePlugin):
    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._delays = Delays(settings.start_delay, settings.ready_delay, settings.stop_delay)
        self._names: dict[str, None] = {
            settings.name.replace("{}", str(number)): None for number in range(1, settings.nodes + 1)
        }
        self._pods: dict[str, SimulatedPod] = {}
        self._timers: dict[str, Timer] = {}
        self._queue: deque[tuple[str, str]] = deque()
        self._queued: set[tuple[str, str]] = set()
        self._free: asyncio.Event = asyncio.Event()
        self._network: PodNetwork | None = None
        self._address = int(ipaddress.ip_network(str(handle.cluster.pod_cidr), strict=False)[0])
        self._last = int(ipaddress.ip_network(str(handle.cluster.pod_cidr), strict=False)[-1])
        self._used: set[str] = set()
        self._informer: Informer | None = None
        self._client: Client | None = None
        self._unlisten: Any = None
        self._spent: dict[str, float] = dict.fromkeys(self._names, 0.0)
        """CPU seconds of all pods that a node has had."""

    @hookimpl
    def kubernel_node_streams(self, node: str) -> NodeStreams | None:
        return _Streams() if self._plays(node) else None

    def _plays(self, node: str) -> bool:
        return node in self._names or (self.settings.adopt and bool(node))

    @hookimpl
    def kubernel_node_usage(self) -> Iterable[NodeUsage] | None:
        if self._informer is None:
            return None
        now = self.handle.clock.time()
        pods: dict[str, dict[str, dict[str, tuple[float, int]]]] = {name: {} for name in self._names}
        for pod in self._informer.list():
            node, uid = pod["spec"].get("nodeName"), pod["metadata"]["uid"]
            record = self._pods.get(uid)
            if record is None or node not in pods:
                continue
            pods[node][uid], spent = record.usage(pod, now)
            self._spent[node] += spent
        return [
            NodeUsage(
                node,
                self._spent[node],
                sum(held for used in found.values() for _, held in used.values()),
                found,
            )
            for node, found in pods.items()
        ]

    async def start(self) -> None:
        """Register the nodes; pods follow in the background."""
        handle = self.handle
        self._client = client = handle.client("kubernel:simulated-nodes")
        try:
            self._network = handle.driver("network")
        except PluginError:
            self._network = None
        for name in self._names:
            await self._register(client, name)
        self._informer = informer = client.informer("pods")
        handle.spawn(self._follow(informer), "pods")
        for number in range(self.settings.workers):
            handle.spawn(self._work(client, informer), f"worker {number}")
        handle.spawn(self._beat(client), "heartbeats")

    async def stop(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
        for timer in self._timers.values():
            timer.cancel()
        if self._client is not None:
            await self._client.close()

    # --- nodes ------------------------------------------------------------------------------

    async def _register(self, client: Client, name: str) -> None:
        now = self.handle.clock.time()
        labels = {
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "type": "simulated",
            **self.settings.labels,
        }
        status = self._node_status(name, rfc3339(now))
        node: Obj = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {},
            "status": status,
        }
        try:
            created = await client.create("nodes", node)
        except AlreadyExists:
            created = {}
        if not (created.get("status") or {}).get("conditions"):
            created = await client.patch("nodes", name, {"status": status}, subresource="status")
        await self._renew(client, name)

    def _node_status(self, name: str, now: str) -> dict[str, Any]:
        capacity = {
            "cpu": self.settings.cpu,
            "ephemeral-storage": "1Ti",
            "memory": self.settings.memory,
            "pods": str(self.settings.pods),
        }
        conditions = [
            (
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ]
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [
                {"type": "InternalIP", "address": _ADDRESS},
                {"type": "Hostname", "address": name},
            ],
            "conditions": [
                {
                    "type": type,
                    "status": value,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": now,
                }
                for type, value, reason, message in conditions
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "simulated://1.0.0",
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "kubeletVersion": str(self.handle.cluster.kubernetes_version),
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "simulated",
                "systemUUID": "",
            },
        }

    async def _renew(self, client: Client, name: str) -> bool:
        """A sign of life; False when it could not be given."""
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": 40,
            "renewTime": micro_time(self.handle.clock.time()),
        }
        try:
            try:
                await client.patch(_LEASES, name, {"spec": spec}, _LEASE_NAMESPACE)
            except NotFound:
                metadata = {"name": name, "namespace": _LEASE_NAMESPACE}
                lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
                await client.create(_LEASES, {**lease, "spec": spec}, _LEASE_NAMESPACE)
        except ApiError as error:
            self.handle.log.debug("lease of {} not renewed: {}", name, error)
            return False
        return True

    async def _beat(self, client: Client) -> None:
        silent: set[str] = set()
        while True:
            await self.handle.clock.sleep(self.settings.heartbeat)
            for name in self._names:
                if not await self._renew(client, name):
                    silent.add(name)
                elif name in silent:
                    # Meanwhile it may have been taken for dead.
                    status = self._node_status(name, rfc3339(self.handle.clock.time()))
                    with contextlib.suppress(ApiError):
                        await client.patch("nodes", name, {"status": status}, subresource="status")
                        silent.discard(name)

    # --- pods -------------------------------------------------------------------------------

    async def _follow(self, informer: Informer) -> None:
        await informer.synced()
        for pod in informer.list():
            if address := (pod.get("status") or {}).get("podIP"):
                self._used.add(address)
        self._unlisten = informer.add_listener(self._observe)

    def _observe(self, type: EventType, pod: Obj, _old: Obj | None) -> None:
        if not self._plays(pod["spec"].get("nodeName") or ""):
            return
        metadata = pod["metadata"]
        if type == DELETED:
            record = self._pods.pop(metadata["uid"], None)
            if (timer := self._timers.pop(metadata["uid"], None)) is not None:
                timer.cancel()
            if record is not None:
                self._used.discard(record.address)
                if self._network is not None:
                    self.handle.spawn(self._network.detach(record.uid), "detach")
            return
        self._enqueue((metadata.get("namespace", ""), metadata["name"]))

    def _enqueue(self, key: tuple[str, str]) -> None:
        if key not in self._queued:
            self._queued.add(key)
            self._queue.append(key)
            self._free.set()

    async def _work(self, client: Client, informer: Informer) -> None:
        while True:
            while not self._queue:
                self._free.clear()
                await self._free.wait()
            key = self._queue.popleft()
            self._queued.discard(key)
            pod = informer.get(key[1], key[0])
            if pod is None or not self._plays(pod["spec"].get("nodeName") or ""):
                continue
            try:
                await self._look(client, pod)
            except NotFound:
                continue
            except ApiError as error:
                self.handle.log.debug("pod {}/{}: {}", *key, error)
                self.handle.clock.call_later(1.0, self._enqueue, key)

    async def _look(self, client: Client, pod: Obj) -> None:
        """Bring one pod to where it is now, write what changed, wake up when it changes next."""
        now = self.handle.clock.time()
        metadata = pod["metadata"]
        uid, name, namespace = metadata["uid"], metadata["name"], metadata.get("namespace", "")
        record = self._pods.get(uid)
        if record is None:
            record = self._pods[uid] = SimulatedPod.of(pod, now)
        if metadata.get("deletionTimestamp"):
            await self._end(client, pod, record, now)
            return
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        phase = record.advance(pod, now, self._delays)
        if not record.address and phase != "Pending":
            record.address = await self._attach(pod)
        before = record.told
        status = record.news(pod, phase, _ADDRESS, now)
        if status is not None:
            try:
                patch = {"metadata": {"uid": uid}, "status": status}
                await client.patch("pods", name, patch, namespace, subresource="status")
            except ApiError:
                record.told = before
                raise
        if record.due is not None:
            self._wake(uid, (namespace, name), record.due)

    async def _end(self, client: Client, pod: Obj, record: SimulatedPod, now: float) -> None:
        metadata = pod["metadata"]
        grace = float(metadata.get("deletionGracePeriodSeconds", 0))
        delay = script_of(pod, "").stop_delay
        dies_at = now + min(self._delays.stop if delay is None else delay, grace)
        record.dies_at = min(record.dies_at if record.dies_at is not None else dies_at, dies_at)
        name, namespace = metadata["name"], metadata.get("namespace", "")
        if now < record.dies_at:
            self._wake(record.uid, (namespace, name), record.dies_at)
            return
        if record.told != "ended":
            if metadata.get("finalizers"):
                await self._tell_end(client, pod, record, now)
            await client.delete("pods", name, namespace, grace_period=0, uid=record.uid)
            record.told = "ended"

    async def _tell_end(self, client: Client, pod: Obj, record: SimulatedPod, now: float) -> None:
        """Somebody keeps the pod visible: they are told how it ended, as a kubelet does."""
        if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            return
        record.kill(now)
        status = record.news(pod, "Failed", _ADDRESS, now)
        if status is not None:
            patch = {"metadata": {"uid": record.uid}, "status": status}
            await client.patch(
                "pods",
                pod["metadata"]["name"],
                patch,
                pod["metadata"].get("namespace", ""),
                subresource="status",
            )

    async def _attach(self, pod: Obj) -> str:
        if pod["spec"].get("hostNetwork"):
            return _ADDRESS
        if self._network is not None:
            return next(iter(await self._network.attach(pod)), "")
        while True:
            self._address += 1
            if self._address >= self._last:
                raise BadRequest("no pod address is left")
            address = str(ipaddress.ip_address(self._address))
            if address not in self._used:
                self._used.add(address)
                return address

    def _wake(self, uid: str, key: tuple[str, str], at: float) -> None:
        if (timer := self._timers.pop(uid, None)) is not None:
            timer.cancel()
        clock = self.handle.clock
        self._timers[uid] = clock.call_later(at - clock.time(), self._enqueue, key)


class _Streams:
    """``NodeStreams`` of pods that are not there: only the logs that an annotation gives."""

    async def logs(self, pod: Obj, container: str, options: Mapping[str, str]) -> AsyncIterator[bytes]:
        if text := script_of(pod, container).logs:
            yield text.encode() + b"\n"

    async def exec(
        self, pod: Obj, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Execution:
        raise BadRequest("the pod is simulated: there is nothing to execute a command in")

    async def attach(self, pod: Obj, container: str, *, stdin: bool, tty: bool) -> Execution:
        raise BadRequest("the pod is simulated: there is nothing to attach to")

    async def dial(self, pod: Obj, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        raise BadRequest("the pod is simulated: nothing listens")
