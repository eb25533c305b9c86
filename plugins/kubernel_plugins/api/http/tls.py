"""The server's certificate, its TLS settings, and the administrator's kubeconfig."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from kubernel_plugins.keyfiles import write_private

if TYPE_CHECKING:
    from kubernel.plugin.contract import CertificateAuthority

__all__ = ["server_context", "serving_names", "write_kubeconfig"]


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


def server_context(
    authority: CertificateAuthority, certificate: Path, key: Path, others: bytes = b""
) -> ssl.SSLContext:
    """TLS 1.2 and 1.3, HTTP/1.1, client certificates of the cluster's CA and of ``others`` (PEM) welcome."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=f"{authority.ca_certificate.decode()}\n{others.decode()}")
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
