"""Users that a trusted proxy has authenticated, as its headers say.

Source: k8s.io/apiserver/pkg/authentication/request/headerrequest (v1.37).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kubernel.errors import PluginError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.certificates import is_issued_by, subject

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``allowed_names`` are the common names of proxies' certificates; ``client_ca_file`` is the path of the
    certificates (PEM) of the authorities that issue them: with it no ``allowed_names`` are all names, without it the
    cluster's own authority is meant, and without a name nobody is believed."""

    client_ca_file: str = ""
    allowed_names: tuple[str, ...] = ()
    username_headers: tuple[str, ...] = ("X-Remote-User",)
    uid_headers: tuple[str, ...] = ("X-Remote-Uid",)
    group_headers: tuple[str, ...] = ("X-Remote-Group",)
    extra_header_prefixes: tuple[str, ...] = ("X-Remote-Extra-",)


class Plugin(BasePlugin):
    """Comes before the plugin that knows users by their certificates: a proxy's certificate is not its user's."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._authorities = b""

    async def start(self) -> None:
        if self.settings.client_ca_file:
            self._authorities = _certificates(self.settings.client_ca_file)

    @hookimpl
    def kubernel_client_authorities(self) -> bytes | None:
        return self._authorities or None

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        settings: Settings = self.settings
        if credentials.certificate is None or not (settings.allowed_names or self._authorities):
            return None
        headers = credentials.headers
        name = next(
            (told for header in settings.username_headers if (told := headers.get(header.lower(), ""))), ""
        )
        if not name:
            return None
        common_name, _ = subject(credentials.certificate)
        if settings.allowed_names and common_name not in settings.allowed_names:
            return None
        if self._authorities and not is_issued_by(credentials.certificate, self._authorities):
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


def _certificates(path: str) -> bytes:
    from cryptography import x509

    try:
        read = Path(path).read_bytes()
        x509.load_pem_x509_certificates(read)
    except (OSError, ValueError) as error:
        raise PluginError(f"auth/request_header: clientCaFile {path}: {error}") from None
    return read
