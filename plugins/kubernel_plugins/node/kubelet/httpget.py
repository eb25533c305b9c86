"""One GET, as probes and lifecycle hooks need it: nothing kept alive, certificates not checked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

__all__ = ["HttpAnswer", "get", "named_port"]

HttpAnswer = tuple[int, str]
"""Status code and the first 10 KiB of the body."""

_BODY = 10 * 1024
_REDIRECTS = 10


def named_port(container: Mapping[str, Any], port: int | str) -> int:
    """A port's number; a name is looked up in the container's ports. ValueError when it is not there."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    raise ValueError(f"couldn't find port: {port}")


async def get(
    scheme: str, host: str, port: int, path: str, headers: Iterable[tuple[str, str]] = ()
) -> HttpAnswer:
    """Follows redirects on the same host; one to another host counts as what it is (as kubelet's probes).
    OSError when nobody answers, ValueError when the answer is not HTTP."""
    for _ in range(_REDIRECTS):
        status, location, body = await _once(scheme, host, port, path, headers)
        if status not in (301, 302, 303, 307, 308) or not location:
            return status, body
        literal = f"[{host}]" if ":" in host else host
        target = urlsplit(urljoin(f"{scheme}://{literal}:{port}{path}", location))
        if target.hostname != host:
            return status, body
        scheme = target.scheme
        port = target.port or (443 if scheme == "https" else 80)
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    raise ValueError("stopped after 10 redirects")


async def _once(
    scheme: str, host: str, port: int, path: str, headers: Iterable[tuple[str, str]]
) -> tuple[int, str, str]:
    context: ssl.SSLContext | None = None
    if scheme.lower() == "https":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    given = {name.lower(): (name, value) for name, value in headers}
    literal = f"[{host}]" if ":" in host else host
    for name, value in (
        ("Host", f"{literal}:{port}"),
        ("User-Agent", "kube-probe/1.37"),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ):
        given.setdefault(name.lower(), (name, value))
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in given.values()]
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        first = (await reader.readline()).decode("latin-1").split(None, 2)
        if len(first) < 2 or not first[0].startswith("HTTP/") or not first[1].isdigit():
            raise ValueError("malformed HTTP response")
        location, length = "", _BODY
        while (line := (await reader.readline()).decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            if name.lower() == "location":
                location = value.strip()
            elif name.lower() == "content-length" and value.strip().isdigit():
                length = min(int(value), _BODY)
        body = b""
        while len(body) < length and (chunk := await reader.read(length - len(body))):
            body += chunk
        return int(first[1]), location, body.decode(errors="replace")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
