"""What a DeviceTaintRule says of itself: the condition EvictionInProgress.

Source: ``maybeUpdateRuleStatus`` of
k8s.io/kubernetes/pkg/controller/devicetainteviction/device_taint_eviction.go (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONDITION", "Count", "told"]

CONDITION = "EvictionInProgress"


@dataclass(frozen=True, slots=True)
class Count:
    """What a rule has to do with. ``pods`` are those that it still drives, or would drive, away."""

    pods: int = 0
    namespaces: int = 0
    published: int = 0
    """Devices in slices that the rule selects."""
    allocated: int = 0
    evicted: int = 0
    """Pods that it has driven away since the controller began."""


def told(effect: str, count: Count) -> tuple[str, str, str]:
    """(status, reason, message) of the condition."""
    status, message = "False", ""
    where = _number(count.namespaces, "namespace", "different namespaces")
    if effect == "NoExecute":
        if count.pods:
            status, reason = "True", "PodsPendingEviction"
            message = f"{_number(count.pods, 'pod needs', 'pods need')} to be evicted in {where}."
        else:
            reason = "Completed" if count.evicted else "NotStarted"
    elif effect == "None":
        reason = "NoEffect"
        message = (
            f"{_number(count.published, 'published device', 'published devices')} selected. "
            f"{_number(count.allocated, 'allocated device', 'allocated devices')} selected. "
            f"{_number(count.pods, 'pod', 'pods')} would be evicted in {where} if the effect was NoExecute. "
            "This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
        )
    else:
        reason, message = "OtherEffect", "Eviction only happens for the NoExecute effect."
    if count.evicted:
        evicted = f"{_number(count.evicted, 'pod', 'pods')} evicted since starting the controller."
        message = f"{message} {evicted}".lstrip()
    return status, reason, message


def _number(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
