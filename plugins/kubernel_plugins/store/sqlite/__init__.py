"""Objects in one SQLite file: durable, for one server at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as _Plugin
from kubernel_plugins.following import follow
from kubernel_plugins.store.encryption import EncryptedBackend, Encryption, generate
from kubernel_plugins.store.sqlite.backend import SqliteBackend

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.store import Backend

__all__ = ["Plugin", "Settings", "SqliteBackend"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``path``: the database file, relative to the cluster's data directory. ``retention``: seconds for
    which old versions stay readable, 0 keeps them all. ``log_size``: bytes of one of the log's two files.
    ``encryption``: the file with the
    EncryptionConfiguration, relative to the data directory; one that is not there is made, with a key for Secrets.
    Empty: nothing is encrypted."""

    path: str = "store/kubernel.db"
    retention: float = 300.0
    log_size: int = 8 << 20
    encryption: str = "pki/encryption.yaml"


class Plugin(_Plugin):
    """Driver of role ``store``; ``backend`` is what the ObjectStore is built on."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        inner = SqliteBackend(
            Path(handle.data_dir) / settings.path,
            retention=settings.retention,
            log_size=settings.log_size,
            clock=handle.clock,
        )
        self._encrypted = EncryptedBackend(inner, self._keys) if settings.encryption else None
        self.backend: Backend = self._encrypted or inner

    async def start(self) -> None:
        if self._encrypted is not None:
            path = Path(self.handle.data_dir) / self.settings.encryption
            self.handle.spawn(follow(self.handle, path, self._take), "keys of the encryption")

    async def _take(self) -> str:
        count = await self._encrypted.reload() if self._encrypted is not None else 0
        return f", {count} values written again"

    def _keys(self) -> Encryption:
        path = Path(self.handle.data_dir) / self.settings.encryption
        generate(path)
        return Encryption.read(path)

    async def stop(self) -> None:
        await self.backend.close()
