"""Users known by fixed bearer tokens, from the configuration or a file."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.errors import PluginError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``tokens`` maps a token to its user's name; ``file`` is a CSV file in upstream's format:
    ``token,user,uid,"group1,group2"``."""

    tokens: dict[str, str] = field(default_factory=dict)
    file: str = ""


class Plugin(BasePlugin):
    """Tokens are kept as hashes, so that looking one up says nothing about the others by its duration."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._users: dict[bytes, UserInfo] = {}

    async def start(self) -> None:
        for token, name in self.settings.tokens.items():
            self._add(token, UserInfo(name), "settings")
        if self.settings.file:
            self._read(Path(self.settings.file))

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text()
        except OSError as error:
            raise PluginError(f"auth/token: cannot read {path}: {error.strerror}") from error
        for number, row in enumerate(csv.reader(io.StringIO(text)), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0].strip() or not row[1].strip():
                raise PluginError(f'auth/token: {path} line {number}: wanted token,user,uid,"group1,group2"')
            groups: tuple[str, ...] = ()
            if len(row) > 3:
                groups = tuple(group.strip() for group in row[3].split(",") if group.strip())
            self._add(
                row[0].strip(), UserInfo(row[1].strip(), groups, row[2].strip()), f"{path} line {number}"
            )

    def _add(self, token: str, user: UserInfo, where: str) -> None:
        key = _digest(token)
        if not token:
            raise PluginError(f"auth/token: {where}: a token must not be empty")
        if key in self._users:
            raise PluginError(f"auth/token: {where}: the token of {user.name} is there twice")
        self._users[key] = user

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        if credentials.token is None or not self._users:
            return None
        return self._users.get(_digest(credentials.token))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
