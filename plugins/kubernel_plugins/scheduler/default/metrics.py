"""What the scheduler did, in the Prometheus text format; names, labels and bounds are upstream's.

Source: k8s.io/kubernetes/pkg/scheduler/metrics (v1.37).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from kubernel_plugins.histogram import Histogram, exponential

if TYPE_CHECKING:
    from kubernel_plugins.scheduler.default.queue import SchedulingQueue
    from kubernel_plugins.scheduler.default.table import NodeTable

__all__ = ["Metrics", "render"]

_T = TypeVar("_T")

_ATTEMPT = exponential(0.001, 2, 15)
_VICTIMS = exponential(1, 2, 7)
_TRIES = exponential(1, 2, 5)
_SLI = exponential(0.01, 2, 20)
_POINT = exponential(0.0001, 2, 12)
_GANG_VICTIMS = exponential(1, 2, 11)
_MANY = 15


class Metrics:
    """Counters and histograms; gauges are read off queue and table when they are asked for."""

    def __init__(self) -> None:
        self.attempts: Counter[tuple[str, str]] = Counter()
        """By (profile, result)."""
        self.incoming: Counter[tuple[str, str]] = Counter()
        """By (queue, event)."""
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.algorithm = Histogram(_ATTEMPT)
        self.tries = Histogram(_TRIES)
        self.waits: dict[str, Histogram] = {}
        self.victims = Histogram(_VICTIMS)
        self.preemptions = 0
        self.after_flush = 0
        """Pods that got a node after they were tried again for having waited long."""
        self.points: dict[tuple[str, str, str], Histogram] = {}
        """By (extension point, status, profile)."""
        self.permit_waits: dict[str, Histogram] = {}
        self.gang_attempts: Counter[tuple[str, str]] = Counter()
        """By (profile, result)."""
        self.gang_durations: dict[tuple[str, str], Histogram] = {}
        self.gang_algorithm = Histogram(_ATTEMPT)
        self.gang_victims = Histogram(_GANG_VICTIMS)

    def point(self, point: str, status: str, profile: str, seconds: float) -> None:
        key = point, status, profile
        if key not in self.points:
            self.points[key] = Histogram(_POINT)
        self.points[key].observe(seconds)

    def permit_wait(self, result: str, seconds: float) -> None:
        if result not in self.permit_waits:
            self.permit_waits[result] = Histogram(_ATTEMPT)
        self.permit_waits[result].observe(seconds)

    def gang_attempt(self, profile: str, result: str, seconds: float) -> None:
        """``result``: as of ``attempt``, or ``waiting_on_preemption``."""
        key = profile, result
        self.gang_attempts[key] += 1
        if key not in self.gang_durations:
            self.gang_durations[key] = Histogram(_ATTEMPT)
        self.gang_durations[key].observe(seconds)

    def attempt(self, profile: str, result: str, seconds: float) -> None:
        """``result``: ``scheduled``, ``unschedulable`` or ``error``."""
        key = profile, result
        self.attempts[key] += 1
        if key not in self.durations:
            self.durations[key] = Histogram(_ATTEMPT)
        self.durations[key].observe(seconds)

    def scheduled(self, tries: int, seconds: float) -> None:
        """A pod has a node after so many attempts, and so long after it came into the queue."""
        self.tries.observe(tries)
        told = str(tries) if tries < _MANY else f"{_MANY}+"
        if told not in self.waits:
            self.waits[told] = Histogram(_SLI)
        self.waits[told].observe(seconds)


def render(metrics: Metrics, queue: SchedulingQueue, table: NodeTable) -> str:
    return "\n".join(("", *_lines(metrics, queue, table), "")).lstrip("\n")


def _lines(metrics: Metrics, queue: SchedulingQueue, table: NodeTable) -> Iterable[str]:
    yield from _family(
        "schedule_attempts_total",
        "counter",
        "Number of attempts to schedule pods, by the result.",
        _by_result(metrics.attempts),
    )
    yield from _histograms(
        "scheduling_attempt_duration_seconds",
        "Scheduling attempt latency in seconds, binding included.",
        _by_result(metrics.durations),
    )
    yield from _histograms(
        "scheduling_algorithm_duration_seconds",
        "Scheduling algorithm latency in seconds.",
        {"": metrics.algorithm},
    )
    yield from _histograms(
        "pod_scheduling_attempts",
        "Number of attempts to successfully schedule a pod.",
        {"": metrics.tries},
    )
    yield from _histograms(
        "preemption_victims", "Number of selected preemption victims.", {"": metrics.victims}
    )
    yield from _histograms(
        "pod_scheduling_sli_duration_seconds",
        "Latency from a pod's way into the queue to its node.",
        {f'attempts="{tries}"': one for tries, one in metrics.waits.items()},
    )
    yield from _histograms(
        "framework_extension_point_duration_seconds",
        "Latency for running all plugins of a specific extension point.",
        {
            f'extension_point="{point}",profile="{profile}",status="{status}"': one
            for (point, status, profile), one in metrics.points.items()
        },
    )
    yield from _histograms(
        "permit_wait_duration_seconds",
        "Duration of waiting on permit.",
        {f'result="{result}"': one for result, one in metrics.permit_waits.items()},
    )
    yield from _family(
        "pod_scheduled_after_flush_total",
        "counter",
        "Number of pods that were scheduled after being flushed from the unschedulable ones.",
        {"": metrics.after_flush},
    )
    if metrics.gang_attempts:
        yield from _gang_lines(metrics)
    yield from _family(
        "preemption_attempts_total",
        "counter",
        "Total preemption attempts in the cluster till now.",
        {"": metrics.preemptions},
    )
    yield from _family(
        "queue_incoming_pods_total",
        "counter",
        "Number of pods added to scheduling queues by event and queue type.",
        {f'event="{event}",queue="{part}"': count for (part, event), count in metrics.incoming.items()},
    )
    yield from _family(
        "pending_pods",
        "gauge",
        "Number of pending pods, by the queue type.",
        {f'queue="{part}"': count for part, count in queue.pending().items()},
    )
    yield from _family(
        "unschedulable_pods",
        "gauge",
        "The number of unschedulable pods broken down by plugin name.",
        {f'plugin="{p}",profile="{profile}"': n for (p, profile), n in queue.refused().items()},
    )
    yield from _family(
        "cache_size",
        "gauge",
        "Number of nodes, pods, and assumed (bound) pods in the scheduler cache.",
        {
            'type="assumed_pods"': len(queue.taken()),
            'type="nodes"': table.count,
            'type="pods"': table.pods_known,
        },
    )


def _gang_lines(metrics: Metrics) -> Iterable[str]:
    yield from _family(
        "podgroup_schedule_attempts_total",
        "counter",
        "Number of attempts to schedule pod groups, by the result.",
        _by_result(metrics.gang_attempts),
    )
    yield from _histograms(
        "podgroup_scheduling_attempt_duration_seconds",
        "Pod group scheduling attempt latency in seconds.",
        _by_result(metrics.gang_durations),
    )
    yield from _histograms(
        "podgroup_scheduling_algorithm_duration_seconds",
        "Pod group scheduling algorithm latency in seconds.",
        {"": metrics.gang_algorithm},
    )
    yield from _histograms(
        "workload_preemption_victims",
        "Number of selected preemption victims in workload preemption.",
        {"": metrics.gang_victims},
    )


def _by_result(found: Mapping[tuple[str, str], _T]) -> dict[str, _T]:
    return {f'profile="{profile}",result="{result}"': one for (profile, result), one in found.items()}


def _histograms(name: str, text: str, found: Mapping[str, Histogram]) -> Iterable[str]:
    yield from _head(name, "histogram", text)
    for labels, one in found.items():
        yield from one.lines(f"scheduler_{name}", labels)


def _family(name: str, kind: str, text: str, values: Mapping[str, int]) -> Iterable[str]:
    yield from _head(name, kind, text)
    for labels, value in values.items():
        yield f"scheduler_{name}{f'{{{labels}}}' if labels else ''} {value}"


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    yield f"# HELP scheduler_{name} {text}"
    yield f"# TYPE scheduler_{name} {kind}"
