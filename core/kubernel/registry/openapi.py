"""OpenAPI documents of what is served: ``/openapi/v3``, one document for each group version, ``/openapi/v2``.

Made when asked for, kept until the registry's types change. Nothing is published that is not served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.documents import Document, TypeSource, encode
from kubernel.registry.openapi_paths import NATIVE, Paths
from kubernel.registry.openapi_schemas import Definitions, definition_name

if TYPE_CHECKING:
    from kubernel.registry.schema import DefinitionSource, Node
    from kubernel.registry.types import ResourceType

__all__ = ["OpenAPI"]

_SECURITY: dict[str, Any] = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
    }
}


_JSON = ("application/json",)
_ROOTS: dict[str, tuple[str, str, str, Callable[[Definitions], dict[str, Any]], tuple[str, ...]]] = {
    ".well-known/openid-configuration": (
        "WellKnown",
        "getServiceAccountIssuerOpenIDConfiguration",
        "get service account issuer OpenID configuration, also known as the 'OIDC discovery doc'",
        lambda _: {"type": "string"},
        _JSON,
    ),
    "api": (
        "core",
        "getCoreAPIVersions",
        "get available API versions",
        lambda definitions: definitions.meta("APIVersions"),
        NATIVE,
    ),
    "apis": (
        "apis",
        "getAPIVersions",
        "get available API versions",
        lambda definitions: definitions.meta("APIGroupList"),
        NATIVE,
    ),
    "openid/v1/jwks": (
        "openid",
        "getServiceAccountIssuerOpenIDKeyset",
        "get service account issuer OpenID JSON Web Key Set (contains public token verification keys)",
        lambda _: {"type": "string"},
        ("application/jwk-set+json",),
    ),
    "version": (
        "version",
        "getCodeVersion",
        "get the version information for this server",
        lambda definitions: definitions.named("io.k8s.apimachinery.pkg.version.Info"),
        _JSON,
    ),
}
"""path -> (tag, operation, text, answer, media types)"""


class OpenAPI:
    """``version`` is the Kubernetes version that is told (``v1.37.0``).

    Descriptions and the definitions beside the types themselves come from the nodes' sources
    (``kubernel.registry.schema.DefinitionSource``).
    """

    def __init__(self, registry: TypeSource, *, version: str) -> None:
        self._registry = registry
        self._version = version
        self._generation = -1
        self._groups: dict[str, list[ResourceType]] = {}
        self._roots: set[str] = set()
        self._sources: list[DefinitionSource] = []
        self._documents: dict[str, Document] = {}
        self._kept: dict[tuple[str, str], Document] = {}
        self._hashes: dict[str, str] = {}
        self._messages: dict[str, Document] = {}

    def v3_index(self) -> Document:
        """``/openapi/v3``: where the documents are, with hashes to cache by."""
        self._refresh()
        if "index" not in self._documents:
            self._documents["index"] = encode(
                {
                    "paths": {
                        path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hash(path)}"}
                        for path in self._published()
                    }
                }
            )
        return self._documents["index"]

    def v3(self, path: str) -> Document | None:
        """The document of ``api/v1``, ``apis/apps/v1``, ``apis`` or ``version``; None for what is not served."""
        self._refresh()
        types = self._groups.get(path, [])
        if not types and path not in self._roots:
            return None
        key = (path, self._hash(path))
        document = self._kept.get(key)
        if document is None:
            body = encode(self._make_v3(types) if types else self._make_root(path)).body
            document = self._kept[key] = Document(body, key[1])
        return document

    def v3_protobuf(self, path: str) -> Document | None:
        """The same as protobuf; kept until the document changes."""
        document = self.v3(path)
        if document is None:
            return None
        kept = self._messages.get(path)
        if kept is None or kept.etag != document.etag:
            from kubernel.registry.gnostic_v3 import protobuf_document_v3

            kept = self._messages[path] = protobuf_document_v3(document)
        return kept

    def v2(self) -> Document:
        """``/openapi/v2``: everything in one Swagger document."""
        self._refresh()
        if "v2" not in self._documents:
            self._documents["v2"] = encode(self._make_v2())
        return self._documents["v2"]

    def v2_protobuf(self) -> Document:
        """``/openapi/v2`` as the bare protobuf message that kubectl prefers."""
        self._refresh()
        if "v2 protobuf" not in self._documents:
            from kubernel.registry.gnostic import protobuf_document

            self._documents["v2 protobuf"] = protobuf_document(self.v2())
        return self._documents["v2 protobuf"]

    def paths(self) -> list[str]:
        self._refresh()
        return ["/openapi/v2", "/openapi/v3", *(f"/openapi/v3/{path}" for path in self._published())]

    def _published(self) -> list[str]:
        return sorted([*self._groups, *self._roots])

    def _refresh(self) -> None:
        if self._generation == self._registry.generation:
            return
        groups: dict[str, list[ResourceType]] = {}
        for type in self._registry.types():
            path = f"apis/{type.group}/{type.version}" if type.group else f"api/{type.version}"
            groups.setdefault(path, []).append(type)
        self._groups = groups
        native = {types[0].group for types in groups.values() if not types[0].custom}
        self._roots = {*_ROOTS, *(f"apis/{group}" for group in native if group)}
        self._documents = {}
        self._hashes = {}
        self._sources = []
        seen: set[int] = set()
        for type in self._registry.types():
            for source in _sources_of(type.schema()):
                if id(source) not in seen:
                    seen.add(id(source))
                    self._sources.append(source)
        self._generation = self._registry.generation
        self._messages = {
            path: kept for path, kept in self._messages.items() if path in groups or path in self._roots
        }
        # What did not change is not made again when a CRD comes.
        self._kept = {
            (path, told): document
            for (path, told), document in self._kept.items()
            if (path in groups or path in self._roots) and self._hash(path) == told
        }

    def _hash(self, path: str) -> str:
        """Changes whenever the document would. Types from a fixed source are known by its fingerprint: an
        index must not cost the making of every document."""
        told = self._hashes.get(path)
        if told is None:
            types = self._groups.get(path, [])
            about: list[Any] = [path, self._version, [source.fingerprint for source in self._sources]]
            for type in sorted(types, key=lambda one: one.plural):
                subresources = [(sub.name, sub.verbs, sub.kind.kind) for sub in type.subresources.values()]
                about.append([type.plural, type.kind, type.namespaced, type.verbs, subresources])
                if type.schema().source is None:
                    definitions = Definitions(3, ())
                    definitions.type(type)
                    about.append(definitions.schemas[definition_name(type)])
            told = self._hashes[path] = hashlib.sha512(orjson.dumps(about)).hexdigest().upper()
        return told

    def _make_v3(self, types: list[ResourceType]) -> dict[str, Any]:
        of = types[0]
        definitions = Definitions(3, self._sources, None if of.custom else (of.group, of.version))
        paths = Paths(definitions)
        found = _items(paths, types)
        if of.custom:
            return {
                "openapi": "3.0.0",
                "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
                "paths": found,
                "components": {"schemas": definitions.finish()},
            }
        return self._with_paths(found, definitions)

    def _make_root(self, path: str) -> dict[str, Any]:
        definitions = Definitions(3, self._sources)
        item = self._root(Paths(definitions), path)
        return self._with_paths({f"/{path}/": item}, definitions)

    def _with_paths(self, paths: dict[str, Any], definitions: Definitions) -> dict[str, Any]:
        schemas = definitions.finish()
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "components": {**({"schemas": schemas} if schemas else {}), "securitySchemes": _SECURITY},
        }

    def _root(self, paths: Paths, path: str) -> dict[str, Any]:
        """The path item of what is no group's version."""
        if path.startswith("apis/"):
            return paths.group(path.removeprefix("apis/"))
        tag, name, text, answer, produces = _ROOTS[path]
        return paths.root(tag, name, text, answer(paths.definitions), produces)

    def _make_v2(self) -> dict[str, Any]:
        definitions = Definitions(2, self._sources)
        paths = Paths(definitions)
        found = _items(paths, [type for types in self._groups.values() for type in types])
        found |= {f"/{path}/": self._root(paths, path) for path in self._roots}
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": dict(sorted(found.items())),
            "definitions": definitions.finish(),
            "parameters": dict(sorted(paths.parameters.shared.items())),
            "securityDefinitions": _SECURITY,
            "security": [{"BearerToken": []}],
        }


def _items(paths: Paths, types: list[ResourceType]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for type in types:
        found.update(paths.of(type))
        if not type.custom:
            root = f"/apis/{type.group}/{type.version}/" if type.group else f"/api/{type.version}/"
            if root not in found:
                found[root] = paths.group_version(type.group, type.version)
    return dict(sorted(found.items()))


def _sources_of(node: Node) -> list[DefinitionSource]:
    """The source of a type, or of a custom resource's metadata."""
    if node.source is not None:
        return [node.source]
    metadata = (node.properties or {}).get("metadata")
    return [metadata.source] if metadata is not None and metadata.source is not None else []
