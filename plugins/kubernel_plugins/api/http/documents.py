"""Discovery and OpenAPI over HTTP: negotiation, ETags, 304."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.registry.discovery import Discovery
from kubernel.registry.gnostic import MEDIA_TYPES as SWAGGER_PROTOBUF
from kubernel.registry.gnostic import protobuf_document

from .negotiate import first_accepted
from .protobuf import in_media
from .remote import RemoteGroups
from .responses import JSON, not_served
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.documents import Document
    from kubernel.registry.openapi import OpenAPI

    from .aggregation import Aggregator
    from .negotiate import Negotiator
    from .transport import Exchange

__all__ = ["Documents"]

_AGGREGATED = ";g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList"


class Documents:
    """Serves what the registry says about itself."""

    def __init__(self, handle: Handle, negotiator: Negotiator, aggregator: Aggregator) -> None:
        self._registry = handle.registry
        self._negotiator = negotiator
        self._handle = handle
        self._remote = RemoteGroups(aggregator)
        self._published = aggregator.published
        self._swagger: tuple[Document, Document] | None = None
        self._version = handle.cluster.kubernetes_version
        self._openapi: OpenAPI | None = None

    @cached_property
    def _discovery(self) -> Discovery:
        """Made when first asked for: by then it is known which port the server got."""
        cluster = self._handle.cluster
        return Discovery(self._registry, server_address=f"{cluster.bind_address}:{cluster.port}")

    def paths(self) -> list[str]:
        return self._discovery.paths()

    def serve(self, exchange: Exchange, path: str) -> Reply:
        if path.startswith("/openapi"):
            return self._serve_openapi(exchange, path)
        accept = exchange.headers.get("Accept", "")
        codec = self._registry.protobuf
        form = self._negotiator.choose(
            accept, shapes=False, discovery=path in ("/api", "/apis"), protobuf=codec is not None
        )
        if form.shape == "discovery":
            found = self._discovery.aggregated(path, form.version)
            parameters = _AGGREGATED % form.version
        else:
            found = self._discovery.classic(path)
            parameters = ""
        if path.startswith("/apis"):
            found = self._remote.joined(path, form.version if form.shape == "discovery" else "", found)
        if found is None:
            raise not_served(self._registry, path.partition("/apis/")[2].partition("/")[0])
        reply = _reply(exchange, found, JSON + parameters)
        return in_media(reply, form, codec) if reply.status == 200 else reply

    def _serve_openapi(self, exchange: Exchange, path: str) -> Reply:
        openapi = self._openapi
        if openapi is None:
            # Publishing loads every schema: nobody pays for it before somebody asks.
            from kubernel.registry.openapi import OpenAPI

            openapi = self._openapi = OpenAPI(self._registry, version=self._version)
        accept = exchange.headers.get("Accept", "")
        if path == "/openapi/v2":
            chosen = first_accepted(accept, (JSON, *SWAGGER_PROTOBUF))
            own = openapi.v2()
            document = self._published.swagger(own)
            if chosen in SWAGGER_PROTOBUF:
                as_protobuf = openapi.v2_protobuf() if document is own else self._as_protobuf(document)
                return _reply(exchange, as_protobuf, SWAGGER_PROTOBUF[-1])
            return _reply(exchange, document, JSON)
        if path == "/openapi/v3":
            # Upstream writes it in JSON whatever is accepted, and clients of protobuf rely on that.
            return _reply(exchange, self._published.index(openapi.v3_index()), JSON)
        if path.startswith("/openapi/v3/"):
            first_accepted(accept, (JSON,))
            return _reply(exchange, openapi.v3(path[len("/openapi/v3/") :]), JSON, "hash=" in exchange.query)
        raise NotFound.for_path()

    def _as_protobuf(self, document: Document) -> Document:
        """Of the document with other servers' parts in it; kept until that changes."""
        if self._swagger is None or self._swagger[0] is not document:
            self._swagger = document, protobuf_document(document)
        return self._swagger[1]


def _reply(
    exchange: Exchange, document: Document | None, content_type: str, immutable: bool = False
) -> Reply:
    if document is None:
        raise NotFound.for_path()
    etag = f'"{document.etag}"'
    head = header_block(
        [
            ("Cache-Control", "public, max-age=31536000, immutable" if immutable else "public"),
            ("Content-Type", content_type),
            ("ETag", etag),
            ("Vary", "Accept"),
        ]
    )
    known = exchange.headers.get("If-None-Match", "")
    if known and any(tag.strip().removeprefix("W/") in (etag, "*") for tag in known.split(",")):
        return Reply(304, b"", head)
    return Reply(200, document.body, head)
