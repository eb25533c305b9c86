"""Calling a webhook: a server that the cluster's users run, named by a URL or by a Service.

Used by what asks webhooks: admission, conversion, authentication. Errors are in upstream's words. Source:
k8s.io/apiserver/pkg/util/webhook, k8s.io/kube-aggregator/pkg/apiserver/resolvers.go (v1.37).
"""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

import orjson

from kubernel.client.kubeconfig import load_pair
from kubernel.errors import ApiError
from kubernel.objects.go_json import kind_problem, syntax_problem
from kubernel.registry.metadata import SCHEME
from kubernel.registry.operations import ListOptions

if TYPE_CHECKING:
    import aiohttp

    from kubernel.plugin import Handle
    from kubernel.store.records import Obj

__all__ = ["CallFailed", "Caller", "Target", "decoded_review", "resolve", "tls_words"]

ANSWER_LIMIT = 3 * 1024 * 1024
"""Bytes of an answer; a larger one is refused."""
_YAML_LIMIT = 64 * 1024
"""Bytes of an answer that is no JSON that are looked at."""
_CONTEXTS = 256
"""TLS contexts that are kept, one for each bundle of authorities."""
_IDLE = 90.0
_SERVICE_LABEL = "kubernetes.io/service-name"
_UNKNOWN_AUTHORITY = frozenset((2, 18, 19, 20, 21))
_NOT_VALID_NOW = frozenset((9, 10))
_OTHER_NAME = frozenset((62, 64))


class CallFailed(Exception):
    """No usable answer; ``str()`` says why, as Go's HTTP client and client-go would."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook is. ``url`` is complete, for a Service ``https://NAME.NAMESPACE.svc:PORT/PATH``, and
    ``service`` is then (namespace, name, port). ``ca`` is PEM; empty trusts the machine's authorities.
    ``headers`` are sent along; ``certificate`` (and its key, both PEM) is shown. ``server_name`` is whom the server's
    certificate has to name instead of the host; ``insecure`` asks for none."""

    url: str
    ca: bytes = b""
    service: tuple[str, str, int] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    certificate: tuple[bytes, bytes] | None = None
    server_name: str = ""
    insecure: bool = False

    @classmethod
    def of_kubeconfig(cls, path: str) -> Target:
        """The current context's server and credentials. Raises ConfigError."""
        from kubernel.client.kubeconfig import load_kubeconfig

        access = load_kubeconfig(path)
        headers = (("Authorization", f"Bearer {access.token}"),) if access.token else ()
        shown = (access.certificate, access.key) if access.certificate and access.key else None
        return cls(access.url, access.ca or b"", None, headers, shown)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Target:
        """Of a ``WebhookClientConfig``. Raises CallFailed for one that names nothing."""
        try:
            ca = base64.b64decode(config.get("caBundle") or "", validate=True)
        except (binascii.Error, ValueError):
            raise CallFailed("unable to load root certificates: unable to parse bytes as PEM block") from None
        reference = config.get("service")
        if reference is None:
            if not config.get("url"):
                raise CallFailed("webhook configuration must have either service or URL")
            return cls(config["url"], ca)
        namespace, name = reference.get("namespace", ""), reference.get("name", "")
        port = reference.get("port") or 443
        path = quote(reference.get("path") or "/", safe="/:@!$&'()*+,;=~?%")
        url = f"https://{name}.{namespace}.svc:{port}/{path.lstrip('/')}"
        return cls(url, ca, (namespace, name, port))


class Address(NamedTuple):
    host: str
    port: int


async def resolve(handle: Handle, namespace: str, name: str, port: int) -> Address:
    """Where one of a Service's endpoints listens. Raises CallFailed.

    Endpoints are dialled themselves rather than through the cluster IP, so that no proxy is needed.
    """
    registry = handle.registry
    services = registry.lookup("", "v1", "services")
    slices = registry.lookup("discovery.k8s.io", "v1", "endpointslices")
    try:
        if services is None or slices is None:
            raise CallFailed("services are not served")
        spec = registry.get(services, namespace, name).obj.get("spec") or {}
    except ApiError:
        raise CallFailed(f'service "{name}" not found') from None
    if spec.get("type") == "ExternalName":
        return Address(spec.get("externalName", ""), port)
    entry = next((one for one in spec.get("ports") or () if one["port"] == port), None)
    if entry is None:
        raise CallFailed(f'no service port {port} found for service "{name}"')
    page = await registry.list(slices, namespace, ListOptions(labels=f"{_SERVICE_LABEL}={name}"))
    found = [
        Address(endpoint["addresses"][0], number)
        for record in page.records
        for number in _numbers(record.obj, entry.get("name", ""))
        for endpoint in record.obj.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready", True) is not False
    ]
    if not found:
        raise CallFailed(f'no endpoints available for service "{name}"')
    return handle.rng.choice(found)


