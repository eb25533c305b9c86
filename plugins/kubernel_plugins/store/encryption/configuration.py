"""EncryptionConfiguration: which resources are encrypted with which keys.

Source: k8s.io/apiserver/pkg/server/options/encryptionconfig, pkg/apis/apiserver/validation (v1.37).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kubernel.config.document import read as read_document
from kubernel.errors import PluginError
from kubernel_plugins.store.encryption.ciphers import PREFIX, AesCbc, AesGcm, Cipher, Identity, Secretbox

__all__ = ["Encryption", "Providers", "generate"]

_API = "apiserver.config.k8s.io/v1"
_KIND = "EncryptionConfiguration"
_SIZES: Mapping[str, tuple[int, ...]] = {"aesgcm": (16, 24, 32), "aescbc": (32,), "secretbox": (32,)}
_MAKE: Mapping[str, Callable[[str, bytes], Cipher]] = {
    "aesgcm": AesGcm,
    "aescbc": AesCbc,
    "secretbox": Secretbox,
}


class Providers(NamedTuple):
    """The keys of one entry, in its order: the first encrypts, all decrypt."""

    ciphers: tuple[Cipher, ...]

    def seal(self, value: bytes, place: bytes) -> bytes:
        cipher = self.ciphers[0]
        return cipher.prefix + cipher.seal(value, place)

    def open(self, stored: bytes, place: bytes) -> tuple[bytes, bool]:
        """The value, and whether it should be written again: another key than the first had encrypted it.
        ValueError says why it cannot be read."""
        encrypted = stored.startswith(PREFIX)
        why = "no provider of the configuration has its key"
        for number, cipher in enumerate(self.ciphers):
            # An empty prefix is that of values which are not encrypted.
            if encrypted is not bool(cipher.prefix) or not stored.startswith(cipher.prefix):
                continue
            try:
                return cipher.open(stored[len(cipher.prefix) :], place), number > 0
            except ValueError as error:
                why = str(error)
        raise ValueError(why)


class Encryption:
    """Which providers a resource has; None for one that no entry names."""

    def __init__(self, entries: Sequence[tuple[tuple[str, ...], Providers]]) -> None:
        self._entries = entries
        self._known: dict[str, Providers | None] = {}

    def of(self, resource: str) -> Providers | None:
        """``resource`` as in a store's key: ``secrets``, ``deployments.apps``."""
        try:
            return self._known[resource]
        except KeyError:
            group = resource.partition(".")[2]
            wanted = (resource, f"*.{group}", "*.*")
            found = next((one for names, one in self._entries if any(name in names for name in wanted)), None)
            self._known[resource] = found
            return found

    @classmethod
    def read(cls, path: Path) -> Encryption:
        """The configuration in a file. ConfigError and PluginError say what cannot be used."""
        try:
            document = _parsed(path.read_text(), path)
        except OSError as error:
            raise PluginError(f"{path}: {error.strerror or error}") from error
        if (
            not isinstance(document, dict)
            or document.get("kind") != _KIND
            or document.get("apiVersion") != _API
        ):
            raise PluginError(f"{path} is no {_KIND} of {_API}")
        entries = [
            _entry(spec, f"{path}: resources[{number}]")
            for number, spec in enumerate(document.get("resources") or ())
        ]
        if not entries:
            raise PluginError(f"{path}: resources: at least one entry is required")
        return cls(entries)


def _parsed(text: str, path: Path) -> Any:
    try:
        # What is generated is JSON: a start needs no YAML library for it.
        return json.loads(text)
    except ValueError:
        return read_document(path).plain()


def _entry(spec: Mapping[str, Any], place: str) -> tuple[tuple[str, ...], Providers]:
    names = tuple(str(name).removesuffix(".") for name in spec.get("resources") or ())
    if not names:
        raise PluginError(f"{place}.resources: at least one resource is required")
    ciphers: list[Cipher] = []
    for number, provider in enumerate(spec.get("providers") or ()):
        ciphers += _ciphers(provider, f"{place}.providers[{number}]")
    if not ciphers:
        raise PluginError(f"{place}.providers: at least one provider is required")
    return names, Providers(tuple(ciphers))


def _ciphers(provider: Mapping[str, Any], place: str) -> list[Cipher]:
    if len(provider) != 1:
        raise PluginError(f"{place}: exactly one of aesgcm, aescbc, secretbox and identity must be set")
    ((kind, told),) = provider.items()
    if kind == "identity":
        return [Identity()]
    if kind == "kms":
        raise PluginError(
            f"{place}.kms: key management services are not supported; use aesgcm, secretbox, aescbc or identity"
        )
    if kind not in _MAKE:
        raise PluginError(f'{place}: unknown provider "{kind}"; known: aesgcm, aescbc, secretbox, identity')
    made: list[Cipher] = []
    for number, key in enumerate((told or {}).get("keys") or ()):
        where = f"{place}.{kind}.keys[{number}]"
        name = key.get("name") or ""
        if not name or ":" in name:
            raise PluginError(f'{where}.name: must be there and must not contain ":"')
        try:
            secret = base64.b64decode(key.get("secret") or "", validate=True)
        except (binascii.Error, ValueError):
            raise PluginError(f"{where}.secret: must be base64 encoded") from None
        if len(secret) not in _SIZES[kind]:
            sizes = ", ".join(map(str, _SIZES[kind]))
            raise PluginError(
                f"{where}.secret: is not of the expected length, got {len(secret)}, expected one of {sizes}"
            )
        made.append(_MAKE[kind](name, secret))
    if not made:
        raise PluginError(f"{place}.{kind}.keys: at least one key is required")
    return made


def generate(path: Path) -> None:
    """Write a configuration with a new key, which encrypts Secrets; what was stored in plain text stays readable.
    Does nothing when the file is there."""
    key = {"name": "key1", "secret": base64.b64encode(secrets.token_bytes(32)).decode()}
    document = {
        "kind": _KIND,
        "apiVersion": _API,
        "resources": [
            {"resources": ["secrets"], "providers": [{"aesgcm": {"keys": [key]}}, {"identity": {}}]}
        ],
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
