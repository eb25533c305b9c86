"""The table of types: what is served, under which names, at which versions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType

__all__ = ["TypeTable", "version_rank"]

_VERSION = re.compile(r"^v(\d+)(?:(alpha|beta)(\d+))?$")
_STAGES = {"alpha": 0, "beta": 1, None: 2}


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Sort key, greatest first wanted: GA before beta before alpha, then higher numbers.

    Names that are not Kubernetes versions come last, in alphabetical order
    (apimachinery/pkg/version ``CompareKubeAwareVersionStrings``).
    """
    match = _VERSION.match(version)
    if match is None:
        return (-1, 0, 0, "".join(chr(0x10FFFF - ord(char)) for char in version))
    return (_STAGES[match[2]], int(match[1]), int(match[3] or 0), "")


class TypeTable:
    """Types by path name and by kind. ``generation`` grows whenever types come or go."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], ResourceType] = {}
        self._by_kind: dict[tuple[str, str, str], ResourceType] = {}
        self._preferred: dict[tuple[str, str], ResourceType] = {}
        self._versions: dict[str, frozenset[str]] = {}
        self._listeners: list[Callable[[], None]] = []
        self.generation = 0

    def register(self, type: ResourceType) -> None:
        """Serve ``type``; ValueError when its path is taken."""
        self._add(type)
        self._changed()

    def unregister(self, type: ResourceType) -> None:
        self._remove(type)
        self._changed()

    def _add(self, type: ResourceType) -> None:
        path = (type.group, type.version, type.plural)
        if path in self._by_path:
            raise ValueError(f"resource type {type.qualified} in version {type.version} is registered twice")
        self._by_path[path] = type
        self._by_kind.setdefault((type.group, type.version, type.kind), type)
        self._prefer(type.group, type.plural)

    def _remove(self, type: ResourceType) -> None:
        self._by_path.pop((type.group, type.version, type.plural), None)
        kind = (type.group, type.version, type.kind)
        if self._by_kind.get(kind) is type:
            del self._by_kind[kind]
        self._prefer(type.group, type.plural)

    def replace(self, old: Iterable[ResourceType], new: Iterable[ResourceType]) -> None:
        """Serve ``new`` in the place of ``old``, told as one change. ValueError when a path is taken by others;
        then nothing changes."""
        old, new = list(old), list(new)
        for type in old:
            self._remove(type)
        try:
            for at, type in enumerate(new):
                try:
                    self._add(type)
                except ValueError:
                    for added in new[:at]:
                        self._remove(added)
                    for type in old:
                        self._add(type)
                    raise
        finally:
            self._changed()

    def lookup(self, group: str, version: str, plural: str) -> ResourceType | None:
        return self._by_path.get((group, version, plural))

    def by_kind(self, group: str, version: str, kind: str) -> ResourceType | None:
        return self._by_kind.get((group, version, kind))

    def preferred(self, group: str, plural: str) -> ResourceType | None:
        return self._preferred.get((group, plural))

    def api_versions(self, resource: str) -> frozenset[str]:
        """Those in which the objects of a ``ResourceType.resource`` are served; of events ``v1`` and
        ``events.k8s.io/v1``."""
        found = self._versions.get(resource)
        if found is None:
            found = self._versions[resource] = frozenset(
                type.api_version for type in self._by_path.values() if type.resource == resource
            )
        return found

    def types(self) -> Iterable[ResourceType]:
        return self._by_path.values()

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def _prefer(self, group: str, plural: str) -> None:
        versions = [t for t in self._by_path.values() if t.group == group and t.plural == plural]
        if versions:
            self._preferred[group, plural] = max(versions, key=lambda t: version_rank(t.version))
        else:
            self._preferred.pop((group, plural), None)

    def _changed(self) -> None:
        self._versions.clear()
        self.generation += 1
        for listener in self._listeners:
            listener()
