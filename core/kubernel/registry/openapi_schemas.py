"""Nodes as OpenAPI schemas: 2 (Swagger, as older clients read it) and 3.

Differences between the two follow kube-apiserver: in 3 a reference with siblings is an ``allOf``, nullable
and int-or-string are said; in 2 what it cannot express is left open.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kubernel.registry.jsonschema import KEYWORDS, LOGIC
from kubernel.registry.schema import DefinitionSource, Node

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType

__all__ = ["Definitions", "definition_name"]

_PREFIX = {2: "#/definitions/", 3: "#/components/schemas/"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_KIND = (
    "Kind is a string value representing the REST resource this object represents. Servers may infer this "
    "from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_METADATA = (
    "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
_LIST_METADATA = (
    "Standard list metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)
_EMBEDDED_VERSION = (
    "apiVersion defines the versioned schema of this representation of an object. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
)
_EMBEDDED_KIND = (
    "kind is a string value representing the type of this object. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
)


_Told = Mapping[str, Any]
_NOTHING: _Told = MappingProxyType({})


def _nullable(node: Node | None) -> bool:
    return node is not None and node.nullable


def _anything(node: Node) -> bool:
    """``additionalProperties: true``."""
    return not node.native and node.type == "any" and node.preserve_unknown and node.nullable


def definition_name(type: ResourceType) -> str:
    """``com.example.stable.v1.CronTab`` for a type whose schema has no name of its own."""
    node = type.schema()
    if node.ref:
        return node.ref
    return ".".join([*reversed(type.group.split(".")), type.version, type.kind])


class Definitions:
    """The definitions of one document: those asked for and all that they refer to."""

    def __init__(
        self, openapi: int, sources: Iterable[DefinitionSource], about: tuple[str, str] | None = None
    ) -> None:
        """``about``: the (group, version) that the document is of: kinds that every group has it tells of that one
        and of the core's."""
        self.openapi = openapi
        self.about = {("", "v1"), about} if about is not None else None
        self.prefix = _PREFIX[openapi]
        self.sources = tuple(sources)
        self.schemas: dict[str, dict[str, Any]] = {}
        self._waiting: list[tuple[str, Node]] = []

    def meta(self, kind: str) -> dict[str, Any]:
        """A reference to one of apimachinery's own types: DeleteOptions, Status, Patch, …"""
        return self.named(f"{_META}.{kind}")

    def named(self, name: str) -> dict[str, Any]:
        for source in self.sources:
            try:
                return self.reference(source.node(name))
            except KeyError:
                continue
        return {"type": "object"}

    def kind(self, group: str, version: str, kind: str) -> dict[str, Any]:
        """A reference to a kind that some source defines."""
        for source in self.sources:
            try:
                return self.reference(source.node(source.definition_for(group, version, kind)))
            except KeyError:
                continue
        return {"type": "object"}

    def type(self, type: ResourceType) -> dict[str, Any]:
        """A reference to a resource type's objects."""
        node = type.schema()
        if node.ref:
            return self.reference(node)
        name = definition_name(type)
        if name not in self.schemas:
            if self.openapi == 2 and node.preserve_unknown:
                # kubectl takes every property that is named for all there are.
                schema = self.schemas[name] = {"type": "object"}
                self._identify(schema, type, type.kind)
            else:
                schema = self.schemas[name] = self._inline(node)
                self._complete(schema, type, type.kind)
        return {"$ref": self.prefix + name}

    def type_list(self, type: ResourceType) -> dict[str, Any]:
        for source in self.sources:
            try:
                return self.reference(
                    source.node(source.definition_for(type.group, type.version, type.list_kind))
                )
            except KeyError:
                continue
        item = self.type(type)
        name = definition_name(type) + "List"
        if name not in self.schemas:
            schema: dict[str, Any] = {
                "description": f"{type.list_kind} is a list of {type.kind}",
                "type": "object",
                "required": ["items"],
                "properties": {
                    "items": {
                        "description": f"List of {type.plural}. More info: https://git.k8s.io/community/"
                        "contributors/devel/sig-architecture/api-conventions.md",
                        "type": "array",
                        "items": item,
                    },
                    "metadata": self._described(self.meta("ListMeta"), _LIST_METADATA),
                },
            }
            self.schemas[name] = schema
            self._complete(schema, type, type.list_kind)
        return {"$ref": self.prefix + name}

    def reference(self, node: Node) -> dict[str, Any]:
        if node.ref not in self.schemas:
            self.schemas[node.ref] = {}
            self._waiting.append((node.ref, node.shared or node))
        return {"$ref": self.prefix + node.ref}

    def finish(self) -> dict[str, dict[str, Any]]:
        """All definitions, by name in order."""
        while self._waiting:
            name, node = self._waiting.pop()
            self.schemas[name] = self._definition(name, node)
        return dict(sorted(self.schemas.items()))

    def _complete(self, schema: dict[str, Any], type: ResourceType, kind: str) -> None:
        properties = schema.setdefault("properties", {})
        schema.setdefault("type", "object")
        properties["apiVersion"] = {"description": _API_VERSION, "type": "string"}
        properties["kind"] = {"description": _KIND, "type": "string"}
        if "items" not in properties or kind != type.list_kind:
            properties["metadata"] = self._described(self.meta("ObjectMeta"), _METADATA)
        schema["properties"] = dict(sorted(properties.items()))
        self._identify(schema, type, kind)

    @staticmethod
    def _identify(schema: dict[str, Any], type: ResourceType, kind: str) -> None:
        gvk = {"group": type.group, "kind": kind, "version": type.version}
        schema["x-kubernetes-group-version-kind"] = [gvk]
        if type.custom and type.field_selectors:
            schema["x-kubernetes-selectable-fields"] = [{"fieldPath": path} for path in type.field_selectors]

    def _definition(self, name: str, node: Node) -> dict[str, Any]:
        source = node.source
        own, fields = source.describe(name) if source is not None else ("", {})
        told = source.published(name) if source is not None else {}
        body = self._body(node, fields, told)
        schema = {"description": own, **body} if own else body
        kinds = list(source.kinds_of(name)) if source is not None else []
        if self.about is not None and len(kinds) > 1:
            kinds = [
                (group, version, kind) for group, version, kind in kinds if (group, version) in self.about
            ]
        if kinds:
            schema["x-kubernetes-group-version-kind"] = [
                {"group": group, "kind": kind, "version": version} for group, version, kind in kinds
            ]
        return schema

    def _described(self, reference: dict[str, Any], text: str) -> dict[str, Any]:
        if not text:
            return reference
        if self.openapi == 2 or "$ref" not in reference:
            return {"description": text, **reference}
        return {"description": text, "allOf": [reference]}

    def _field(
        self, node: Node, text: str, told: _Told = _NOTHING, inner: _Told = _NOTHING
    ) -> dict[str, Any]:
        """The schema of a field: a reference with the field's own attributes, or the type in place. ``told`` is what
        is published of the field, ``inner`` what is of its items or values."""
        text += told.get("values", "")
        if not node.ref:
            schema = self._inline(node, told, inner)
            return {"description": text, **schema} if text else schema
        reference = self.reference(node)
        own = self._attributes(node, told, of_reference=True)
        if not own and not text:
            return reference
        return {**self._described(reference, text), **own} if text else {**self._alone(reference), **own}

    def _alone(self, reference: dict[str, Any]) -> dict[str, Any]:
        return reference if self.openapi == 2 else {"allOf": [reference]}

    def _inline(self, node: Node, told: _Told = _NOTHING, inner: _Told = _NOTHING) -> dict[str, Any]:
        if node.ref:
            return self.reference(node)
        schema: dict[str, Any] = {}
        description = (node.extra or {}).get("description")
        if description:
            schema["description"] = description
        return {**schema, **self._body(node, {}, {"[]": inner}), **self._attributes(node, told)}

    def _body(self, node: Node, texts: Mapping[str, str], told: Mapping[str, _Told]) -> dict[str, Any]:
        """What kind of values there are, without attributes of a field."""
        type_ = node.type
        if type_ in _SCALARS:
            return dict(_SCALARS[type_][self.openapi])
        if type_ == "int-or-string":
            if node.native:
                return dict(_INT_OR_STRING[self.openapi])
            told_as = {} if self.openapi == 2 else {"anyOf": [{"type": "integer"}, {"type": "string"}]}
            return {**told_as, "x-kubernetes-int-or-string": True}
        if self.openapi == 2 and not node.native and (node.nullable or node.preserve_unknown):
            return {}  # Swagger would refuse what is allowed here
        schema: dict[str, Any] = {} if type_ == "any" else {"type": type_}
        if node.format:
            schema["format"] = node.format
        if node.items is not None:
            schema["items"] = self._field(node.items, "", told.get("[]", _NOTHING))
        if node.additional is not None:
            schema["additionalProperties"] = _anything(node.additional) or self._field(
                node.additional, "", told.get("[]", _NOTHING)
            )
        elif (node.extra or {}).get("additionalProperties") is False:
            schema["additionalProperties"] = False
        required = list(node.required)
        if self.openapi == 2 and not node.native:
            # What Swagger knows no type for it cannot demand either.
            required = [name for name in required if not _nullable((node.properties or {}).get(name))]
        if required:
            schema["required"] = required
        if node.properties:
            schema["properties"] = {
                name: self._field(
                    field, texts.get(name, ""), told.get(name, _NOTHING), told.get(f"{name}[]", _NOTHING)
                )
                for name, field in node.properties.items()
            }
        if node.embedded and not node.native:
            self._embed(schema)
        if node.ref:
            if node.map_type:
                schema["x-kubernetes-map-type"] = node.map_type
            unions = (node.extra or {}).get("x-kubernetes-unions")
            if unions:
                schema["x-kubernetes-unions"] = unions
        return schema

    def _embed(self, schema: dict[str, Any]) -> None:
        """The frame of an object within an object."""
        properties = schema.setdefault("properties", {})
        properties["apiVersion"] = {"description": _EMBEDDED_VERSION, "type": "string"}
        properties["kind"] = {"description": _EMBEDDED_KIND, "type": "string"}
        properties["metadata"] = self._described(self.meta("ObjectMeta"), _METADATA)
        required = schema.setdefault("required", [])
        required += [name for name in ("kind", "apiVersion") if name not in required]

    def _attributes(
        self, node: Node, told: _Told = _NOTHING, *, of_reference: bool = False
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if node.list_type:
            found["x-kubernetes-list-type"] = node.list_type
        if node.map_keys:
            found["x-kubernetes-list-map-keys"] = list(node.map_keys)
        of_field = not of_reference or (node.shared is not None and node.map_type != node.shared.map_type)
        if node.map_type and of_field:
            found["x-kubernetes-map-type"] = node.map_type
        if node.patch_strategy:
            found["x-kubernetes-patch-strategy"] = ",".join(node.patch_strategy)
        if node.merge_key:
            found["x-kubernetes-patch-merge-key"] = node.merge_key
        if node.native:
            if "enum" in told:
                found["enum"] = told["enum"]
            if "default" in told and self.openapi == 3:
                found["default"] = told["default"]
            return found
        if node.enum:
            found["enum"] = list(node.enum)
        if node.default is not Node.UNSET and self.openapi == 3:
            found["default"] = node.default
        extra = node.extra or {}
        found.update((keyword, extra[keyword]) for keyword in KEYWORDS if keyword in extra)
        if node.embedded:
            found["x-kubernetes-embedded-resource"] = True
        if node.preserve_unknown:
            found["x-kubernetes-preserve-unknown-fields"] = True
        if self.openapi == 3:
            found.update((keyword, extra[keyword]) for keyword in LOGIC if keyword in extra)
            if node.nullable:
                found["nullable"] = True
        return found


_SCALARS: dict[str, dict[int, dict[str, Any]]] = {
    "quantity": {2: {"type": "string"}, 3: {"oneOf": [{"type": "string"}, {"type": "number"}]}},
    "time": {2: {"type": "string", "format": "date-time"}, 3: {"type": "string", "format": "date-time"}},
    "microtime": {2: {"type": "string", "format": "date-time"}, 3: {"type": "string", "format": "date-time"}},
}
_INT_OR_STRING: dict[int, dict[str, Any]] = {
    2: {"type": "string", "format": "int-or-string"},
    3: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
}
