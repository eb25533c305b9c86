"""HorizontalPodAutoscalers, in the shape of autoscaling/v2.

Source: pkg/apis/autoscaling/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Callable

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.networking import path_segment
from kubernel_plugins.api.builtin.validation.resources import amount, container_resource_name
from kubernel_plugins.api.builtin.validation.values import (
    NEGATIVE,
    NOT_POSITIVE,
    Found,
    Obj,
    named,
    not_negative,
    optional_one_of,
)

__all__ = ["autoscaler", "autoscaler_status"]

_SOURCES = ("ContainerResource", "External", "Object", "Pods", "Resource")
_FIELDS = ("object", "external", "pods", "resource", "containerResource")
"""In the order in which upstream looks at them."""
_TARGETS = ("Utilization", "Value", "AverageValue")
_LONGEST_WINDOW = 3600
_LONGEST_PERIOD = 1800
_EITHER_RESOURCE = "must set either a target raw value or a target utilization"
_BOTH_RESOURCE = "may not set both a target raw value and a target utilization"
_EITHER_EXTERNAL = "must set either a target value for metric or a per-pod target"
_BOTH_EXTERNAL = "may not set both a target value for metric and a per-pod target"


def autoscaler(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec, before = obj["spec"], (old or {}).get("spec") or {}
    low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if low is not None and low < 0:
        found.append(causes.invalid("spec.minReplicas", low, "must be greater than or equal to 0"))
    if not high:
        found.append(causes.required("spec.maxReplicas"))
    elif high < 0:
        found.append(causes.invalid("spec.maxReplicas", high, "must be greater than or equal to 1"))
    if low is not None and high < low:
        told = "must be greater than or equal to `minReplicas`"
        found.append(causes.invalid("spec.maxReplicas", high, told))
    target = spec.get("scaleTargetRef") or {}
    kept = bool(before) and _wrong_version(before.get("scaleTargetRef") or {}, core=False) != ""
    _reference(target, "spec.scaleTargetRef", found, core=False, kept=kept)
    metrics = spec.get("metrics") or ()
    for index, metric in enumerate(metrics):
        _metric(metric, f"spec.metrics[{index}]", found)
    if low == 0 and not any(metric.get("type") in ("External", "Object") for metric in metrics):
        told = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(causes.forbidden("spec.metrics", told))
    for key in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(key)
        if rules is not None:
            _rules(rules, f"spec.behavior.{key}", found)
    return found


def autoscaler_status(obj: Obj) -> Found:
    found: Found = []
    status = obj.get("status") or {}
    for index, condition in enumerate(status.get("conditions") or ()):
        not_negative(condition, f"status.conditions[{index}]", found, "observedGeneration")
    not_negative(status, "status", found, "currentReplicas", "desiredReplicas")
    return found


def _wrong_version(reference: Obj, *, core: bool) -> str:
    """What is wrong with the reference's apiVersion; ``core``: the group of pods will do."""
    version = reference.get("apiVersion") or ""
    if version.count("/") > 1:
        return f"unexpected GroupVersion string: {version}"
    if not core and "/" not in version.strip("/"):
        return "apiVersion must specify API group"
    return ""


def _reference(reference: Obj, path: str, found: Found, *, core: bool, kept: bool = False) -> None:
    for key in ("kind", "name"):
        if reference.get(key):
            path_segment(reference[key], f"{path}.{key}", found)
        else:
            found.append(causes.required(f"{path}.{key}"))
    wrong = "" if kept else _wrong_version(reference, core=core)
    if wrong:
        found.append(causes.invalid(f"{path}.apiVersion", reference.get("apiVersion") or "", wrong))


def _metric(metric: Obj, path: str, found: Found) -> None:
    type = metric.get("type") or ""
    if not type:
        found.append(causes.required(f"{path}.type", "must specify a metric source type"))
    if type not in _SOURCES:
        found.append(causes.not_supported(f"{path}.type", type, _SOURCES))
    present = [key for key in _FIELDS if metric.get(key) is not None]
    if present:
        _SOURCE_RULES[present[0]](metric[present[0]], f"{path}.{present[0]}", found)
    expected = type[:1].lower() + type[1:]
    if type in _SOURCES and expected not in present:
        told = "must populate information for the given metric source"
        found.append(causes.required(f"{path}.{expected}", told))
    if len(present) != 1:
        told = "must populate the given metric source only"
        found += [causes.forbidden(f"{path}.{key}", told) for key in present if key != expected]


def _object(source: Obj, path: str, found: Found) -> None:
    _reference(source.get("describedObject") or {}, f"{path}.describedObject", found, core=True)
    _identifier(source, path, found)
    target = _target(source, path, found)
    if target.get("value") is None and target.get("averageValue") is None:
        told = "must set either a target value or averageValue"
        found.append(causes.required(f"{path}.target.averageValue", told))


