"""Which volumes are attached to which node, and for whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

__all__ = ["Attachments", "Volume"]

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume of a CSI driver. ``migrated``: of a kind that the driver took over."""

    driver: str
    handle: str
    migrated: bool = field(default=False, compare=False)


class Attachments:
    """Holders (pods by uid, VolumeAttachments) with their node and volumes. A volume that several holders on a
    node have counts once."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[str, tuple[Volume, ...]]] = {}
        self._on: dict[str, dict[Volume, set[str]]] = {}
        self._holders: dict[str, set[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def set(self, holder: str, node: str, volumes: Sequence[Volume]) -> None:
        """Replaces what the holder had."""
        wanted = node, tuple(dict.fromkeys(volumes))
        if self._held.get(holder) == wanted:
            return
        self.remove(holder)
        if not wanted[1]:
            return
        self._held[holder] = wanted
        self._holders.setdefault(node, set()).add(holder)
        there = self._on.setdefault(node, {})
        for volume in wanted[1]:
            having = there.setdefault(volume, set())
            if not having:
                key = node, volume.driver
                self._counts[key] = self._counts.get(key, 0) + 1
            having.add(holder)

    def remove(self, holder: str) -> None:
        """Tolerates one that is not known."""
        node, volumes = self._held.pop(holder, ("", ()))
        if not volumes:
            return
        there = self._on[node]
        for volume in volumes:
            there[volume].discard(holder)
            if not there[volume]:
                del there[volume]
                self._counts[node, volume.driver] -= 1
        self._holders[node].discard(holder)
        if not there:
            del self._on[node], self._holders[node]

    def holders(self, node: str) -> Collection[str]:
        return self._holders.get(node, _NOBODY)

    def having(self, node: str, volume: Volume) -> Collection[str]:
        """The holders that have the volume there."""
        return self._on.get(node, {}).get(volume, _NOBODY)

    def count(self, node: str, driver: str, without: frozenset[str] = _NOBODY) -> int:
        """How many volumes of a driver a node has, for others than ``without``."""
        if not without:
            return self._counts.get((node, driver), 0)
        there = self._on.get(node, {})
        return sum(1 for volume, having in there.items() if volume.driver == driver and having - without)
