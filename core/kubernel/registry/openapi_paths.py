"""The paths of resource types as OpenAPI operations.

Clients look for what is supported in them: kubectl for ``fieldValidation`` and ``dryRun`` on PATCH, by
``x-kubernetes-group-version-kind``. Built-in types are written as k8s.io/apiserver/pkg/endpoints/installer.go writes
them, custom resources as k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.registry.openapi_parameters import DELETE, LIST, WRITE, Parameters

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubernel.registry.openapi_schemas import Definitions
    from kubernel.registry.types import ResourceType, Subresource

__all__ = ["NATIVE", "Paths"]

_JSON, _YAML, _PROTOBUF = "application/json", "application/yaml", "application/vnd.kubernetes.protobuf"
_CUSTOM = (_JSON, _YAML)
NATIVE = (_JSON, _YAML, _PROTOBUF)
_STREAMS = (*NATIVE, f"{_JSON};stream=watch", f"{_PROTOBUF};stream=watch")
_ANY = ("*/*",)
_TEXT = ("text/plain", *NATIVE)
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)
_STREAM_METHODS = ("get", "post")
_PROXY_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_SAID = {"200": "OK", "201": "Created", "202": "Accepted"}
_MODIFIED, _CREATED, _DELETED = ("200", "201"), ("200", "201", "202"), ("200", "202")
_COLLECTION = tuple(sorted({*DELETE, *LIST} - {"allowWatchBookmarks", "watch"}))
_LATER = "deprecated: use the 'watch' parameter with a list operation instead"
_Object = dict[str, Any]


class Paths:
    """Operations in the form of one OpenAPI version, over ``definitions`` of the same."""

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions
        self.v3 = definitions.openapi == 3
        self.parameters = Parameters(definitions.openapi)

    def of(self, type: ResourceType) -> dict[str, _Object]:
        """path -> path item, for a type and its subresources."""
        prefix = f"/apis/{type.group}/{type.version}" if type.group else f"/api/{type.version}"
        scoped = f"{prefix}/namespaces/{{namespace}}" if type.namespaced else prefix
        collection = f"{scoped}/{type.plural}"
        one = collection + "/{name}"
        found: dict[str, _Object] = {
            collection: self._item(type, self._collection(type)),
            one: self._item(type, self._verbs(type, type.verbs, self.definitions.type(type)), type.kind),
        }
        if type.namespaced and "list" in type.verbs:
            found[f"{prefix}/{type.plural}"] = self._item(
                type, {"get": self._list(type, "ForAllNamespaces")}, everywhere=True
            )
        if "watch" in type.verbs and not type.custom:
            self._watches(type, found, prefix)
        for _, sub in sorted(type.subresources.items()):
            named = type.kind if type.custom else sub.kind.kind
            found[f"{one}/{sub.name}"] = self._item(type, self._subresource(type, sub), named)
            if sub.connect and "update" in sub.verbs:
                operations = self._connect(type, sub, "WithPath")
                path = (self.parameters.known("path"),)
                found[f"{one}/{sub.name}/{{path}}"] = self._item(type, operations, named, also=path)
        return {path: item for path, item in found.items() if item}

    def root(self, tag: str, name: str, text: str, answer: _Object, produces: tuple[str, ...]) -> _Object:
        """The path item of a document about the server."""
        operation: _Object = {"tags": [tag], "description": text, "operationId": name}
        if not self.v3:
            taken = {"consumes": list(produces)} if "$ref" in answer else {}
            operation |= {**taken, "produces": list(produces), "schemes": ["https"]}
        operation["responses"] = self._responses(answer, ("200",), produces)
        return {"get": operation}

    def group(self, group: str) -> _Object:
        """``/apis/GROUP/``"""
        called = _camel(group)
        answer = self.definitions.meta("APIGroup")
        return self.root(_lower(called), f"get{called}APIGroup", "get information of a group", answer, NATIVE)

    def group_version(self, group: str, version: str) -> _Object:
        """``/apis/GROUP/VERSION/``"""
        called = _camel(group)
        answer = self.definitions.meta("APIResourceList")
        name = f"get{called}{_upper(version)}APIResources"
        return self.root(f"{_lower(called)}_{version}", name, "get available resources", answer, NATIVE)

    def _item(
        self,
        type: ResourceType,
        operations: dict[str, _Object],
        kind: str = "",
        *,
        everywhere: bool = False,
        also: Iterable[_Object] = (),
    ) -> _Object:
        """What all operations take, and what is in the path, stands with the path itself."""
        if not operations:
            return {}
        known = self.parameters.known
        of_path = {"name": self.parameters.name_of(kind)} if kind else {}
        if type.namespaced and not everywhere:
            of_path["namespace"] = known("namespace")
        taken = [operation["parameters"] for operation in operations.values()]
        common = {name: entry for name, entry in taken[0].items() if all(name in other for other in taken)}
        common = {
            name: entry
            for name, entry in common.items()
            if name != "body" and all(other[name] == entry for other in taken)
        }
        placed = [(name, 0, entry) for name, entry in of_path.items()]
        placed += [("path", 0, entry) for entry in also]
        placed += [(name, 1, entry) for name, entry in common.items()]
        item: _Object = {}
        for method, operation in operations.items():
            own = operation.pop("parameters")
            left = [own[name] for name in sorted(own) if name not in common]
            item[method] = {**operation, "parameters": left} if left else operation
        if placed:
            item["parameters"] = [entry for _, _, entry in sorted(placed, key=lambda one: one[:2])]
        return item

    def _collection(self, type: ResourceType) -> dict[str, _Object]:
        found: dict[str, _Object] = {}
        if "list" in type.verbs:
            found["get"] = self._list(type)
        if "create" in type.verbs:
            obj = self.definitions.type(type)
            text = f"create{_article(type.kind)}{type.kind}"
            found["post"] = self._operation(
                type, "create", "post", text, WRITE, obj, body=obj, codes=_CREATED
            )
        if "deletecollection" in type.verbs:
            found["delete"] = self._operation(
                type,
                "delete",
                "deletecollection",
                f"delete collection of {type.kind}",
                LIST if type.custom else _COLLECTION,
                self.definitions.meta("Status"),
                body=None if type.custom else self.definitions.meta("DeleteOptions"),
                middle="Collection",
            )
        return found

    def _list(self, type: ResourceType, suffix: str = "") -> _Object:
        answer = self.definitions.type_list(type)
        watch = "or watch " if "watch" in type.verbs and not type.custom else ""
        text = f"list {watch}objects of kind {type.kind}"
        produces = _CUSTOM if type.custom else _STREAMS
        return self._operation(type, "list", "list", text, LIST, answer, suffix=suffix, produces=produces)

    def _watches(self, type: ResourceType, found: dict[str, _Object], prefix: str) -> None:
        """The deprecated form of watching."""
        changes = f"watch individual changes to a list of {type.kind}. {_LATER}."
        scoped = "/namespaces/{namespace}" if type.namespaced else ""
        listing = self._watch(type, "watchlist", changes, "List")
        found[f"{prefix}/watch{scoped}/{type.plural}"] = self._item(type, {"get": listing})
        if type.namespaced:
            listing = self._watch(type, "watchlist", changes, "ListForAllNamespaces")
            found[f"{prefix}/watch/{type.plural}"] = self._item(type, {"get": listing}, everywhere=True)
        text = (
            f"watch changes to an object of kind {type.kind}. {_LATER}, "
            "filtered to a single item with the 'fieldSelector' parameter."
        )
        one = self._watch(type, "watch", text)
        found[f"{prefix}/watch{scoped}/{type.plural}/{{name}}"] = self._item(type, {"get": one}, type.kind)

    def _watch(self, type: ResourceType, action: str, text: str, suffix: str = "") -> _Object:
        answer = self.definitions.meta("WatchEvent")
        return self._operation(type, "watch", action, text, LIST, answer, suffix=suffix, produces=_STREAMS)

    def _subresource(self, type: ResourceType, sub: Subresource) -> dict[str, _Object]:
        if sub.connect and sub.kind != type.gvk:
            return self._connect(type, sub)
        if sub.connect:
            answer: _Object = {"type": "string"}
            return {"get": self._read(type, answer, sub, self._options(sub), produces=_TEXT)}
        if sub.kind == type.gvk:
            schema = self.definitions.type(type)
        else:
            schema = self.definitions.kind(sub.kind.group, sub.kind.version, sub.kind.kind)
        return self._verbs(type, sub.verbs, schema, sub=sub)

    def _connect(self, type: ResourceType, sub: Subresource, suffix: str = "") -> dict[str, _Object]:
        methods = _PROXY_METHODS if "update" in sub.verbs else _STREAM_METHODS
        answer: _Object = {"type": "string"}
        found: dict[str, _Object] = {}
        for method in methods:
            text = f"connect {method.upper()} requests to {sub.name} of {type.kind}"
            operation = found[method] = self._operation(
                type, "connect", "connect", text, (), answer,
                middle=_upper(method), sub=sub, suffix=suffix, produces=_ANY, pretty=False,
            )  # fmt: skip
            operation["parameters"] = self._options(sub)
        return found

    def _options(self, sub: Subresource) -> dict[str, _Object]:
        options = sub.options() if sub.options is not None else {}
        return {name: self.parameters.query(name, *told) for name, told in options.items()}

    def _read(
        self,
        type: ResourceType,
        answer: _Object,
        sub: Subresource | None,
        options: dict[str, _Object],
        produces: tuple[str, ...],
    ) -> _Object:
        text = f"read {_what(type, sub)}"
        parameters = ("resourceVersion",) if type.custom else ()
        operation = self._operation(type, "read", "get", text, parameters, answer, sub=sub, produces=produces)
        operation["parameters"] |= options
        return operation

    def _verbs(
        self, type: ResourceType, verbs: tuple[str, ...], schema: _Object, sub: Subresource | None = None
    ) -> dict[str, _Object]:
        found: dict[str, _Object] = {}
        if "get" in verbs:
            found["get"] = self._read(type, schema, sub, {}, _CUSTOM if type.custom else NATIVE)
        if "update" in verbs:
            found["put"] = self._operation(
                type, "replace", "put", f"replace {_what(type, sub)}", WRITE, schema,
                body=schema, sub=sub, codes=_MODIFIED,
            )  # fmt: skip
        if "patch" in verbs:
            consumes = tuple(form for form in _PATCHES if not (type.custom and "strategic" in form))
            found["patch"] = self._operation(
                type, "patch", "patch", f"partially update {_what(type, sub)}", (*WRITE, "force"), schema,
                body=self.definitions.meta("Patch"), sub=sub, consumes=consumes,
                codes=("200",) if type.custom else _MODIFIED,
            )  # fmt: skip
        if "delete" in verbs and sub is None:
            strategy = type.strategy
            whole = strategy.delete_returns_object and not strategy.deletion_published_as_status
            answer = schema if whole else self.definitions.meta("Status")
            found["delete"] = self._operation(
                type, "delete", "delete", f"delete{_article(type.kind)}{type.kind}", DELETE, answer,
                body=self.definitions.meta("DeleteOptions"), codes=_DELETED,
            )  # fmt: skip
        if "create" in verbs and sub is not None:
            text = f"create {sub.name} of{_article(type.kind)}{type.kind}"
            found["post"] = self._operation(
                type, "create", "post", text, WRITE, schema, body=schema, sub=sub, codes=_CREATED
            )
        return found

    def _operation(
        self,
        type: ResourceType,
        verb: str,
        action: str,
        text: str,
        parameters: tuple[str, ...],
        answer: _Object,
        *,
        body: _Object | None = None,
        suffix: str = "",
        middle: str = "",
        sub: Subresource | None = None,
        consumes: tuple[str, ...] = (),
        produces: tuple[str, ...] = (),
        codes: tuple[str, ...] = ("200",),
        pretty: bool = True,
    ) -> _Object:
        """``parameters`` of what is made are by name, until it has its place in an item."""
        called = _camel(type.group)
        scope = "Namespaced" if type.namespaced and not suffix.endswith("ForAllNamespaces") else ""
        kind = sub.kind if sub is not None and not type.custom else type.gvk
        below = "".join(map(_upper, sub.name.split("/"))) if sub is not None else ""
        forms = _CUSTOM if type.custom else NATIVE
        taken = consumes or (forms if type.custom else _ANY)
        known = self.parameters.known
        listed = {name: known(name, action) for name in (*parameters, *(("pretty",) if pretty else ()))}
        optional = action in ("delete", "deletecollection")
        operation: _Object = {
            "tags": [f"{_lower(called)}_{type.version}"],
            "description": text,
            "operationId": f"{verb}{called}{_upper(type.version)}{middle}{scope}{type.kind}{below}{suffix}",
            "parameters": listed,
        }
        if not self.v3:
            operation |= {"consumes": list(taken), "produces": list(produces or forms), "schemes": ["https"]}
            if body is not None:
                common = bool(consumes) or optional
                listed["body"] = self.parameters.body(body, optional=optional, common=common)
        elif body is not None:
            told = operation["requestBody"] = {"content": {form: {"schema": body} for form in taken}}
            if not optional:
                told["required"] = True
        operation["responses"] = self._responses(answer, codes, produces or forms)
        operation["x-kubernetes-action"] = action
        operation["x-kubernetes-group-version-kind"] = {
            "group": kind.group,
            "version": kind.version,
            "kind": kind.kind,
        }
        return operation

    def _responses(self, answer: _Object, codes: tuple[str, ...], produces: tuple[str, ...]) -> _Object:
        content = {form: {"schema": answer} for form in produces}
        told: _Object = {"content": content} if self.v3 else {"schema": answer}
        return {
            **{code: {"description": _SAID[code], **told} for code in codes},
            "401": {"description": "Unauthorized"},
        }


def _camel(group: str) -> str:
    """``rbac.authorization.k8s.io`` -> ``RbacAuthorization``"""
    labels = group.removesuffix(".k8s.io").replace("-", ".").split(".") if group else ["core"]
    return "".join(map(_upper, labels))


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _what(type: ResourceType, sub: Subresource | None) -> str:
    return f"{sub.name} of the specified {type.kind}" if sub is not None else f"the specified {type.kind}"


def _article(kind: str) -> str:
    """With a space on either side; a plural (Endpoints) has none."""
    if kind.endswith("s") and not kind.endswith("ss"):
        return " "
    return " an " if kind[0] in "AEIOU" else " a "
