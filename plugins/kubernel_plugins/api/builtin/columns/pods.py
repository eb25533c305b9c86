"""Columns of pods and pod templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import (
    AGE,
    NAME,
    Obj,
    at,
    format_labels,
    seconds,
    since,
    template_columns,
    text,
)

__all__ = ["POD", "POD_TEMPLATE", "Summary", "summarize"]


class Summary(NamedTuple):
    """What a pod's containers add up to. ``restarted`` is the time of the last restart."""

    ready: int
    total: int
    reason: str
    restarts: int
    restarted: str | None


class _Restarts:
    def __init__(self) -> None:
        self.count = 0
        self.last: str | None = None

    def add(self, status: Mapping[str, Any]) -> None:
        self.count += status.get("restartCount", 0)
        finished = at(status, "lastState", "terminated", "finishedAt")
        if finished and (self.last is None or (seconds(finished) or 0.0) > (seconds(self.last) or 0.0)):
            self.last = finished


def _condition(pod: Obj, type: str) -> Mapping[str, Any]:
    for condition in at(pod, "status", "conditions") or ():
        if condition.get("type") == type:
            return dict(condition)
    return {}


def _ended(terminated: Mapping[str, Any]) -> str:
    if reason := terminated.get("reason"):
        return str(reason)
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def summarize(pod: Obj) -> Summary:
    """The Ready, Status and Restarts of a pod, as upstream's printer derives them from its containers."""
    spec = pod.get("spec") or {}
    status = pod.get("status") or {}
    phase = status.get("phase", "")
    reason = status.get("reason") or phase
    if _condition(pod, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"

    init_containers = spec.get("initContainers") or ()
    sidecars = {one["name"] for one in init_containers if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    ready = 0

    everything, restartable = _Restarts(), _Restarts()
    initializing = False
    for position, container in enumerate(status.get("initContainerStatuses") or ()):
        is_sidecar = container.get("name") in sidecars
        everything.add(container)
        if is_sidecar:
            restartable.add(container)
        state = container.get("state") or {}
        terminated = state.get("terminated")
        waiting = at(state, "waiting", "reason")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        initializing = True
        if terminated is not None:
            reason = f"Init:{_ended(terminated)}"
        elif waiting and waiting != "PodInitializing":
            reason = f"Init:{waiting}"
        else:
            reason = f"Init:{position}/{len(init_containers)}"
        break

    restarts = everything
    if not initializing or _condition(pod, "Initialized").get("status") == "True":
        restarts = restartable
        running = False
        for container in reversed(status.get("containerStatuses") or ()):
            restarts.add(container)
            state = container.get("state") or {}
            waiting = at(state, "waiting", "reason")
            if waiting:
                reason = waiting
            elif (terminated := state.get("terminated")) is not None:
                reason = _ended(terminated)
            elif container.get("ready") and state.get("running") is not None:
                running = True
                ready += 1
        if reason == "Completed" and running:
            reason = "Running" if _condition(pod, "Ready").get("status") == "True" else "NotReady"

    if at(pod, "metadata", "deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif phase not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return Summary(ready, total, reason, restarts.count, restarts.last)


def _ready(pod: Obj, now: float) -> str:
    summary = summarize(pod)
    return f"{summary.ready}/{summary.total}"


def _status(pod: Obj, now: float) -> str:
    return summarize(pod).reason


def _restarts(pod: Obj, now: float) -> str:
    summary = summarize(pod)
    if summary.restarts and summary.restarted:
        return f"{summary.restarts} ({since(summary.restarted, now)} ago)"
    return str(summary.restarts)


def _ip(pod: Obj, now: float) -> str:
    addresses = at(pod, "status", "podIPs") or ()
    return (addresses[0].get("ip") if addresses else at(pod, "status", "podIP")) or "<none>"


def _readiness_gates(pod: Obj, now: float) -> str:
    gates = at(pod, "spec", "readinessGates") or ()
    if not gates:
        return "<none>"
    met = sum(_condition(pod, gate.get("conditionType", "")).get("status") == "True" for gate in gates)
    return f"{met}/{len(gates)}"


def _labels(*path: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        return format_labels(at(obj, *path))

    return cell


POD = (
    NAME,
    Column("Ready", _ready, description="How many of the pod's containers are ready."),
    Column("Status", _status, description="What the pod's containers are doing, in a word."),
    Column(
        "Restarts",
        _restarts,
        description="How often containers were restarted, and when last.",
    ),
    AGE,
    Column("IP", _ip, description="The pod's address.", priority=1),
    Column("Node", text("spec", "nodeName", absent="<none>"), description="The pod's node.", priority=1),
    Column(
        "Nominated Node",
        text("status", "nominatedNodeName", absent="<none>"),
        description="The node on which the pod may run once its victims are gone.",
        priority=1,
    ),
    Column(
        "Readiness Gates",
        _readiness_gates,
        description="Extra conditions that must be true for the pod to be ready.",
        priority=1,
    ),
)

POD_TEMPLATE = (
    NAME,
    *template_columns("template", priority=0),
    Column(
        "Pod Labels",
        _labels("template", "metadata", "labels"),
        description="Labels of the pods it makes.",
    ),
)
