"""Where a server is and how to show who one is: explicit, or read from a kubeconfig file."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernel.config.document import read
from kubernel.errors import ConfigError

__all__ = ["Access", "load_kubeconfig", "load_pair"]


@dataclass(frozen=True, slots=True)
class Access:
    """A server and credentials. Certificates and keys are PEM bytes; ``ca`` None trusts the system's
    authorities. ``namespace`` is the context's, for those who want a default."""

    url: str
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    token: str = ""
    server_name: str = ""
    insecure: bool = False
    namespace: str = "default"

    def __repr__(self) -> str:
        return f"Access({self.url})"

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for a plain http URL."""
        if not self.url.startswith("https:"):
            return None
        context = ssl.create_default_context()
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self.ca is not None:
            context = ssl.create_default_context(cadata=self.ca.decode())
        if self.certificate is not None and self.key is not None:
            load_pair(context, self.certificate, self.key)
        return context


def load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Show this certificate."""
    # The ssl module reads keys from files only; this one is 0600 and gone at once.
    descriptor, path = tempfile.mkstemp(prefix="kubernel-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


def load_kubeconfig(path: str | Path, context: str = "") -> Access:
    """The server and user of ``context`` (default: the current one); ConfigError says what is wrong.

    Credentials that need another program (``exec``, ``auth-provider``) are refused.
    """
    path = Path(path)
    document = read(path).plain()
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: not a kubeconfig")
    wanted = context or document.get("current-context") or ""
    chosen = _named(path, document, "context", wanted)
    cluster = _named(path, document, "cluster", chosen.get("cluster", ""))
    user = _named(path, document, "user", chosen.get("user", "")) if chosen.get("user") else {}
    for unsupported in ("exec", "auth-provider", "username"):
        if unsupported in user:
            raise ConfigError(
                f'{path}: user "{chosen["user"]}": {unsupported} is not supported; '
                "use a client certificate or a token"
            )
    url = cluster.get("server")
    if not url or not isinstance(url, str):
        raise ConfigError(f'{path}: cluster "{chosen.get("cluster")}" names no server')
    token = user.get("token") or ""
    if not token and user.get("tokenFile"):
        token = _read(path, user["tokenFile"]).decode().strip()
    return Access(
        url.rstrip("/"),
        ca=_bytes(path, cluster, "certificate-authority"),
        certificate=_bytes(path, user, "client-certificate"),
        key=_bytes(path, user, "client-key"),
        token=token,
        server_name=cluster.get("tls-server-name") or "",
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        namespace=chosen.get("namespace") or "default",
    )


def _named(path: Path, document: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    entries = document.get(f"{kind}s") or ()
    for entry in entries:
        if isinstance(entry, Mapping) and entry.get("name") == name and isinstance(entry.get(kind), Mapping):
            found: Mapping[str, Any] = entry[kind]
            return found
    names = ", ".join(str(entry.get("name")) for entry in entries if isinstance(entry, Mapping)) or "none"
    raise ConfigError(f'{path}: no {kind} named "{name}"; there is: {names}')


def _bytes(path: Path, section: Mapping[str, Any], field: str) -> bytes | None:
    """``field-data`` decoded, or the file that ``field`` names, relative to the kubeconfig."""
    data = section.get(f"{field}-data")
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(f"{path}: {field}-data is not base64") from None
    named = section.get(field)
    return _read(path, named) if named else None


def _read(path: Path, named: str) -> bytes:
    file = path.parent / named
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {file}: {error.strerror or error}") from None
