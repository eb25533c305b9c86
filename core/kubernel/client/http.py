"""The client over HTTP(S): the same interface to any Kubernetes API server.

Requests that the server turns away with 429 are sent again when it says so (``Retry-After``), a few
times. Everything else that goes wrong is the caller's: a Status as its ApiError, a broken connection as
ServiceUnavailable.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from kubernel.client.informer import Informer, InformerFactory
from kubernel.client.interface import ObjectList, PatchType, Propagation
from kubernel.client.kubeconfig import Access, load_kubeconfig
from kubernel.client.naming import parse_resource
from kubernel.clock import RealClock
from kubernel.errors import ApiError, BadRequest, ServiceUnavailable, TooManyRequests
from kubernel.store.records import EventType, Obj

if TYPE_CHECKING:
    import aiohttp

    from kubernel.clock import Clock

__all__ = ["HttpClient"]

_PATCH_TYPES: Mapping[str, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_WATCH_SECONDS = 300
"""How long a watch is asked for: a connection that died silently is noticed soon after."""
_THROTTLED_ATTEMPTS = 10
_REQUEST_TIMEOUT = 60.0


class HttpClient:
    """``kubernel.client.Client`` for the server and user of ``access``.

    ``field_manager`` names this component in managedFields and is its User-Agent.
    """

    def __init__(
        self,
        access: Access,
        clock: Clock | None = None,
        *,
        field_manager: str = "kubernel",
        log: Any = None,
    ) -> None:
        self._access = access
        self._clock = clock or RealClock()
        self._manager = field_manager
        self._session: aiohttp.ClientSession | None = None
        self._informers = InformerFactory(self, self._clock, log)

    @classmethod
    def from_kubeconfig(cls, path: str | Path, context: str = "", **options: Any) -> HttpClient:
        """ConfigError when the file does not name a server and a usable user."""
        return cls(load_kubeconfig(path, context), **options)

    # --- reading

    async def get(
        self, resource: str, name: str, namespace: str = "", *, at: str = "", subresource: str = ""
    ) -> Obj:
        return await self._call("GET", _path(resource, namespace, name, subresource), _exactly(at))

    async def list(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        limit: int = 0,
        continue_token: str = "",
        at: str = "",
    ) -> ObjectList:
        query = _selection(labels, fields) | _exactly(at)
        if limit:
            query["limit"] = str(limit)
        if continue_token:
            query["continue"] = continue_token
        page = await self._call("GET", _path(resource, namespace), query)
        kind, version = page.get("kind", "").removesuffix("List"), page.get("apiVersion", "")
        # Servers leave kind and apiVersion out of a typed list's items.
        items = [{"kind": kind, "apiVersion": version, **item} for item in page.get("items") or ()]
        metadata = page.get("metadata") or {}
        return ObjectList(items, metadata.get("resourceVersion", ""), metadata.get("continue") or "")

    async def watch(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        resource_version: str = "",
    ) -> AsyncIterator[tuple[EventType, Obj]]:
        import aiohttp

        query = {**_selection(labels, fields), "watch": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        if resource_version:
            query["resourceVersion"] = resource_version
        session = self._open()
        try:
            async with session.get(
                self._access.url + _path(resource, namespace),
                params=query,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_REQUEST_TIMEOUT, sock_read=_WATCH_SECONDS + _REQUEST_TIMEOUT
                ),
                server_hostname=self._access.server_name or None,
            ) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.read(), response.headers)
                async for line in _lines(response.content):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError.from_status(event["object"])
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
        except (TimeoutError, aiohttp.ClientError) as error:
            raise ServiceUnavailable(f"watch of {resource} broke: {error}") from error

    def informer(self, resource: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Informer:
        return self._informers.get(resource, namespace, labels=labels, fields=fields)

    async def discover(self) -> builtins.list[dict[str, Any]]:
        found: builtins.list[dict[str, Any]] = []
        for root in ("/api", "/apis"):
            document = await self._call("GET", root, accept=_DISCOVERY)
            for group in document.get("items") or ():
                for version in group.get("versions") or ():
                    found += [
                        {
                            "group": (group.get("metadata") or {}).get("name", ""),
                            "version": version["version"],
                            "kind": resource["responseKind"]["kind"],
                            "resource": resource["resource"],
                            "singular": resource.get("singularResource", ""),
                            "short_names": list(resource.get("shortNames") or ()),
                            "namespaced": resource["scope"] == "Namespaced",
                            "verbs": sorted(resource["verbs"]),
                        }
                        for resource in version.get("resources") or ()
                    ]
        return found

    # --- writing

    async def create(
        self, resource: str, obj: Obj, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> Obj:
        namespace = namespace or (obj.get("metadata") or {}).get("namespace", "")
        path = _path(resource, namespace, name, subresource)
        return await self._call("POST", path, {"fieldManager": self._manager}, obj)

    async def update(self, resource: str, obj: Obj, *, subresource: str = "") -> Obj:
        metadata = obj.get("metadata") or {}
        if not metadata.get("name"):
            raise BadRequest("name must be provided")
        path = _path(resource, metadata.get("namespace", ""), metadata["name"], subresource)
        return await self._call("PUT", path, {"fieldManager": self._manager}, obj)

    async def patch(
        self,
        resource: str,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> Obj:
        query = {"fieldManager": field_manager or self._manager}
        if type == "apply":
            query["force"] = "true" if force else "false"
        path = _path(resource, namespace, name, subresource)
        return await self._call("PATCH", path, query, patch, content_type=_PATCH_TYPES[type])

    async def delete(
        self,
        resource: str,
        name: str,
        namespace: str = "",
        *,
        grace_period: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Obj:
        options = _delete_options(grace_period, propagation)
        if uid or resource_version:
            preconditions = {"uid": uid, "resourceVersion": resource_version}
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        return await self._call("DELETE", _path(resource, namespace, name), {}, options)

    async def delete_collection(
        self,
        resource: str,
        namespace: str = "",
        *,
        labels: str = "",
        fields: str = "",
        grace_period: int | None = None,
        propagation: Propagation | None = None,
    ) -> None:
        options = _delete_options(grace_period, propagation)
        await self._call("DELETE", _path(resource, namespace), _selection(labels, fields), options)

    async def close(self) -> None:
        await self._informers.close()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    # --- the wire

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            headers = {"User-Agent": self._manager, "Accept": "application/json"}
            if self._access.token:
                headers["Authorization"] = f"Bearer {self._access.token}"
            tls = self._access.ssl_context()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=True if tls is None else tls, limit=0),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT),
            )
        return self._session

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Obj:
        import aiohttp

        session = self._open()
        data = None if body is None else orjson.dumps(body)
        headers = {"Accept": accept}
        if data is not None:
            headers["Content-Type"] = content_type
        for attempt in range(1, _THROTTLED_ATTEMPTS + 1):
            try:
                async with session.request(
                    method,
                    self._access.url + path,
                    params=query,
                    data=data,
                    headers=headers,
                    server_hostname=self._access.server_name or None,
                ) as response:
                    answer = await response.read()
                    if response.status < 300:
                        decoded: Obj = orjson.loads(answer)
                        return decoded
                    refusal = _refusal(response.status, answer, response.headers)
            except (TimeoutError, aiohttp.ClientError) as error:
                raise ServiceUnavailable(f"{method} {path}: {error or type(error).__name__}") from error
            if not isinstance(refusal, TooManyRequests) or attempt == _THROTTLED_ATTEMPTS:
                raise refusal
            if not refusal.retry_after:
                # Without Retry-After the refusal is final: an eviction that a budget forbids.
                raise refusal
            await self._clock.sleep(refusal.retry_after)
        raise AssertionError("unreachable")


def _path(resource: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    plural, version, group = parse_resource(resource)
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    if namespace:
        path += f"/namespaces/{quote(namespace, safe='')}"
    path += f"/{plural}"
    if name:
        path += f"/{quote(name, safe='')}"
    return f"{path}/{subresource}" if subresource else path


def _selection(labels: str, fields: str) -> dict[str, str]:
    query = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in query.items() if value}


def _exactly(revision: str) -> dict[str, str]:
    return {"resourceVersion": revision, "resourceVersionMatch": "Exact"} if revision else {}


def _delete_options(grace_period: int | None, propagation: Propagation | None) -> Obj:
    options: Obj = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    if propagation is not None:
        options["propagationPolicy"] = propagation
    return options


def _refusal(code: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """The Status in the answer, or one made up for a server that sent none."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        text = body.decode(errors="replace").strip()[:1024]
        status = {"code": code, "message": text or f"the server answered {code}"}
    status["code"] = code
    error = ApiError.from_status(status)
    after = headers.get("Retry-After", "")
    if after.isdigit():
        error.retry_after = int(after)
    return error


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; aiohttp's own line reader has a limit."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            parts.append(line)
            whole = b"".join(parts)
            parts.clear()
            if whole:
                yield whole
        if rest:
            parts.append(rest)
