"""OpenAPI of other servers, and this server's documents with theirs in it.

Source: k8s.io/kube-aggregator/pkg/controllers/{openapi,openapiv3}, k8s.io/kube-openapi/pkg/aggregator.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.documents import Document, encode

from .openapi_conversion import to_v3

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["Published", "joined_swagger"]

_REF = "#/definitions/"
_Key = tuple[str, str]
_Fetch = Callable[[str, str], Awaitable[tuple[int, str, bytes]]]


class Published:
    """For each remote version the part of its server's documents that is about it."""

    def __init__(self) -> None:
        self._swagger: dict[_Key, Obj] = {}
        self._etags: dict[_Key, str] = {}
        self._urls: dict[_Key, str] = {}
        self._converted: dict[_Key, Document] = {}
        self.generation = 0
        self._kept: dict[str, tuple[tuple[str, int], Document]] = {}

    async def learn(self, key: _Key, fetch: _Fetch) -> None:
        """``fetch(path, known)`` gives (status, ETag, body). Raises what it raises, and ValueError."""
        path = "apis/{}/{}".format(*key)
        status, _, body = await fetch("/openapi/v3", "")
        legacy = status == 404
        url = ""
        if status == 200:
            told = (orjson.loads(body).get("paths") or {}).get(path) or {}
            url = str(told.get("serverRelativeURL") or "")
        status, etag, body = await fetch("/openapi/v2", self._etags.get(key, ""))
        if status != 304:
            swagger = _about(orjson.loads(body), f"/{path}/") if status == 200 else {}
            if self._swagger.get(key, {}) != swagger:
                self._swagger[key] = swagger
                self._converted.pop(key, None)
                self.generation += 1
            self._etags[key] = etag if status == 200 else ""
        if not legacy:
            self._converted.pop(key, None)
        elif about := self._swagger.get(key):
            converted = self._converted.get(key)
            if converted is None:
                converted = self._converted[key] = encode(to_v3(about))
            url = f"/openapi/v3/{path}?hash={converted.etag}"
        if self._urls.get(key, "") != url:
            self._urls[key] = url
            self.generation += 1

    def converted(self, group: str, version: str) -> Document | None:
        """OpenAPI 3 of a version whose server publishes none, made from its Swagger document."""
        return self._converted.get((group, version))

    def forget(self, key: _Key) -> None:
        for table in (self._swagger, self._etags, self._urls, self._converted):
            table.pop(key, None)
        self.generation += 1

    def swagger(self, own: Document) -> Document:
        """``/openapi/v2``."""
        others = [self._swagger[key] for key in sorted(self._swagger) if self._swagger[key]]
        if not others:
            return own
        return self._joined("v2", own, lambda document: joined_swagger(document, others))

    def index(self, own: Document) -> Document:
        """``/openapi/v3``."""
        urls = {"apis/{}/{}".format(*key): url for key, url in sorted(self._urls.items()) if url}
        if not urls:
            return own

        def with_theirs(document: Obj) -> Obj:
            theirs = {path: {"serverRelativeURL": url} for path, url in urls.items()}
            return {**document, "paths": {**theirs, **document["paths"]}}

        return self._joined("v3", own, with_theirs)

    def _joined(self, name: str, own: Document, join: Callable[[Obj], Obj]) -> Document:
        told = (own.etag, self.generation)
        kept = self._kept.get(name)
        if kept is None or kept[0] != told:
            kept = self._kept[name] = told, encode(join(orjson.loads(own.body)))
        return kept[1]


def _about(document: Obj, prefix: str) -> Obj:
    """Of a Swagger document the paths that begin so, and the definitions that they need."""
    paths = {
        path: item for path, item in (document.get("paths") or {}).items() if f"{path}/".startswith(prefix)
    }
    known = document.get("definitions") or {}
    needed: dict[str, Any] = {}
    todo = list(_references(paths))
    while todo:
        name = todo.pop()
        if name in known and name not in needed:
            needed[name] = known[name]
            todo += _references(known[name])
    if not paths:
        return {}
    kept = ("info", "securityDefinitions", "parameters", "responses", "produces")
    about = {key: document[key] for key in kept if key in document}
    return {**about, "paths": paths, "definitions": needed}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        told = value.get("$ref")
        if isinstance(told, str) and told.startswith(_REF):
            yield told[len(_REF) :]
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def joined_swagger(own: Obj, others: list[Obj]) -> Obj:
    """Paths that are there already stay as they are; another definition of a name that is taken gets a new one."""
    paths, definitions = dict(own["paths"]), dict(own["definitions"])
    for other in others:
        names: dict[str, str] = {}
        for name, definition in other["definitions"].items():
            if definitions.get(name, definition) == definition:
                definitions[name] = definition
                continue
            number = 2
            while definitions.get(f"{name}_v{number}", definition) != definition:
                number += 1
            names[name] = f"{name}_v{number}"
            definitions[names[name]] = definition
        if names:
            for name in other["definitions"]:
                called = names.get(name, name)
                definitions[called] = _renamed(definitions[called], names)
        for path, item in other["paths"].items():
            paths.setdefault(path, _renamed(item, names) if names else item)
    return {**own, "paths": paths, "definitions": definitions}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        changed = {key: _renamed(item, names) for key, item in value.items()}
        told = changed.get("$ref")
        if isinstance(told, str) and told.startswith(_REF):
            changed["$ref"] = _REF + names.get(told[len(_REF) :], told[len(_REF) :])
        return changed
    return [_renamed(item, names) for item in value] if isinstance(value, list) else value
