"""Why a pod is not ready."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kubernel.objects import conditions, meta
from kubernel_plugins.volumes import claim_names

from . import storage
from .view import Link, View, condition_text

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["first_trouble", "is_ready", "pod"]

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_AGAIN = "keeps ending and is started again later: it "
_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)"|unbound immediate PersistentVolumeClaims')


def is_ready(pod: Obj) -> bool:
    return conditions.is_true(pod, "Ready") or _phase(pod) == "Succeeded"


def _phase(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("phase", ""))


async def first_trouble(view: View, pods: list[Obj]) -> list[Link]:
    """The chain of the first pod that is not ready, those that are on their way out last."""
    left = [one for one in pods if not is_ready(one) or meta.is_deleting(one)]
    left.sort(key=lambda one: (meta.is_deleting(one), meta.name(one)))
    return await pod(view, left[0]) if left else []


async def pod(view: View, obj: Obj) -> list[Link]:
    subject = f"Pod {meta.name(obj)}"
    if meta.is_deleting(obj):
        return await _leaving(view, subject, obj)
    if is_ready(obj):
        return [Link(subject, "is ready" if _phase(obj) == "Running" else "has succeeded", fine=True)]
    if _phase(obj) == "Failed":
        return _failed(subject, obj)
    if not obj["spec"].get("nodeName"):
        return await _without_node(view, subject, obj)
    return await _on_node(view, subject, obj)


async def _leaving(view: View, subject: str, obj: Obj) -> list[Link]:
    waited = view.ago(obj["metadata"]["deletionTimestamp"])
    chain = [Link(subject, f"is being deleted; its time was up {waited} ago")]
    held = obj["metadata"].get("finalizers") or []
    if held:
        text = f"is held by the finalizer {', '.join(held)}, which nobody has taken off"
        return [*chain, Link(subject, text)]
    node = await _silent_node(view, obj)
    return [*chain, node] if node else [*chain, Link(subject, "has containers that are still ending")]


def _failed(subject: str, obj: Obj) -> list[Link]:
    status = obj.get("status") or {}
    reason, message = status.get("reason", ""), status.get("message", "")
    if reason:
        told = f"{reason}: {message}" if message else reason
        return [Link(subject, "has failed"), Link("its node", f"says: {told}")]
    disrupted = conditions.find(obj, "DisruptionTarget")
    if disrupted is not None and disrupted["status"] == "True":
        told = disrupted.get("message") or disrupted.get("reason", "")
        return [Link(subject, "has failed"), Link(subject, f"was ended by a disruption: {told}")]
    for entry in _containers(obj):
        code = meta.get(entry, "state", "terminated", "exitCode", default=0)
        if code:
            return [Link(subject, "has failed"), Link(f"container {entry['name']}", _ended(entry))]
    return [Link(subject, "has failed and does not say why")]


async def _without_node(view: View, subject: str, obj: Obj) -> list[Link]:
    chain = [Link(subject, "has no node")]
    gates = [gate["name"] for gate in obj["spec"].get("schedulingGates") or ()]
    if gates:
        return [*chain, Link(subject, f"waits for the scheduling gate {', '.join(gates)} to be taken off")]
    told = condition_text(obj, "PodScheduled", "False") or await view.event(obj, "FailedScheduling")
    if not told:
        scheduler = obj["spec"].get("schedulerName", "default-scheduler")
        return [*chain, Link(f"the scheduler {scheduler}", "has not looked at it yet")]
    found = _CLAIM.search(told)
    if found:
        names = [found[1]] if found[1] else claim_names(obj)
        for name in names:
            if links := await storage.trouble(view, meta.namespace(obj), name):
                return [*chain, *links]
    nominated = meta.get(obj, "status", "nominatedNodeName")
    if nominated:
        text = f"waits for pods of lower priority to leave node {nominated}"
        return [*chain, Link(subject, text)]
    return [*chain, Link("the scheduler", f"says: {told}")]


async def _on_node(view: View, subject: str, obj: Obj) -> list[Link]:
    node = await _silent_node(view, obj)
    if node:
        return [Link(subject, "is not ready"), node]
    first = Link(subject, "has not started" if _phase(obj) == "Pending" else "is not ready")
    mount = await view.event(obj, *_MOUNT)
    for entry in _containers(obj):
        name = f"container {entry['name']}"
        state = entry.get("state") or {}
        waiting = state.get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason in ("", "PodInitializing", "ContainerCreating"):
            continue
        message = waiting.get("message", "")
        if reason in _IMAGE:
            told = f": {message}" if message else ""
            return [first, Link(name, f'cannot get its image "{_image(obj, entry)}" ({reason}{told})')]
        if reason == "CrashLoopBackOff":
            ends = _ended({"state": entry.get("lastState") or {}})
            return [first, Link(name, f"{_AGAIN}{ends}")]
        return [first, Link(name, f"cannot be started ({reason}{f': {message}' if message else ''})")]
    if mount and _phase(obj) == "Pending":
        return [first, Link("a volume", f"cannot be mounted: {mount}")]
    for entry in _containers(obj):
        name = f"container {entry['name']}"
        if meta.get(entry, "state", "terminated", "exitCode", default=0):
            again = obj["spec"].get("restartPolicy", "Always") != "Never"
            return [first, Link(name, f"{_AGAIN}{_ended(entry)}" if again else _ended(entry))]
        if "running" in (entry.get("state") or {}) and not entry.get("ready"):
            probe = await view.event(obj, "Unhealthy")
            text = f"runs, and its probe fails: {probe}" if probe else "runs and is not ready yet"
            return [first, Link(name, text)]
    gate = _readiness_gate(obj)
    if gate:
        return [first, Link(subject, f"waits for the readiness gate {gate}")]
    warning = await view.event(obj)
    if warning:
        return [first, Link("an event", f"says: {warning}")]
    return [first, Link(f"node {obj['spec']['nodeName']}", "has not said more of it yet")]


def _readiness_gate(obj: Obj) -> str:
    gates = [gate["conditionType"] for gate in obj["spec"].get("readinessGates") or ()]
    return next((gate for gate in gates if not conditions.is_true(obj, gate)), "")


async def _silent_node(view: View, obj: Obj) -> Link | None:
    name = obj["spec"].get("nodeName")
    if not name:
        return None
    node = await view.get("nodes", name)
    if node is None:
        return Link(f"node {name}", "does not exist any more")
    ready = conditions.find(node, "Ready")
    if ready is None or ready["status"] == "True":
        return None
    told = ready.get("message") or ready.get("reason", "")
    return Link(f"node {name}", f"is not ready: {told}")


def _containers(obj: Obj) -> Iterator[dict[str, Any]]:
    status = obj.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(key) or ()


def _image(obj: Obj, entry: dict[str, Any]) -> str:
    for key in ("initContainers", "containers"):
        for container in obj["spec"].get(key) or ():
            if container["name"] == entry["name"]:
                return str(container.get("image", ""))
    return str(entry.get("image", ""))


def _ended(entry: dict[str, Any]) -> str:
    ended = meta.get(entry, "state", "terminated", default={})
    if ended.get("reason") == "OOMKilled":
        return "was killed because it used more memory than it may"
    text = f"ended with exit code {ended.get('exitCode', 0)}"
    if ended.get("signal"):
        text += f" (signal {ended['signal']})"
    if ended.get("message"):
        text += f": {ended['message'].strip()}"
    return text
