"""How much of a shared device's capacity a request takes.

Source: k8s.io/dynamic-resource-allocation/structured/internal/incubating/consumable_capacity.go (v1.37; KEP-5075).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kubernel_plugins.scheduler_policy.dynamic_resources.devices import Device, number

if TYPE_CHECKING:
    from kubernel_plugins.scheduler_policy.dynamic_resources.devices import Number

__all__ = ["consumption"]


def consumption(
    requested: Mapping[str, Any], device: Device, taken: Mapping[str, Number]
) -> Mapping[str, Number] | None:
    """What a request for these capacities takes of the device, by name; None when ``taken`` leaves too little, or the
    device has no such capacity or does not give that much at once."""
    if any(name not in device.capacity for name in requested):
        return None
    found: dict[str, Number] = {}
    for name, capacity in device.capacity.items():
        wanted = requested.get(name)
        policy = capacity.get("requestPolicy") or {}
        amount = _rounded(None if wanted is None else number(wanted), capacity, policy)
        if amount < 0 or _violates(amount, policy):
            return None
        if taken.get(name, 0) + amount > number(capacity["value"]):
            return None
        found[name] = amount
    return found


def _rounded(wanted: Number | None, capacity: Mapping[str, Any], policy: Mapping[str, Any]) -> Number:
    """The next amount that the device gives at once."""
    if wanted is None:
        return number(policy.get("default") or capacity["value"])
    bounds = policy.get("validRange") or {}
    if "min" in bounds:
        least = number(bounds["min"])
        if wanted < least:
            return least
        if "step" not in bounds:
            return wanted
        step = number(bounds["step"])
        return least + step * -((least - wanted) // step)
    for value in policy.get("validValues") or ():
        if wanted <= number(value):
            return number(value)
    return wanted


def _violates(amount: Number, policy: Mapping[str, Any]) -> bool:
    if "default" in policy and amount == number(policy["default"]):
        return False
    if bounds := policy.get("validRange"):
        if "max" in bounds and amount > number(bounds["max"]):
            return True
        return "step" in bounds and (amount - number(bounds["min"])) % number(bounds["step"]) != 0
    values = policy.get("validValues")
    return bool(values) and all(amount != number(value) for value in values or ())
