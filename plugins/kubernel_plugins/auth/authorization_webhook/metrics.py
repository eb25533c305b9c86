"""What upstream counts of authorizers.

Source: k8s.io/apiserver/pkg/{authorization/metrics,authorization/cel,server/options/authorizationconfig/metrics},
plugin/pkg/authorizer/webhook/metrics (v1.37).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubernel_plugins.histogram import Histogram

if TYPE_CHECKING:
    from kubernel.registry.attributes import Attributes, Decision

__all__ = ["Metrics"]

_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RELOADS = "apiserver_authorization_config_controller_automatic_reload"
_WEBHOOK = "apiserver_authorization_webhook"
_MATCH = "apiserver_authorization_match_condition"

Authorize = Callable[["Attributes"], "Decision | None"]


class Metrics:
    def __init__(self, server: str) -> None:
        self._server = f"sha256:{hashlib.sha256(server.encode()).hexdigest()}"
        self._counts: Counter[tuple[str, str]] = Counter()
        self._times: dict[str, float] = {}
        self._durations: dict[str, Histogram] = {}

    def _count(self, name: str, labels: str) -> None:
        self._counts[name, labels] += 1

    def reloaded(self, time: float, used: bool) -> None:
        labels = f'apiserver_id_hash="{self._server}",status="{"success" if used else "failure"}"'
        self._count(f"{_RELOADS}s_total", labels)
        self._times[labels] = time

    def counted(self, type: str, name: str, authorize: Authorize) -> Authorize:
        """``authorize``, whose decisions are counted."""
        allowed = (
            "apiserver_authorization_decisions_total",
            f'decision="allowed",name="{name}",type="{type}"',
        )
        denied = (allowed[0], allowed[1].replace('"allowed"', '"denied"', 1))
        counts = self._counts

        def asked(attributes: Attributes) -> Decision | None:
            decision = authorize(attributes)
            if decision is not None:
                if decision.allowed:
                    counts[allowed] += 1
                elif decision.final:
                    counts[denied] += 1
            return decision

        return asked

    def asked(self, name: str, result: str, seconds: float) -> None:
        labels = f'name="{name}",result="{result}"'
        self._count(f"{_WEBHOOK}_evaluations_total", labels)
        self._durations.setdefault(labels, Histogram(_BOUNDS)).observe(seconds)

    def failed_open(self, name: str, result: str) -> None:
        self._count(f"{_WEBHOOK}_evaluations_fail_open_total", f'name="{name}",result="{result}"')

    def excluded(self, name: str) -> None:
        self._count(f"{_MATCH}_exclusions_total", f'name="{name}",type="Webhook"')

    def broken(self, name: str) -> None:
        self._count(f"{_MATCH}_evaluation_errors_total", f'name="{name}",type="Webhook"')

    def render(self) -> str:
        lines: list[str] = []
        last = ""
        for (name, labels), value in sorted(self._counts.items()):
            if name != last:
                lines.append(f"# TYPE {name} counter")
                last = name
            lines.append(f"{name}{{{labels}}} {value}")
        if self._times:
            name = f"{_RELOADS}_last_timestamp_seconds"
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{name}{{{labels}}} {time}" for labels, time in sorted(self._times.items())]
        if self._durations:
            lines.append(f"# TYPE {_WEBHOOK}_duration_seconds histogram")
            for labels, histogram in sorted(self._durations.items()):
                lines += histogram.lines(f"{_WEBHOOK}_duration_seconds", labels)
        return "".join(f"{line}\n" for line in lines)
