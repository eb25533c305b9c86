"""Bootstrap tokens: what machines that are to become nodes show, kept as Secrets of kube-system.

Source: k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap (v1.37).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as BasePlugin
from kubernel.registry.request import UserInfo
from kubernel_plugins import bootstrap_tokens as tokens

if TYPE_CHECKING:
    from kubernel.registry.attributes import Credentials

__all__ = ["Plugin"]

_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})", re.ASCII)


class Plugin(BasePlugin):
    """Users are ``system:bootstrap:ID`` of the group ``system:bootstrappers`` and those that the Secret names."""

    Settings = NoSettings

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        token = _TOKEN.fullmatch(credentials.token or "")
        registry = self.handle.registry
        secrets = registry.lookup("", "v1", "secrets")
        if token is None or secrets is None:
            return None
        identity, shown = token.groups()
        try:
            secret = registry.get(secrets, tokens.NAMESPACE, f"bootstrap-token-{identity}").obj
        except NotFound:
            return None
        groups = tokens.authenticated_groups(secret, self.handle.clock.time(), shown)
        return None if groups is None else UserInfo(f"system:bootstrap:{identity}", groups)
