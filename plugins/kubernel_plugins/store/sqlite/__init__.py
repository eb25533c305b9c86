"""Objects in one SQLite file: durable, for one server at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.errors import KubernelError
from kubernel.plugin import Plugin as _Plugin
from kubernel_plugins.store.encryption import EncryptedBackend, Encryption, generate
from kubernel_plugins.store.sqlite.backend import SqliteBackend

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.store import Backend

__all__ = ["Plugin", "Settings", "SqliteBackend"]

_LOOK = 60.0
"""Seconds between two looks at the file with the keys, as upstream's automatic reload."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``path``: the database file, relative to the cluster's data directory. ``retention``: seconds for
    which old versions stay readable, 0 keeps them all. ``checkpoint_pages``: pages (16 KiB) the
    write-ahead log may reach before it is copied into the database. ``encryption``: the file with the
    EncryptionConfiguration, relative to the data directory; one that is not there is made, with a key for Secrets.
    Empty: nothing is encrypted."""

    path: str = "store/kubernel.db"
    retention: float = 300.0
    checkpoint_pages: int = 500
    encryption: str = "pki/encryption.yaml"


class Plugin(_Plugin):
    """Driver of role ``store``; ``backend`` is what the ObjectStore is built on."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        inner = SqliteBackend(
            Path(handle.data_dir) / settings.path,
            retention=settings.retention,
            checkpoint_pages=settings.checkpoint_pages,
        )
        self._encrypted = EncryptedBackend(inner, self._keys) if settings.encryption else None
        self.backend: Backend = self._encrypted or inner

    async def start(self) -> None:
        if self._encrypted is not None:
            self.handle.spawn(self._follow(self._encrypted), "keys of the encryption")

    async def _follow(self, backend: EncryptedBackend) -> None:
        """Take new keys when the file with them has changed."""
        path = Path(self.handle.data_dir) / self.settings.encryption
        known = path.read_bytes()
        while True:
            await self.handle.clock.sleep(_LOOK)
            try:
                found = path.read_bytes()
            except OSError:
                continue
            if found == known:
                continue
            known = found
            try:
                count = await backend.reload()
            except KubernelError as error:
                self.handle.log.error("{} was changed and is not used, what it was stays: {}", path, error)
            else:
                self.handle.log.info("{} was changed and is used, {} values written again", path, count)

    def _keys(self) -> Encryption:
        path = Path(self.handle.data_dir) / self.settings.encryption
        generate(path)
        return Encryption.read(path)

    async def stop(self) -> None:
        await self.backend.close()
