"""Tokens that another server knows: it is sent a TokenReview.

Source: k8s.io/apiserver/plugin/pkg/authenticator/token/webhook, pkg/authentication/token/cache (v1.37).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.config import Duration
from kubernel.errors import Unauthorized
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials
    from kubernel_plugins.webhooks import Caller, Target

__all__ = ["Plugin", "Settings"]

_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """``kubeconfig`` names the server; without one nobody is asked. ``cache_ttl`` is how long an answer is kept,
    ``timeout`` how long the server may take, ``audiences`` what tokens must be for (empty: anything)."""

    kubeconfig: str = ""
    cache_ttl: Duration = 120.0
    timeout: Duration = 30.0
    audiences: tuple[str, ...] = ()


class Plugin(BasePlugin):
    """Asks about tokens that no plugin before it knew."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._target: Target | None = None
        self._caller: Caller | None = None
        self._salt = secrets.token_bytes(16)
        self._answers: dict[bytes, tuple[float, UserInfo | None]] = {}

    async def start(self) -> None:
        if self.settings.kubeconfig:
            from kubernel_plugins.webhooks import Caller, Target

            self._target = Target.of_kubeconfig(self.settings.kubeconfig)
            self._caller = Caller(self.handle)

    async def stop(self) -> None:
        self._answers.clear()
        if self._caller is not None:
            caller, self._caller = self._caller, None
            await caller.close()

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> Awaitable[UserInfo | None] | UserInfo | None:
        if self._target is None or credentials.token is None:
            return None
        key = hashlib.sha256(self._salt + credentials.token.encode("utf-8", "replace")).digest()
        known = self._answers.get(key)
        if known is not None and known[0] > self.handle.clock.monotonic():
            return known[1]
        return self._ask(key, credentials.token)

    async def _ask(self, key: bytes, token: str) -> UserInfo | None:
        from kubernel_plugins.webhooks import CallFailed

        if self._target is None or self._caller is None:
            return None
        spec: dict[str, Any] = {"token": token}
        if self.settings.audiences:
            spec["audiences"] = list(self.settings.audiences)
        review = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
        try:
            answer = await self._caller.post(self._target, orjson.dumps(review), int(self.settings.timeout))
            user = self._user(orjson.loads(answer).get("status") or {})
        except (CallFailed, orjson.JSONDecodeError, AttributeError) as error:
            self.handle.log.warning("the webhook for tokens gave no answer: {}", error)
            raise Unauthorized from None
        if len(self._answers) >= _KEPT:
            self._answers.clear()
        self._answers[key] = (self.handle.clock.monotonic() + self.settings.cache_ttl, user)
        return user

    def _user(self, status: dict[str, Any]) -> UserInfo | None:
        if not status.get("authenticated"):
            return None
        wanted = self.settings.audiences
        if wanted and not any(one in wanted for one in status.get("audiences") or ()):
            return None
        told = status.get("user") or {}
        extra = {key: tuple(values) for key, values in (told.get("extra") or {}).items()}
        return UserInfo(
            told.get("username") or "", tuple(told.get("groups") or ()), told.get("uid") or "", extra
        )
