"""Audit events for another server, in batches: EventList of audit.k8s.io/v1.

Source: k8s.io/apiserver/plugin/pkg/audit/{webhook,buffered} (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.config import Duration
from kubernel_plugins.audit.queue import Overflow
from kubernel_plugins.audit.sink import Sink

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel_plugins.webhooks import Caller, Target

__all__ = ["Plugin", "Settings"]

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """``kubeconfig`` names the server. ``batch_size`` events are sent at once, after ``batch_wait`` fewer; a batch that
    cannot be sent is tried again five times, after ``backoff``, twice that, and so on. ``buffer`` and ``overflow`` as
    for ``audit/log``."""

    kubeconfig: str
    batch_size: int = 400
    batch_wait: Duration = 1.0
    backoff: Duration = 10.0
    timeout: Duration = 30.0
    buffer: int = 10_000
    overflow: Overflow = "drop"


class Plugin(Sink):
    Settings = Settings
    name = "webhook"

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._target: Target | None = None
        self._caller: Caller | None = None

    async def start(self) -> None:
        from kubernel_plugins.webhooks import Caller, Target

        self._target = Target.of_kubeconfig(self.settings.kubeconfig)
        self._caller = Caller(self.handle)
        self.handle.spawn(self._send(self._caller, self._target), "audit webhook")

    async def stop(self) -> None:
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    async def _send(self, caller: Caller, target: Target) -> None:
        clock = self.handle.clock
        while True:
            await self._queue.wait()
            if len(self._queue) < self.settings.batch_size:
                await clock.sleep(self.settings.batch_wait)
            batch = self._queue.take(self.settings.batch_size)
            await self._deliver(caller, target, batch)
            self._tell_overflow()

    async def _deliver(self, caller: Caller, target: Target, batch: list[bytes]) -> None:
        from kubernel_plugins.webhooks import CallFailed

        body = b'{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%b]}' % b",".join(
            batch
        )
        wait: float = self.settings.backoff
        for attempt in range(_TRIES):
            try:
                await caller.post(target, body, int(self.settings.timeout), empty=True)
                return
            except CallFailed as error:
                if attempt == _TRIES - 1:
                    self._lost(len(batch), error)
                    return
            await self.handle.clock.sleep(wait)
            wait *= 2
