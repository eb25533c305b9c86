"""What happened to requests, in the Prometheus text format; names and labels are upstream's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel_plugins.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .controller import Fairness

__all__ = ["Counters", "Observations", "render"]

_SECONDS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_LENGTHS = (0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0)
_SEATS = (1.0, 2.0, 4.0, 10.0)
_PREFIX = "apiserver_flowcontrol_"


class Counters:
    """Of one schema's requests in one level. What is the same for almost all requests is only counted."""

    __slots__ = ("dispatched", "executions", "lengths", "rejected", "seats", "single", "unwaited", "waits")

    def __init__(self) -> None:
        self.dispatched = self.unwaited = self.single = 0
        self.rejected: dict[str, int] = {}
        self.waits = Histogram(_SECONDS)
        self.executions = {"regular": Histogram(_SECONDS), "watch": Histogram(_SECONDS)}
        self.lengths = Histogram(_LENGTHS)
        self.seats = Histogram(_SEATS)

    def reject(self, why: str) -> None:
        self.rejected[why] = self.rejected.get(why, 0) + 1


class Observations:
    """The counters; gauges are read off the levels when they are asked for."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counters] = {}

    def of(self, level: str, schema: str) -> Counters:
        key = (level, schema)
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = Counters()
        return found

    def lines(self) -> Iterable[str]:
        told = [
            (f'priority_level="{level}",flow_schema="{schema}"', counters)
            for (level, schema), counters in self._counters.items()
        ]
        yield f"# TYPE {_PREFIX}dispatched_requests_total counter"
        for labels, one in told:
            yield f"{_PREFIX}dispatched_requests_total{{{labels}}} {one.dispatched}"
        yield f"# TYPE {_PREFIX}rejected_requests_total counter"
        for labels, one in told:
            for why, count in one.rejected.items():
                yield f'{_PREFIX}rejected_requests_total{{{labels},reason="{why}"}} {count}'
        yield f"# TYPE {_PREFIX}request_wait_duration_seconds histogram"
        for labels, one in told:
            name = f"{_PREFIX}request_wait_duration_seconds"
            yield from one.waits.lines(name, f'{labels},execute="true"', least=one.unwaited)
        yield f"# TYPE {_PREFIX}request_execution_seconds histogram"
        for labels, one in told:
            for type, executions in one.executions.items():
                name = f"{_PREFIX}request_execution_seconds"
                yield from executions.lines(name, f'{labels},type="{type}"')
        yield f"# TYPE {_PREFIX}request_queue_length_after_enqueue histogram"
        for labels, one in told:
            yield from one.lengths.lines(f"{_PREFIX}request_queue_length_after_enqueue", labels)
        yield f"# TYPE {_PREFIX}work_estimated_seats histogram"
        for labels, one in told:
            name = f"{_PREFIX}work_estimated_seats"
            yield from one.seats.lines(name, labels, least=one.single, value=1.0)


def render(fairness: Fairness) -> str:
    lines = list(fairness.observed.lines())
    gauges: dict[str, list[tuple[str, float]]] = {}
    for level in fairness.levels.values():
        queues, demand = level.queues, level.queues.demand
        for name, value in (
            ("current_executing_requests", queues.executing),
            ("current_executing_seats", queues.seats_in_use),
            ("current_inqueue_requests", queues.waiting),
            ("current_inqueue_seats", queues.seats_waiting),
            ("current_limit_seats", queues.limit),
            ("nominal_limit_seats", level.nominal),
            ("lower_limit_seats", level.least),
            ("upper_limit_seats", level.most),
            ("demand_seats_high_watermark", demand.most),
            ("demand_seats_average", demand.average),
            ("demand_seats_stdev", demand.deviation),
            ("demand_seats_smoothed", demand.smoothed),
            ("target_seats", level.target),
            ("current_r", queues.r),
        ):
            gauges.setdefault(name, []).append((level.name, value))
    for name, values in gauges.items():
        lines.append(f"# TYPE {_PREFIX}{name} gauge")
        lines += [f'{_PREFIX}{name}{{priority_level="{level}"}} {value:g}' for level, value in values]
    lines += [f"# TYPE {_PREFIX}seat_fair_frac gauge", f"{_PREFIX}seat_fair_frac {fairness.fair_fraction:g}"]
    return "\n".join(lines) + "\n"
