"""Groups and versions that other servers serve: requests go to them, in the name of the user.

Source: k8s.io/kube-aggregator/pkg/apiserver/handler_proxy.go,
pkg/controllers/status/remote/remote_available_controller.go (v1.37).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from kubernel.clock import rfc3339
from kubernel.errors import ApiError, NotFound
from kubernel.objects import conditions, meta
from kubernel.registry.request import UserInfo
from kubernel_plugins.webhooks import CallFailed, dial_words, resolve, tls_words

from .proxying import KEPT_HERE, passed_on
from .published import Published
from .relay import Answer, carry, not_switched, read_answer
from .responses import TEXT_HEAD
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.clock import Timer
    from kubernel.plugin import Handle
    from kubernel.store.records import Obj

    from .transport import Exchange

__all__ = ["Aggregator"]

SERVICES = "apiservices.v1.apiregistration.k8s.io"
_BODY_LIMIT = 64 * 1024 * 1024
_WHOLE = 256 * 1024
_DISCOVERY_LIMIT = 3 * 1024 * 1024
_OPENAPI_LIMIT = 32 * 1024 * 1024
_RECHECK = 30.0
_RETRY = 2.0
"""Seconds until a server is looked at again: one that answers, one that does not."""
_CHECK_TIMEOUT = 5.0
_READ_TIMEOUT = 30.0
_CLAIMS = ("impersonate-", "x-remote-")
_CHECKER = UserInfo("system:kube-aggregator", ("system:masters",))


class Aggregator:
    """``identity()`` gives the files of the front proxy's certificate and key."""

    def __init__(self, handle: Handle, identity: Callable[[], tuple[Path, Path]]) -> None:
        self._handle = handle
        self._identity = identity
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._dirty: set[str] = set()
        self._timers: dict[str, Timer] = {}
        self._wakeup = asyncio.Event()
        self._unlisten: Callable[[], None] | None = None
        self.resources: dict[tuple[str, str], Obj] = {}
        """What each remote version says it serves: an APIResourceList."""
        self.published = Published()
        self.generation = 0

    def start(self) -> None:
        client = self._handle.client("system:apiserver", ("system:masters",))
        self._client = client
        self._services = client.informer(SERVICES)
        self._unlisten = self._services.add_listener(self._changed)
        self._handle.spawn(self._check_all(), "availability of API services")

    def stop(self) -> None:
        self._contexts.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

    def find(self, group: str, version: str) -> Obj | None:
        """The APIService that says who serves this version; None when it is not another server."""
        if self._unlisten is None:
            return None
        found = self._services.get(f"{version}.{group}")
        return found if found is not None and found["spec"].get("service") else None

    # --- requests

    async def serve(
        self,
        exchange: Exchange,
        user: UserInfo,
        service: Obj,
        stamp: bytes,
        switched: Callable[[], None] | None = None,
    ) -> Reply | None:
        """Pass a request on that has been authorized. ``switched`` is called when both sides leave HTTP."""
        upgrades = exchange.wants_upgrade
        if not conditions.is_true(service, "Available"):
            return _plain(503, "service unavailable\n")
        body = await exchange.body(_BODY_LIMIT)
        try:
            reader, writer = await self._dial(service["spec"])
        except (CallFailed, OSError, TimeoutError) as error:
            problem = "error dialing backend" if upgrades else "error trying to reach service"
            return _plain(503, f"{problem}: {error}\n")
        added = [("Host", _host(service["spec"])), *_identity(user)]
        try:
            try:
                writer.write(passed_on(exchange, exchange.path, body, _CLAIMS, added))
                await writer.drain()
                answer = await read_answer(reader, exchange.method, switches=upgrades)
            except (OSError, EOFError, ValueError) as broken:
                return _plain(503, f"error trying to reach service: {broken or 'EOF'}\n")
            if answer.status == 101:
                if switched is not None:
                    switched()
                await carry(await exchange.tunnel(header_block(answer.headers) + stamp), reader, writer)
                return None
            # A refused upgrade ends both connections: nothing more of the client's reaches the other server, which
            # would take it for this one's.
            if upgrades and (wrong := not_switched(answer)):
                return _plain(503, f"{wrong}\n")
            head = header_block(
                [(name, value) for name, value in answer.headers if name.lower() not in KEPT_HERE]
            )
            length = answer.length
            if length is not None and length <= _WHOLE:
                return Reply(answer.status, await _whole(answer, _WHOLE), head, close=upgrades)
            stream = await exchange.stream(answer.status, head + stamp)
            async for piece in answer.body():
                await stream.write(piece)
            await stream.close()
            return None
        finally:
            await _end(writer)

    def read(self, path: str, user: UserInfo) -> Awaitable[tuple[int, bytes]] | None:
        """A GET of ``/apis/GROUP/VERSION/…``; None when no other server serves it."""
        parts = path.split("/", 4)
        service = self.find(parts[2], parts[3]) if len(parts) == 5 and parts[1] == "apis" else None
        return None if service is None else self._read(service["spec"], path, user)

    async def _read(self, spec: Mapping[str, Any], path: str, user: UserInfo) -> tuple[int, bytes]:
        try:
            async with self._handle.clock.timeout(_READ_TIMEOUT):
                return await self._get(spec, path, user, _DISCOVERY_LIMIT)
        except (CallFailed, EOFError, ValueError, TimeoutError) as error:
            raise OSError(str(error) or "EOF") from error

    async def _get(self, spec: Mapping[str, Any], path: str, user: UserInfo, limit: int) -> tuple[int, bytes]:
        status, _, body = await self._fetch(spec, path, user, limit, "")
        return status, body

    async def _fetch(
        self, spec: Mapping[str, Any], path: str, user: UserInfo, limit: int, known: str
    ) -> tuple[int, str, bytes]:
        """(status, ETag, body) of a GET by who has the document with the ETag ``known``."""
        reader, writer = await self._dial(spec)
        try:
            head = [("Host", _host(spec)), ("Accept", "application/json"), ("Connection", "close")]
            if known:
                head.append(("If-None-Match", known))
            writer.write(f"GET {path} HTTP/1.1\r\n".encode() + header_block(head + _identity(user)) + b"\r\n")
            await writer.drain()
            answer = await read_answer(reader, "GET")
            etag = next((value for name, value in answer.headers if name.lower() == "etag"), "")
            return answer.status, etag, await _whole(answer, limit)
        finally:
            await _end(writer)

    async def _dial(self, spec: Mapping[str, Any]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises CallFailed and TimeoutError."""
        reference = spec["service"]
        namespace, name = reference["namespace"], reference["name"]
        address = await resolve(self._handle, namespace, name, reference.get("port") or 443)
        server = f"{name}.{namespace}.svc"
        try:
            return await asyncio.open_connection(
                address.host, address.port, ssl=self._context(spec), server_hostname=server
            )
        except ssl.SSLError as error:
            raise CallFailed(tls_words(error, server)) from None
        except OSError as error:
            raise CallFailed(dial_words(error, address.host, address.port)) from None

    def _context(self, spec: Mapping[str, Any]) -> ssl.SSLContext:
        key = (spec.get("caBundle") or "", bool(spec.get("insecureSkipTLSVerify")))
        context = self._contexts.get(key)
        if context is None:
            try:
                ca = base64.b64decode(key[0]).decode("ascii") if key[0] else None
                context = ssl.create_default_context(cadata=ca)
            except (ssl.SSLError, ValueError):
                raise CallFailed(
                    "unable to load root certificates: unable to parse bytes as PEM block"
                ) from None
            if key[1]:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(*self._identity())
            self._contexts[key] = context
        return context

    # --- availability

    def _changed(self, type: str, service: Obj, old: Obj | None) -> None:
        spec = service["spec"]
        if old is None or old["spec"] != spec:
            self.generation += 1
        if type == "DELETED" or not spec.get("service"):
            key = (spec.get("group", ""), spec["version"])
            self.published.forget(key)
            if self.resources.pop(key, None) is not None:
                self.generation += 1
            return
        self._mark(meta.name(service))

    def _mark(self, name: str) -> None:
        self._dirty.add(name)
        self._wakeup.set()

    async def _check_all(self) -> None:
        while True:
            while self._dirty:
                name = self._dirty.pop()
                service = self._services.get(name)
                if service is None or not service["spec"].get("service"):
                    self._timers.pop(name, None)
                    continue
                good = await self._check(name, service)
                if (timer := self._timers.pop(name, None)) is not None:
                    timer.cancel()
                delay = _RECHECK if good else _RETRY
                self._timers[name] = self._handle.clock.call_later(delay, self._mark, name)
            self._wakeup.clear()
            await self._wakeup.wait()

    async def _check(self, name: str, service: Obj) -> bool:
        reason, message = await self._examine(service)
        status = "True" if reason == "Passed" else "False"
        now = rfc3339(self._handle.clock.time())
        before = (service.get("status") or {}).get("conditions")
        after, changed = conditions.set(before, "Available", status, reason, message, now)
        if changed:
            body = {**service, "status": {**(service.get("status") or {}), "conditions": after}}
            try:
                await self._client.update(SERVICES, body, subresource="status")
            except ApiError as error:
                # Somebody was quicker, or writing is refused just now: the next look tells it.
                self._handle.log.debug("status of APIService {}: {}", name, error.message)
            self.generation += 1
        return status == "True"

    async def _examine(self, service: Obj) -> tuple[str, str]:
        """Reason and message of the condition."""
        spec = service["spec"]
        reference = spec["service"]
        namespace, name, port = reference["namespace"], reference["name"], reference.get("port") or 443
        where = f'service/{name} in "{namespace}"'
        try:
            found = await self._client.get("services", name, namespace)
        except NotFound:
            return "ServiceNotFound", f"{where} is not present"
        if found["spec"].get("type") != "ExternalName":
            entry = next((one for one in found["spec"].get("ports") or () if one["port"] == port), None)
            if entry is None:
                return "ServicePortError", f"{where} is not listening on port {port}"
            try:
                await resolve(self._handle, namespace, name, port)
            except CallFailed:
                port_name = entry.get("name", "")
                text = f'endpointslices for {where} have no addresses with port name "{port_name}"'
                return "MissingEndpoints", text
        url = f"https://{name}.{namespace}.svc:{port}/apis/{spec['group']}/{spec['version']}"
        try:
            async with self._handle.clock.timeout(_CHECK_TIMEOUT):
                problem = await self._discover(spec)
        except TimeoutError:
            problem = f'Get "{url}": context deadline exceeded'
        except (CallFailed, OSError, EOFError, ValueError) as error:
            problem = f'Get "{url}": {error}'
        if not problem:
            await self._learn(spec)
        if problem:
            return "FailedDiscoveryCheck", f"failing or missing response from {url}: {problem}"
        return "Passed", "all checks passed"

    async def _discover(self, spec: Mapping[str, Any]) -> str:
        """Ask the server what it serves; what is wrong with its answer."""
        path = f"/apis/{spec['group']}/{spec['version']}"
        status, body = await self._get(spec, path, _CHECKER, _DISCOVERY_LIMIT)
        if not 200 <= status < 300:
            return f"bad status from https://{_host(spec)}{path}: {status}"
        try:
            listed = orjson.loads(body)
        except orjson.JSONDecodeError:
            listed = None
        key = (spec["group"], spec["version"])
        if (
            isinstance(listed, dict)
            and listed.get("kind") == "APIResourceList"
            and self.resources.get(key) != listed
        ):
            self.resources[key] = listed
            self.generation += 1
        return ""

    async def _learn(self, spec: Mapping[str, Any]) -> None:
        """What the server publishes of its OpenAPI; one that publishes none is as good."""
        key = (spec["group"], spec["version"])

        async def fetch(path: str, known: str) -> tuple[int, str, bytes]:
            return await self._fetch(spec, path, _CHECKER, _OPENAPI_LIMIT, known)

        try:
            async with self._handle.clock.timeout(_READ_TIMEOUT):
                await self.published.learn(key, fetch)
        except (CallFailed, OSError, EOFError, ValueError, TimeoutError) as error:
            self._handle.log.debug("OpenAPI of {}/{}: {}", *key, error)
        except (AttributeError, KeyError, TypeError) as error:
            # Documents that are no OpenAPI break off wherever they are first not what they should be.
            self._handle.log.debug("OpenAPI of {}/{} is malformed: {}", *key, error)

    def priorities(self) -> dict[tuple[str, str], tuple[int, int]]:
        """(of the group, of the version) for each APIService."""
        if self._unlisten is None:
            return {}
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for service in self._services.list():
            spec = service["spec"]
            found[spec.get("group", ""), spec["version"]] = (
                spec.get("groupPriorityMinimum", 0), spec.get("versionPriority", 0),
            )  # fmt: skip
        return found

    def available(self, group: str, version: str) -> bool:
        service = self.find(group, version)
        return service is not None and conditions.is_true(service, "Available")

    def ranked(self) -> list[tuple[str, str]]:
        """The remote versions that are known, highest priority first."""

        def rank(key: tuple[str, str]) -> tuple[int, str, int, str]:
            spec = (self.find(*key) or {"spec": {}})["spec"]
            return (-spec.get("groupPriorityMinimum", 0), key[0], -spec.get("versionPriority", 0), key[1])

        return sorted(self.resources, key=rank)


def _host(spec: Mapping[str, Any]) -> str:
    reference = spec["service"]
    return f"{reference['name']}.{reference['namespace']}.svc:{reference.get('port') or 443}"


def _identity(user: UserInfo) -> list[tuple[str, str]]:
    """The user, as the front proxy tells it."""
    told = [("X-Remote-User", user.name)]
    if user.uid:
        told.append(("X-Remote-Uid", user.uid))
    told += [("X-Remote-Group", group) for group in user.groups]
    told += [
        (f"X-Remote-Extra-{quote(key, safe='')}", value) for key, all in user.extra.items() for value in all
    ]
    return told


async def _whole(answer: Answer, limit: int) -> bytes:
    """Raises ValueError beyond ``limit``."""
    body = bytearray()
    async for piece in answer.body():
        body += piece
        if len(body) > limit:
            raise ValueError(f"the answer is longer than {limit} bytes")
    return bytes(body)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _plain(status: int, text: str) -> Reply:
    return Reply(status, text.encode(), TEXT_HEAD)
