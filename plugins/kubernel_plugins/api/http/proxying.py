"""``…/pods/NAME/proxy/…`` and ``…/services/NAME/proxy/…``: a client's HTTP request, passed on to a pod.

Source of the rules: k8s.io/apimachinery/pkg/util/proxy and the pods' and services' ``ResourceLocation``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kubernel.errors import ApiError, BadRequest, ServiceUnavailable, UnnamedError

from .relay import Answer, carry, not_switched, read_answer
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.plugin.contract import NodeStreams
    from kubernel.registry.registry import Registry
    from kubernel.registry.request import UserInfo
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

    from .paths import Target
    from .transport import Exchange

__all__ = ["KEPT_HERE", "Proxy", "passed_on", "split_name"]

_BODY_LIMIT = 64 * 1024 * 1024
_WHOLE = 256 * 1024
"""Bodies up to so many bytes are answered in one piece, with their length."""
KEPT_HERE = frozenset(
    {
        "authorization", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that belong to one of the two connections, or prove who the user is."""


def split_name(text: str) -> tuple[str, str, str] | None:
    """``NAME``, ``NAME:PORT`` or ``SCHEME:NAME:PORT`` as (scheme, name, port); None for anything else."""
    parts = text.split(":")
    if len(parts) == 1:
        scheme, name, port = "", text, ""
    elif len(parts) == 2:
        scheme, (name, port) = "", parts
    elif len(parts) == 3:
        scheme, name, port = parts
    else:
        return None
    return (scheme, name, port) if name and scheme in ("", "http", "https") else None


