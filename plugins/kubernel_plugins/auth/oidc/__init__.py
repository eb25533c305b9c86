"""OpenID Connect: users known by the tokens of issuers outside, as an AuthenticationConfiguration says.

Source: k8s.io/apiserver/plugin/pkg/authenticator/token/oidc (v1.37).
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials
    from kubernel.registry.request import UserInfo
    from kubernel_plugins.auth.oidc.verifying import Verifier

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``config`` is the path of an AuthenticationConfiguration; its ``jwt`` authenticators count. Empty: none."""

    config: str = ""


class Plugin(BasePlugin):
    """An issuer's keys are fetched when its first token comes, and again for a key that is not known."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._verifier: Verifier | None = None

    async def start(self) -> None:
        if not self.settings.config:
            return
        from kubernel_plugins.following import follow

        await self._take()
        self.handle.spawn(follow(self.handle, Path(self.settings.config), self._take), "configuration")

    async def _take(self) -> str:
        from kubernel_plugins.auth.oidc.configuration import read
        from kubernel_plugins.auth.oidc.verifying import Verifier

        before, self._verifier = self._verifier, Verifier(self.handle, read(self.settings.config))
        if before is not None:
            await before.close()
        return ""

    async def stop(self) -> None:
        if self._verifier is not None:
            verifier, self._verifier = self._verifier, None
            await verifier.close()

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> Awaitable[UserInfo] | None:
        """None for tokens of other issuers; Unauthorized for one of ours that is not good."""
        verifier = self._verifier
        if verifier is None or credentials.token is None or not verifier.is_ours(credentials.token):
            return None
        return verifier.user(credentials.token)
