"""Servers of tests that speak TLS: a certificate of an authority of their own, and whom they want to see one of."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

from kubernel_plugins.authority import Authority


def server_context(directory: Path, user: str, *names: str, trusted: str = "") -> tuple[ssl.SSLContext, str]:
    """What a server at ``names`` needs, and its authority's certificate as a ``caBundle``. With ``trusted``, PEM,
    clients must show a certificate by one of these."""
    authority = Authority.open(directory)
    pair = authority.issue(user, names=names, usage="server")
    (directory / "server.pem").write_bytes(pair.certificate + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    if trusted:
        context.load_verify_locations(cadata=trusted)
        context.verify_mode = ssl.CERT_REQUIRED
    return context, base64.b64encode(authority.ca_certificate).decode()
