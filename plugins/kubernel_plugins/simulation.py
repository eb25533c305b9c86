"""What a pod's annotations ask its simulated containers to do.

Each name may be followed by ``.<container>`` to speak of one container only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kubernel.objects import quantity, times

__all__ = ["PREFIX", "Consumption", "Script", "script_of"]

PREFIX = "simulated.kubernel.dev/"


@dataclass(frozen=True, slots=True)
class Script:
    """Times are seconds; None runs for ever."""

    run: float | None = None
    exit_code: int = 0
    ready_after: float = 0.0
    ready: bool = True
    live: bool = True
    start_delay: float | None = None
    stop_delay: float | None = None
    refusal: str = ""
    logs: str = ""
    cpu: float = 0.0
    """Cores it keeps busy."""
    memory: int = 0
    """Bytes it holds."""


@dataclass(slots=True)
class Consumption:
    """CPU seconds of a simulated container, added up from look to look: what its annotations ask for may
    change."""

    since: float
    cpu: float = 0.0

    def at(self, now: float, script: Script) -> tuple[float, int]:
        """(CPU seconds so far, bytes)."""
        self.cpu += script.cpu * (now - self.since)
        self.since = now
        return self.cpu, script.memory


def script_of(pod: Mapping[str, Any], container: str, log: Any = None) -> Script:
    """Unreadable values are told to ``log`` and count as absent."""
    annotations = pod.get("metadata", {}).get("annotations") or {}
    if not annotations:
        return Script()

    def value(name: str) -> str:
        return str(annotations.get(f"{PREFIX}{name}.{container}", annotations.get(PREFIX + name, "")))

    def misread(name: str, what: str) -> None:
        if log is not None:
            pod_name = pod["metadata"]["name"]
            log.warning(
                'annotation {}{} of pod {}: "{}" is not a {}', PREFIX, name, pod_name, value(name), what
            )

    def number(name: str) -> float | None:
        text = value(name)
        if not text:
            return None
        try:
            return float(text) if text.replace(".", "", 1).isdigit() else times.duration(text)
        except ValueError:
            misread(name, "duration")
            return None

    def amount(name: str) -> Any:
        text = value(name)
        try:
            return quantity.parse(text) if text else 0
        except ValueError:
            misread(name, "quantity")
            return 0

    code = number("exit-code")
    return Script(
        run=number("run-for"),
        exit_code=int(code or 0),
        ready_after=number("ready-after") or 0.0,
        ready=value("ready") != "false",
        live=value("live") != "false",
        start_delay=number("start-delay"),
        stop_delay=number("stop-delay"),
        refusal=value("refuse"),
        logs=value("logs"),
        cpu=float(amount("cpu")),
        memory=int(amount("memory")),
    )
