"""Columns of what runs pods: apps, batch, autoscaling, policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kubernel.registry.types import Column
from kubernel_plugins.api.builtin.columns.common import (
    AGE,
    NAME,
    Obj,
    at,
    count,
    format_labels,
    format_selector,
    human_duration,
    integer,
    seconds,
    since,
    template_columns,
    text,
)

__all__ = [
    "CONTROLLER_REVISION",
    "CRON_JOB",
    "DAEMON_SET",
    "DEPLOYMENT",
    "HORIZONTAL_POD_AUTOSCALER",
    "JOB",
    "POD_DISRUPTION_BUDGET",
    "REPLICATION_CONTROLLER",
    "REPLICA_SET",
    "STATEFUL_SET",
]


def _selector(*path: str, absent: str = "<none>") -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        return format_selector(at(obj, *path), absent)

    return cell


def _labels(*path: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        return format_labels(at(obj, *path))

    return cell


def _desired(obj: Obj) -> int:
    replicas = at(obj, "spec", "replicas")
    return 1 if replicas is None else int(replicas)


def _ready_of_desired(obj: Obj, now: float) -> str:
    return f"{at(obj, 'status', 'readyReplicas') or 0}/{_desired(obj)}"


def _desired_replicas(obj: Obj, now: float) -> int:
    return _desired(obj)


def _condition_true(obj: Obj, type: str) -> bool:
    for condition in at(obj, "status", "conditions") or ():
        if condition.get("type") == type:
            return bool(condition.get("status") == "True")
    return False


def _job_status(obj: Obj, now: float) -> str:
    if _condition_true(obj, "Complete"):
        return "Complete"
    if _condition_true(obj, "Failed"):
        return "Failed"
    if at(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    for condition in ("Suspended", "FailureTarget"):
        if _condition_true(obj, condition):
            return condition
    return "Running"


def _job_completions(obj: Obj, now: float) -> str:
    succeeded = at(obj, "status", "succeeded") or 0
    completions = at(obj, "spec", "completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = at(obj, "spec", "parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _job_duration(obj: Obj, now: float) -> str:
    started = seconds(at(obj, "status", "startTime"))
    if started is None:
        return ""
    ended = seconds(at(obj, "status", "completionTime"))
    return human_duration((now if ended is None else ended) - started)


def _last_schedule(obj: Obj, now: float) -> str:
    last = at(obj, "status", "lastScheduleTime")
    return since(last, now) if last else "<none>"


def _suspended(obj: Obj, now: float) -> str:
    suspend = at(obj, "spec", "suspend")
    return "<unset>" if suspend is None else str(bool(suspend))


def _owner(obj: Obj, now: float) -> str:
    for owner in at(obj, "metadata", "ownerReferences") or ():
        if owner.get("controller"):
            group = owner.get("apiVersion", "").rpartition("/")[0]
            kind = owner.get("kind", "") + (f".{group}" if group else "")
            return f"{kind.lower()}/{owner.get('name', '')}"
    return "<none>"


def _int_or_none(*path: str) -> Callable[[Obj, float], str]:
    def cell(obj: Obj, now: float) -> str:
        value = at(obj, *path)
        return "N/A" if value is None else str(value)

    return cell


_TARGETS = {"External": "external", "Pods": "pods", "Object": "object"}
_RESOURCES = {"Resource": "resource", "ContainerResource": "containerResource"}


def _current(status: Mapping[str, Any] | None, source: str, field: str) -> str:
    value = at(status, source, "current", field)
    return "<unknown>" if value is None else str(value)


def _metric(spec: Mapping[str, Any], status: Mapping[str, Any] | None) -> str:
    if source := _RESOURCES.get(spec.get("type", "")):
        target = at(spec, source, "target") or {}
        name = at(spec, source, "name")
        if target.get("averageValue") is not None:
            return f"{name}: {_current(status, source, 'averageValue')}/{target['averageValue']}"
        used = _current(status, source, "averageUtilization")
        wanted = target.get("averageUtilization")
        percent = used if used == "<unknown>" else f"{used}%"
        return f"{name}: {percent}/{'<auto>' if wanted is None else f'{wanted}%'}"
    if source := _TARGETS.get(spec.get("type", "")):
        target = at(spec, source, "target") or {}
        if target.get("averageValue") is not None:
            suffix = "" if source == "pods" else " (avg)"
            return f"{_current(status, source, 'averageValue')}/{target['averageValue']}{suffix}"
        return f"{_current(status, source, 'value')}/{target.get('value', '0')}"
    return "<unknown type>"


def _hpa_targets(obj: Obj, now: float) -> str:
    if at(obj, "apiVersion") == "autoscaling/v1":
        wanted = at(obj, "spec", "targetCPUUtilizationPercentage")
        if wanted is None:
            return "<none>"
        used = at(obj, "status", "currentCPUUtilizationPercentage")
        return f"cpu: {'<unknown>' if used is None else f'{used}%'}/{wanted}%"
    specs = at(obj, "spec", "metrics") or ()
    statuses = at(obj, "status", "currentMetrics") or ()
    shown = [_metric(spec, statuses[i] if i < len(statuses) else None) for i, spec in enumerate(specs)]
    if not shown:
        return "<none>"
    if len(shown) > 2:
        return f"{', '.join(shown[:2])} + {len(shown) - 2} more..."
    return ", ".join(shown)


def _hpa_reference(obj: Obj, now: float) -> str:
    return f"{at(obj, 'spec', 'scaleTargetRef', 'kind')}/{at(obj, 'spec', 'scaleTargetRef', 'name')}"


_TEMPLATE = template_columns("spec", "template")
_SELECTOR = Column(
    "Selector",
    _selector("spec", "selector"),
    description="Which pods belong to it.",
    priority=1,
)
_READY_OF = Column("Ready", _ready_of_desired, description="Ready pods of the wanted ones.")
_REPLICAS = (
    Column("Desired", _desired_replicas, type="integer", description="The number of desired pods."),
    Column("Current", integer("status", "replicas"), type="integer", description="The number of pods."),
    Column(
        "Ready", integer("status", "readyReplicas"), type="integer", description="The number of ready pods."
    ),
)

DEPLOYMENT = (
    NAME,
    _READY_OF,
    Column(
        "Up-to-date",
        integer("status", "updatedReplicas"),
        description="The number of pods that have the desired template.",
    ),
    Column(
        "Available",
        integer("status", "availableReplicas"),
        description="The number of pods that have been ready for minReadySeconds.",
    ),
    AGE,
    *_TEMPLATE,
    Column(
        "Selector",
        _selector("spec", "selector", absent=""),
        description="Which pods belong to it.",
        priority=1,
    ),
)
REPLICA_SET = (NAME, *_REPLICAS, AGE, *_TEMPLATE, _SELECTOR)
REPLICATION_CONTROLLER = (
    NAME,
    *_REPLICAS,
    AGE,
    *_TEMPLATE,
    Column("Selector", _labels("spec", "selector"), description="Which pods belong to it.", priority=1),
)
STATEFUL_SET = (NAME, _READY_OF, AGE, *_TEMPLATE)
DAEMON_SET = (
    NAME,
    Column("Desired", integer("status", "desiredNumberScheduled"), type="integer"),
    Column("Current", integer("status", "currentNumberScheduled"), type="integer"),
    Column("Ready", integer("status", "numberReady"), type="integer"),
    Column("Up-to-date", integer("status", "updatedNumberScheduled"), type="integer"),
    Column("Available", integer("status", "numberAvailable"), type="integer"),
    Column("Node Selector", _labels("spec", "template", "spec", "nodeSelector")),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
JOB = (
    NAME,
    Column("Status", _job_status, description="What became of the job."),
    Column("Completions", _job_completions, description="Pods that succeeded, of those wanted."),
    Column("Duration", _job_duration, description="How long it has run."),
    AGE,
    *_TEMPLATE,
    _SELECTOR,
)
CRON_JOB = (
    NAME,
    Column("Schedule", text("spec", "schedule"), description="When it runs, in cron's terms."),
    Column("Timezone", text("spec", "timeZone", absent="<none>"), description="The schedule's time zone."),
    Column("Suspend", _suspended, type="boolean", description="Whether it is paused."),
    Column("Active", count("status", "active"), type="integer", description="Currently running jobs."),
    Column("Last Schedule", _last_schedule, description="When the job was last scheduled."),
    AGE,
    *template_columns("spec", "jobTemplate", "spec", "template"),
    Column(
        "Selector",
        _selector("spec", "jobTemplate", "spec", "selector"),
        description="Which pods.",
        priority=1,
    ),
)
CONTROLLER_REVISION = (
    NAME,
    Column("Controller", _owner, description="Whose revision it is."),
    Column("Revision", integer("revision"), description="The revision's number."),
    AGE,
)
HORIZONTAL_POD_AUTOSCALER = (
    NAME,
    Column("Reference", _hpa_reference, description="What is scaled."),
    Column("Targets", _hpa_targets, description="Current and wanted values of the metrics."),
    Column("MinPods", text("spec", "minReplicas", absent="<unset>"), description="The lower limit."),
    Column("MaxPods", integer("spec", "maxReplicas"), description="The upper limit."),
    Column("Replicas", integer("status", "currentReplicas"), description="Replicas last seen."),
    AGE,
)
SCALE = (
    NAME,
    Column("Desired", integer("spec", "replicas"), type="integer", description="Replicas asked for."),
    Column("Available", integer("status", "replicas"), type="integer", description="Replicas there are."),
    AGE,
)
POD_DISRUPTION_BUDGET = (
    NAME,
    Column(
        "Min Available",
        _int_or_none("spec", "minAvailable"),
        description="Pods that must stay available.",
    ),
    Column(
        "Max Unavailable",
        _int_or_none("spec", "maxUnavailable"),
        description="Pods that may be away.",
    ),
    Column(
        "Allowed Disruptions",
        integer("status", "disruptionsAllowed"),
        type="integer",
        description="Pods that may be evicted now.",
    ),
    AGE,
)
