"""What a Deployment's status says: counts, conditions, the progress deadline.

Source: k8s.io/kubernetes/pkg/controller/deployment/{progress,sync}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta, times
from kubernel_plugins.controller.deployment import sets

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["complete", "compute_status", "has_deadline", "recheck_after", "set_progressing"]

_NO_DEADLINE = 2**31 - 1
_DONE = "NewReplicaSetAvailable"
_TIMED_OUT = "ProgressDeadlineExceeded"

Status = dict[str, Any]


def has_deadline(deployment: Obj) -> bool:
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and deadline != _NO_DEADLINE


def complete(deployment: Obj, status: Status) -> bool:
    """All pods are of the new template and available, and this generation has been seen."""
    wanted = sets.replicas(deployment)
    seen: int = status.get("observedGeneration", 0)
    counts = (status.get(key, 0) for key in ("updatedReplicas", "replicas", "availableReplicas"))
    generation: int = deployment["metadata"].get("generation", 0)
    return all(count == wanted for count in counts) and seen >= generation


def compute_status(deployment: Obj, every: Sequence[Obj], new: Obj | None, now: float) -> Status:
    """The counts and the Available condition; other conditions as they are."""
    old = deployment.get("status") or {}
    available = sets.total_status(every, "availableReplicas")
    counts = {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        "replicas": sets.total_status(every, "replicas"),
        "updatedReplicas": sets.total_status([new] if new else [], "replicas"),
        "readyReplicas": sets.total_status(every, "readyReplicas"),
        "availableReplicas": available,
        "unavailableReplicas": max(sets.total(every) - available, 0),
    }
    status: Status = {key: value for key, value in counts.items() if value}
    status["terminatingReplicas"] = sets.total_status(every, "terminatingReplicas")
    if old.get("collisionCount") is not None:
        status["collisionCount"] = old["collisionCount"]
    if available >= sets.replicas(deployment) - sets.max_unavailable(deployment):
        told = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        told = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    status["conditions"] = _with(old.get("conditions"), "Available", *told, now)
    return status


def _with(
    existing: list[dict[str, Any]] | None, type: str, status: str, reason: str, message: str, now: float
) -> list[dict[str, Any]]:
    """As upstream's SetDeploymentCondition: nothing moves while status and reason stay."""
    current = next((entry for entry in existing or () if entry["type"] == type), None)
    if current is not None and current["status"] == status and current.get("reason") == reason:
        return list(existing or ())
    stamp = rfc3339(now)
    moved = current["lastTransitionTime"] if current and current["status"] == status else stamp
    entry = {
        "type": type,
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": moved,
    }
    return [*(each for each in existing or () if each["type"] != type), entry]


def set_condition(status: Status, type: str, truth: str, reason: str, message: str, now: float) -> None:
    status["conditions"] = _with(status.get("conditions"), type, truth, reason, message, now)


def set_progressing(
    deployment: Obj, status: Status, every: Sequence[Obj], new: Obj | None, now: float
) -> None:
    """Update the Progressing and ReplicaFailure conditions of ``status``."""
    if not has_deadline(deployment):
        status["conditions"], _ = conditions.remove(status["conditions"], "Progressing")
    else:
        _judge(deployment, status, new, now)
    failure = next(
        (
            found
            for rs in ([new] if new else []) + [rs for rs in every if new is None or rs is not new]
            if (found := conditions.find(rs, "ReplicaFailure")) is not None
        ),
        None,
    )
    if failure is None:
        status["conditions"], _ = conditions.remove(status["conditions"], "ReplicaFailure")
    else:
        set_condition(
            status,
            "ReplicaFailure",
            failure["status"],
            failure.get("reason", ""),
            failure.get("message", ""),
            now,
        )


def _judge(deployment: Obj, status: Status, new: Obj | None, now: float) -> None:
    current = conditions.find(deployment, "Progressing")
    done = (
        status.get("replicas", 0) == status.get("updatedReplicas", 0)
        and current is not None
        and current.get("reason") == _DONE
    )
    if done:
        return
    subject = f'ReplicaSet "{meta.name(new)}"' if new else f'Deployment "{meta.name(deployment)}"'
    if complete(deployment, status):
        set_condition(status, "Progressing", "True", _DONE, f"{subject} has successfully progressed.", now)
    elif _moved_on(deployment, status):
        # The condition is written anew each time: its lastUpdateTime is what the deadline runs from.
        kept = current["lastTransitionTime"] if current and current["status"] == "True" else None
        status["conditions"], _ = conditions.remove(status["conditions"], "Progressing")
        set_condition(status, "Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.", now)
        if kept:
            status["conditions"][-1]["lastTransitionTime"] = kept
    elif _timed_out(deployment, current, now):
        set_condition(
            status, "Progressing", "False", _TIMED_OUT, f"{subject} has timed out progressing.", now
        )


def _moved_on(deployment: Obj, status: Status) -> bool:
    old = deployment.get("status") or {}

    def grew(field: str) -> bool:
        return bool(status.get(field, 0) > old.get(field, 0))

    before = old.get("replicas", 0) - old.get("updatedReplicas", 0)
    after = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    return grew("updatedReplicas") or after < before or grew("readyReplicas") or grew("availableReplicas")


def _timed_out(deployment: Obj, current: dict[str, Any] | None, now: float) -> bool:
    if current is None or current.get("reason") == _DONE:
        return False
    if current.get("reason") == _TIMED_OUT:
        return True
    since = times.parse(current["lastUpdateTime"])
    return bool(since + deployment["spec"]["progressDeadlineSeconds"] < now)


def recheck_after(deployment: Obj, status: Status, now: float) -> float | None:
    """Seconds until the progress deadline has to be looked at again; None when there is none."""
    current = conditions.find({"status": status}, "Progressing")
    if not has_deadline(deployment) or current is None:
        return None
    if complete(deployment, status) or current.get("reason") in (_TIMED_OUT, _DONE):
        return None
    since = times.parse(current["lastUpdateTime"])
    return max(float(since + deployment["spec"]["progressDeadlineSeconds"] - now), 0.0) + 1.0
