"""Bootstrap tokens: what machines that are to become nodes show, kept as Secrets of kube-system.

Source: k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap (v1.37).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.objects import times
from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as BasePlugin
from kubernel.registry.request import UserInfo

if TYPE_CHECKING:
    from kubernel.registry.attributes import Credentials
    from kubernel.store.records import Obj

__all__ = ["Plugin"]

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_NAMESPACE = "kube-system"
_TYPE = "bootstrap.kubernetes.io/token"
_GROUP = "system:bootstrappers"
_EXTRA_GROUP = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class Plugin(BasePlugin):
    """Users are ``system:bootstrap:ID`` of the group ``system:bootstrappers`` and those that the Secret names."""

    Settings = NoSettings

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        token = _TOKEN.fullmatch(credentials.token or "")
        if token is None:
            return None
        identity, secret = token.groups()
        found = self._secret(f"bootstrap-token-{identity}")
        if found is None or "deletionTimestamp" in found["metadata"] or found.get("type") != _TYPE:
            return None
        data = found.get("data") or {}
        # The comparison's duration says nothing about the secret.
        if not hmac.compare_digest(_text(data, "token-secret").encode(), secret.encode()):
            return None
        if _text(data, "token-id") != identity or self._is_over(_text(data, "expiration")):
            return None
        if _text(data, "usage-bootstrap-authentication") != "true":
            return None
        groups = [group for group in _text(data, "auth-extra-groups").split(",") if group]
        if any(_EXTRA_GROUP.fullmatch(group) is None for group in groups):
            return None
        return UserInfo(f"system:bootstrap:{identity}", (_GROUP, *sorted(groups)))

    def _secret(self, name: str) -> Obj | None:
        type = self.handle.registry.lookup("", "v1", "secrets")
        try:
            return self.handle.registry.get(type, _NAMESPACE, name).obj if type is not None else None
        except NotFound:
            return None

    def _is_over(self, expiration: str) -> bool:
        if not expiration:
            return False
        try:
            return times.parse(expiration) <= self.handle.clock.time()
        except ValueError:
            return True


def _text(data: Mapping[str, str], key: str) -> str:
    try:
        return base64.b64decode(data.get(key) or "").decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
