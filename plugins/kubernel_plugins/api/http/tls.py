"""The server's certificate, its TLS settings, and the administrator's kubeconfig."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kubernel.clock import RealClock

if TYPE_CHECKING:
    from kubernel.plugin.contract import CertificateAuthority

__all__ = ["KeyFiles", "server_context", "serving_names", "write_kubeconfig"]

_RENEW_BEFORE = 30 * 86400
_DAYS = 365


def serving_names(bind_address: str, node_name: str, domain: str, service_cidr: str) -> tuple[str, ...]:
    """Every name and address under which clients may reach the server."""
    import ipaddress

    first_service = str(ipaddress.ip_network(service_cidr.split(",")[0])[1])
    names = [
        "127.0.0.1",
        "::1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{domain}",
        node_name,
        first_service,
    ]
    if bind_address not in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        names.append(bind_address)
    return tuple(dict.fromkeys(name for name in names if name))


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
        now = RealClock().time()
        try:
            known = json.loads(note.read_text())
            good = (
                known["issuedFor"] == wanted
                and known["expires"] - _RENEW_BEFORE > now
                and certificate.is_file()
                and key.is_file()
            )
        except (OSError, ValueError, KeyError, TypeError):
            good = False
        if not good:
            note.unlink(missing_ok=True)
            pair = self.authority.issue(
                common_name, organizations=organizations, names=names, usage=usage, days=_DAYS
            )
            write_private(key, pair.key)
            write_private(certificate, pair.certificate)
            expires = int(now) + _DAYS * 86400
            write_private(note, json.dumps({"issuedFor": wanted, "expires": expires}).encode())
        return certificate, key


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


def server_context(authority: CertificateAuthority, certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1, client certificates of the cluster's CA welcome."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority.ca_certificate.decode())
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # Connections live long; tickets would only cost two writes at each handshake.
    context.num_tickets = 0
    return context


def write_kubeconfig(path: Path, cluster: str, url: str, ca: bytes, certificate: Path, key: Path) -> None:
    """The administrator's kubeconfig, certificates inside; left alone when it is up to date."""
    user = f"{cluster}-admin"
    text = f"""\
apiVersion: v1
kind: Config
clusters:
- name: {cluster}
  cluster:
    server: {url}
    certificate-authority-data: {_b64(ca)}
contexts:
- name: {cluster}
  context:
    cluster: {cluster}
    user: {user}
current-context: {cluster}
users:
- name: {user}
  user:
    client-certificate-data: {_b64(certificate.read_bytes())}
    client-key-data: {_b64(key.read_bytes())}
"""
    data = text.encode()
    try:
        if path.read_bytes() == data and path.stat().st_mode & 0o077 == 0:
            return
    except OSError:
        pass
    write_private(path, data)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
