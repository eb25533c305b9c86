"""HorizontalPodAutoscalers: kept as autoscaling/v2, also spoken as v1.

What v1 has no field for travels in annotations (pkg/apis/autoscaling/v1/conversion.go, v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from kubernel_plugins.api.builtin.strategies.base import Builtin, field
from kubernel_plugins.api.builtin.validation.autoscaling import autoscaler, autoscaler_status

if TYPE_CHECKING:
    from kubernel.errors import Cause
    from kubernel.registry.request import Request

__all__ = ["HorizontalPodAutoscalerStrategy", "from_v2", "to_v2"]

Obj = dict[str, Any]

_PREFIX = "autoscaling.alpha.kubernetes.io/"
_METRICS, _CURRENT, _CONDITIONS, _BEHAVIOR = (
    _PREFIX + name for name in ("metrics", "current-metrics", "conditions", "behavior")
)
_DEFAULT_CPU = 80


def _cpu_metric(percent: int) -> Obj:
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    }


def _is_cpu_utilization(metric: Obj) -> bool:
    return (
        metric.get("type") == "Resource"
        and field(metric, "resource", "name") == "cpu"
        and field(metric, "resource", "target", "averageUtilization") is not None
    )


def _split(metrics: list[Obj]) -> tuple[Obj | None, list[Obj]]:
    """The CPU utilization that v1 has a field for, and the rest."""
    for index, metric in enumerate(metrics):
        if _is_cpu_utilization(metric):
            return metric, metrics[:index] + metrics[index + 1 :]
    return None, metrics


def _load(annotations: dict[str, str], key: str) -> Any:
    """What an annotation holds; something else than our JSON is the client's own and stays out of it."""
    text = annotations.pop(key, None)
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def from_v2(hpa: Obj) -> Obj:
    """An autoscaling/v2 object as v1."""
    meta, spec, status = dict(hpa["metadata"]), dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    annotations = dict(meta.get("annotations") or {})
    cpu, rest = _split(list(spec.pop("metrics", None) or []))
    if cpu is not None:
        spec["targetCPUUtilizationPercentage"] = cpu["resource"]["target"]["averageUtilization"]
    current_cpu = None
    current_rest = []
    for metric in status.pop("currentMetrics", None) or ():
        used = field(metric, "resource", "current", "averageUtilization")
        if current_cpu is None and field(metric, "resource", "name") == "cpu" and used is not None:
            current_cpu = used
        else:
            current_rest.append(metric)
    if current_cpu is not None:
        status["currentCPUUtilizationPercentage"] = current_cpu
    for key, value in (
        (_METRICS, rest),
        (_CURRENT, current_rest),
        (_CONDITIONS, status.pop("conditions", None)),
        (_BEHAVIOR, spec.pop("behavior", None)),
    ):
        if value:
            annotations[key] = orjson.dumps(value).decode()
    if annotations:
        meta["annotations"] = annotations
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    return {**hpa, "apiVersion": "autoscaling/v1", "metadata": meta, "spec": spec, "status": status}


def to_v2(hpa: Obj) -> Obj:
    """An autoscaling/v1 object as v2."""
    meta, spec, status = dict(hpa["metadata"]), dict(hpa.get("spec") or {}), dict(hpa.get("status") or {})
    annotations = dict(meta.get("annotations") or {})
    metrics = list(_load(annotations, _METRICS) or [])
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    if percent is not None:
        metrics.append(_cpu_metric(percent))
    if metrics:
        spec["metrics"] = metrics
    behavior = _load(annotations, _BEHAVIOR)
    if behavior:
        spec["behavior"] = behavior
    current = list(_load(annotations, _CURRENT) or [])
    used = status.pop("currentCPUUtilizationPercentage", None)
    if used is not None:
        current.append(
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}
        )
    status["currentMetrics"] = current or None
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    status.setdefault("desiredReplicas", 0)
    conditions = _load(annotations, _CONDITIONS)
    if conditions:
        status["conditions"] = conditions
    if annotations:
        meta["annotations"] = annotations
    else:
        meta.pop("annotations", None)
    return {**hpa, "apiVersion": "autoscaling/v2", "metadata": meta, "spec": spec, "status": status}


_SCALE_UP = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": (("Pods", 4), ("Percent", 100)),
}
_SCALE_DOWN = {"selectPolicy": "Max", "policies": (("Percent", 100),)}


def _default_rules(behavior: Obj, key: str, rules: dict[str, Any]) -> None:
    given = behavior.setdefault(key, {})
    if isinstance(given, dict):
        for name, value in rules.items():
            if name == "policies":
                given.setdefault(
                    name, [{"type": type, "value": number, "periodSeconds": 15} for type, number in value]
                )
            else:
                given.setdefault(name, value)


class HorizontalPodAutoscalerStrategy(Builtin):
    def __init__(self) -> None:
        super().__init__(generation=True, thorough=True)

    def default(self, obj: Obj) -> None:
        spec = obj.get("spec")
        if not isinstance(spec, dict):
            return
        spec.setdefault("minReplicas", 1)
        if obj.get("apiVersion") == "autoscaling/v1":
            return
        if not spec.get("metrics"):
            spec["metrics"] = [_cpu_metric(_DEFAULT_CPU)]
        behavior = spec.get("behavior")
        if isinstance(behavior, dict):
            _default_rules(behavior, "scaleUp", _SCALE_UP)
            _default_rules(behavior, "scaleDown", _SCALE_DOWN)

    def validate_create(self, request: Request, obj: Obj) -> list[Cause]:
        return autoscaler(_as_v2(obj))

    def validate_update(self, request: Request, obj: Obj, old: Obj) -> list[Cause]:
        if request.subresource == "status":
            return autoscaler_status(obj)
        return autoscaler(_as_v2(obj), _as_v2(old))


def _as_v2(obj: Obj) -> Obj:
    return to_v2(obj) if obj.get("apiVersion") == "autoscaling/v1" else obj
