"""Priority and runtime classes, leases, disruption budgets.

Source: pkg/apis/{scheduling,node,coordination,policy}/validation (v1.37).
"""

from __future__ import annotations

import re

from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.conditions import conditions
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import container_requirements
from kubernel_plugins.api.builtin.validation.scheduling import tolerations
from kubernel_plugins.api.builtin.validation.values import (
    Found,
    Obj,
    label_selector,
    labels,
    named,
    not_negative,
    optional_one_of,
    percent_or_count,
)

__all__ = [
    "disruption_budget",
    "disruption_budget_status",
    "lease",
    "priority_class",
    "priority_class_update",
    "runtime_class",
    "runtime_class_update",
]

_SYSTEM = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
_HIGHEST = 1_000_000_000
_RESERVED = "priority class names with 'system-' prefix are reserved for system use only. error: "


def priority_class(obj: Obj) -> Found:
    found: Found = []
    name, value = obj["metadata"].get("name") or "", obj.get("value") or 0
    if name.startswith("system-"):
        wrong = _system_class(name, value, bool(obj.get("globalDefault")))
        if wrong:
            found.append(causes.forbidden("metadata.name", _RESERVED + wrong))
    elif value > _HIGHEST:
        told = f"maximum allowed value of a user defined priority is {_HIGHEST}"
        found.append(causes.forbidden("value", told))
    policy = obj.get("preemptionPolicy")
    if policy == "":
        found.append(causes.required("preemptionPolicy"))
    elif policy not in (None, "Never", "PreemptLowerPriority"):
        supported = ("PreemptLowerPriority", "Never")
        found.append(causes.not_supported("preemptionPolicy", policy, supported))
    return found


def _system_class(name: str, value: int, default: bool) -> str:
    if name not in _SYSTEM:
        return f"{name} is not a known system priority class"
    if _SYSTEM[name] != value:
        return f"value of {name} PriorityClass must be {_SYSTEM[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if default else ""


def priority_class_update(obj: Obj, old: Obj) -> Found:
    found: Found = []
    if (obj.get("value") or 0) != (old.get("value") or 0):
        found.append(causes.forbidden("value", "may not be changed in an update."))
    policy = obj.get("preemptionPolicy")
    if policy != old.get("preemptionPolicy"):
        found.append(causes.invalid("preemptionPolicy", policy, causes.FIELD_IMMUTABLE))
    return found


def runtime_class(obj: Obj, *, declared: bool = True) -> Found:
    """``declared``: the declared rules are asked too, which count bytes."""
    found: Found = []
    handler, overhead, scheduling = (obj.get(key) for key in ("handler", "overhead", "scheduling"))
    if handler:
        problems = (
            told.replace("characters", "bytes", 1) if declared and "63" in told else told
            for told in names.check_dns1123_label(handler)
        )
        found += causes.invalid_each("handler", handler, problems)
    else:
        found.append(causes.required("handler"))
    if overhead is not None:
        container_requirements({"limits": overhead.get("podFixed")}, "overhead", (), found)
    if scheduling is None:
        return found
    labels(scheduling.get("nodeSelector"), "scheduling.nodeSelector", found)
    listed = scheduling.get("tolerations") or ()
    tolerations(listed, "scheduling.tolerations", found)
    seen: set[tuple[str, ...]] = set()
    for index, one in enumerate(listed):
        key = tuple(one.get(part) or "" for part in ("key", "operator", "value", "effect"))
        if key in seen:
            shown = go_value("core.Toleration", one)
            found.append(causes.duplicate(f"scheduling.tolerations[{index}]", shown))
        seen.add(key)
    return found


def runtime_class_update(obj: Obj, old: Obj) -> Found:
    found = runtime_class(obj, declared=obj.get("handler") == old.get("handler"))
    if obj.get("handler") != old.get("handler"):
        found.append(causes.invalid("handler", None, causes.FIELD_IMMUTABLE))
    return found


def lease(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    duration, strategy = spec.get("leaseDurationSeconds"), spec.get("strategy")
    if duration is not None and duration <= 0:
        found.append(causes.invalid("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    not_negative(spec, "spec", found, "leaseTransitions")
    if strategy is not None and "/" in strategy:
        # Upstream's path names the field twice.
        named(strategy, "spec.strategy.strategy", names.check_qualified_name, found)
    elif strategy not in (None, "OldestEmulationVersion"):
        supported = ("OldestEmulationVersion",)
        found.append(causes.not_supported("spec.strategy.strategy", strategy, supported))
    if spec.get("preferredHolder") and not strategy:
        told = "may only be specified if `strategy` is defined"
        found.append(causes.forbidden("spec.preferredHolder", told))
    return found


def disruption_budget(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        shown = go_value("policy.PodDisruptionBudgetSpec", spec)
        told = "minAvailable and maxUnavailable cannot be both set"
        found.append(causes.invalid("spec", shown, told))
    for key in ("minAvailable", "maxUnavailable"):
        value = spec.get(key)
        percent_or_count(value, f"spec.{key}", found)
        if isinstance(value, str) and re.fullmatch("[0-9]+%", value) and int(value[:-1]) > 100:
            found.append(causes.invalid(f"spec.{key}", value, "must not be greater than 100%"))
    label_selector(spec.get("selector"), "spec.selector", found)
    optional_one_of(spec, "unhealthyPodEvictionPolicy", "spec", ("AlwaysAllow", "IfHealthyBudget"), found)
    return found


def disruption_budget_status(obj: Obj) -> Found:
    found: Found = []
    status = obj.get("status") or {}
    conditions(status.get("conditions") or (), "status.conditions", found)
    counts = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    not_negative(status, "status", found, *counts)
    return found
