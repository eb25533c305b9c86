"""Discovery and OpenAPI over HTTP: negotiation, ETags, 304."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from kubernel.errors import NotFound
from kubernel.registry.discovery import Discovery
from kubernel.registry.gnostic import MEDIA_TYPES as SWAGGER_PROTOBUF
from kubernel.registry.gnostic import protobuf_document
from kubernel.registry.gnostic_v3 import MEDIA_TYPES as OPENAPI_PROTOBUF
from kubernel.registry.gnostic_v3 import protobuf_document_v3

from . import query as q
from .negotiate import first_accepted
from .protobuf import in_media
from .remote import RemoteGroups
from .responses import JSON, NoPage, content_head, not_served
from .transport import Reply, header_block

if TYPE_CHECKING:
    from kubernel.plugin import Handle
    from kubernel.registry.documents import Document
    from kubernel.registry.openapi import OpenAPI

    from .aggregation import Aggregator
    from .negotiate import Negotiator
    from .transport import Exchange

__all__ = ["Documents"]

_ASK_AGAIN = (("Cache-Control", "no-cache, private"),)
_VARY = ("Vary", "Accept")
_SWAGGER_VARY = (("Vary", "Accept-Encoding"), _VARY)
_INDEX = "text/plain; charset=utf-8"
_YEAR = 365 * 24 * 3600
_NO_CACHE = header_block([("Cache-Control", "no-cache, private")])
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
        self._modified: dict[str, tuple[str, str]] = {}

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
        if not parameters:
            return in_media(Reply(200, found.body, content_head(JSON)), form, codec)
        head = (("Cache-Control", "public"), ("Content-Type", JSON + parameters), _VARY)
        reply = _reply(exchange, found, head)
        return in_media(reply, form, codec) if reply.status == 200 else reply

    def _serve_openapi(self, exchange: Exchange, path: str) -> Reply:
        openapi = self._openapi
        if openapi is None:
            # Publishing loads every schema: nobody pays for it before somebody asks.
            from kubernel.registry.openapi import OpenAPI

            major, minor, _ = self._version.lstrip("v").split(".", 2)
            openapi = self._openapi = OpenAPI(self._registry, version=f"{major}.{minor}")
        if exchange.path.endswith("/"):
            if path == "/openapi/v3":
                return Reply(404, b"", _NO_CACHE)
            raise NoPage.for_path()
        accept = exchange.headers.get("Accept", "")
        if path == "/openapi/v2":
            chosen = first_accepted(accept, (JSON, *SWAGGER_PROTOBUF))
            if not chosen:
                return Reply(406, b"", header_block((*_ASK_AGAIN, *_SWAGGER_VARY)))
            own = openapi.v2()
            document = self._published.swagger(own)
            media = JSON
            if chosen in SWAGGER_PROTOBUF:
                media = SWAGGER_PROTOBUF[-1]
                document = openapi.v2_protobuf() if document is own else self._as_protobuf(document)
            return self._dated(
                exchange, path, document, (*_ASK_AGAIN, ("Content-Type", media), *_SWAGGER_VARY)
            )
        if path == "/openapi/v3":
            # Upstream writes it in JSON whatever is accepted, and clients of protobuf rely on that.
            index = self._published.index(openapi.v3_index())
            head = header_block((*_ASK_AGAIN, ("Content-Type", _INDEX), ("Last-Modified", self._date())))
            return Reply(200, index.body, head)
        if path.startswith("/openapi/v3/"):
            return self._serve_v3(exchange, openapi, path, accept)
        raise NoPage.for_path()

    def _serve_v3(self, exchange: Exchange, openapi: OpenAPI, path: str, accept: str) -> Reply:
        name = path.removeprefix("/openapi/v3/")
        document = self._published.converted(*name.removeprefix("apis/").partition("/")[::2])
        converted = document is not None
        if document is None:
            document = openapi.v3(name)
        if document is None:
            return Reply(404, b"", _NO_CACHE)
        chosen = first_accepted(accept, (JSON, *OPENAPI_PROTOBUF))
        if not chosen:
            return Reply(406, b"", header_block((*_ASK_AGAIN, _VARY)))
        media = OPENAPI_PROTOBUF[0] if chosen in OPENAPI_PROTOBUF else JSON
        wanted = q.one(q.parse(exchange.query), "hash") if "hash=" in exchange.query else ""
        about = (("Content-Type", media), ("ETag", f'"{document.etag}"'), _VARY)
        if wanted and wanted != document.etag:
            where = f"{path}?hash={document.etag}"
            return Reply(301, b"", header_block((*_ASK_AGAIN, ("Location", where), *about)))
        if chosen in OPENAPI_PROTOBUF:
            document = protobuf_document_v3(document) if converted else openapi.v3_protobuf(name)
        caching: Sequence[tuple[str, str]] = _ASK_AGAIN
        if wanted:
            caching = (("Cache-Control", "public, immutable"), ("Expires", self._date(_YEAR, "UTC")))
        return self._dated(exchange, path, document, (*caching, ("Content-Type", media), _VARY))

    def _dated(
        self, exchange: Exchange, path: str, document: Document | None, head: Sequence[tuple[str, str]]
    ) -> Reply:
        """With the time when it was first served as it is now."""
        etag = document.etag if document is not None else ""
        known = self._modified.get(path)
        if known is None or known[0] != etag:
            known = self._modified[path] = etag, self._date()
        return _reply(exchange, document, (*head, ("Last-Modified", known[1])))

    def _date(self, later: int = 0, zone: str = "GMT") -> str:
        return datetime.fromtimestamp(self._handle.clock.time() + later, UTC).strftime(
            f"%a, %d %b %Y %H:%M:%S {zone}"
        )

    def _as_protobuf(self, document: Document) -> Document:
        """Of the document with other servers' parts in it; kept until that changes."""
        if self._swagger is None or self._swagger[0] is not document:
            self._swagger = document, protobuf_document(document)
        return self._swagger[1]


def _reply(exchange: Exchange, document: Document | None, head: Sequence[tuple[str, str]]) -> Reply:
    if document is None:
        raise NotFound.for_path()
    etag = f'"{document.etag}"'
    block = header_block((*head, ("ETag", etag)))
    known = exchange.headers.get("If-None-Match", "")
    if known and any(tag.strip().removeprefix("W/") in (etag, "*") for tag in known.split(",")):
        return Reply(304, b"", block)
    return Reply(200, document.body, block)
