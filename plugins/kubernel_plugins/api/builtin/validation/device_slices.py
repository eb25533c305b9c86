"""Slices: the devices that a driver offers.

Source: pkg/apis/resource/validation (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from kubernel.objects import names, quantity
from kubernel.objects.quantity import to_int
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.devices import (
    binding_conditions,
    each,
    pool_name,
    qualified_name,
    taint,
    unique,
    unique_by,
)
from kubernel_plugins.api.builtin.validation.internal import go_value
from kubernel_plugins.api.builtin.validation.resources import amount
from kubernel_plugins.api.builtin.validation.scheduling import node_selector
from kubernel_plugins.api.builtin.validation.values import Found, Obj, named
from kubernel_plugins.api.builtin.validation.volumes import csi_driver_name

__all__ = ["resource_slice"]

_MOST_DEVICES = 128
_MOST_ADVANCED_DEVICES = 64
_MOST_COUNTER_SETS = 8
_MOST_COUNTERS = 32
_MOST_CONSUMPTIONS = 2
_MOST_ATTRIBUTES = 32
_MOST_ATTRIBUTE_VALUES = 48
_MOST_TAINTS = 16
_MOST_CHOICES = 10
_LONGEST_VALUE = 64
_LONGEST_KEY = 63 + 1 + 32
_LONGEST_COUNTER = 63
_LARGEST = 2**63 - 1
_SELECTIONS = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_DEVICE_SELECTIONS = ("nodeName", "nodeSelector", "allNodes")
_UNSET_OR_TRUE = "must be either unset or set to true"
_ONE_SELECTION = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_ONE_DEVICE_SELECTION = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to "
    "true in the ResourceSlice spec"
)
_NO_DEVICE_SELECTION = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)
_number = r"(0|[1-9]\d*)"
_prerelease = r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_semver = re.compile(
    rf"{_number}\.{_number}\.{_number}(-{_prerelease}(\.{_prerelease})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?",
    re.ASCII,
)

_VALUES = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"


def resource_slice(obj: Obj, old: Obj | None = None) -> Found:
    found: Found = []
    spec = obj.get("spec") or {}
    before = None if old is None else old.get("spec") or {}
    csi_driver_name(spec.get("driver") or "", "spec.driver", found)
    pool = spec.get("pool") or {}
    _pool(pool, "spec.pool", found)
    if before is not None:
        _immutable(
            pool.get("name") or "", (before.get("pool") or {}).get("name") or "", "spec.pool.name", found
        )
        _immutable(spec.get("driver") or "", before.get("driver") or "", "spec.driver", found)
        _immutable(spec.get("nodeName"), before.get("nodeName"), "spec.nodeName", found)
    _selection(spec, found)
    devices, counters = spec.get("devices"), spec.get("sharedCounters")
    if counters is not None and devices is not None:
        found.append(causes.invalid("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    advanced = any(one.get("taints") or one.get("consumesCounters") for one in devices or ())
    known = {one.get("name"): one for one in (before or {}).get("devices") or ()}

    def device(one: Obj, path: str, found: Found) -> None:
        _device(one, known.get(one.get("name")), path, bool(spec.get("perDeviceNodeSelection")), found)

    most = _MOST_ADVANCED_DEVICES if advanced else _MOST_DEVICES
    if each(devices, "spec.devices", most, device, found):
        unique((one.get("name") or "" for one in devices or ()), "spec.devices", found)
    if each(counters, "spec.sharedCounters", _MOST_COUNTER_SETS, _counter_set, found):
        unique_by(("name",), counters, "resource.CounterSet", "spec.sharedCounters", found)
    return found


def _immutable(now: Any, then: Any, path: str, found: Found) -> None:
    if now != then:
        found.append(causes.invalid(path, now, causes.FIELD_IMMUTABLE))


def _pool(pool: Obj, path: str, found: Found) -> None:
    pool_name(pool.get("name") or "", f"{path}.name", found)
    count, generation = pool.get("resourceSliceCount") or 0, pool.get("generation") or 0
    if count <= 0:
        found.append(causes.invalid(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        told = "must be greater than or equal to zero"
        found.append(causes.invalid(f"{path}.generation", generation, told))


def _selection(spec: Obj, found: Found) -> None:
    chosen = []
    if spec.get("nodeName"):
        chosen.append("nodeName")
        named(spec["nodeName"], "spec.nodeName", names.check_dns1123_subdomain, found)
    elif spec.get("nodeName") is not None:
        told = "must be either unset or set to a non-empty string"
        found.append(causes.invalid("spec.nodeName", "", told))
    selector = spec.get("nodeSelector")
    if selector is not None:
        chosen.append("nodeSelector")
        node_selector(selector, "spec.nodeSelector", found)
        terms = selector.get("nodeSelectorTerms") or []
        if len(terms) != 1:
            shown = go_value("core.NodeSelector", selector)["NodeSelectorTerms"]
            told = "must have exactly one node selector term"
            found.append(causes.invalid("spec.nodeSelector.nodeSelectorTerms", shown, told))
    for key in ("allNodes", "perDeviceNodeSelection"):
        if spec.get(key):
            chosen.append(key)
        elif spec.get(key) is not None:
            found.append(causes.invalid(f"spec.{key}", False, _UNSET_OR_TRUE))
    if not chosen:
        found.append(causes.required("spec", _ONE_SELECTION))
    elif len(chosen) > 1:
        told = f"{_ONE_SELECTION}, but multiple fields are set"
        found.append(causes.invalid("spec", _listed(chosen), told))


def _listed(fields: list[str]) -> str:
    return "{" + ", ".join(f"`{name}`" for name in fields) + "}"


def _counter_set(counters: Obj, path: str, found: Found) -> None:
    _counters(counters, "name", path, found)


def _consumption(consumption: Obj, path: str, found: Found) -> None:
    _counters(consumption, "counterSet", path, found)


def _counters(owner: Obj, key: str, path: str, found: Found) -> None:
    if owner.get(key):
        named(owner[key], f"{path}.{key}", names.check_dns1123_label, found)
    else:
        found.append(causes.required(f"{path}.{key}"))
    counters, where = owner.get("counters") or {}, f"{path}.counters"
    if not counters:
        found.append(causes.required(where))
    elif len(counters) > _MOST_COUNTERS:
        found.append(causes.too_many(where, len(counters), _MOST_COUNTERS))
    else:
        for name in counters:
            named(name, where, names.check_dns1123_label, found)


def _keyed(
    items: Mapping[str, Obj] | None, path: str, rule: Callable[[Obj, str, Found], None], found: Found
) -> None:
    """Attributes or capacities. Long names are shortened in paths."""
    for name, item in (items or {}).items():
        shown = name
        if len(name) > _LONGEST_KEY:
            left = _LONGEST_KEY - 3
            shown = name[: (left + 1) // 2] + "..." + name[len(name) - left // 2 :]
        qualified_name(name, path, found)
        rule(item or {}, f"{path}[{shown}]", found)


def _device(device: Obj, before: Obj | None, path: str, selects: bool, found: Found) -> None:
    named(device.get("name") or "", f"{path}.name", names.check_dns1123_label, found)
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    total = len(attributes) + len(capacity)
    if total > _MOST_ATTRIBUTES:
        told = f"the total number of attributes and capacities must not exceed {_MOST_ATTRIBUTES}"
        found.append(causes.invalid(path, total, told))
    if len(attributes) > _MOST_ATTRIBUTE_VALUES:
        told = f"the total number of attribute values must not exceed {_MOST_ATTRIBUTE_VALUES}"
        found.append(causes.invalid(path, len(attributes), told))
    _keyed(attributes, f"{path}.attributes", _attribute, found)
    if before is None or (before.get("capacity") or {}) != capacity:
        rule = _shared_capacity if device.get("allowMultipleAllocations") else _exclusive_capacity
        _keyed(capacity, f"{path}.capacity", rule, found)
    if before is None or (before.get("taints") or []) != (device.get("taints") or []):
        each(device.get("taints"), f"{path}.taints", _MOST_TAINTS, taint, found)
    consumed, where = device.get("consumesCounters"), f"{path}.consumesCounters"
    if each(consumed, where, _MOST_CONSUMPTIONS, _consumption, found):
        unique_by(("counterSet",), consumed, "resource.DeviceCounterConsumption", where, found)
    if selects:
        _device_selection(device, path, found)
    elif any(device.get(key) is not None for key in _DEVICE_SELECTIONS):
        found.append(causes.invalid(path, None, _NO_DEVICE_SELECTION))
    binding_conditions(device, path, found)


def _device_selection(device: Obj, path: str, found: Found) -> None:
    chosen = []
    if device.get("nodeName"):
        chosen.append("nodeName")
        named(device["nodeName"], f"{path}.nodeName", names.check_dns1123_subdomain, found)
    elif device.get("nodeName") is not None:
        found.append(causes.invalid(f"{path}.nodeName", "", "must not be empty"))
    if device.get("nodeSelector") is not None:
        chosen.append("nodeSelector")
        node_selector(device["nodeSelector"], f"{path}.nodeSelector", found)
    if device.get("allNodes"):
        chosen.append("allNodes")
    elif device.get("allNodes") is not None:
        found.append(causes.invalid(f"{path}.allNodes", False, _UNSET_OR_TRUE))
    if not chosen:
        found.append(causes.required(path, _ONE_DEVICE_SELECTION))
    elif len(chosen) > 1:
        found.append(causes.invalid(path, _listed(chosen), _ONE_DEVICE_SELECTION))


def _attribute(attribute: Obj, path: str, found: Found) -> None:
    text, version = attribute.get("string"), attribute.get("version")
    if text is not None and len(text.encode()) > _LONGEST_VALUE:
        found.append(causes.too_long(f"{path}.string", _LONGEST_VALUE))
    if version is not None:
        if not _semver.fullmatch(version):
            told = "must be a string compatible with semver.org spec 2.0.0"
            found.append(causes.invalid(f"{path}.version", version, told))
        if len(version.encode()) > _LONGEST_VALUE:
            found.append(causes.too_long(f"{path}.version", _LONGEST_VALUE))
    chosen = [key for key in ("int", "bool", "string", "version") if attribute.get(key) is not None]
    if not chosen:
        found.append(causes.invalid(path, "", f"must specify one of: {_VALUES}"))
    elif len(chosen) > 1:
        shown = "{" + ", ".join(chosen) + "}"
        found.append(causes.invalid(path, shown, f"must specify exactly one of: {_VALUES}"))


def _exclusive_capacity(capacity: Obj, path: str, found: Found) -> None:
    if capacity.get("requestPolicy") is not None:
        found.append(causes.forbidden(f"{path}.requestPolicy", "allowMultipleAllocations must be true"))


def _shared_capacity(capacity: Obj, path: str, found: Found) -> None:
    policy, path = capacity.get("requestPolicy"), f"{path}.requestPolicy"
    if policy is None:
        return
    values, reach, default = policy.get("validValues"), policy.get("validRange"), policy.get("default")
    most = capacity.get("value") or "0"
    if values and reach is not None:
        told = 'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time'
        found.append(causes.forbidden(path, told))
    elif values and default is None:
        found.append(causes.required(f"{path}.default", "required when validValues is defined"))
    elif values:
        _choices(values, default, most, f"{path}.validValues", found)
    elif reach is not None and default is None:
        found.append(causes.required(f"{path}.default", "required when validRange is defined"))
    elif reach is not None:
        _range(reach, default, most, f"{path}.validRange", found)


def _choices(values: list[str], default: str, most: str, path: str, found: Found) -> None:
    amounts = [amount(value) for value in values]
    for index, (one, following) in enumerate(pairwise(amounts), 1):
        if one > following:
            told = "values must be sorted in ascending order"
            found.append(causes.invalid(f"{path}[{index}]", quantity.canonical(values[index]), told))

    def choice(value: str, where: str, found: Found) -> None:
        if amount(value) > amount(most):
            told = f"option is larger than capacity value: {quantity.canonical(most)}"
            found.append(causes.invalid(where, quantity.canonical(value), told))

    known = False
    if each(values, path, _MOST_CHOICES, choice, found):
        known = amount(default) in amounts
        unique((str(to_int(value)) for value in values), path, found)
    if not known:
        told = "default value is not valid according to the requestPolicy"
        found.append(causes.invalid(path, quantity.canonical(default), told))


def _range(reach: Obj, default: str, most: str, path: str, found: Found) -> None:
    if reach.get("min") is None:
        found.append(causes.required(f"{path}.min", "required when validRange is defined"))
        return

    def wrong(key: str, value: str, told: str, other: str | None = None) -> None:
        shown = "" if other is None else f": {quantity.canonical(other)}"
        found.append(causes.invalid(f"{path}.{key}", quantity.canonical(value), told + shown))

    least, largest, step = reach["min"], reach.get("max"), reach.get("step")
    if amount(least) > amount(most):
        wrong("min", least, "min is larger than capacity value", most)
    if amount(default) < amount(least):
        wrong("default", default, "default is less than min", least)
    if largest is not None:
        if amount(least) > amount(largest):
            wrong("max", least, "min is larger than max", largest)
        if amount(largest) > amount(most):
            wrong("max", largest, "max is larger than capacity value", most)
        if amount(default) > amount(largest):
            wrong("default", default, "default is more than max", largest)
    all_of = {
        key: value
        for key, value in (("default", default), ("min", least), ("max", largest), ("step", step))
        if value is not None
    }
    if step is None:
        return
    if amount(step) <= 0:
        wrong("step", step, "must be greater than zero")
        return
    if amount(least) + amount(step) > amount(most):
        after = quantity.canonical(quantity.add(least, step))
        wrong("step", step, f"one step {after} is larger than capacity value", most)
    unsafe = False
    for key, value in all_of.items():
        if amount(value) < 0:
            wrong(key, value, "must be greater than or equal to 0")
        elif amount(value) > _LARGEST:
            wrong(key, value, f"must not be larger than {_LARGEST}")
        else:
            continue
        unsafe = True
    for value in () if unsafe else (default, largest):
        if value is not None and (to_int(value) - to_int(least)) % to_int(step):
            told = f"value is not a multiple of a given step ({quantity.canonical(step)}) from"
            wrong("step", value, f"{told} ({quantity.canonical(least)})")
