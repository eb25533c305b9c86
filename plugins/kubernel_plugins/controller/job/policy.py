"""What a Job's failure and success policies say of its pods and indexes.

Source: k8s.io/kubernetes/pkg/controller/job/{pod_failure_policy,success_policy}.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller.job.indexes import parse_ranges

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Failure", "match_failure", "match_success"]


@dataclass(frozen=True, slots=True)
class Failure:
    """How a failed pod is taken: ``message`` is set when it fails the whole Job."""

    action: str = ""
    message: str = ""

    @property
    def counts(self) -> bool:
        """Whether it counts towards the limits of retries."""
        return self.action != "Ignore"


_NO_RULE = Failure()


def match_failure(policy: dict[str, Any] | None, pod: Obj) -> Failure:
    """The first rule of ``spec.podFailurePolicy`` that a failed pod matches."""
    for place, rule in enumerate((policy or {}).get("rules") or ()):
        action = rule["action"]
        where = f"{meta.namespace(pod)}/{meta.name(pod)}"
        if rule.get("onExitCodes"):
            found = _container(pod, rule["onExitCodes"])
            if found is None:
                continue
            code = found["state"]["terminated"]["exitCode"]
            told = f"Container {found['name']} for pod {where} failed with exit code {code}"
        else:
            condition = _condition(pod, rule.get("onPodConditions") or ())
            if not condition:
                continue
            told = f"Pod {where} has condition {condition}"
        if action == "FailJob":
            return Failure(action, f"{told} matching {action} rule at index {place}")
        return Failure(action)
    return _NO_RULE


def _container(pod: Obj, wanted: dict[str, Any]) -> dict[str, Any] | None:
    status = pod.get("status") or {}
    name, values = wanted.get("containerName"), wanted.get("values") or ()
    for key in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(key) or ():
            code = meta.get(entry, "state", "terminated", "exitCode", default=0)
            if not code or (name is not None and name != entry["name"]):
                continue
            if (code in values) == (wanted["operator"] == "In"):
                found: dict[str, Any] = entry
                return found
    return None


def _condition(pod: Obj, patterns: Collection[dict[str, Any]]) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or ():
        for pattern in patterns:
            if condition["type"] == pattern["type"] and condition["status"] == pattern.get("status", "True"):
                return str(condition["type"])
    return ""


def match_success(policy: dict[str, Any] | None, completions: int, succeeded: Collection[int]) -> str:
    """Which rule of ``spec.successPolicy`` the succeeded indexes meet, in words; empty for none."""
    if not succeeded:
        return ""
    for place, rule in enumerate((policy or {}).get("rules") or ()):
        count, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
        if indexes is not None:
            required = parse_ranges(indexes, completions)
            met = required.intersection(succeeded)
            enough = bool(required) and (met == required or (count is not None and len(met) >= count))
        else:
            enough = count is not None and len(succeeded) >= count
        if enough:
            return f"Matched rules at index {place}"
    return ""
