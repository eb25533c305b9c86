"""Discovery of what other servers serve, joined to what this one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.documents import Document, encode

if TYPE_CHECKING:
    from kubernel.store.records import Obj

    from .aggregation import Aggregator

__all__ = ["RemoteGroups"]

_CACHED = 64


class RemoteGroups:
    """Joined documents are kept until one of their parts changes."""

    def __init__(self, aggregator: Aggregator) -> None:
        self._aggregator = aggregator
        self._cache: dict[tuple[str, str, str, int], Document] = {}

    def joined(self, path: str, form: str, own: Document | None) -> Document | None:
        """``own`` is this server's document for ``path``: ``/apis`` or ``/apis/G``. ``form`` is the version of the
        aggregated document, empty for a classic one."""
        if not self._aggregator.resources:
            return own
        key = (path, form, own.etag if own is not None else "", self._aggregator.generation)
        found = self._cache.get(key)
        if found is None:
            made = self._make(path, form, orjson.loads(own.body) if own is not None else None)
            if made is None:
                return own
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            found = self._cache[key] = encode(made)
        return found

    def _make(self, path: str, form: str, own: Obj | None) -> Obj | None:
        groups: dict[str, list[str]] = {}
        for group, version in self._aggregator.ranked():
            groups.setdefault(group, []).append(version)
        if path == "/apis" and own is not None:
            field = "items" if form else "groups"
            entry: Callable[[str, list[str]], Obj] = self._discovered if form else _group
            there = {one["metadata"]["name"] if form else one["name"]: one for one in own[field]}
            priorities = self._aggregator.priorities()
            for group, versions in groups.items():
                made = entry(group, versions)
                if group in there:
                    _extend(there[group], made, group, priorities)
                else:
                    own[field].append(made)
            _sort(own[field], priorities)
            return own
        group = path.removeprefix("/apis/")
        if group not in groups:
            return None
        made = {"kind": "APIGroup", "apiVersion": "v1", **_group(group, groups[group])}
        if own is not None:
            _extend(own, made, group, self._aggregator.priorities())
            return own
        return made

    def _discovered(self, group: str, versions: list[str]) -> Obj:
        return {
            "metadata": {"name": group, "creationTimestamp": None},
            "versions": [
                {
                    "version": version,
                    "resources": _resources(group, version, self._aggregator.resources[group, version]),
                    "freshness": "Current" if self._aggregator.available(group, version) else "Stale",
                }
                for version in versions
            ],
        }


_Priorities = dict[tuple[str, str], tuple[int, int]]


def _extend(there: Obj, made: Obj, group: str, priorities: _Priorities) -> None:
    """Put the versions that only ``made`` has among the others, by their priority."""
    known = {one["version"] for one in there["versions"]}
    there["versions"] += [one for one in made["versions"] if one["version"] not in known]
    there["versions"].sort(key=lambda one: -priorities.get((group, one["version"]), (0, 0))[1])
    if "preferredVersion" in there:
        there["preferredVersion"] = there["versions"][0]


def _sort(groups: list[Obj], priorities: _Priorities) -> None:
    """By their priority, which is the highest that any of their versions asks for. A group without an APIService
    stays behind the one before it."""
    highest: dict[str, int] = {}
    for (group, _), (priority, _) in priorities.items():
        highest[group] = max(priority, highest.get(group, 0))
    last = max(highest.values(), default=0)
    ranks: dict[int, int] = {}
    for one in groups:
        name = one["metadata"]["name"] if "metadata" in one else one["name"]
        last = ranks[id(one)] = highest.get(name, last)
    groups.sort(key=lambda one: -ranks[id(one)])


def _group(group: str, versions: list[str]) -> Obj:
    entries = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": entries, "preferredVersion": entries[0]}


def _resources(group: str, version: str, listed: Obj) -> list[Obj]:
    """An APIResourceList as the aggregated form has it: subresources below their resource."""
    found: dict[str, Obj] = {}
    for one in listed.get("resources") or ():
        plural, _, sub = one["name"].partition("/")
        kind = {
            "group": one.get("group") or group,
            "version": one.get("version") or version,
            "kind": one.get("kind", ""),
        }
        if sub:
            entry: dict[str, Any] = {
                "subresource": sub,
                "responseKind": kind,
                "verbs": one.get("verbs") or [],
            }
            if plural in found:
                found[plural].setdefault("subresources", []).append(entry)
            continue
        found[plural] = {
            "resource": plural,
            "responseKind": kind,
            "scope": "Namespaced" if one.get("namespaced") else "Cluster",
            "singularResource": one.get("singularName") or one.get("kind", "").lower(),
            "verbs": one.get("verbs") or [],
            **{key: one[key] for key in ("shortNames", "categories") if one.get(key)},
        }
    return list(found.values())
