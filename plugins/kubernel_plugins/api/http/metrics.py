"""Request counts and latencies in the Prometheus text format, at the price of two dict operations a request."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

__all__ = ["Metrics"]

_BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0, 6.0, 10.0, 30.0, 60.0)
_Key = tuple[str, str, str, str]


class Metrics:
    """``count`` after each request; names and labels are kube-apiserver's."""

    def __init__(self) -> None:
        self._requests: dict[tuple[_Key, int], int] = {}
        self._durations: dict[_Key, list[float]] = {}
        self.inflight = {"readOnly": 0, "mutating": 0}
        self.longrunning = 0
        self.rejected = 0

    def count(self, key: _Key, code: int, seconds: float | None) -> None:
        """``key`` is (verb, group, version, resource); ``seconds`` None for long-running requests."""
        told = (key, code)
        self._requests[told] = self._requests.get(told, 0) + 1
        if seconds is not None:
            row = self._durations.get(key)
            if row is None:
                row = self._durations[key] = [0.0] * (len(_BUCKETS) + 2)
            row[bisect_left(_BUCKETS, seconds)] += 1
            row[-1] += seconds

    def render(self, others: Iterable[str]) -> str:
        lines = [
            "# HELP apiserver_request_total Counter of apiserver requests broken out for each verb, resource and code.",
            "# TYPE apiserver_request_total counter",
        ]
        for (key, code), number in self._requests.items():
            lines.append(f'apiserver_request_total{{{_labels(key)},code="{code}"}} {number}')
        name = "apiserver_request_duration_seconds"
        lines += [f"# HELP {name} Response latency in seconds.", f"# TYPE {name} histogram"]
        for key, row in self._durations.items():
            labels = _labels(key)
            total = 0
            for bound, hits in zip(_BUCKETS, row, strict=False):
                total += int(hits)
                lines.append(f'{name}_bucket{{{labels},le="{bound:g}"}} {total}')
            total += int(row[len(_BUCKETS)])
            lines.append(f'{name}_bucket{{{labels},le="+Inf"}} {total}')
            lines.append(f"{name}_sum{{{labels}}} {row[-1]:.6f}")
            lines.append(f"{name}_count{{{labels}}} {total}")
        lines += ["# TYPE apiserver_current_inflight_requests gauge"]
        for kind, number in self.inflight.items():
            lines.append(f'apiserver_current_inflight_requests{{request_kind="{kind}"}} {number}')
        lines += [
            "# TYPE apiserver_longrunning_requests gauge",
            f"apiserver_longrunning_requests {self.longrunning}",
        ]
        lines += [
            "# TYPE apiserver_dropped_requests_total counter",
            f"apiserver_dropped_requests_total {self.rejected}",
        ]
        return (
            "\n".join(lines) + "\n" + "".join(text if text.endswith("\n") else text + "\n" for text in others)
        )


def _labels(key: _Key) -> str:
    verb, group, version, resource = (_escape(part) for part in key)
    return f'verb="{verb}",group="{group}",version="{version}",resource="{resource}"'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
