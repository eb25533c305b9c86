"""Certificates and keys in files: issued when they are needed, used again while they are good."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.clock import RealClock

if TYPE_CHECKING:
    from kubernel.plugin.contract import CertificateAuthority

__all__ = ["RENEW_BEFORE", "KeyFiles", "write_private"]

RENEW_BEFORE = 30 * 86400
"""Seconds before its end at which a certificate is issued again."""
_DAYS = 365


class KeyFiles:
    """Issued certificates in files, used again as long as they are good.

    Beside ``NAME.crt`` and ``NAME.key`` lies ``NAME.json`` with what they were issued for, so that a
    restart neither parses nor makes certificates. Expiry is judged by the machine's clock, as TLS does.
    """

    def __init__(self, directory: Path, authority: CertificateAuthority) -> None:
        self.directory = directory
        self.authority = authority
        self._fingerprint = hashlib.sha256(authority.ca_certificate).hexdigest()

    def pair(
        self,
        name: str,
        common_name: str,
        *,
        organizations: Sequence[str] = (),
        names: Sequence[str] = (),
        usage: str,
    ) -> tuple[Path, Path]:
        """Paths of the certificate and the key."""
        certificate, key, note = (self.directory / f"{name}.{suffix}" for suffix in ("crt", "key", "json"))
        wanted = {
            "authority": self._fingerprint,
            "commonName": common_name,
            "organizations": list(organizations),
            "names": list(names),
            "usage": usage,
        }
        try:
            known = json.loads(note.read_text())
            good = (
                known["issuedFor"] == wanted
                and known["expires"] - RENEW_BEFORE > RealClock().time()
                and certificate.is_file()
                and key.is_file()
            )
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            self._issue(name, wanted)
        return certificate, key

    def issued(self) -> dict[str, dict[str, Any]]:
        """Name -> ``issuedFor`` and ``expires`` (epoch seconds) of what was issued here."""
        found: dict[str, dict[str, Any]] = {}
        for note in sorted(self.directory.glob("*.json")):
            try:
                known = json.loads(note.read_text())
                if note.with_suffix(".crt").is_file() and known["issuedFor"]:
                    found[note.stem] = known
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return found

    def renew(self, name: str) -> None:
        """Issue one again, for whom it was. KeyError when it was not issued here."""
        self._issue(name, {**self.issued()[name]["issuedFor"], "authority": self._fingerprint})

    def _issue(self, name: str, wanted: dict[str, Any]) -> None:
        certificate, key, note = (self.directory / f"{name}.{suffix}" for suffix in ("crt", "key", "json"))
        note.unlink(missing_ok=True)
        pair = self.authority.issue(
            wanted["commonName"],
            organizations=wanted["organizations"],
            names=wanted["names"],
            usage=wanted["usage"],
            days=_DAYS,
        )
        write_private(key, pair.key)
        write_private(certificate, pair.certificate)
        expires = int(RealClock().time()) + _DAYS * 86400
        write_private(note, json.dumps({"issuedFor": wanted, "expires": expires}).encode())


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path`` at once, readable by its owner only."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    temporary.replace(path)