def _external(source: Obj, path: str, found: Found) -> None:
    _identifier(source, path, found)
    target = _target(source, path, found)
    value, average = target.get("value"), target.get("averageValue")
    if value is None and average is None:
        found.append(causes.required(f"{path}.target.averageValue", _EITHER_EXTERNAL))
    if value is not None and average is not None:
        found.append(causes.forbidden(f"{path}.target.value", _BOTH_EXTERNAL))


def _pods(source: Obj, path: str, found: Found) -> None:
    _identifier(source, path, found)
    if _target(source, path, found).get("averageValue") is None:
        told = "must specify a positive target averageValue"
        found.append(causes.required(f"{path}.target.averageValue", told))


def _resource(source: Obj, path: str, found: Found) -> None:
    if not source.get("name"):
        found.append(causes.required(f"{path}.name", "must specify a resource name"))
    _use(source, path, found)


def _container_resource(source: Obj, path: str, found: Found) -> None:
    if not source.get("name"):
        found.append(causes.required(f"{path}.name", "must specify a resource name"))
    else:
        container_resource_name(source["name"], f"{path}.name", found)
    if not source.get("container"):
        found.append(causes.required(f"{path}.container", "must specify a container"))
    else:
        named(source["container"], f"{path}.container", names.check_dns1123_label, found)
    _use(source, path, found)


_SOURCE_RULES: dict[str, Callable[[Obj, str, Found], None]] = {
    "object": _object,
    "external": _external,
    "pods": _pods,
    "resource": _resource,
    "containerResource": _container_resource,
}


def _use(source: Obj, path: str, found: Found) -> None:
    target = _target(source, path, found)
    use, value = target.get("averageUtilization"), target.get("averageValue")
    if use is None and value is None:
        found.append(causes.required(f"{path}.target.averageUtilization", _EITHER_RESOURCE))
    if use is not None and value is not None:
        found.append(causes.forbidden(f"{path}.target.averageValue", _BOTH_RESOURCE))


def _identifier(source: Obj, path: str, found: Found) -> None:
    name = (source.get("metric") or {}).get("name")
    if name:
        path_segment(name, f"{path}.metric.name", found)
    else:
        found.append(causes.required(f"{path}.metric.name", "must specify a metric name"))


def _target(source: Obj, path: str, found: Found) -> Obj:
    target: Obj = source.get("target") or {}
    path, type = f"{path}.target", target.get("type") or ""
    if not type:
        found.append(causes.required(f"{path}.type", "must specify a metric target type"))
    if type not in _TARGETS:
        told = "must be either Utilization, Value, or AverageValue"
        found.append(causes.invalid(f"{path}.type", type, told))
    for key in ("value", "averageValue"):
        text = target.get(key)
        if text is not None and amount(text) <= 0:
            found.append(causes.invalid(f"{path}.{key}", quantity.canonical(text), "must be positive"))
    use = target.get("averageUtilization")
    if use is not None and use < 1:
        found.append(causes.invalid(f"{path}.averageUtilization", use, "must be greater than 0"))
    return target


def _rules(rules: Obj, path: str, found: Found) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        told = "must be greater than or equal to zero"
        found.append(causes.invalid(f"{path}.stabilizationWindowSeconds", window, told))
    elif window is not None and window > _LONGEST_WINDOW:
        told = f"must be less than or equal to {_LONGEST_WINDOW}"
        found.append(causes.invalid(f"{path}.stabilizationWindowSeconds", window, told))
    optional_one_of(rules, "selectPolicy", path, ("Disabled", "Max", "Min"), found)
    policies = rules.get("policies") or ()
    if not policies:
        found.append(causes.required(f"{path}.policies", "must specify at least one Policy"))
    for index, policy in enumerate(policies):
        where = f"{path}.policies[{index}]"
        if policy.get("type") not in ("Percent", "Pods"):
            supported = ("Percent", "Pods")
            found.append(causes.not_supported(f"{where}.type", policy.get("type") or "", supported))
        for key in ("value", "periodSeconds"):
            if (policy.get(key) or 0) <= 0:
                found.append(causes.invalid(f"{where}.{key}", policy.get(key) or 0, NOT_POSITIVE))
        if (policy.get("periodSeconds") or 0) > _LONGEST_PERIOD:
            told = f"must be less than or equal to {_LONGEST_PERIOD}"
            found.append(causes.invalid(f"{where}.periodSeconds", policy["periodSeconds"], told))
    tolerance = rules.get("tolerance")
    if tolerance is not None and amount(tolerance) < 0:
        found.append(causes.invalid(f"{path}.tolerance", quantity.canonical(tolerance), NEGATIVE))
