"""The API server: HTTPS in front of the registry, nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.errors import PluginError
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from kubernel.plugin import Handle
    from kubernel.registry.request import UserInfo

    from .aggregation import Aggregator
    from .aio_server import HttpServer

__all__ = ["Plugin", "Settings"]

_ADMIN, _ADMIN_GROUP = "kubernetes-admin", "system:masters"
_LOOK = 60.0
_FRONT_PROXY = "front-proxy-client"
"""Under this name extension servers trust this one: the ConfigMap extension-apiserver-authentication has it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """With ``priority_and_fairness`` the two limits together are the seats that FlowSchemas and priority levels share
    out; without it, reading and writing requests in flight beyond their own limit get 429. ``drain_timeout`` (seconds)
    is how long a client may take nothing of a response before it is cut off; ``shutdown_grace`` how long running
    requests may take at the end. ``request_timeout`` (seconds) is how long a request may take that is no watch and no
    stream, and the most that a client may ask for with ``timeout``. ``audit_policy`` is the path of a Policy of
    audit.k8s.io/v1; empty is the default."""

    max_inflight: int = 400
    max_mutating_inflight: int = 200
    priority_and_fairness: bool = True
    drain_timeout: float = 30.0
    request_timeout: float = 60.0
    shutdown_grace: float = 5.0
    compression: Literal["remote", "all", "none"] = "remote"
    kubeconfig: bool = True
    audit_policy: str = ""
    max_watches_per_user: int = 5000

    @property
    def seats(self) -> int:
        return self.max_inflight + self.max_mutating_inflight


class Plugin(BasePlugin):
    """Listens at the cluster's bind address and port; writes the administrator's kubeconfig."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Handle) -> None:
        super().__init__(settings, handle)
        self._server: HttpServer | None = None
        self._api: Any = None
        self._aggregator: Aggregator | None = None
        self.url = ""
        """Where it listens, once started."""
        self.look: Callable[[], None] = lambda: None
        """Issues certificates again before they end; connections made from then on get what is in the files now."""

    async def start(self) -> None:
        from . import lean

        lean.install()
        from kubernel_plugins.keyfiles import KeyFiles

        from .aggregation import Aggregator
        from .aio_server import HttpServer
        from .server import Api
        from .tls import server_context, serving_names, write_kubeconfig

        handle, cluster = self.handle, self.handle.cluster
        authority = handle.hooks.certificate_authority()
        if authority is None:
            raise PluginError(
                "api/http needs a certificate authority and no auth plugin has one: switch on auth plugin x509"
            )
        files = KeyFiles(handle.data_dir / "pki", authority)
        names = serving_names(
            cluster.bind_address, cluster.node_name, cluster.cluster_domain, cluster.service_cidr
        )

        def serving() -> tuple[Path, Path]:
            return files.pair("apiserver", "kube-apiserver", names=names, usage="server")

        def administration() -> None:
            admin = files.pair("admin", _ADMIN, organizations=(_ADMIN_GROUP,), usage="client")
            write_kubeconfig(
                handle.data_dir / "kubeconfig", cluster.name, self.url, authority.ca_certificate, *admin
            )

        context = server_context(authority, *serving(), handle.hooks.client_authorities())
        aggregator = self._aggregator = Aggregator(
            handle, lambda: files.pair(_FRONT_PROXY, _FRONT_PROXY, usage="client")
        )
        api = self._api = Api(handle, self.settings, aggregator)
        server = self._server = HttpServer(api.handle, handle.clock, self.settings.drain_timeout, api.at_once)
        try:
            port = server.listen(cluster.bind_address, cluster.port, context)
        except OSError as error:
            raise PluginError(
                f"api/http cannot listen on {cluster.bind_address}:{cluster.port}: {error.strerror or error}; stop "
                "what uses that address or set cluster.port to another port (0 takes a free one)"
            ) from error
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(cluster.bind_address, cluster.bind_address)  # noqa: S104
        self.url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        if self.settings.kubeconfig:
            administration()
        loaded = serving()[0].read_bytes()

        def look() -> None:
            nonlocal loaded
            certificate, key = serving()
            current = certificate.read_bytes()
            if current != loaded:
                context.load_cert_chain(certificate, key)
                loaded = current
                handle.log.info("the server's certificate was renewed")
            if self.settings.kubeconfig:
                administration()

        self.look = look
        handle.spawn(self._renew(), "renewal of certificates")
        handle.spawn(server.sweep(), "half-open connections")
        aggregator.start()
        if api.fairness is not None:
            api.fairness.start()
        api.endpoints.ready = True

    async def _renew(self) -> None:
        while True:
            await self.handle.clock.sleep(_LOOK)
            try:
                self.look()
            except OSError as error:  # an SSLError is one
                # Files that are being replaced do not fit each other for a moment.
                self.handle.log.warning("certificates could not be renewed, they will be later: {}", error)

    @hookimpl
    def kubernel_remote_api(self, path: str, user: UserInfo) -> Awaitable[tuple[int, bytes]] | None:
        return self._aggregator.read(path, user) if self._aggregator is not None else None

    async def stop(self) -> None:
        if self._api is not None:
            self._api.endpoints.ready = False
            if self._api.fairness is not None:
                self._api.fairness.stop()
        if self._server is not None:
            await self._server.close(self.settings.shutdown_grace)
            self._server = None
        if self._aggregator is not None:
            self._aggregator.stop()
            self._aggregator = None
