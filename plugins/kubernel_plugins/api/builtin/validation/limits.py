"""Limit ranges and quotas.

Source: ValidateLimitRange, ValidateResourceQuota and their kin of pkg/apis/core/validation (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubernel.objects import names, quantity
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import (
    amount,
    container_resource_name,
    is_standard_quota,
    overcommit_allowed,
    quantity_value,
    quota_resource_name,
    resource_name,
)
from kubernel_plugins.api.builtin.validation.values import Found, Obj

__all__ = ["limit_range", "quota", "quota_status", "quota_update"]

_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")
_PODS = frozenset(("pods",))
_COMPUTE = _PODS | {prefix + name for prefix in ("", "limits.", "requests.") for name in ("cpu", "memory")}
_SCOPES: Mapping[str, frozenset[str]] = {
    "BestEffort": _PODS,
    "CrossNamespacePodAffinity": _COMPUTE,
    "NotBestEffort": _COMPUTE,
    "NotTerminating": _COMPUTE,
    "PriorityClass": _COMPUTE,
    "Terminating": _COMPUTE,
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}
"""The scopes, and what each may limit."""
_WITHOUT_VALUES = _SCOPES.keys() - {"PriorityClass", "VolumeAttributesClass"}
_CONFLICTS = ({"BestEffort", "NotBestEffort"}, {"Terminating", "NotTerminating"})
_EXISTS = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
    "ResourceQuotaScopeCrossNamespacePodAffinity"
)
_MAX_MILLI = (1 << 63) // 1000

Amounts = Mapping[str, str]


def limit_range(obj: Obj) -> Found:
    found: Found = []
    seen: set[str] = set()
    for index, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        path, type = f"spec.limits[{index}]", item.get("type") or ""
        _limit_type(type, f"{path}.type", found)
        if type in seen:
            found.append(causes.duplicate(f"{path}.type", type))
        seen.add(type)
        _item(item, type, path, found)
    return found


def _limit_type(type: str, path: str, found: Found) -> None:
    wrong = names.check_qualified_name(type)
    if not wrong and "/" not in type and type not in _LIMIT_TYPES:
        wrong = ["must be a standard limit type or fully qualified"]
    found += causes.invalid_each(path, type, wrong)


def _item(item: Obj, type: str, path: str, found: Found) -> None:
    by_key: dict[str, Amounts] = {}
    rule = container_resource_name if type in ("Container", "Pod") else resource_name
    for key in ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio"):
        listed: Amounts = item.get(key) or {}
        if type == "Pod" and key.startswith("default"):
            if listed:
                found.append(causes.forbidden(f"{path}.{key}", "may not be specified when `type` is 'Pod'"))
            listed = {}
        by_key[key] = listed
        for name in listed:
            rule(name, f"{path}.{key}[{name}]", found)
    if type == "PersistentVolumeClaim" and not any("storage" in by_key[key] for key in ("min", "max")):
        told = "either minimum or maximum storage value is required, but neither was provided"
        found.append(causes.required(f"{path}.limits", told))
    for name in dict.fromkeys(name for listed in by_key.values() for name in listed):
        _order(name, by_key, path, found)


_ORDER = (
    # the smaller, the greater, the field and the value that are wrong, and both their names
    ("min", "max", "min", "min", "min value", "max value"),
    ("min", "defaultRequest", "defaultRequest", "defaultRequest", "min value", "default request value"),
    ("defaultRequest", "max", "defaultRequest", "defaultRequest", "default request value", "max value"),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value",
        "default limit value",
    ),
    ("min", "default", "default", "min", "min value", "default value"),
    ("default", "max", "default", "max", "default value", "max value"),
)


def _order(name: str, by_key: Mapping[str, Amounts], path: str, found: Found) -> None:
    shown = {key: quantity.canonical(listed[name]) for key, listed in by_key.items() if name in listed}
    size = {key: amount(by_key[key][name]) for key in shown}
    for low, high, where, value, lows, highs in _ORDER:
        if low in size and high in size and size[low] > size[high]:
            told = f"{lows} {shown[low]} is greater than {highs} {shown[high]}"
            found.append(causes.invalid(f"{path}.{where}[{name}]", shown[value], told))
    ratio, where = "maxLimitRequestRatio", f"{path}.maxLimitRequestRatio[{name}]"
    if ratio in size and size[ratio] < 1:
        found.append(causes.invalid(where, shown[ratio], f"ratio {shown[ratio]} is less than 1"))
    if ratio in size and "min" in size and "max" in size:
        most = _quotient(by_key["max"][name], by_key["min"][name])
        if float(size[ratio]) > most:
            told = f"ratio {shown[ratio]} is greater than max/min = {most:f}".replace("inf", "+Inf")
            found.append(causes.invalid(where, shown[ratio], told))
    both = "default" in size and "defaultRequest" in size
    if both and not overcommit_allowed(name) and size["default"] != size["defaultRequest"]:
        had, asked = shown["default"], shown["defaultRequest"]
        told = f"default value {had} must equal to defaultRequest value {asked} in {name}"
        found.append(causes.invalid(f"{path}.defaultRequest[{name}]", asked, told))


def _quotient(most: str, least: str) -> float:
    top, bottom = quantity.to_int(most), quantity.to_int(least)
    if top < _MAX_MILLI and bottom < _MAX_MILLI:
        top, bottom = quantity.to_int_milli(most), quantity.to_int_milli(least)
    if bottom:
        return top / bottom
    return float("inf") if top else float("nan")


def quota(obj: Obj) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    _amounts(spec.get("hard"), "spec.hard", found)
    limited = sorted(name for name in spec.get("hard") or () if is_standard_quota(name))
    scopes = spec.get("scopes") or []
    for scope in scopes:
        wrong = [] if scope in _SCOPES else ["unsupported scope"]
        wrong += _inapplicable(scope, limited)
        found += causes.invalid_each("spec.scopes", scopes, wrong)
    _conflicts(scopes, scopes, found)
    selector = spec.get("scopeSelector")
    if selector is not None:
        _scope_selector(selector, limited, scopes, found)
    return found


def quota_update(obj: Obj, old: Obj) -> Found:
    found = quota(obj)
    scopes = (obj.get("spec") or {}).get("scopes")
    if set(scopes or ()) != set((old.get("spec") or {}).get("scopes") or ()):
        found.append(causes.invalid("spec.scopes", scopes, causes.FIELD_IMMUTABLE))
    return found


def quota_status(obj: Obj) -> Found:
    found: Found = []
    status = obj.get("status") or {}
    for key in ("hard", "used"):
        _amounts(status.get(key), f"status.{key}", found)
    return found


def _amounts(amounts: Amounts | None, path: str, found: Found) -> None:
    for name, text in (amounts or {}).items():
        quota_resource_name(name, f"{path}[{name}]", found)
        quantity_value(name, text, f"{path}[{name}]", found)


def _inapplicable(scope: str, limited: Iterable[str]) -> list[str]:
    if scope not in _SCOPES:
        return []
    return ["unsupported scope applied to resource" for name in limited if name not in _SCOPES[scope]]


def _conflicts(scopes: Iterable[str], shown: list[str] | None, found: Found) -> None:
    for pair in _CONFLICTS:
        if pair <= set(scopes):
            found.append(causes.invalid("spec.scopes", shown, "conflicting scopes"))


def _scope_selector(selector: Obj, limited: list[str], scopes: list[str], found: Found) -> None:
    path = "spec.scopeSelector.matchExpressions"
    rules = selector.get("matchExpressions") or ()
    for rule in rules:
        scope, operator, values = rule.get("scopeName") or "", rule.get("operator") or "", rule.get("values")
        if scope not in _SCOPES:
            found.append(causes.invalid(f"{path}.scopeName", scope, "unsupported scope"))
        wrong = _inapplicable(scope, limited)
        if wrong:
            found += causes.invalid_each(path, go_value("core.ScopeSelector", selector), wrong)
        if scope in _WITHOUT_VALUES and operator != "Exists":
            found.append(causes.invalid(f"{path}.operator", operator, _EXISTS))
        if operator in ("In", "NotIn"):
            if not values:
                told = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                found.append(causes.required(f"{path}.values", told))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                told = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                found.append(causes.invalid(f"{path}.values", values, told))
        else:
            found.append(causes.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    _conflicts((rule.get("scopeName") or "" for rule in rules), scopes or None, found)
