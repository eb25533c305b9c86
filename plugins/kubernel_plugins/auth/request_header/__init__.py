"""Users that a trusted proxy has authenticated, as its headers say.

Source: k8s.io/apiserver/pkg/authentication/request/headerrequest (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.certificates import subject

if TYPE_CHECKING:
    from kubernel.registry.attributes import Credentials

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``allowed_names`` are the common names of proxies' certificates; without one nobody is believed."""

    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_header_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class Plugin(BasePlugin):
    """Comes before the plugin that knows users by their certificates: a proxy's certificate is not its user's."""

    Settings = Settings

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        settings: Settings = self.settings
        if credentials.certificate is None or not settings.allowed_names:
            return None
        headers = credentials.headers
        name = next(
            (told for header in settings.username_headers if (told := headers.get(header.lower(), ""))), ""
        )
        if not name:
            return None
        common_name, _ = subject(credentials.certificate)
        if common_name not in settings.allowed_names:
            return None
        uid = next((told for header in settings.uid_headers if (told := headers.get(header.lower(), ""))), "")
        groups = [
            group
            for header in settings.group_headers
            for group in credentials.values(header.lower())
            if group
        ]
        extra: dict[str, tuple[str, ...]] = {}
        for header in headers:
            for prefix in settings.extra_header_prefixes:
                if header.startswith(prefix.lower()):
                    key = unquote(header[len(prefix) :])
                    extra[key] = tuple(credentials.values(header))
        return UserInfo(name, tuple(groups), uid, extra)
