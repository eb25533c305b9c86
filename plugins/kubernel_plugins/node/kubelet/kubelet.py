"""The node agent: brings the pods that are bound to its node to life, and reports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.client.recorder import EventRecorder
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.plugin.contract import NodeUsage
from kubernel.store.records import DELETED
from kubernel_plugins.node.kubelet.context import Context
from kubernel_plugins.node.kubelet.machine import busy_seconds, memory_in_use
from kubernel_plugins.node.kubelet.node import NodeReporter
from kubernel_plugins.node.kubelet.streams import Streams
from kubernel_plugins.node.kubelet.worker import PodWorker, remove_tree

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.client.informer import Informer
    from kubernel.plugin.contract import ContainerState, NodeStreams
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``node_name`` empty is the cluster's; ``labels`` are added to the Node's own."""

    node_name: str = ""
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)


class Plugin(BasePlugin):
    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.node_name: str = settings.node_name or str(handle.cluster.node_name)
        self._workers: dict[str, PodWorker] = {}
        self._known: dict[str, list[ContainerState]] = {}
        self._context: Context | None = None
        self._streams: Streams | None = None
        self._recorder: EventRecorder | None = None
        self._client: Client | None = None
        self._remove_listener: Any = None

    @hookimpl
    def kubernel_node_streams(self, node: str) -> NodeStreams | None:
        return self._streams if node == self.node_name else None

    @hookimpl
    def kubernel_node_usage(self) -> Iterable[NodeUsage] | None:
        if self._context is None:
            return None
        used = self._context.runtime.usage()
        pods = {uid: used[uid] for uid in self._workers if uid in used}
        return [NodeUsage(self.node_name, busy_seconds(), memory_in_use(), pods)]

    async def start(self) -> None:
        """Register the node; pods follow in the background."""
        handle = self.handle
        self._client = client = handle.client(f"system:node:{self.node_name}", ("system:nodes",))
        runtime, network = handle.driver("runtime"), handle.driver("network")
        self._recorder = EventRecorder(client, handle.clock, "kubelet", host=self.node_name, log=handle.log)
        reporter = NodeReporter(
            client,
            handle.clock,
            handle.log,
            self.node_name,
            addresses=network.host_addresses(),
            runtime_version=runtime.version,
            data_dir=Path(handle.data_dir),
            max_pods=self.settings.max_pods,
            labels=self.settings.labels,
        )
        self._context = Context(
            client=client,
            clock=handle.clock,
            log=handle.log,
            runtime=runtime,
            network=network,
            recorder=self._recorder,
            node_name=self.node_name,
            host_addresses=network.host_addresses(),
            pods_directory=Path(handle.data_dir) / "pods",
            logs_directory=Path(handle.data_dir) / "logs" / "pods",
            allocatable=lambda: reporter.allocatable,
            spawn=handle.spawn,
            wake=self._wake,
            forget=self._forget,
        )
        self._context.pods_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._streams = Streams(runtime, handle.clock, self._workers.get)
        runtime.on_change = self._changed
        await reporter.register()
        handle.spawn(reporter.beat(), "node heartbeat")
        handle.spawn(self._follow(client), "pods")

    async def stop(self) -> None:
        """Pods are left as they are; the runtime decides what becomes of their containers."""
        if self._remove_listener is not None:
            self._remove_listener()
        for worker in self._workers.values():
            worker.close()
        if self._context is not None:
            await self._context.close()
        if self._recorder is not None:
            await self._recorder.close()
        if self._client is not None:
            await self._client.close()

    async def _follow(self, client: Client) -> None:
        context = self._context
        if context is None:
            return
        pods = client.informer("pods", fields=f"spec.nodeName={self.node_name}")
        await pods.synced()
        for state in await context.runtime.list_containers():
            self._known.setdefault(state.pod_uid, []).append(state)
        await self._clear(context, pods)
        self._remove_listener = pods.add_listener(self._observe)

    async def _clear(self, context: Context, pods: Informer) -> None:
        """Pods that were deleted while nobody was here leave nothing behind."""
        present = {pod["metadata"]["uid"] for pod in pods.list()}
        folders = {path.name for path in context.pods_directory.iterdir()}
        for uid in (folders | self._known.keys()) - present:
            self._known.pop(uid, None)
            await context.runtime.remove_pod(uid)
            await context.network.detach(uid)
            remove_tree(context.pods_directory / uid)
            with contextlib.suppress(OSError):
                for logs in context.logs_directory.glob(f"*_{uid}"):
                    remove_tree(logs)

    def _observe(self, type: EventType, pod: Obj, _old: Obj | None) -> None:
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            if type == DELETED or self._context is None:
                return
            worker = self._workers[uid] = PodWorker(self._context, pod, self._known.pop(uid, []))
        else:
            worker.observe(pod)
        worker.removed = worker.removed or type == DELETED
        worker.look_again()

    def _changed(self, uid: str) -> None:
        if (worker := self._workers.get(uid)) is not None:
            worker.look_again()

    def _wake(self, uid: str) -> None:
        if (worker := self._workers.get(uid)) is not None:
            worker.references_changed()

    def _forget(self, uid: str) -> None:
        self._workers.pop(uid, None)
