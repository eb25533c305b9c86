"""Objects in this process's memory: gone when it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as _Plugin
from kubernel_plugins.store.memory.backend import MemoryBackend

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["MemoryBackend", "Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``retention``: seconds for which old versions stay readable, 0 keeps them all."""

    retention: float = 300.0


class Plugin(_Plugin):
    """Driver of role ``store``; ``backend`` is what the ObjectStore is built on."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self.backend = MemoryBackend(retention=settings.retention)
