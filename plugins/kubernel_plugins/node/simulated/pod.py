"""What a simulated pod is doing at a given time, and the status that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.objects import times
from kubernel_plugins.simulation import Consumption, script_of

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Delays", "SimulatedPod"]

_FIRST_BACKOFF = 10.0
_MAX_BACKOFF = 300.0
_KILLED = 137


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds: from bound to running, from running to ready, from deleted to gone."""

    start: float
    ready: float
    stop: float


@dataclass(slots=True)
class _Container:
    name: str
    image: str
    started: float | None = None
    finished: float | None = None
    code: int = 0
    restarts: int = 0
    last: tuple[float, float, int] | None = None
    ready: bool = False
    consumption: Consumption | None = None

    @property
    def running(self) -> bool:
        return self.started is not None and self.finished is None


@dataclass(slots=True)
class SimulatedPod:
    """Moved forward by ``advance``; ``due`` is when something happens next by itself, None when nothing
    does."""

    uid: str
    seen: float
    address: str = ""
    dies_at: float | None = None
    told: Any = None
    """What the last status said, to write only changes."""
    due: float | None = None
    containers: list[_Container] = field(default_factory=list)

    @classmethod
    def of(cls, pod: Obj, now: float) -> SimulatedPod:
        """Takes up what the pod's status says already."""
        status = pod.get("status") or {}
        known = {entry["name"]: entry for entry in status.get("containerStatuses") or ()}
        containers = []
        for spec in pod["spec"]["containers"]:
            container = _Container(spec["name"], spec.get("image", ""))
            entry = known.get(container.name) or {}
            running = (entry.get("state") or {}).get("running")
            if running and running.get("startedAt"):
                container.started = times.parse(running["startedAt"])
                container.ready = bool(entry.get("ready"))
                container.restarts = int(entry.get("restartCount", 0))
            containers.append(container)
        answer = cls(pod["metadata"]["uid"], now, str(status.get("podIP", "")), containers=containers)
        if containers and all(container.running for container in containers):
            answer.told = answer._said("Running")
        return answer

    def usage(self, pod: Obj, now: float) -> tuple[dict[str, tuple[float, int]], float]:
        """(container name -> (CPU seconds, bytes), CPU seconds of all since the last look)."""
        found: dict[str, tuple[float, int]] = {}
        spent = 0.0
        for container in self.containers:
            if not container.running or container.started is None:
                container.consumption = None
                continue
            used = container.consumption
            if used is None or used.since < container.started:
                used = container.consumption = Consumption(container.started)
            before = used.cpu
            found[container.name] = used.at(now, script_of(pod, container.name))
            spent += used.cpu - before
        return found, spent

    def advance(self, pod: Obj, now: float, delays: Delays) -> str:
        """Bring the containers to where they are at ``now``; returns the pod's phase."""
        policy = pod["spec"].get("restartPolicy", "Always")
        dues: list[float] = []
        for container in self.containers:
            script = script_of(pod, container.name)
            if container.started is None:
                delay = delays.start if script.start_delay is None else script.start_delay
                if script.refusal or now < self.seen + delay:
                    if not script.refusal:
                        dues.append(self.seen + delay)
                    continue
                container.started = now
            if container.running and script.run is not None:
                end = container.started + script.run
                if now >= end:
                    container.finished, container.code = end, script.exit_code
                else:
                    dues.append(end)
            if container.finished is not None and _restarts(policy, container.code):
                wait = 0.0
                if container.restarts:
                    wait = min(_FIRST_BACKOFF * 2 ** (container.restarts - 1), _MAX_BACKOFF)
                if now >= container.finished + wait:
                    container.last = (container.started, container.finished, container.code)
                    container.started, container.finished = now, None
                    container.restarts += 1
                    if script.run is not None:
                        dues.append(now + script.run)
                else:
                    dues.append(container.finished + wait)
            container.ready = False
            if container.running and script.ready:
                ready_at = container.started + (script.ready_after or delays.ready)
                container.ready = now >= ready_at
                if not container.ready:
                    dues.append(ready_at)
        self.due = min(dues, default=None)
        return self._phase(policy)

    def kill(self, now: float) -> None:
        """What is running ends as on SIGKILL."""
        for container in self.containers:
            container.ready = False
            if container.running:
                container.finished, container.code = now, _KILLED
        self.due = None

    def _phase(self, policy: str) -> str:
        if any(container.started is None for container in self.containers):
            return "Pending"
        done = [c for c in self.containers if c.finished is not None and not _restarts(policy, c.code)]
        if len(done) < len(self.containers):
            return "Running"
        return "Succeeded" if all(container.code == 0 for container in done) else "Failed"

    def _said(self, phase: str) -> Any:
        return phase, self.address, [(c.ready, c.running, c.restarts, c.finished) for c in self.containers]

    def news(self, pod: Obj, phase: str, host: str, now: float) -> dict[str, Any] | None:
        """The status to write; None when the last one still holds."""
        said = self._said(phase)
        if said == self.told:
            return None
        self.told = said
        return self._status(pod, phase, host, now)

    def _status(self, pod: Obj, phase: str, host: str, now: float) -> dict[str, Any]:
        old = pod.get("status") or {}
        stamp = rfc3339(now)
        ready = phase == "Running" and all(container.ready for container in self.containers)
        status: dict[str, Any] = {
            "observedGeneration": pod["metadata"].get("generation", 1),
            "phase": phase,
            "startTime": old.get("startTime") or stamp,
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "conditions": _conditions(
                pod, phase, ready, [c.name for c in self.containers if not c.ready], stamp
            ),
            "containerStatuses": [self._container(container) for container in self.containers],
        }
        if self.address:
            status["podIP"] = self.address
            status["podIPs"] = [{"ip": self.address}]
        if inits := pod["spec"].get("initContainers"):
            status["initContainerStatuses"] = [
                {
                    "name": init["name"],
                    "image": init.get("image", ""),
                    "imageID": init.get("image", ""),
                    "ready": True,
                    "restartCount": 0,
                    "state": {
                        "terminated": {
                            "exitCode": 0,
                            "reason": "Completed",
                            "startedAt": stamp,
                            "finishedAt": stamp,
                        }
                    },
                }
                for init in inits
                if phase != "Pending"
            ]
        return status

    def _container(self, container: _Container) -> dict[str, Any]:
        identity = f"simulated://{self.uid}/{container.name}/{container.restarts}"
        state: dict[str, Any]
        if container.started is None:
            state = {"waiting": {"reason": "ContainerCreating"}}
        elif container.finished is None:
            state = {"running": {"startedAt": rfc3339(container.started)}}
        else:
            state = _terminated(container.started, container.finished, container.code)
        answer: dict[str, Any] = {
            "name": container.name,
            "image": container.image,
            "imageID": container.image,
            "ready": container.ready,
            "started": container.running,
            "restartCount": container.restarts,
            "state": state,
        }
        if container.started is not None:
            answer["containerID"] = identity
        if container.last is not None:
            answer["lastState"] = _terminated(*container.last)
        return answer


