"""Service accounts: their tokens, who shows them, and the documents by which others verify them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.attributes import Credentials
    from kubernel.registry.request import UserInfo
    from kubernel_plugins.tokenkeys import SigningKey

    from .tokens import Tokens

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``issuer`` "" is ``https://kubernetes.default.svc.DOMAIN``; ``audiences`` empty is the issuer alone.
    ``max_expiration`` is the longest life of a token, in seconds; 0 is what a request may ask for, 2^32."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    max_expiration: int = 0


class Plugin(BasePlugin):
    """ES256 tokens, bound to the objects they were made for: when those go, the tokens are void."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._key: SigningKey | None = None
        self._tokens: Tokens | None = None
        self._issuer = ""

    async def start(self) -> None:
        from kubernel_plugins.tokenkeys import SigningKey

        from .tokens import Tokens

        handle = self.handle
        self._issuer = (
            self.settings.issuer or f"https://kubernetes.default.svc.{handle.cluster.cluster_domain}"
        )
        self._key = SigningKey.open(handle.data_dir / "pki")
        self._tokens = Tokens(
            self._key,
            self._issuer,
            self.settings.audiences or (self._issuer,),
            self.settings.max_expiration,
            handle,
        )
        accounts = handle.registry.lookup("", "v1", "serviceaccounts")
        if accounts is not None and "token" in accounts.subresources:
            accounts.subresources["token"] = replace(
                accounts.subresources["token"], handler=self._tokens.request, check=self._tokens.check
            )
        reviews = handle.registry.lookup("authentication.k8s.io", "v1", "tokenreviews")
        if reviews is not None:
            reviews.create = self._tokens.review

    @hookimpl
    def kubernel_authenticate(self, credentials: Credentials) -> UserInfo | None:
        """Unauthorized for a token with our issuer that is not good; None for anybody else's."""
        if credentials.token is None or self._tokens is None:
            return None
        return self._tokens.authenticate(credentials.token)

    @hookimpl
    def kubernel_document(self, path: str) -> tuple[str, bytes] | None:
        if self._key is None:
            return None
        if path == "/openid/v1/jwks":
            return "application/jwk-set+json", json.dumps({"keys": [self._key.jwk]}).encode()
        if path == "/.well-known/openid-configuration":
            document: dict[str, Any] = {
                "issuer": self._issuer,
                "jwks_uri": f"{self._issuer}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            }
            return "application/json", json.dumps(document).encode()
        return None
