"""The paths of resource types as OpenAPI operations.

Clients look for what is supported in them: kubectl for ``fieldValidation`` and ``dryRun`` on PATCH, by
``x-kubernetes-group-version-kind``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernel.registry.openapi_schemas import Definitions
    from kubernel.registry.types import ResourceType, Subresource

__all__ = ["PARAMETERS", "Paths"]

_STRING = {"type": "string", "uniqueItems": True}
_INTEGER = {"type": "integer", "uniqueItems": True}
_BOOLEAN = {"type": "boolean", "uniqueItems": True}

PARAMETERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "allowWatchBookmarks": (
        "query", _BOOLEAN, "Ask for bookmark events in a watch; ignored when it is not a watch.",
    ),
    "continue": ("query", _STRING, "The token of the page before, to get the next one."),
    "dryRun": ("query", _STRING, "All: process the request completely, but store nothing."),
    "fieldManager": ("query", _STRING, "Who makes the change: at most 128 printable characters."),
    "fieldSelector": ("query", _STRING, "Select objects by their fields."),
    "fieldValidation": (
        "query", _STRING, "What to do with unknown and duplicate fields: Ignore, Warn or Strict.",
    ),
    "force": ("query", _BOOLEAN, "Take fields over from other managers; only for apply patches."),
    "gracePeriodSeconds": ("query", _INTEGER, "Seconds until the object is deleted; 0 is at once."),
    "labelSelector": ("query", _STRING, "Select objects by their labels."),
    "limit": ("query", _INTEGER, "The most objects that one page may hold."),
    "name": ("path", _STRING, "The object's name"),
    "namespace": ("path", _STRING, "object name and auth scope, such as for teams and projects"),
    "orphanDependents": ("query", _BOOLEAN, "Deprecated: use propagationPolicy."),
    "pretty": ("query", _STRING, "Indent the answer."),
    "propagationPolicy": ("query", _STRING, "Orphan, Background or Foreground."),
    "resourceVersion": ("query", _STRING, "How fresh the answer must be, or where a watch begins."),
    "resourceVersionMatch": ("query", _STRING, "How resourceVersion applies to a list."),
    "sendInitialEvents": ("query", _BOOLEAN, "Begin a watch with the objects that exist."),
    "timeoutSeconds": ("query", _INTEGER, "How long a list or watch may take."),
    "watch": ("query", _BOOLEAN, "Tell changes instead of listing."),
}  # fmt: skip
_LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
_WRITE = ("dryRun", "fieldManager", "fieldValidation")
_DELETE = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_READS = ("application/json", "application/yaml")
_STREAMS = (*_READS, "application/json;stream=watch")
_CONNECT_METHODS = ("get", "post")


class Paths:
    """Operations in the form of one OpenAPI version, over ``definitions`` of the same."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.v3 = definitions.openapi == 3

    def of(self, type: ResourceType) -> dict[str, dict[str, Any]]:
        """path -> path item, for a type and its subresources."""
        prefix = f"/apis/{type.group}/{type.version}" if type.group else f"/api/{type.version}"
        scoped = f"{prefix}/namespaces/{{namespace}}" if type.namespaced else prefix
        everywhere, collection = f"{prefix}/{type.plural}", f"{scoped}/{type.plural}"
        one = collection + "/{name}"
        scope = ("namespace",) if type.namespaced else ()
        found: dict[str, dict[str, Any]] = {}
        operations = self._collection(type)
        if operations:
            found[collection] = self._item(operations, (*scope, "pretty"))
        if type.namespaced and "list" in type.verbs:
            listing = self._list(type, "ForAllNamespaces")
            found[everywhere] = self._item({"get": listing}, ("pretty",))
        operations = self._object(type)
        if operations:
            found[one] = self._item(operations, ("name", *scope, "pretty"))
        for _, sub in sorted(type.subresources.items()):
            operations = self._subresource(type, sub)
            if operations:
                found[f"{one}/{sub.name}"] = self._item(operations, ("name", *scope, "pretty"))
        return found

    def _item(self, operations: dict[str, Any], parameters: tuple[str, ...]) -> dict[str, Any]:
        return {**operations, "parameters": [self._parameter(name) for name in parameters]}

    def _collection(self, type: ResourceType) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "list" in type.verbs:
            found["get"] = self._list(type)
        if "create" in type.verbs:
            obj = self.definitions.type(type)
            found["post"] = self._operation(
                type, "create", "post", _WRITE, obj, body=obj, codes=("200", "201", "202")
            )
        if "deletecollection" in type.verbs:
            found["delete"] = self._operation(
                type,
                "delete",
                "deletecollection",
                (*_DELETE, *(name for name in _LIST if name not in ("allowWatchBookmarks", "watch"))),
                self.definitions.meta("Status"),
                body=self.definitions.meta("DeleteOptions"),
                middle="Collection",
                optional_body=True,
            )
        return found

    def _list(self, type: ResourceType, suffix: str = "") -> dict[str, Any]:
        answer = self.definitions.type_list(type)
        return self._operation(type, "list", "list", _LIST, answer, suffix=suffix, produces=_STREAMS)

    def _object(self, type: ResourceType) -> dict[str, Any]:
        return self._verbs(type, type.verbs, self.definitions.type(type))

    def _subresource(self, type: ResourceType, sub: Subresource) -> dict[str, Any]:
        suffix = "".join(part[:1].upper() + part[1:] for part in sub.name.split("/"))
        if sub.connect:
            return {
                method: self._operation(
                    type, f"connect{method.capitalize()}", "connect", (), {"type": "string"},
                    suffix=suffix, sub=sub, produces=("*/*",),
                )
                for method in _CONNECT_METHODS
            }  # fmt: skip
        own = sub.kind.kind == type.kind and sub.kind.group == type.group
        if own:
            schema = self.definitions.type(type)
        else:
            schema = self.definitions.kind(sub.kind.group, sub.kind.version, sub.kind.kind)
        return self._verbs(type, sub.verbs, schema, suffix=suffix, sub=sub)

    def _verbs(
        self,
        type: ResourceType,
        verbs: tuple[str, ...],
        schema: dict[str, Any],
        *,
        suffix: str = "",
        sub: Subresource | None = None,
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if "get" in verbs:
            found["get"] = self._operation(type, "read", "get", (), schema, suffix=suffix, sub=sub)
        if "update" in verbs:
            found["put"] = self._operation(
                type, "replace", "put", _WRITE, schema,
                body=schema, suffix=suffix, sub=sub, codes=("200", "201"),
            )  # fmt: skip
        if "patch" in verbs:
            consumes = tuple(kind for kind in _PATCHES if not (type.custom and "strategic" in kind))
            found["patch"] = self._operation(
                type, "patch", "patch", (*_WRITE, "force"), schema, body=self.definitions.meta("Patch"),
                suffix=suffix, sub=sub, consumes=consumes, codes=("200", "201"),
            )  # fmt: skip
        if "delete" in verbs and sub is None:
            answer = self.definitions.meta("Status")
            if type.strategy.delete_returns_object:
                answer = schema
            found["delete"] = self._operation(
                type, "delete", "delete", _DELETE, answer,
                body=self.definitions.meta("DeleteOptions"), optional_body=True, codes=("200", "202"),
            )  # fmt: skip
        if "create" in verbs and sub is not None:
            found["post"] = self._operation(
                type, "create", "post", _WRITE, schema,
                body=schema, suffix=suffix, sub=sub, codes=("200", "201", "202"),
            )  # fmt: skip
        return found

    def _operation(
        self,
        type: ResourceType,
        verb: str,
        action: str,
        parameters: tuple[str, ...],
        answer: dict[str, Any],
        *,
        body: dict[str, Any] | None = None,
        optional_body: bool = False,
        suffix: str = "",
        middle: str = "",
        sub: Subresource | None = None,
        consumes: tuple[str, ...] = _READS,
        produces: tuple[str, ...] = _READS,
        codes: tuple[str, ...] = ("200",),
    ) -> dict[str, Any]:
        group = _camel(type.group)
        version = type.version[:1].upper() + type.version[1:]
        scope = "Namespaced" if type.namespaced and suffix != "ForAllNamespaces" else ""
        kind = sub.kind if sub is not None else type.gvk
        what = f"{sub.name} of the specified {type.kind}" if sub is not None else type.kind
        operation: dict[str, Any] = {
            "tags": [f"{group[:1].lower()}{group[1:]}_{type.version}"],
            "description": f"{verb} {what}",
            "operationId": f"{verb}{group}{version}{middle}{scope}{type.kind}{suffix}",
        }
        listed = [self._parameter(name) for name in parameters]
        if self.v3:
            operation["parameters"] = listed
            if body is not None:
                content = {form: {"schema": body} for form in (("*/*",) if consumes is _READS else consumes)}
                operation["requestBody"] = {"content": content}
                if not optional_body:
                    operation["requestBody"]["required"] = True
            content = {form: {"schema": answer} for form in produces}
            told: dict[str, Any] = {"content": content}
        else:
            if body is not None:
                entry: dict[str, Any] = {"name": "body", "in": "body", "schema": body}
                if not optional_body:
                    entry["required"] = True
                listed.append(entry)
            operation["parameters"] = listed
            operation["consumes"] = ["*/*"] if consumes is _READS else list(consumes)
            operation["produces"] = list(produces)
            operation["schemes"] = ["https"]
            told = {"schema": answer}
        said = {"200": "OK", "201": "Created", "202": "Accepted"}
        operation["responses"] = {
            **{code: {"description": said[code], **told} for code in codes},
            "401": {"description": "Unauthorized"},
        }
        operation["x-kubernetes-action"] = action
        operation["x-kubernetes-group-version-kind"] = {
            "group": kind.group,
            "version": kind.version,
            "kind": kind.kind,
        }
        return operation

    def _parameter(self, name: str) -> dict[str, Any]:
        if not self.v3:
            return {"$ref": f"#/parameters/{name}"}
        where, schema, text = PARAMETERS[name]
        entry: dict[str, Any] = {"name": name, "in": where, "description": text, "schema": schema}
        if where == "path":
            entry["required"] = True
        return entry


def _camel(group: str) -> str:
    """``rbac.authorization.k8s.io`` -> ``RbacAuthorization``"""
    labels = group.removesuffix(".k8s.io").replace("-", ".").split(".") if group else ["core"]
    return "".join(label[:1].upper() + label[1:] for label in labels)