def _numbers(entry: Obj, name: str) -> list[int]:
    ports = entry.get("ports") or ()
    return [port["port"] for port in ports if (port.get("name") or "") == name and port.get("port")]


class Caller:
    """The HTTP client of one plugin: connections are kept and used again; ``close`` ends them."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[tuple[bytes, tuple[bytes, bytes] | None, bool], ssl.SSLContext] = {}

    async def close(self) -> None:
        self._contexts.clear()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def post(
        self,
        target: Target,
        body: bytes,
        timeout: int,
        *,
        limit: int = ANSWER_LIMIT,
        empty: bool = False,
    ) -> bytes:
        """The body of a 2xx answer to ``body``, which is JSON. ``timeout`` is in seconds and told to the server.
        ``empty``: nothing is expected of the answer. Raises CallFailed."""
        mark = "&" if urlsplit(target.url).query else "?"
        said = f"{target.url}{mark}timeout={timeout}s"
        return await self._call("Post", target, said, body, timeout, limit, empty)

    async def get(self, target: Target, timeout: int, *, limit: int = ANSWER_LIMIT) -> bytes:
        """The body of a 2xx answer. Raises CallFailed."""
        return await self._call("Get", target, target.url, b"", timeout, limit)

    async def _call(
        self,
        verb: str,
        target: Target,
        said: str,
        body: bytes,
        timeout: int,
        limit: int,
        empty: bool = False,
    ) -> bytes:
        status, media, answer = await self.exchange(verb, target, said, body, timeout, limit=limit)
        if not 200 <= status <= 206:
            raise CallFailed(_status_told(answer) or status_words(status, answer, media))
        if not answer and not empty:
            raise CallFailed(f"0-length response with status code: {status} and content type: {media}")
        return answer

    async def exchange(
        self,
        verb: str,
        target: Target,
        said: str,
        body: bytes,
        timeout: float,
        *,
        limit: int = ANSWER_LIMIT,
    ) -> tuple[int, str, bytes]:
        """Status, media type and body of whatever the server answers; ``said`` is the URL that is asked for. Raises
        CallFailed when it answers nothing."""
        from yarl import URL

        split = urlsplit(target.url)
        if split.scheme not in ("https", "http") or not split.hostname:
            raise CallFailed(f'unsupported protocol scheme "{split.scheme}"')
        # Go sorts a query's names; servers read them as a map.
        wanted = URL(said, encoded=True)
        headers = {"Content-Type": "application/json", "Accept": "application/json, */*"}
        headers.update(target.headers)
        options: dict[str, Any] = {}
        try:
            async with self._handle.clock.timeout(timeout):
                if target.service is not None:
                    address = await resolve(self._handle, *target.service)
                    headers["Host"] = f"{split.hostname}:{target.service[2]}"
                    wanted = wanted.with_host(address.host).with_port(address.port)
                if split.scheme == "https":
                    name = target.server_name or split.hostname
                    options = {"ssl": self._context(target), "server_hostname": name}
                return await self._exchange(verb.upper(), wanted, body, headers, options, limit)
        except CallFailed as error:
            raise CallFailed(f'{verb} "{said}": {error}') from None
        except TimeoutError:
            raise CallFailed(f'{verb} "{said}": context deadline exceeded') from None
        except OSError as error:
            raise CallFailed(
                f'{verb} "{said}": {dial_words(error, wanted.host or "", wanted.port or 0)}'
            ) from error

    async def _exchange(
        self,
        method: str,
        url: Any,
        body: bytes,
        headers: Mapping[str, str],
        options: Mapping[str, Any],
        limit: int,
    ) -> tuple[int, str, bytes]:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE)
            # The caller's clock limits the whole; cookies and the environment's proxies are none of a webhook's.
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
            )
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False, **options
            ) as response:
                answer = bytearray()
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > limit:
                        raise CallFailed(f"the answer is longer than {limit} bytes")
                media = response.headers.get("Content-Type", "")
                return response.status, media, bytes(answer)
        except aiohttp.ServerDisconnectedError:
            raise CallFailed("EOF") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise CallFailed(tls_words(error.certificate_error, options.get("server_hostname", ""))) from None
        except aiohttp.ClientConnectorSSLError as error:
            raise CallFailed(tls_words(error.os_error, options.get("server_hostname", ""))) from None
        except aiohttp.ClientConnectorError as error:
            raise error.os_error from None
        except aiohttp.ClientError as error:
            raise CallFailed(str(error) or "EOF") from None

    def _context(self, target: Target) -> ssl.SSLContext:
        ca, key = target.ca, (target.ca, target.certificate, target.insecure)
        context = self._contexts.get(key)
        if context is None:
            if len(self._contexts) >= _CONTEXTS:
                self._contexts.clear()
            try:
                context = ssl.create_default_context(cadata=ca.decode("ascii") if ca else None)
            except (ssl.SSLError, ValueError):
                raise CallFailed(
                    "unable to load root certificates: unable to parse bytes as PEM block"
                ) from None
            if target.insecure:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if target.certificate is not None:
                load_pair(context, *target.certificate)
            self._contexts[key] = context
        return context


def decoded_review(answer: bytes, group: str, version: str, kind: str) -> Obj:
    """The answer as an object, which may be YAML like any body: a review of that kind, or one that does not say what it
    is. Raises CallFailed in client-go's words."""
    review: Any
    try:
        review = orjson.loads(answer)
    except orjson.JSONDecodeError:
        import yaml

        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            review = yaml.load(answer[:_YAML_LIMIT], loader)  # noqa: S506 - both are safe
        except yaml.YAMLError:
            problem = syntax_problem(answer.decode(errors="replace"))
            raise CallFailed(f"couldn't get version/kind; json parse error: {problem}") from None
    if review is None:
        return {}
    if not isinstance(review, dict):
        raise CallFailed(f"couldn't get version/kind; {kind_problem(review)}")
    api_version, called = review.get("apiVersion") or "", review.get("kind") or ""
    if not called or not api_version or (api_version, called) == (f"{group}/{version}", kind):
        return review
    _, _, told = api_version.rpartition("/")
    wanted = f"({version}.{kind}): unknown conversion"
    if (api_version, called) == ("v1", "Status"):
        raise CallFailed(f"converting (v1.Status) to {wanted}")
    if api_version in (f"{group}/v1", f"{group}/v1beta1") and called == kind:
        raise CallFailed(f"converting ({told}.{kind}) to {wanted}")
    raise CallFailed(f'no kind "{called}" is registered for version "{api_version}" in scheme "{SCHEME}"')


