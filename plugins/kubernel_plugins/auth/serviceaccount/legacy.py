"""Who shows a token that is kept in a Secret.

Source: k8s.io/kubernetes/pkg/serviceaccount/legacy.go (v1.37).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kubernel.errors import ApiError, Unauthorized
from kubernel.objects import meta
from kubernel.registry.request import UserInfo
from kubernel_plugins import legacytokens

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.store.records import Obj

__all__ = ["LegacyTokens"]

_DAY = 86_400.0
_GENERATED = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated "
    "secret-based tokens."
)

Find = Callable[[str, str, str], "Obj | None"]


class LegacyTokens:
    """``find(plural, namespace, name)`` gives a stored object. The day of a token's last use is noted on its Secret."""

    def __init__(self, handle: Handle, find: Find) -> None:
        self._handle = handle
        self._find = find
        self._noted: dict[tuple[str, str], str] = {}

    def user(self, claims: dict[str, Any], token: str) -> UserInfo:
        """Of verified claims; Unauthorized for a token that its secret does not hold, or whose account is gone."""
        namespace, secret_name, name, uid = (
            legacytokens.claim(claims, key)
            for key in ("namespace", "secret.name", "service-account.name", "service-account.uid")
        )
        username = f"system:serviceaccount:{namespace}:{name}"
        if not (namespace and secret_name and name and uid) or claims.get("sub") != username:
            raise Unauthorized
        secret = self._find("secrets", namespace, secret_name)
        if secret is None or meta.is_deleting(secret):
            raise Unauthorized
        if not hmac.compare_digest(legacytokens.value(secret, "token"), token.encode()):
            raise Unauthorized
        account = self._find("serviceaccounts", namespace, name)
        if account is None or meta.is_deleting(account) or meta.uid(account) != uid:
            raise Unauthorized
        self._note(secret)
        if meta.labels(secret).get(legacytokens.INVALID_SINCE):
            raise Unauthorized
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        generated = any(entry.get("name") == secret_name for entry in account.get("secrets") or ())
        return UserInfo(username, groups, uid, warnings=(_GENERATED,) if generated else ())

    def _note(self, secret: Obj) -> None:
        now, key = self._handle.clock.time(), meta.key(secret)
        today, tomorrow = legacytokens.date(now), legacytokens.date(now + _DAY)
        # Another server's clock may be ahead.
        known = meta.labels(secret).get(legacytokens.LAST_USED) in (today, tomorrow)
        if known or self._noted.get(key) == today:
            return
        self._noted[key] = today
        self._handle.spawn(self._write(key, meta.uid(secret), today), "last use of a token")

    async def _write(self, key: tuple[str, str], uid: str, today: str) -> None:
        namespace, name = key
        change = {"metadata": {"uid": uid, "labels": {legacytokens.LAST_USED: today}}}
        client = self._handle.client("system:apiserver", ("system:masters",))
        try:
            await client.patch("secrets", name, change, namespace)
        except ApiError as error:
            # The next use tries again.
            self._noted.pop(key, None)
            self._handle.log.debug("last use of a token of {} is not noted: {}", name, error)
