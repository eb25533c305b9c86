"""Why a workload has not as many pods as it should."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.objects import conditions, meta

from . import pods
from .view import Link, View, condition_text, count

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "autoscaler",
    "cron_job",
    "daemon_set",
    "deployment",
    "job",
    "replica_set",
    "stateful_set",
]

_SETS = "replicasets.v1.apps"
_REVISION = "deployment.kubernetes.io/revision"


def _status(obj: Obj, field: str) -> int:
    return int((obj.get("status") or {}).get(field) or 0)


def _unseen(subject: str, obj: Obj) -> Link | None:
    """Set when no controller has looked at the newest change."""
    if _status(obj, "observedGeneration") < int(obj["metadata"].get("generation", 0)):
        return Link("its controller", "has not seen the newest change yet; does it run?")
    return None


async def deployment(view: View, obj: Obj) -> list[Link]:
    subject = f"Deployment {meta.name(obj)}"
    wanted = obj["spec"].get("replicas", 1)
    available, updated = _status(obj, "availableReplicas"), _status(obj, "updatedReplicas")
    unseen = _unseen(subject, obj)
    if unseen is not None:
        return [Link(subject, "is not what it should be"), unseen]
    if available >= wanted and updated >= wanted and _status(obj, "replicas") <= wanted:
        return [Link(subject, f"is complete: {count(available, 'replica')} available", fine=True)]
    first = Link(subject, f"has {available} of {count(wanted, 'replica')} available, {updated} up to date")
    sets = await view.owned(_SETS, obj)
    sets.sort(key=lambda one: int(meta.annotations(one).get(_REVISION, "0")), reverse=True)
    if obj["spec"].get("paused") and (not sets or updated < wanted):
        return [first, Link(subject, "is paused: changes of its template wait for `kubectl rollout resume`")]
    if sets:
        chain = await replica_set(view, sets[0])
        if not chain[-1].fine:
            return [first, *chain]
        for older in sets[1:]:
            if _status(older, "replicas"):
                chain = await _not_going(view, older)
                if chain:
                    return [first, *chain]
    told = condition_text(obj, "ReplicaFailure", "True") or condition_text(obj, "Progressing", "False")
    return [first, Link("its controller", f"says: {told}" if told else "is still at work")]


async def _not_going(view: View, older: Obj) -> list[Link]:
    leaving = [one for one in await view.owned("pods", older) if meta.is_deleting(one)]
    if leaving:
        name = meta.name(older)
        return [
            Link(f"ReplicaSet {name}", "still has pods of a former template"),
            *await pods.pod(view, leaving[0]),
        ]
    return []


async def replica_set(view: View, obj: Obj) -> list[Link]:
    subject = f"{obj['kind']} {meta.name(obj)}"
    wanted = obj["spec"].get("replicas", 1)
    available = _status(obj, "availableReplicas")
    if available >= wanted:
        return [Link(subject, f"has all of its {count(wanted, 'replica')}", fine=True)]
    first = Link(subject, f"has {available} of {count(wanted, 'replica')} available")
    failure = condition_text(obj, "ReplicaFailure", "True") or ""
    if failure and _status(obj, "replicas") < wanted:
        return [first, Link("its pods", f"cannot be created: {failure}")]
    trouble = await pods.first_trouble(view, await view.owned("pods", obj))
    if trouble:
        return [first, *trouble]
    refused = await view.event(obj, "FailedCreate")
    if refused and _status(obj, "replicas") < wanted:
        return [first, Link("its pods", f"cannot be created: {refused}")]
    waits = obj["spec"].get("minReadySeconds", 0)
    if waits and _status(obj, "readyReplicas") >= wanted:
        return [first, Link("its pods", f"have not been ready for {waits}s yet")]
    return [first, Link("its controller", "is still at work")]


async def stateful_set(view: View, obj: Obj) -> list[Link]:
    subject = f"StatefulSet {meta.name(obj)}"
    wanted = obj["spec"].get("replicas", 1)
    available = _status(obj, "availableReplicas")
    status = obj.get("status") or {}
    current, update = status.get("currentRevision"), status.get("updateRevision")
    owned = await view.owned("pods", obj)
    start = meta.get(obj, "spec", "ordinals", "start", default=0)
    by_name = {meta.name(one): one for one in owned}
    rolling = current != update
    if available >= wanted and len(owned) == wanted and not rolling:
        return [Link(subject, f"has all of its {count(wanted, 'replica')}", fine=True)]
    first = Link(subject, f"has {available} of {count(wanted, 'replica')} available")
    for ordinal in range(start, start + wanted):
        name = f"{meta.name(obj)}-{ordinal}"
        one = by_name.get(name)
        if one is not None and pods.is_ready(one) and not meta.is_deleting(one):
            continue
        later = start + wanted - 1 - ordinal
        waits = obj["spec"].get("podManagementPolicy") != "Parallel" and later > 0
        text = f"waits for ordinal {ordinal}" + (f" before the {later} after it" if waits else "")
        chain = [first, Link(subject, text)]
        if one is None:
            refused = await view.event(obj, "FailedCreate")
            told = f"cannot be created: {refused}" if refused else "has not been created yet"
            return [*chain, Link(f"Pod {name}", told)]
        return [*chain, *await pods.pod(view, one)]
    if len(owned) > wanted:
        extra = max(owned, key=meta.name)
        return [first, Link(subject, "has a pod too many"), *await pods.pod(view, extra)]
    partition = meta.get(obj, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
    if meta.get(obj, "spec", "updateStrategy", "type", default="RollingUpdate") == "OnDelete":
        return [first, Link(subject, "updates a pod only when somebody deletes it (OnDelete)")]
    if partition:
        return [first, Link(subject, f"updates only ordinals from {partition} on (partition)")]
    return [first, Link("its controller", "is still at work")]


async def daemon_set(view: View, obj: Obj) -> list[Link]:
    subject = f"DaemonSet {meta.name(obj)}"
    wanted, available = _status(obj, "desiredNumberScheduled"), _status(obj, "numberAvailable")
    updated = _status(obj, "updatedNumberScheduled")
    if wanted == 0:
        nodes = await view.list("nodes")
        text = f"suits none of {count(len(nodes), 'node')}: its node selector, affinity or tolerations leave none"
        return [Link(subject, "has no pods"), Link(subject, text)]
    if available >= wanted and updated >= wanted:
        return [Link(subject, f"is available on all of {count(wanted, 'node')}", fine=True)]
    first = Link(subject, f"is available on {available} of {count(wanted, 'node')}")
    trouble = await pods.first_trouble(view, await view.owned("pods", obj))
    if trouble:
        return [first, *trouble]
    refused = await view.event(obj, "FailedCreate")
    return [first, Link("its pods", f"cannot be created: {refused}" if refused else "are still coming")]


async def job(view: View, obj: Obj) -> list[Link]:
    subject = f"Job {meta.name(obj)}"
    if conditions.is_true(obj, "Complete"):
        return [Link(subject, "is complete", fine=True)]
    failed = conditions.find(obj, "Failed") or conditions.find(obj, "FailureTarget")
    owned = await view.owned("pods", obj)
    if failed is not None and failed["status"] == "True":
        told = failed.get("message") or failed.get("reason", "")
        chain = [Link(subject, f"has failed: {told}")]
        ended = [one for one in owned if (one.get("status") or {}).get("phase") == "Failed"]
        ended.sort(key=lambda one: str(one["metadata"]["creationTimestamp"]))
        return [*chain, *(await pods.pod(view, ended[-1]) if ended else [])]
    if obj["spec"].get("suspend"):
        return [Link(subject, "does not run"), Link(subject, "is suspended (spec.suspend)")]
    manager = obj["spec"].get("managedBy", "")
    if manager and manager != "kubernetes.io/job-controller":
        return [
            Link(subject, "is not complete"),
            Link(f"the controller {manager}", "manages it, not this cluster's"),
        ]
    done, wanted = _status(obj, "succeeded"), obj["spec"].get("completions")
    goal = "1 success" if (wanted or 1) == 1 else f"{wanted} successes"
    first = Link(subject, f"has {done} of {goal}")
    refused = await view.event(obj, "FailedCreate")
    live = [one for one in owned if (one.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    trouble = await pods.first_trouble(view, live)
    if trouble:
        return [first, *trouble]
    if not live and refused:
        return [first, Link("its pods", f"cannot be created: {refused}")]
    if live:
        return [first, Link("its pods", "are running", fine=True)]
    ended = [one for one in owned if (one.get("status") or {}).get("phase") == "Failed"]
    if ended:
        chain = [first, Link(subject, f"waits before it tries again, after {count(len(ended), 'failure')}")]
        return [*chain, *await pods.pod(view, ended[-1])]
    return [first, Link("its controller", "is still at work")]


async def cron_job(view: View, obj: Obj) -> list[Link]:
    subject = f"CronJob {meta.name(obj)}"
    if obj["spec"].get("suspend"):
        return [Link(subject, "starts no jobs"), Link(subject, "is suspended (spec.suspend)")]
    active = (obj.get("status") or {}).get("active") or []
    if active and obj["spec"].get("concurrencyPolicy") == "Forbid":
        running = await view.get("jobs.v1.batch", active[0]["name"], meta.namespace(obj))
        text = f"waits for job {active[0]['name']} to end (concurrencyPolicy Forbid)"
        return [Link(subject, text), *(await job(view, running) if running else [])]
    told = await view.event(obj, "MissSchedule", "TooManyMissedTimes", "FailedCreate", "UnparseableSchedule")
    if told:
        return [Link(subject, "did not start a job"), Link("its controller", f"says: {told}")]
    last = (obj.get("status") or {}).get("lastScheduleTime")
    text = f"started a job {view.ago(last)} ago" if last else "waits for its first time"
    return [Link(subject, f"{text}; its schedule is {obj['spec']['schedule']}", fine=True)]


async def autoscaler(view: View, obj: Obj) -> list[Link]:
    subject = f"HorizontalPodAutoscaler {meta.name(obj)}"
    for type in ("AbleToScale", "ScalingActive"):
        told = condition_text(obj, type, "False")
        if told:
            return [Link(subject, "does not scale"), Link("its controller", f"says: {told}")]
    status = obj.get("status") or {}
    if conditions.find(obj, "ScalingActive") is None:
        return [Link(subject, "does not scale"), Link("its controller", "has not looked at it yet")]
    limited = condition_text(obj, "ScalingLimited", "True")
    replicas = f"keeps {count(status.get('currentReplicas', 0), 'replica')}"
    if limited:
        return [Link(subject, replicas), Link(subject, f"is limited: {limited}")]
    stable = conditions.find(obj, "AbleToScale") or {}
    if stable.get("reason") in ("ScaleDownStabilized", "ScaleUpStabilized"):
        return [Link(subject, replicas), Link(subject, f"waits: {stable.get('message', '')}")]
    since = status.get("lastScaleTime")
    text = f"{replicas}, since {view.ago(since)}" if since else replicas
    return [Link(subject, text, fine=True)]