def tls_words(error: BaseException, name: str) -> str:
    """What Go says where OpenSSL says ``error``; ``name`` is the server's."""
    code = getattr(error, "verify_code", 0)
    if code in _UNKNOWN_AUTHORITY:
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    if code in _NOT_VALID_NOW:
        return "tls: failed to verify certificate: x509: certificate has expired or is not yet valid"
    if code in _OTHER_NAME:
        return (
            "tls: failed to verify certificate: x509: certificate is not valid for any names, but wanted to "
            f"match {name}"
        )
    reason = getattr(error, "reason", "") or str(error)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {reason}"


def dial_words(error: OSError, host: str, port: int) -> str:
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "EOF"
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno is None or error.errno < 0:
        return f"dial tcp: lookup {host}: no such host"
    reason = (
        "connection refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or str(error))
    )
    return f"dial tcp {where}: connect: {reason.lower()}"


_STATUS_WORDS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    415: "the server was unable to respond with a content type that the client supports",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


def status_words(status: int, body: bytes, media: str = "") -> str:
    """What client-go says about an answer that is no success. Source: apimachinery's NewGenericServerResponse."""
    # What is no text is nothing to quote.
    quotable = not media or media.lower().startswith("text/")
    text = body[:2048].decode("utf-8", "replace").strip() if quotable else "unknown"
    if status == 403:
        return text
    known = _STATUS_WORDS.get(status)
    if known is not None:
        return known
    if status >= 500:
        return f"an error on the server ({orjson.dumps(text).decode()}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _status_told(body: bytes) -> str:
    """What a Status says that came instead of what was asked for."""
    try:
        status = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(status, dict) or status.get("kind") != "Status" or status.get("status") != "Failure":
        return ""
    message = status.get("message")
    return message if isinstance(message, str) else ""
