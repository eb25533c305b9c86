"""What every sink of audit events does: take them without waiting, count and tell what is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.plugin import Plugin, hookimpl
from kubernel_plugins.audit.queue import Queue

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["Sink"]


class Sink(Plugin):
    """``settings`` have a ``buffer`` and an ``overflow``; ``name`` is what metrics call it."""

    name: str

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._queue = Queue(settings.buffer, settings.overflow)
        self._told = 0

    @hookimpl
    def kubernel_audit(self, event: Mapping[str, Any]) -> Awaitable[None] | None:
        return self._queue.put(orjson.dumps(event))

    @hookimpl
    def kubernel_metrics(self) -> str:
        return (
            "# HELP apiserver_audit_error_total Counter of audit events that failed to be audited properly.\n"
            "# TYPE apiserver_audit_error_total counter\n"
            f'apiserver_audit_error_total{{plugin="{self.name}"}} {self._queue.dropped}\n'
        )

    def _lost(self, events: int, why: object) -> None:
        self._queue.dropped += events
        self.handle.log.error("{} audit events were lost: {}", events, why)
        self._told += events

    def _tell_overflow(self) -> None:
        """Say how many events found no room since this was last called."""
        if self._queue.dropped > self._told:
            self.handle.log.warning(
                "{} audit events were lost: more than {} waited",
                self._queue.dropped - self._told,
                self.settings.buffer,
            )
            self._told = self._queue.dropped
