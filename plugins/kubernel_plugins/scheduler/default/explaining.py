"""What the scheduler would say of a pod, without doing anything: ``kubernel.plugin.explaining.Explanation``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import KubernelError, NotFound
from kubernel.plugin.explaining import Explanation
from kubernel.plugin.scheduling import PolicyError, overrides
from kubernel_plugins.scheduler.default.context import Supposed
from kubernel_plugins.scheduler.default.gangs import GangCycle
from kubernel_plugins.scheduler.default.pods import pod_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubernel.plugin.scheduling import PodState
    from kubernel_plugins.scheduler.default.profile import Profile
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

__all__ = ["explain"]


def explain(scheduler: Scheduler, namespace: str, name: str) -> Explanation:
    """As ``Explainer``; to be called after ``Scheduler.follow``."""
    obj = scheduler.pods.get(name, namespace)
    if obj is None:
        raise NotFound.for_object("pods", "", name)
    wanted = obj["spec"].get("schedulerName") or "default-scheduler"
    if wanted not in scheduler.profiles:
        raise KubernelError(f'pod "{name}" is for the scheduler "{wanted}", which has no profile here')
    free = {key: value for key, value in obj["spec"].items() if key != "nodeName"}
    pod, profile = pod_state({**obj, "spec": free}), scheduler.profiles[wanted]
    table, promised = scheduler.table, scheduler.nominations.node_of(pod.uid)
    there = table.pod(pod.uid)
    table.take_off(pod.uid)
    try:
        nodes = profile.new_evaluation().explain(pod, scheduler.nominations)
        group = _together(scheduler, profile, pod)
        fits = any(not each["refusals"] for each in nodes.values())
        room = {} if fits or group is not None else _room(scheduler, profile, pod)
    finally:
        if there is not None:
            table.place(*there)
        if promised:
            scheduler.nominations.add(pod, promised)
    gates = {policy.name: text for policy in profile.at("pre_enqueue") if (text := policy.pre_enqueue(pod))}
    policies = dict.fromkeys(each.name for each in (*profile.at("filter"), *profile.at("score")))
    return Explanation(
        wanted,
        obj["spec"].get("nodeName") or "",
        gates,
        tuple(policies),
        profile.weights,
        nodes,
        room,
        group,
    )


def _together(scheduler: Scheduler, profile: Profile, pod: PodState) -> Mapping[str, Any] | None:
    if (found := profile.gang(pod)) is None:
        return None
    policy, gang = found
    waiting = [pod]
    for each in scheduler.pods.list(gang.key[0]):
        uid = each["metadata"]["uid"]
        if uid in gang.members and uid != pod.uid:
            waiting.append(pod_state(each))
    waiting.sort(key=profile.sort_key)
    refusal, nodes = GangCycle(scheduler, profile, policy, gang).tried(waiting)
    return {"name": "/".join(gang.key), "nodes": nodes, "refusal": refusal}


def _room(scheduler: Scheduler, profile: Profile, pod: PodState) -> dict[str, Any]:
    evaluation = profile.new_evaluation()
    try:
        found = evaluation.diagnose(pod)
        cycle = Supposed(scheduler, pod, evaluation, found.lasting, ())
        said: dict[str, Any] = {}
        for policy in profile.at("post_filter"):
            if overrides(policy, "proposals"):
                answer = policy.proposals(cycle)
                said[policy.name] = answer if isinstance(answer, str) else _victims(answer)
        return said
    except PolicyError:
        # Nobody is asked to make room where it is not known whether the pod fits.
        return {}


def _victims(proposals: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node: {
            "victims": [f"{each.namespace}/{each.name}" for each in its.victims],
            "violations": its.violations,
        }
        for node, its in proposals.items()
    }
