"""The cluster's certificate authority, and users known by their client certificates."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from kubernel.plugin import NoSettings, hookimpl
from kubernel.plugin import Plugin as BasePlugin
from kubernel.registry.request import UserInfo
from kubernel_plugins.auth.certificates import is_issued_by, subject

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials
    from kubernel_plugins.authority import Authority

__all__ = ["Plugin"]

_CREDENTIAL = "authentication.kubernetes.io/credential-id"


class Plugin(BasePlugin):
    """Users are their certificate's common name, groups its organizations."""

    Settings = NoSettings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._authority: Authority | None = None

    async def start(self) -> None:
        from kubernel_plugins.authority import Authority

        self._authority = Authority.open(self.handle.data_dir / "pki")

    @hookimpl
    def kubernel_certificate_authority(self) -> Authority | None:
        return self._authority

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        """The certificate was verified in the TLS handshake. Its fingerprint goes into the user's extra, so that an
        audit can tell which one it was (k8s.io/apiserver/pkg/authentication/request/x509)."""
        if credentials.certificate is None or self._authority is None:
            return None
        if self.handle.hooks.client_authorities() and not is_issued_by(
            credentials.certificate, self._authority.ca_certificate
        ):
            # The TLS library takes those of a proxy's authority, too, who must not make users.
            return None
        name, organizations = subject(credentials.certificate)
        if not name:
            return None
        fingerprint = hashlib.sha256(credentials.certificate).hexdigest()
        return UserInfo(name, organizations, extra={_CREDENTIAL: (f"X509SHA256={fingerprint}",)})
