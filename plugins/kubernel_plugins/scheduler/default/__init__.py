"""The scheduler: one pod after the other, all nodes at once for each policy.

Source: k8s.io/kubernetes/pkg/scheduler (v1.37). ``queue`` is which pod is next, ``cache`` what nodes have
left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.client.leader import LeaderElector
from kubernel.client.recorder import EventRecorder
from kubernel.clock import rfc3339
from kubernel.errors import ApiError, Conflict, NotFound
from kubernel.objects import conditions, meta
from kubernel.plugin import Plugin as Base
from kubernel_plugins.scheduler.default.cache import NodeCache, pod_state
from kubernel_plugins.scheduler.default.queue import SchedulingQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.plugin.scheduling import NodeState, PodState, Refusal, SchedulerPolicy
    from kubernel.store.records import EventType, Obj

__all__ = ["Plugin", "Settings"]

_USER = "system:kube-scheduler"
_FLUSH_PERIOD = 30.0


@dataclass(frozen=True, slots=True)
class Settings:
    """``scheduler_name``: which pods are ours. ``parallel_binds``: most bindings under way at once."""

    scheduler_name: str = "default-scheduler"
    parallel_binds: int = 64


class Plugin(Base):
    """The ``default`` scheduler."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self._queue = SchedulingQueue(handle.clock)
        self._policies: list[SchedulerPolicy] = []
        self._unlisten: list[Callable[[], None]] = []
        self._recorder: EventRecorder | None = None

    async def start(self) -> None:
        handle = self.handle
        # A plugin that was stopped may be started again.
        self._cache = NodeCache()
        self._queue = SchedulingQueue(handle.clock)
        self._binds = asyncio.Semaphore(self.settings.parallel_binds)
        self._policies = handle.hooks.scheduler_policies()
        self._client = handle.client(_USER)
        self._recorder = EventRecorder(
            self._client, handle.clock, self.settings.scheduler_name, log=handle.log
        )
        self._nodes = self._client.informer("nodes")
        self._pods = self._client.informer("pods")
        self._unlisten += [
            self._nodes.add_listener(self._on_node),
            self._pods.add_listener(self._on_pod),
        ]
        handle.spawn(self._run(), "scheduler")

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()
        self._queue.close()
        if self._recorder is not None:
            await self._recorder.close()

    async def _run(self) -> None:
        await self._nodes.synced()
        await self._pods.synced()
        if not getattr(self.handle.cluster, "leader_election", False):
            await self._work()
            return
        elector = LeaderElector(self._client, self.handle.clock, self.handle.rng, "kube-scheduler")
        await elector.run(self._work)

    async def _work(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush(), name="scheduler flush")
            while True:
                pod = await self._queue.pop()
                await self._schedule(pod, group)

    async def _flush(self) -> None:
        while True:
            await self.handle.clock.sleep(_FLUSH_PERIOD)
            self._queue.flush()

    # --- events

    def _on_node(self, type: EventType, node: Obj, old: Obj | None) -> None:
        if type == "DELETED":
            self._cache.remove_node(meta.name(node))
            return
        self._cache.set_node(node)
        if old is None or _room(node) != _room(old):
            self._queue.cluster_changed()

    def _on_pod(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        uid = meta.uid(pod)
        finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        node = pod["spec"].get("nodeName")
        if type == "DELETED" or finished:
            self._queue.remove(uid)
            if self._cache.remove_pod(uid):
                self._queue.cluster_changed()
        elif node:
            self._queue.remove(uid)
            if type == "ADDED" or old is None or old["spec"] != pod["spec"]:
                self._cache.add_pod(uid, node, dict(pod_state(pod).requests))
        elif self._is_ours(pod):
            self._queue.add(pod_state(pod))

    def _is_ours(self, pod: Obj) -> bool:
        spec = pod["spec"]
        name = spec.get("schedulerName", "default-scheduler")
        return name == self.settings.scheduler_name and not (
            meta.is_deleting(pod) or spec.get("schedulingGates")
        )

    # --- one pod

    async def _schedule(self, pod: PodState, group: asyncio.TaskGroup) -> None:
        seen = self._queue.changes
        nodes = self._cache.nodes()
        fitting, refusals = self._filter(pod, nodes)
        if not fitting:
            self._queue.fail(pod, seen)
            await self._tell_unschedulable(pod, len(nodes), refusals)
            return
        chosen = fitting[0] if len(fitting) == 1 else self._best(pod, fitting)
        self._queue.remove(pod.uid)
        self._cache.add_pod(pod.uid, chosen.name, dict(pod.requests))
        await self._binds.acquire()
        group.create_task(self._bind(pod, chosen.name), name=f"bind {'/'.join(pod.key)}")

    def _filter(
        self, pod: PodState, nodes: list[NodeState]
    ) -> tuple[list[NodeState], list[tuple[Refusal, ...]]]:
        """The nodes that all policies let pass, and for each other the verdict of the first that did not."""
        refusals: list[tuple[Refusal, ...]] = []
        for policy in self._policies:
            if not nodes:
                break
            verdicts = policy.filter(pod, nodes)
            passed = []
            for node, verdict in zip(nodes, verdicts, strict=True):
                if verdict:
                    refusals.append(verdict)
                else:
                    passed.append(node)
            nodes = passed
        return nodes, refusals

    def _best(self, pod: PodState, nodes: Sequence[NodeState]) -> NodeState:
        totals = [0.0] * len(nodes)
        for policy in self._policies:
            if policy.weight:
                for position, score in enumerate(policy.score(pod, nodes)):
                    totals[position] += policy.weight * score
        best = max(totals)
        return nodes[self.handle.rng.choice([index for index, total in enumerate(totals) if total == best])]

    async def _bind(self, pod: PodState, node: str) -> None:
        namespace, name = pod.key
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": pod.uid},
            "target": {"kind": "Node", "name": node},
        }
        try:
            await self._client.create("pods", binding, namespace, subresource="binding", name=name)
        except asyncio.CancelledError:
            # No longer the leader, or stopping: whether it was bound, the informer will tell.
            self._unassume(pod)
            raise
        except ApiError as error:
            if self._unassume(pod):
                await self._event(pod.pod, "Warning", "FailedScheduling", error.message)
            return
        finally:
            self._binds.release()
        await self._event(
            pod.pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {node}"
        )

    def _unassume(self, pod: PodState) -> bool:
        """The pod was not bound as intended; whether it still waits for a node."""
        current = self._pods.get(pod.key[1], pod.key[0])
        if current is not None and meta.uid(current) == pod.uid and current["spec"].get("nodeName"):
            return False
        self._cache.remove_pod(pod.uid)
        if current is None or meta.uid(current) != pod.uid or not self._is_ours(current):
            return False
        self._queue.add(pod_state(current))
        self._queue.fail(pod, -1)
        return True

    # --- what users see

    async def _tell_unschedulable(
        self, pod: PodState, nodes: int, refusals: Sequence[tuple[Refusal, ...]]
    ) -> None:
        message = unschedulable_message(nodes, refusals)
        await self._event(pod.pod, "Warning", "FailedScheduling", message)
        namespace, name = pod.key
        now = rfc3339(self.handle.clock.time())
        existing = (pod.pod.get("status") or {}).get("conditions")
        found, changed = conditions.set(existing, "PodScheduled", "False", "Unschedulable", message, now)
        if not changed:
            return
        patch = {"metadata": {"uid": pod.uid}, "status": {"conditions": found}}
        try:
            await self._client.patch("pods", name, patch, namespace, type="strategic", subresource="status")
        except (NotFound, Conflict):
            # Deleted, or replaced by a namesake: nobody to tell.
            return

    async def _event(self, pod: Obj, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        if self._recorder is not None:
            await self._recorder.event(pod, type, reason, message)


def _room(node: Obj) -> tuple[Any, ...]:
    """All of a node that decides whether a pod fits: heartbeats are not in it."""
    spec = node.get("spec") or {}
    return (
        meta.get(node, "status", "allocatable"),
        meta.labels(node),
        spec.get("taints"),
        spec.get("unschedulable"),
    )


def unschedulable_message(nodes: int, refusals: Sequence[tuple[Refusal, ...]]) -> str:
    """As the scheduler of Kubernetes says it (framework.FitError and its preemption part)."""
    if nodes == 0:
        return "no nodes available to schedule pods"
    texts = Counter(refusal.text for verdict in refusals for refusal in verdict)
    told = ", ".join(sorted(f"{count} {text}" for text, count in texts.items()))
    lasting = sum(any(refusal.lasting for refusal in verdict) for verdict in refusals)
    preemption = []
    if lasting < len(refusals):
        preemption.append(f"{len(refusals) - lasting} No preemption victims found for incoming pod")
    if lasting:
        preemption.append(f"{lasting} Preemption is not helpful for scheduling")
    return (
        f"0/{nodes} nodes are available: {told}. "
        "no new claims to deallocate, "
        f"preemption: 0/{nodes} nodes are available: {', '.join(sorted(preemption))}."
    )
