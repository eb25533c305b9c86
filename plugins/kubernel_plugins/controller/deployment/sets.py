"""Arithmetic on a Deployment and its ReplicaSets: no requests, no time.

Source: k8s.io/kubernetes/pkg/controller/deployment/util/deployment_util.go (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta, times

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "DESIRED",
    "HASH_LABEL",
    "MAX_REPLICAS",
    "REVISION",
    "active",
    "active_or_latest",
    "age",
    "available",
    "copied_annotations",
    "find_new",
    "is_seen",
    "max_surge",
    "max_unavailable",
    "new_size",
    "proportion",
    "replicas",
    "revision",
    "rolling",
    "saturated",
    "total",
    "total_status",
]

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
HASH_LABEL = "pod-template-hash"

_HISTORY_LIMIT = 2000
"""Characters that the history of a ReplicaSet's revisions may have."""

_NOT_COPIED = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    )
)


def replicas(obj: Obj) -> int:
    """``spec.replicas``; 1 when absent."""
    count = obj["spec"].get("replicas")
    return 1 if count is None else int(count)


def total(sets: Iterable[Obj]) -> int:
    return sum(replicas(rs) for rs in sets)


def total_status(sets: Iterable[Obj], field: str) -> int:
    return sum((rs.get("status") or {}).get(field, 0) for rs in sets)


def available(sets: Iterable[Obj]) -> int:
    """Available pods that will stay: what was just scaled down may still be counted in the status."""
    return sum(min((rs.get("status") or {}).get("availableReplicas", 0), replicas(rs)) for rs in sets)


def is_seen(rs: Obj) -> bool:
    """Whether the status is of the size that is asked for."""
    return bool((rs.get("status") or {}).get("observedGeneration", 0) >= rs["metadata"].get("generation", 0))


def active(sets: Iterable[Obj]) -> list[Obj]:
    return [rs for rs in sets if replicas(rs) > 0]


def age(rs: Obj) -> tuple[float, str]:
    """Sort key, oldest first."""
    return times.parse(rs["metadata"]["creationTimestamp"]), meta.name(rs)


def revision(obj: Obj) -> int:
    """The revision annotation; 0 when absent or no number."""
    text = meta.annotations(obj).get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def rolling(deployment: Obj) -> bool:
    return bool(meta.get(deployment, "spec", "strategy", "type", default="RollingUpdate") == "RollingUpdate")


def _share(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    share = int(value.rstrip("%")) * of / 100
    return math.ceil(share) if up else math.floor(share)


def _bounds(deployment: Obj) -> tuple[int, int]:
    """maxSurge (rounded up) and maxUnavailable (rounded down); never both 0."""
    limits = meta.get(deployment, "spec", "strategy", "rollingUpdate", default={})
    count = replicas(deployment)
    surge = _share(limits.get("maxSurge", "25%"), count, up=True)
    unavailable = _share(limits.get("maxUnavailable", "25%"), count, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def max_surge(deployment: Obj) -> int:
    return _bounds(deployment)[0] if rolling(deployment) else 0


def max_unavailable(deployment: Obj) -> int:
    if not rolling(deployment) or replicas(deployment) == 0:
        return 0
    return min(_bounds(deployment)[1], replicas(deployment))


def same_template(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two pod templates are equal apart from the hash label."""
    if first.get("spec") != second.get("spec"):
        return False
    one, two = first.get("metadata") or {}, second.get("metadata") or {}
    for key in ("annotations", "finalizers"):
        if (one.get(key) or None) != (two.get(key) or None):
            return False
    labels = [
        {key: value for key, value in (side.get("labels") or {}).items() if key != HASH_LABEL}
        for side in (one, two)
    ]
    return labels[0] == labels[1]


def find_new(deployment: Obj, sets: Sequence[Obj]) -> Obj | None:
    """The ReplicaSet of the current template; the oldest when several have it."""
    template = deployment["spec"]["template"]
    for rs in sorted(sets, key=age):
        if same_template(rs["spec"]["template"], template):
            return rs
    return None


def new_size(deployment: Obj, sets: Sequence[Obj], rs: Obj) -> int:
    """How large the new ReplicaSet may be now. Pods that a set is to give up count for as long as it has them."""
    wanted, size = replicas(deployment), replicas(rs)
    if not rolling(deployment):
        return wanted
    having = sum(max(replicas(each), total_status([each], "replicas")) for each in sets)
    room = wanted + max_surge(deployment) - having
    if room <= 0:
        return size
    return size + min(room, wanted - size)


def saturated(deployment: Obj, rs: Obj | None) -> bool:
    """Whether the new ReplicaSet alone is all the Deployment wants, and available."""
    if rs is None:
        return False
    wanted = replicas(deployment)
    return (
        replicas(rs) == wanted
        and meta.annotations(rs).get(DESIRED) == str(wanted)
        and (rs.get("status") or {}).get("availableReplicas", 0) == wanted
    )


def active_or_latest(new: Obj | None, old: Sequence[Obj]) -> Obj | None:
    """The only ReplicaSet with pods, or with none of them the latest; None when several have pods."""
    having = active([*old, *([new] if new else [])])
    if len(having) == 1:
        return having[0]
    if having:
        return None
    if new is not None:
        return new
    return max(old, key=age) if old else None


def proportion(rs: Obj, deployment: Obj, to_add: int, added: int) -> int:
    """How much of ``to_add`` this ReplicaSet takes in proportional scaling."""
    if replicas(rs) == 0 or to_add == 0 or to_add == added:
        return 0
    fraction = _fraction(rs, deployment)
    left = to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _fraction(rs: Obj, deployment: Obj) -> int:
    size = replicas(rs)
    if replicas(deployment) == 0:
        return -size
    text = meta.annotations(rs).get(MAX_REPLICAS, "")
    annotated = int(text) if text.isdigit() else (deployment.get("status") or {}).get("replicas", 0)
    if annotated == 0:
        return 0
    scaled = size * (replicas(deployment) + max_surge(deployment)) / annotated
    return math.floor(scaled + 0.5) - size


def size_annotations(deployment: Obj) -> dict[str, str]:
    wanted = replicas(deployment)
    return {DESIRED: str(wanted), MAX_REPLICAS: str(wanted + max_surge(deployment))}


def copied_annotations(deployment: Obj) -> dict[str, str]:
    """The Deployment's annotations that its ReplicaSets carry too."""
    return {key: value for key, value in meta.annotations(deployment).items() if key not in _NOT_COPIED}


def with_revision(annotations: Mapping[str, str], wanted: int) -> dict[str, str]:
    """``annotations`` at revision ``wanted`` (never lowered), with the former one in the history."""
    result = dict(annotations)
    text = result.get(REVISION, "")
    current = int(text) if text.isdigit() else 0
    if current >= wanted:
        return result
    result[REVISION] = str(wanted)
    if text:
        history = [entry for entry in result.get(REVISION_HISTORY, "").split(",") if entry]
        history.append(text)
        while len(",".join(history)) > _HISTORY_LIMIT:
            del history[0]
        result[REVISION_HISTORY] = ",".join(history)
    return result
