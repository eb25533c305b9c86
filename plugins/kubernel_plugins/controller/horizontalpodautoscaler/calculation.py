"""From metrics to a number of replicas.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/replica_calculator.go (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel.objects import conditions, meta, quantity, times
from kubernel_plugins.controller import pods as of_pods

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Calculator", "MetricError", "PodMetric", "Tolerances"]

_MAX_INT32 = 2**31 - 1
_MAX_INT64 = 2**63 - 1


class MetricError(Exception):
    """Why no replica count could be made of a metric, in upstream's words; ``told`` is what events and conditions
    have of it."""

    def __init__(self, message: str, told: str = "") -> None:
        super().__init__(message)
        self.told = told or message


class PodMetric(NamedTuple):
    """``value`` in thousandths, over ``window`` seconds up to ``taken`` (epoch seconds)."""

    value: int
    taken: float = 0.0
    window: float = 0.0


@dataclass(frozen=True, slots=True)
class Tolerances:
    down: float = 0.1
    up: float = 0.1

    def allow(self, ratio: float) -> bool:
        return 1.0 - self.down <= ratio <= 1.0 + self.up


class _Groups(NamedTuple):
    ready: int
    unready: list[str]
    missing: list[str]
    ignored: list[str]


@dataclass(frozen=True, slots=True)
class Calculator:
    """``pods`` are those that the target's selector matches; times in seconds."""

    pods: Sequence[Obj]
    tolerances: Tolerances
    now: float
    cpu_initialization: float
    initial_readiness: float

    def by_utilization(
        self, found: Mapping[str, PodMetric], current: int, target: int, resource: str, container: str
    ) -> tuple[int, int, int]:
        """(replicas, utilization in percent, average in thousandths)."""
        groups, metrics = self._grouped(found, resource)
        requests = _requests(self.pods, container, resource)
        ratio, utilization, average = _utilization(metrics, requests, target)
        fallback = max(100, target)
        replicas = self._replicas(
            groups,
            metrics,
            ratio,
            current,
            {name: requests[name] * fallback // 100 for name in groups.missing},
            lambda changed: _utilization(changed, requests, target)[0],
        )
        return replicas, utilization, average

    def by_average(
        self, found: Mapping[str, PodMetric], current: int, target: int, resource: str = ""
    ) -> tuple[int, int]:
        """(replicas, average in thousandths)."""
        groups, metrics = self._grouped(found, resource)
        average = sum(metrics.values()) // len(metrics)
        replicas = self._replicas(
            groups,
            metrics,
            average / target,
            current,
            dict.fromkeys(groups.missing, target),
            lambda changed: sum(changed.values()) // len(changed) / target,
        )
        return replicas, average

    def by_value(self, usage: int, current: int, target: int) -> int:
        ratio = usage / target
        if current == 0:
            return math.ceil(ratio)
        if self.tolerances.allow(ratio):
            return current
        if not self.pods:
            raise MetricError(
                "unable to calculate ready pods: no pods returned by selector while calculating replica count"
            )
        ready = sum(of_pods.phase(pod) == "Running" and of_pods.is_ready(pod) for pod in self.pods)
        return min(math.ceil(ratio * ready), _MAX_INT32)

    def per_pod(self, usage: int, current: int, target: int) -> tuple[int, int]:
        """(replicas, average in thousandths) of a value that all replicas share."""
        share = target * current
        replicas = current
        if share == 0 or not self.tolerances.allow(usage / share):
            replicas = min(math.ceil(usage / target), _MAX_INT32)
        average = _MAX_INT64 if current == 0 else min(math.ceil(usage / current), _MAX_INT64)
        return replicas, average

    # --- pods

    def _grouped(self, found: Mapping[str, PodMetric], resource: str) -> tuple[_Groups, dict[str, int]]:
        if not self.pods:
            raise MetricError("no pods returned by selector while calculating replica count")
        groups = self._group(found, resource)
        left = {*groups.unready, *groups.ignored}
        metrics = {name: metric.value for name, metric in found.items() if name not in left}
        if not metrics:
            raise MetricError("did not receive metrics for targeted pods (pods might be unready)")
        return groups, metrics

    def _group(self, found: Mapping[str, PodMetric], resource: str) -> _Groups:
        ready = 0
        unready: list[str] = []
        missing: list[str] = []
        ignored: list[str] = []
        for pod in self.pods:
            name, phase = meta.name(pod), of_pods.phase(pod)
            if meta.is_deleting(pod) or phase == "Failed":
                ignored.append(name)
            elif phase == "Pending":
                unready.append(name)
            elif name not in found:
                missing.append(name)
            elif resource == "cpu" and self._is_warming_up(pod, found[name]):
                unready.append(name)
            else:
                ready += 1
        return _Groups(ready, unready, missing, ignored)

    def _is_warming_up(self, pod: Obj, metric: PodMetric) -> bool:
        """Whether its CPU says nothing yet: start-up is not load."""
        condition, started = conditions.find(pod, "Ready"), meta.get(pod, "status", "startTime")
        if condition is None or not started:
            return True
        begun, not_ready = times.parse(started), condition["status"] == "False"
        moved = times.parse(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else 0.0
        if begun + self.cpu_initialization > self.now:
            return not_ready or metric.taken < moved + metric.window
        return not_ready and begun + self.initial_readiness > moved

    def _replicas(
        self,
        groups: _Groups,
        metrics: dict[str, int],
        ratio: float,
        current: int,
        assumed: Mapping[str, int],
        again: Any,
    ) -> int:
        """``assumed``: what missing pods count for when there is little load; under much they count nothing."""
        grows_with_unready = bool(groups.unready) and ratio > 1.0
        if not grows_with_unready and not groups.missing:
            return current if self.tolerances.allow(ratio) else math.ceil(ratio * groups.ready)
        changed = dict(metrics)
        if ratio < 1.0:
            changed.update(assumed)
        elif ratio > 1.0:
            changed.update(dict.fromkeys(groups.missing, 0))
        if grows_with_unready:
            changed.update(dict.fromkeys(groups.unready, 0))
        new: float = again(changed)
        if self.tolerances.allow(new) or (ratio < 1.0 < new) or (ratio > 1.0 > new):
            return current
        replicas = math.ceil(new * len(changed))
        if (new < 1.0 and replicas > current) or (new > 1.0 and replicas < current):
            return current
        return replicas


def _utilization(
    metrics: Mapping[str, int], requests: Mapping[str, int], target: int
) -> tuple[float, int, int]:
    """(ratio, percent, average)."""
    known = [name for name in metrics if name in requests]
    requested = sum(requests[name] for name in known)
    if requested == 0:
        raise MetricError("no metrics returned matched known pods")
    used = sum(metrics[name] for name in known)
    percent = used * 100 // requested
    return percent / target, percent, used // len(known)


def _requests(pods: Sequence[Obj], container: str, resource: str) -> dict[str, int]:
    """Thousandths by the pod's name."""
    found: dict[str, int] = {}
    for pod in pods:
        spec, name = pod["spec"], meta.name(pod)
        whole: dict[str, Any] = meta.get(spec, "resources", "requests", default={})
        if whole and not container:
            if resource not in whole:
                raise MetricError(f"missing pod-level request for {resource} in Pod {name}")
            found[name] = quantity.to_int_milli(whole[resource])
            continue
        sidecars = [one for one in spec.get("initContainers") or () if one.get("restartPolicy") == "Always"]
        chosen = [
            one for one in [*spec["containers"], *sidecars] if not container or one["name"] == container
        ]
        if container and not chosen:
            raise MetricError(f"container {container} not found in Pod {name}")
        total = 0
        for one in chosen:
            asked = meta.get(one, "resources", "requests", resource)
            if asked is None:
                raise MetricError(f"missing request for {resource} in container {one['name']} of Pod {name}")
            total += quantity.to_int_milli(asked)
        found[name] = total
    return found
