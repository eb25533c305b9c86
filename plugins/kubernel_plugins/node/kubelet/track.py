"""What the kubelet knows of one container of one pod."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from kubernel.plugin.contract import ContainerState
    from kubernel_plugins.node.kubelet.probes import Prober

__all__ = ["MAX_BACKOFF", "Track", "kind_of"]

FIRST_BACKOFF = 10.0
MAX_BACKOFF = 300.0


def kind_of(container: Mapping[str, Any], *, init: bool) -> str:
    """``app``, ``init`` or ``sidecar``: an init container that is restarted always."""
    if not init:
        return "app"
    return "sidecar" if container.get("restartPolicy") == "Always" else "init"


@dataclass(slots=True)
class Track:
    spec: Mapping[str, Any]
    kind: str
    state: ContainerState | None = None
    """The newest container of this name, None before the first."""
    previous: ContainerState | None = None
    """The one before, for ``lastState`` and ``logs --previous``."""
    restarts: int = 0
    waiting: tuple[str, str] | None = None
    """Reason and message while the next start is held up."""
    started: bool = False
    """Its startup probe has succeeded, or it has none and runs."""
    ready: bool = False
    """Its readiness probe succeeds, or it has none and is started."""
    hook: asyncio.Task[None] | None = None
    """Its postStart hook, while that runs."""
    stopping: asyncio.Task[None] | None = None
    probers: list[Prober] = field(default_factory=list)
    backoff: float = 0.0
    backoff_since: float = 0.0
    retry_at: float = 0.0
    refusals: int = 0
    replaced: bool = False
    """Its image was changed: it is stopped and started anew whatever the restart policy."""
    stop_grace: float = 0.0

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def running(self) -> bool:
        return self.state is not None and self.state.phase == "running"

    @property
    def exited(self) -> bool:
        return self.state is not None and self.state.phase == "exited"

    @property
    def next_attempt(self) -> int:
        """Number of the next container of this name."""
        return self.restarts if self.state is None else self.restarts + 1

    def stop_probing(self) -> None:
        for prober in self.probers:
            prober.stop()
        self.probers = []

    def crash_delay(self, now: float) -> float:
        """Seconds until an exited container may start again; 0 grants a start and counts it.

        The delay doubles from 10 s to 300 s and is forgotten after ten minutes without a restart
        (client-go flowcontrol.Backoff as kubelet uses it).
        """
        finished = self.state.finished if self.state else now
        fresh = self.backoff == 0.0 or finished - self.backoff_since > 2 * MAX_BACKOFF
        if not fresh and now - finished < self.backoff:
            return self.backoff - (now - finished)
        self.backoff = FIRST_BACKOFF if fresh else min(self.backoff * 2, MAX_BACKOFF)
        self.backoff_since = now
        return 0.0
