"""From an object to the chain of causes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from kubernel.objects import conditions, meta
from kubernel_plugins.cli.kinds import resolve

from . import cluster, pods, storage, workloads
from .view import Link, View

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["explain"]

_EXPLAINERS: dict[str, Callable[[View, Obj], Awaitable[list[Link]]]] = {
    "Pod": pods.pod,
    "ReplicaSet": workloads.replica_set,
    "ReplicationController": workloads.replica_set,
    "Deployment": workloads.deployment,
    "StatefulSet": workloads.stateful_set,
    "DaemonSet": workloads.daemon_set,
    "Job": workloads.job,
    "CronJob": workloads.cron_job,
    "HorizontalPodAutoscaler": workloads.autoscaler,
    "PersistentVolumeClaim": storage.claim,
    "PersistentVolume": storage.volume,
    "Service": cluster.service,
    "Node": cluster.node,
    "Namespace": cluster.namespace,
    "PodDisruptionBudget": cluster.disruption_budget,
    "CertificateSigningRequest": cluster.signing_request,
}


async def explain(client: Client, clock: Clock, word: str, name: str, namespace: str) -> list[Link]:
    """The chain, from the object to the root of it. KubernelError for an unknown kind, NotFound for an object
    that is not there."""
    kind = await resolve(client, word)
    found = await client.get(kind.resource, name, namespace if kind.namespaced else "")
    view = View(client, clock)
    subject = f"{kind.kind} {name}"
    if meta.is_deleting(found) and kind.kind not in ("Namespace", "Pod"):
        return await _deleting(view, subject, found)
    explainer = _EXPLAINERS.get(kind.kind)
    if explainer is not None:
        return await explainer(view, found)
    return await _other(view, subject, found)


async def _deleting(view: View, subject: str, obj: Obj) -> list[Link]:
    waited = view.ago(obj["metadata"]["deletionTimestamp"])
    chain = [Link(subject, f"has been on its way out for {waited}")]
    held = obj["metadata"].get("finalizers") or []
    if "kubernetes.io/pvc-protection" in held and (user := await storage.user_of(view, obj)):
        chain.append(Link(f"Pod {user}", "still uses it"))
    elif "foregroundDeletion" in held:
        chain.append(Link(subject, "waits for what it owns to be deleted first"))
    elif held:
        chain.append(Link(subject, f"is held by {_finalizers(held)}, which nobody has taken off"))
    return chain


def _finalizers(held: list[str]) -> str:
    return f"the finalizer {held[0]}" if len(held) == 1 else f"the finalizers {', '.join(held)}"


async def _other(view: View, subject: str, obj: Obj) -> list[Link]:
    """What any object says of itself."""
    for condition in (obj.get("status") or {}).get("conditions") or ():
        type, status = condition["type"], condition["status"]
        good = type in ("Ready", "Available", "Established", "NamesAccepted", "Accepted", "Healthy")
        if (good and status != "True") or (type in ("Failed", "Degraded", "Stalled") and status == "True"):
            told = condition.get("message") or condition.get("reason") or "no more is said"
            return [
                Link(subject, f"has the condition {type}={status}"),
                Link("its controller", f"says: {told}"),
            ]
    if (warning := await view.event(obj)) and not conditions.is_true(obj, "Ready"):
        return [Link(subject, "has a warning"), Link("an event", f"says: {warning}")]
    return [Link(subject, "says of nothing that it is wrong", fine=True)]