def _restarts(policy: str, code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _terminated(started: float, finished: float, code: int) -> dict[str, Any]:
    return {
        "terminated": {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": rfc3339(started),
            "finishedAt": rfc3339(finished),
        }
    }


def _conditions(pod: Obj, phase: str, ready: bool, unready: list[str], stamp: str) -> list[Mapping[str, Any]]:
    old = {condition["type"]: condition for condition in (pod.get("status") or {}).get("conditions") or ()}
    completed = phase == "Succeeded"
    up = "True" if ready else "False"
    reason, message = "", ""
    if completed or phase == "Failed":
        reason = "PodCompleted" if completed else "PodFailed"
    elif not ready:
        reason, message = "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    ours = {
        "PodReadyToStartContainers": ("True" if phase == "Running" else "False", "", ""),
        "Initialized": ("True", "PodCompleted" if completed else "", ""),
        "Ready": (up, reason, message),
        "ContainersReady": (up, reason, message),
    }
    answer: list[Mapping[str, Any]] = [condition for type, condition in old.items() if type not in ours]
    for type, (value, why, text) in ours.items():
        before = old.get(type)
        same = before is not None and before["status"] == value
        entry = {
            "type": type,
            "status": value,
            "observedGeneration": pod["metadata"].get("generation", 1),
            "lastTransitionTime": before["lastTransitionTime"] if before and same else stamp,
        }
        if why:
            entry["reason"] = why
        if text:
            entry["message"] = text
        answer.append(entry)
    return answer
