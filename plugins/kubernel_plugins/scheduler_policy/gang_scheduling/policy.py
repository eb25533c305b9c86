"""GangScheduling.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/gangscheduling (v1.37), without groups of groups
(CompositePodGroup, alpha).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta
from kubernel.plugin.gangs import Gang
from kubernel.plugin.scheduling import Change, Policy
from kubernel_plugins.scheduler_policy.groups import BY_GROUP, GROUPS, group_index, group_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import PodState
    from kubernel.store.records import EventType, Obj

__all__ = ["GangScheduling"]

_MEMBERS = "pods of groups"
"""What ``Change`` calls a pod of a group that came, whether it has a node or not."""
_CONDITION = "PodGroupInitiallyScheduled"


class GangScheduling(Policy):
    name = "GangScheduling"
    scope = "node object"
    _groups: Informer
    _pods: Informer

    async def start(self) -> None:
        self._groups = await self.context.follow(GROUPS)
        self._pods = self.context.client.informer("pods")
        await self._pods.synced()
        self._pods.add_index(BY_GROUP, group_index)
        self._unlisten: Callable[[], None] = self._pods.add_listener(self._on_pod)

    async def stop(self) -> None:
        self._unlisten()

    def _on_pod(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if type == "ADDED" and group_index(pod):
            self.context.changed(Change(_MEMBERS, type, pod))

    def sign(self, pod: PodState) -> Any:
        return ()

    def _members(self, namespace: str, name: str) -> list[Obj]:
        return [
            pod
            for pod in self._pods.by(BY_GROUP, f"{namespace}/{name}")
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def pre_enqueue(self, pod: PodState) -> str:
        name = group_name(pod.pod)
        if not name:
            return ""
        group = self._groups.get(name, pod.namespace)
        if group is None:
            return f'waiting for pods\'s pod group "{name}" to appear in scheduling queue'
        if _minimum(group) > 1 and len(self._members(pod.namespace, name)) < _minimum(group):
            return "waiting for minCount pods from a gang to appear in scheduling queue"
        return ""

    # --- placing

    def gang(self, pod: PodState) -> Gang | None:
        name = group_name(pod.pod)
        group = self._groups.get(name, pod.namespace) if name else None
        if group is None:
            return None
        found = [meta.uid(each) for each in self._members(pod.namespace, name)]
        spec, nodes = group["spec"], self.context.nodes
        return Gang(
            (pod.namespace, name),
            group,
            [uid for uid in found if nodes.pod(uid) is not None],
            [uid for uid in found if nodes.pod(uid) is None],
            spec.get("priority") or 0,
            (spec.get("disruptionMode") or {}).get("all") is not None,
        )

    def too_few(self, gang: Gang, scheduled: int, remaining: int) -> str:
        namespace, name = gang.key
        group = self._groups.get(name, namespace)
        minimum = 1 if group is None else _minimum(group)
        if scheduled + remaining >= minimum:
            return ""
        return f"minCount ({minimum}) cannot be satisfied: {scheduled} scheduled, {remaining} remaining"

    async def decided(self, gang: Gang, refusal: str, *, error: bool = False) -> None:
        namespace, name = gang.key
        group = self._groups.get(name, namespace)
        if group is None or (refusal and conditions.is_true(group, _CONDITION)):
            # What was placed once stays placed, whatever becomes of pods that come later.
            return
        status, reason = ("False", "Unschedulable") if refusal else ("True", "Scheduled")
        if error:
            reason = "SchedulerError"
        found, changed = conditions.set(
            (group.get("status") or {}).get("conditions"),
            _CONDITION,
            status,
            reason,
            refusal,
            rfc3339(self.context.clock.time()),
            observedGeneration=group["metadata"].get("generation", 0),
        )
        if not changed:
            return
        # A condition of this kind has a message even when it has nothing to say.
        found = [{"message": "", **each} for each in found]
        patch = {"metadata": {"uid": meta.uid(group)}, "status": {"conditions": found}}
        try:
            await self.context.client.patch(GROUPS, name, patch, namespace, subresource="status")
        except NotFound:
            return
        except ApiError as error:
            self.context.log.warning("status of pod group {}/{}: {}", namespace, name, error.message)

    def helps(self, pod: PodState, change: Change) -> bool:
        mine = group_index(pod.pod)
        if change.resource == _MEMBERS:
            return bool(mine) and mine == group_index(change.obj)
        if change.resource != GROUPS or change.type == "DELETED":
            return False
        metadata = change.obj["metadata"]
        if mine != [f"{metadata.get('namespace', '')}/{metadata['name']}"]:
            return False
        return change.old is None or _minimum(change.obj) < _minimum(change.old)


def _minimum(group: Obj) -> int:
    """How many pods have to be placed together; one of a group that is no gang."""
    gang = group["spec"]["schedulingPolicy"].get("gang")
    return 1 if gang is None else int(gang["minCount"])
