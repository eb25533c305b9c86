"""OpenAPI documents of what is served: ``/openapi/v3``, one document for each group version, ``/openapi/v2``.

Made when asked for, kept until the registry's types change. Nothing is published that is not served.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.documents import Document, TypeSource, encode
from kubernel.registry.openapi_paths import PARAMETERS, Paths
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
                        for path in sorted(self._groups)
                    }
                }
            )
        return self._documents["index"]

    def v3(self, path: str) -> Document | None:
        """The document of ``api/v1`` or ``apis/apps/v1``; None for what is not served."""
        self._refresh()
        types = self._groups.get(path)
        if types is None:
            return None
        key = (path, self._hash(path))
        document = self._kept.get(key)
        if document is None:
            body = encode(self._make_v3(types)).body
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
        return ["/openapi/v2", "/openapi/v3", *(f"/openapi/v3/{path}" for path in sorted(self._groups))]

    def _refresh(self) -> None:
        if self._generation == self._registry.generation:
            return
        groups: dict[str, list[ResourceType]] = {}
        for type in self._registry.types():
            path = f"apis/{type.group}/{type.version}" if type.group else f"api/{type.version}"
            groups.setdefault(path, []).append(type)
        self._groups = groups
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
        self._messages = {path: kept for path, kept in self._messages.items() if path in groups}
        # What did not change is not made again when a CRD comes.
        self._kept = {
            (path, told): document
            for (path, told), document in self._kept.items()
            if path in groups and self._hash(path) == told
        }

    def _hash(self, path: str) -> str:
        """Changes whenever the document would. Types from a fixed source are known by its fingerprint: an
        index must not cost the making of every document."""
        told = self._hashes.get(path)
        if told is None:
            types = self._groups[path]
            about: list[Any] = [self._version, [source.fingerprint for source in self._sources]]
            for type in sorted(types, key=lambda one: one.plural):
                subresources = [(sub.name, sub.verbs, sub.kind.kind) for sub in type.subresources.values()]
                about.append([type.plural, type.kind, type.namespaced, type.verbs, subresources])
                if type.schema().source is None:
                    definitions = Definitions(3, ())
                    definitions.type(type)
                    about.append(definitions.schemas[definition_name(type)])
            told = self._hashes[path] = hashlib.sha256(orjson.dumps(about)).hexdigest().upper()
        return told

    def _make_v3(self, types: list[ResourceType]) -> dict[str, Any]:
        definitions = Definitions(3, self._sources)
        paths = _paths(definitions, types)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "components": {"schemas": definitions.finish(), "securitySchemes": _SECURITY},
        }

    def _make_v2(self) -> dict[str, Any]:
        definitions = Definitions(2, self._sources)
        paths = _paths(definitions, [type for types in self._groups.values() for type in types])
        parameters = {
            name: {
                "name": name,
                "in": where,
                "description": text,
                **schema,
                **({"required": True} if where == "path" else {}),
            }
            for name, (where, schema, text) in PARAMETERS.items()
        }
        return {
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "definitions": definitions.finish(),
            "parameters": parameters,
            "securityDefinitions": _SECURITY,
            "security": [{"BearerToken": []}],
        }


def _paths(definitions: Definitions, types: list[ResourceType]) -> dict[str, Any]:
    paths = Paths(definitions)
    found: dict[str, Any] = {}
    for type in types:
        found.update(paths.of(type))
    return dict(sorted(found.items()))


def _sources_of(node: Node) -> list[DefinitionSource]:
    """The source of a type, or of a custom resource's metadata."""
    if node.source is not None:
        return [node.source]
    metadata = (node.properties or {}).get("metadata")
    return [metadata.source] if metadata is not None and metadata.source is not None else []
