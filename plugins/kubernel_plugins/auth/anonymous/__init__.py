"""Requests without credentials: welcome at a few paths, where they are ``system:anonymous``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.registry.request import ANONYMOUS, UserInfo

if TYPE_CHECKING:
    from kubernel.registry.attributes import Credentials

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``paths``: where nobody has to say who they are; a path covers what lies below it, ``*`` is everywhere.
    What they may do there is for the authorizers to say."""

    paths: tuple[str, ...] = ("/healthz", "/livez", "/readyz", "/version")


class Plugin(BasePlugin):
    """Answers last: only requests that show neither certificate nor token."""

    Settings = Settings

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        if credentials.certificate is not None or credentials.token is not None:
            return None
        if "authorization" in credentials.headers:
            return None
        path = credentials.headers.get(":path", "")
        for allowed in self.settings.paths:
            if allowed == "*" or path == allowed or path.startswith(f"{allowed}/"):
                return ANONYMOUS
        return None
