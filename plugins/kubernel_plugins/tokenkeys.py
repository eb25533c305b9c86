"""The key that signs service account tokens: EC P-256, made at the first start."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from kubernel.errors import PluginError

__all__ = ["SigningKey"]


class SigningKey:
    """``jwk`` is the public half as a JSON Web Key; it lies beside the key so that a restart parses none."""

    def __init__(self, pem: bytes, jwk: dict[str, Any]) -> None:
        self.pem = pem
        self.jwk = jwk
        self._private: Any = None
        self._public: Any = None

    @property
    def key_id(self) -> str:
        return str(self.jwk["kid"])

    @classmethod
    def open(cls, directory: Path) -> SigningKey:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        key, note = directory / "sa.key", directory / "sa.jwk"
        try:
            pem = key.read_bytes()
        except FileNotFoundError:
            pem = _make()
            _write(key, pem)
            note.unlink(missing_ok=True)
        try:
            jwk = json.loads(note.read_text())
            if jwk.get("digest") != hashlib.sha256(pem).hexdigest():
                raise ValueError("the note is another key's")
        except (OSError, ValueError, AttributeError):
            jwk = _public_jwk(pem, key)
            note.unlink(missing_ok=True)
            _write(note, json.dumps(jwk).encode())
        return cls(pem, {name: value for name, value in jwk.items() if name != "digest"})

    def sign(self, claims: dict[str, Any]) -> str:
        import jwt

        if self._private is None:
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            self._private = load_pem_private_key(self.pem, None)
        return jwt.encode(claims, self._private, algorithm="ES256", headers={"kid": self.key_id})

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token whose signature is ours; expiry and audience are not looked at. ValueError."""
        import jwt

        if self._public is None:
            from cryptography.hazmat.primitives.serialization import load_pem_private_key

            self._public = load_pem_private_key(self.pem, None).public_key()
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=["ES256"],
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError as wrong:
            raise ValueError(str(wrong)) from None
        return claims


def _make() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_jwk(pem: bytes, path: Path) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except ValueError as error:
        raise PluginError(f"auth/serviceaccount: {path} is no private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise PluginError(f"auth/serviceaccount: {path} must be an EC P-256 key")
    public = key.public_key()
    numbers = public.public_numbers()
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "use": "sig",
        "kty": "EC",
        "kid": _b64(hashlib.sha256(der).digest()),
        "crv": "P-256",
        "alg": "ES256",
        "x": _b64(numbers.x.to_bytes(32, "big")),
        "y": _b64(numbers.y.to_bytes(32, "big")),
        "digest": hashlib.sha256(pem).hexdigest(),
    }


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
