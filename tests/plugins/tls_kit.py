"""Servers of tests that speak TLS: a certificate of an authority of their own, whom they want to see one of, and the
Service that leads to them."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

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


def service_at(name: str, port: int) -> dict[str, Any]:
    """The Service ``name`` of the default namespace, at 8443, for a server at ``port``."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"ports": [{"port": 8443, "targetPort": port}]},
    }


def endpoints_at(name: str, port: int) -> dict[str, Any]:
    """Those of the Service ``name``: the server at ``port`` of this machine."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"]}],
        "ports": [{"port": port}],
    }