class Proxy:
    """Finds where a request goes, and takes it there."""

    def __init__(
        self, registry: Registry, streams: Callable[[Obj], NodeStreams], pick: Callable[[list[Any]], Any]
    ) -> None:
        self._registry = registry
        self._streams = streams
        self._pick = pick

    async def serve(
        self, exchange: Exchange, user: UserInfo, type: ResourceType, target: Target, stamp: bytes
    ) -> Reply | None:
        what = type.singular
        if what not in ("pod", "service"):
            raise BadRequest(f"{target.resource}/proxy is not supported by this server")
        split = split_name(target.name)
        if split is None:
            raise BadRequest(f'invalid {what} request "{target.name}"')
        scheme, name, port = split
        path = _rest(exchange.path)
        options: Obj = {"kind": f"{type.kind}ProxyOptions", "apiVersion": "v1", "path": path}
        obj = (await self._registry.connect(user, type, target.namespace, name, "proxy", options)).obj
        if not path and exchange.method in ("GET", "HEAD"):
            query = f"?{exchange.query}" if exchange.query else ""
            return Reply(301, b"", header_block([("Location", f"{exchange.path}/{query}")]))
        # The whole request is here before anything is dialled: a pod waits for no slow client.
        body = await exchange.body(_BODY_LIMIT)
        if what == "pod":
            number = _number(port) if port else _first_port(obj)
            connection = self._dial(obj, number)
        else:
            number, connection = self._service(obj, name, port)
        return await self._pass(exchange, connection, scheme, path, body, number, stamp)

    def _service(self, service: Obj, name: str, port: str) -> tuple[int, Any]:
        """The port and the connecting to one of the service's ready endpoints."""
        if port.isdigit():
            ports = (service.get("spec") or {}).get("ports") or ()
            named = next((entry for entry in ports if entry["port"] == int(port)), None)
            if named is None:
                raise ServiceUnavailable(f'no service port {port} found for service "{name}"')
            port = named.get("name", "")
        namespace = service["metadata"]["namespace"]
        found: list[tuple[Obj, int]] = []
        for subset in self._endpoints(namespace, name):
            for entry in subset.get("ports") or ():
                if entry.get("name", "") == port:
                    found += [(address, entry["port"]) for address in subset.get("addresses") or ()]
        if not found:
            raise ServiceUnavailable(f'no endpoints available for service "{name}"')
        address, number = self._pick(found)
        reference = address.get("targetRef") or {}
        if reference.get("kind") == "Pod":
            return number, self._dial(self._get("pods", namespace, reference["name"]), number)
        return number, _dial_address(address["ip"], number)

    def _endpoints(self, namespace: str, name: str) -> list[Obj]:
        try:
            return self._get("endpoints", namespace, name).get("subsets") or []
        except ApiError:
            return []

    def _get(self, resource: str, namespace: str, name: str) -> Obj:
        type = self._registry.lookup("", "v1", resource)
        if type is None:
            raise ServiceUnavailable(f"{resource} are not served")
        return self._registry.get(type, namespace, name).obj

    async def _dial(self, pod: Obj, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await self._streams(pod).dial(pod, port)

    async def _pass(
        self,
        exchange: Exchange,
        connection: Any,
        scheme: str,
        path: str,
        body: bytes,
        port: int,
        stamp: bytes,
    ) -> Reply | None:
        upgrades = exchange.wants_upgrade
        try:
            reader, writer = await connection
        except ApiError as refusal:
            raise _unreachable(refusal.message.removeprefix("Internal error occurred: ")) from None
        try:
            try:
                if scheme == "https":
                    await writer.start_tls(_trusting())
                writer.write(_request(exchange, path, body, port))
                await writer.drain()
                answer = await read_answer(reader, exchange.method, switches=upgrades)
            except (OSError, EOFError, ValueError) as broken:
                raise _unreachable(str(broken) or type(broken).__name__) from None
            if answer.status == 101:
                await carry(await exchange.tunnel(header_block(answer.headers) + stamp), reader, writer)
                return None
            # A refused upgrade ends both connections.
            if upgrades and (wrong := not_switched(answer)):
                raise UnnamedError(wrong)
            head = _answer_head(answer, exchange, path)
            length = answer.length
            if length is not None and length <= _WHOLE:
                body = b"".join([piece async for piece in answer.body()])
                return Reply(answer.status, body, head, close=upgrades)
            stream = await exchange.stream(answer.status, head + stamp)
            async for piece in answer.body():
                await stream.write(piece)
            await stream.close()
            return None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _rest(path: str) -> str:
    """What follows ``/api/v1/namespaces/NS/pods/NAME/proxy``, as it was sent; with its slash, or empty."""
    parts = path.split("/", 8)
    return f"/{parts[8]}" if len(parts) > 8 else ""


def _number(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 0 < port < 65536:
        raise _unreachable(f"dial tcp: lookup tcp/{text}: unknown port")
    return port


def _first_port(pod: Obj) -> int:
    for container in (pod.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            return int(port["containerPort"])
    return 80


async def _dial_address(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To an endpoint that is no pod; never to what only this machine can reach."""
    ip = ipaddress.ip_address(address)
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        raise BadRequest("address not allowed")
    try:
        return await asyncio.open_connection(address, port)
    except OSError as error:
        raise _unreachable(f"dial tcp {address}:{port}: {error.strerror or error}") from None


def _unreachable(reason: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"error trying to reach service: {reason}")


def _trusting() -> ssl.SSLContext:
    """Pods have certificates of their own, which nobody here can check."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _request(exchange: Exchange, path: str, body: bytes, port: int) -> bytes:
    # The host is where the client asked, so that the pod can make links that lead back here.
    host = exchange.headers.get("Host", f"localhost:{port}")
    return passed_on(exchange, path or "/", body, ("impersonate-",), [("Host", host)])


def passed_on(
    exchange: Exchange,
    path: str,
    body: bytes,
    dropped: tuple[str, ...],
    added: Sequence[tuple[str, str]],
) -> bytes:
    """The client's request as another server is sent it, without headers that begin with one of ``dropped``."""
    wanted = f"{path}?{exchange.query}" if exchange.query else path
    if any(character <= " " or character == "\x7f" for character in wanted):
        raise BadRequest("the path is no URL")
    sent = [
        (name, value)
        for name in dict.fromkeys(name.lower() for name in exchange.headers.keys())  # noqa: SIM118
        if name not in KEPT_HERE and not name.startswith(dropped)
        for value in exchange.headers.getall(name)
    ]
    sent += [
        *added,
        ("X-Forwarded-Uri", exchange.path),
        ("X-Forwarded-Host", exchange.headers.get("Host", "")),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", exchange.connection.remote),
    ]
    if exchange.wants_upgrade:
        sent += [("Connection", "Upgrade"), ("Upgrade", exchange.headers.get("Upgrade", ""))]
    else:
        sent.append(("Connection", "close"))
    if body or exchange.method in ("POST", "PUT", "PATCH"):
        sent.append(("Content-Length", str(len(body))))
    return f"{exchange.method} {wanted} HTTP/1.1\r\n".encode("latin-1") + header_block(sent) + b"\r\n" + body


def _answer_head(answer: Answer, exchange: Exchange, path: str) -> bytes:
    prefix = exchange.path.removesuffix(path) if path else exchange.path
    headers = []
    for name, value in answer.headers:
        lower = name.lower()
        if lower == "location":
            split = urlsplit(value)
            if not split.netloc or split.netloc == exchange.headers.get("Host", ""):
                value = split._replace(scheme="", netloc="").geturl()
                value = prefix + value if value.startswith("/") else value
        if lower not in KEPT_HERE and lower != "date":
            headers.append((name, value))
    return header_block(headers)
