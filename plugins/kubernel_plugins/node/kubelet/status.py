"""A pod's status, computed from what its containers are doing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339

if TYPE_CHECKING:
    from kubernel.plugin.contract import ContainerState
    from kubernel.store.records import Obj
    from kubernel_plugins.node.kubelet.track import Track

__all__ = ["Facts", "changed", "pod_phase", "pod_status"]


@dataclass(slots=True)
class Facts:
    """What a status says besides its containers."""

    now: float
    runtime: str
    """Prefix of container IDs."""
    addresses: Sequence[str] = ()
    host_addresses: Sequence[str] = ()
    start_time: str = ""
    sandbox: bool = False
    ending: bool = False
    """The pod is being terminated: nothing will start any more."""
    failure: tuple[str, str] | None = None
    """Reason and message of a pod that the node ended, such as DeadlineExceeded."""
    initialized: bool = False
    containers: Sequence[Track] = field(default_factory=list)
    init_containers: Sequence[Track] = field(default_factory=list)
    ephemeral_containers: Sequence[Track] = field(default_factory=list)


def _terminated(state: ContainerState, runtime: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Completed" if state.exit_code == 0 else "Error"),
    }
    if state.started:
        answer["startedAt"] = rfc3339(state.started)
    if state.finished:
        answer["finishedAt"] = rfc3339(state.finished)
    if state.id:
        answer["containerID"] = f"{runtime}://{state.id}"
    if state.signal:
        answer["signal"] = state.signal
    if state.message:
        answer["message"] = state.message
    return {"terminated": answer}


def container_status(track: Track, facts: Facts, default: tuple[str, str]) -> dict[str, Any]:
    """One entry of ``containerStatuses``; ``default`` is reason and message of one that never started."""
    state = track.state
    last: dict[str, Any] = {}
    if state is None:
        current = _waiting(track.waiting or default)
    elif track.waiting is not None and state.phase == "exited":
        current = _waiting(track.waiting)
        last = _terminated(state, facts.runtime)
    elif state.phase == "exited":
        current = _terminated(state, facts.runtime)
    else:
        current = {"running": {"startedAt": rfc3339(state.started)}}
    if not last and track.previous is not None:
        last = _terminated(track.previous, facts.runtime)
    done = track.kind == "init" and state is not None and state.phase == "exited" and state.exit_code == 0
    answer: dict[str, Any] = {
        "name": track.name,
        "state": current,
        "lastState": last,
        "ready": done or (track.running and track.ready),
        "restartCount": track.restarts,
        "image": track.spec.get("image", ""),
        "imageID": state.image_id if state else "",
        "started": track.running and track.started,
    }
    if state is not None and state.id:
        answer["containerID"] = f"{facts.runtime}://{state.id}"
    resources = track.spec.get("resources")
    if resources and track.running:
        answer["resources"] = resources
        if resources.get("requests"):
            answer["allocatedResources"] = resources["requests"]
    return answer


def _waiting(why: tuple[str, str]) -> dict[str, Any]:
    reason, message = why
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def pod_phase(pod: Obj, facts: Facts) -> str:
    """kubelet's ``getPhase`` (pkg/kubelet/kubelet_pods.go)."""
    policy = pod["spec"].get("restartPolicy", "Always")
    if facts.failure is not None:
        return "Failed"
    for track in facts.init_containers:
        if track.kind == "init":
            failed = track.exited and track.state is not None and track.state.exit_code != 0
            if failed and (policy == "Never" or facts.ending):
                return "Failed"
            if not facts.initialized and not (track.exited and not failed):
                return "Failed" if facts.ending else "Pending"
        elif not facts.initialized and not track.started and not facts.ending:
            return "Pending"
    running = sum(track.running for track in facts.containers)
    exited = [track.state for track in facts.containers if track.exited and track.state is not None]
    unborn = len(facts.containers) - running - len(exited)
    if unborn:
        return "Failed" if facts.ending and not running else "Pending"
    if running:
        return "Running"
    succeeded = all(state.exit_code == 0 for state in exited)
    if facts.ending:
        return "Succeeded" if succeeded else "Failed"
    if policy == "Always":
        return "Running"
    if succeeded:
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def pod_status(pod: Obj, facts: Facts, old: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``status`` that are the kubelet's, as a strategic merge patch: of the conditions only its
    own. ``old`` is the status that is there."""
    phase = pod_phase(pod, facts)
    default = ("ContainerCreating", "")
    if facts.init_containers and not facts.initialized:
        default = ("PodInitializing", "")
    containers = [container_status(track, facts, default) for track in facts.containers]
    inits = [container_status(track, facts, ("PodInitializing", "")) for track in facts.init_containers]
    status: dict[str, Any] = {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": phase,
        "containerStatuses": containers,
        "conditions": _conditions(pod, facts, phase, containers, inits, old),
        "startTime": facts.start_time,
    }
    if inits:
        status["initContainerStatuses"] = inits
    if facts.ephemeral_containers:
        status["ephemeralContainerStatuses"] = [
            container_status(track, facts, default) for track in facts.ephemeral_containers
        ]
    if facts.host_addresses:
        status["hostIP"] = facts.host_addresses[0]
        status["hostIPs"] = [{"ip": address} for address in facts.host_addresses]
    if facts.addresses:
        status["podIP"] = facts.addresses[0]
        status["podIPs"] = [{"ip": address} for address in facts.addresses]
    if facts.failure is not None:
        status["reason"], status["message"] = facts.failure
    return status


def _conditions(
    pod: Obj,
    facts: Facts,
    phase: str,
    containers: Sequence[Mapping[str, Any]],
    inits: Sequence[Mapping[str, Any]],
    old: Mapping[str, Any],
) -> list[dict[str, Any]]:
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    unready = [c["name"] for c in containers if not c["ready"]]
    unready += [
        c["name"]
        for c, track in zip(inits, facts.init_containers, strict=True)
        if track.kind == "sidecar" and not c["ready"]
    ]
    incomplete = [
        track.name
        for track, c in zip(facts.init_containers, inits, strict=True)
        if not (c["ready"] if track.kind == "init" else track.started or facts.initialized)
    ]
    if phase == "Succeeded":
        ready = contained = ("False", "PodCompleted", "")
        initialized = ("True", "PodCompleted", "")
    else:
        contained = ("True", "", "")
        if phase == "Failed":
            contained = ("False", "PodFailed", "")
        elif unready:
            contained = (
                "False",
                "ContainersNotReady",
                f"containers with unready status: [{' '.join(unready)}]",
            )
        ready = contained
        if ready[0] == "True":
            ready = _gates(pod, before)
        initialized = ("True", "", "")
        if incomplete and not facts.initialized:
            message = f"containers with incomplete status: [{' '.join(incomplete)}]"
            initialized = ("False", "ContainersNotInitialized", message)
    sandbox = ("True" if facts.sandbox else "False", "", "")
    ours = {
        "PodReadyToStartContainers": sandbox,
        "Initialized": initialized,
        "Ready": ready,
        "ContainersReady": contained,
    }
    generation = pod["metadata"].get("generation", 1)
    answer = []
    for type, (value, reason, message) in ours.items():
        previous = before.get(type)
        same = previous is not None and previous["status"] == value
        entry: dict[str, Any] = {
            "type": type,
            "status": value,
            "observedGeneration": generation,
            "lastTransitionTime": previous["lastTransitionTime"] if previous and same else rfc3339(facts.now),
        }
        if reason:
            entry["reason"] = reason
        if message:
            entry["message"] = message
        answer.append(entry)
    return answer


def _gates(pod: Obj, conditions: Mapping[str, Mapping[str, Any]]) -> tuple[str, str, str]:
    for gate in pod["spec"].get("readinessGates") or ():
        type = gate["conditionType"]
        condition = conditions.get(type)
        if condition is None:
            return (
                "False",
                "ReadinessGatesNotReady",
                f'corresponding condition of pod readiness gate "{type}" does not exist.',
            )
        if condition.get("status") != "True":
            return (
                "False",
                "ReadinessGatesNotReady",
                f'the status of pod readiness gate "{type}" is not "True", but {condition.get("status", "")}',
            )
    return "True", "", ""


def changed(status: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether patching ``old`` with ``status`` would alter anything."""
    before = {condition["type"]: condition for condition in old.get("conditions") or ()}
    return any(
        _plain(old.get(key)) != _plain(value) for key, value in status.items() if key != "conditions"
    ) or any(_plain(before.get(condition["type"])) != _plain(condition) for condition in status["conditions"])


def _plain(value: Any) -> Any:
    """Absent, null and empty say the same in the API."""
    if isinstance(value, Mapping):
        return {k: p for k, v in value.items() if (p := _plain(v)) not in (None, {}, [], "")}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
