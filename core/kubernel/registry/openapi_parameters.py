"""Parameters of operations, as OpenAPI 2 and 3 write them.

``parameters.json`` is made by ``build_schema/published.py`` from the published documents. In OpenAPI 2 what many
operations share stands apart, under its name and a hash of itself (k8s.io/kube-openapi/pkg/builder/parameters.go).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from kubernel.registry.causes import show

__all__ = ["DELETE", "LIST", "WRITE", "Parameters"]

LIST = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "shardSelector", "timeoutSeconds", "watch",
)  # fmt: skip
WRITE = ("dryRun", "fieldManager", "fieldValidation")
DELETE = (
    "dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents",
    "propagationPolicy",
)  # fmt: skip
_IN_PATH = ("name", "namespace", "path")
_OPEN = ("name", "fieldValidation", "dryRun")
"""Never shared: the first differs from kind to kind, by the others kubectl tells what a server can do."""
_FNV_OFFSET, _FNV_PRIME = 0xCBF29CE484222325, 0x100000001B3
_Object = dict[str, Any]


class Parameters:
    """Those of one document. ``shared`` gathers what stands apart (OpenAPI 2): name -> parameter."""

    def __init__(self, openapi: int) -> None:
        self.v3 = openapi == 3
        self.shared: dict[str, _Object] = {}
        self._texts: Mapping[str, Sequence[str]] = orjson.loads(
            Path(__file__).with_name("parameters.json").read_bytes()
        )
        self._made: dict[tuple[str, str], _Object] = {}

    def known(self, name: str, action: str = "") -> _Object:
        """A parameter of every kind's operations; some actions describe one in words of their own."""
        key = f"{name} {action}" if f"{name} {action}" in self._texts else name
        made = self._made.get((key, ""))
        if made is None:
            type, text = self._texts[key]
            made = self._made[key, ""] = self._make(name, type, text, in_path=name in _IN_PATH)
        return made

    def name_of(self, kind: str) -> _Object:
        return self._make("name", "string", f"name of the {kind}", in_path=True)

    def query(self, name: str, type: str, text: str) -> _Object:
        return self._make(name, type, text, in_path=False)

    def body(self, schema: _Object, *, optional: bool, common: bool) -> _Object:
        """OpenAPI 2 alone has bodies among the parameters; ``common`` ones are the same for every kind."""
        entry: _Object = {"name": "body", "in": "body"}
        if not optional:
            entry["required"] = True
        entry["schema"] = schema
        return self._apart(entry) if common else entry

    def _make(self, name: str, type: str, text: str, *, in_path: bool) -> _Object:
        place = "path" if in_path else "query"
        required = {"required": True} if in_path else {}
        if self.v3:
            schema = {"type": type, "uniqueItems": True}
            return {"name": name, "in": place, "description": text, **required, "schema": schema}
        entry = {
            "uniqueItems": True,
            "type": type,
            "description": text,
            "name": name,
            "in": place,
            **required,
        }
        return entry if name in _OPEN else self._apart(entry)

    def _apart(self, entry: _Object) -> _Object:
        name = f"{entry['name']}-{_hash(show(entry).encode())}"
        self.shared[name] = entry
        return {"$ref": f"#/parameters/{name}"}


def _hash(text: bytes) -> str:
    """The first six bytes of the 64-bit FNV-1, for an URL."""
    value = _FNV_OFFSET
    for byte in text:
        value = (value * _FNV_PRIME & 0xFFFFFFFFFFFFFFFF) ^ byte
    return base64.urlsafe_b64encode(value.to_bytes(8, "big")[:6]).decode()
