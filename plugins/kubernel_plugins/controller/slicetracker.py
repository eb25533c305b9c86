"""Which EndpointSlices a controller has written, and at which generation: who else changed one, and whether the
informer still shows what was there before.

Source: k8s.io/endpointslice/util/endpointslice_tracker.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from kubernel.objects import meta

if TYPE_CHECKING:
    from kubernel.client.reconciler import ObjectKey
    from kubernel.store.records import Obj

__all__ = ["SliceTracker"]

_GOING = -1
"""In place of the generation of a slice that was deleted here."""


class SliceTracker:
    """Slices by service."""

    def __init__(self) -> None:
        self._generations: dict[ObjectKey, dict[str, int]] = {}

    def written(self, service: ObjectKey, entry: Obj) -> None:
        """``entry`` is what came of it."""
        self._generations.setdefault(service, {})[meta.uid(entry)] = _generation(entry)

    def deleted(self, service: ObjectKey, entry: Obj) -> None:
        """Its deletion has been asked for here."""
        self._generations.setdefault(service, {})[meta.uid(entry)] = _GOING

    def is_tracked(self, service: ObjectKey, entry: Obj) -> bool:
        return meta.uid(entry) in self._generations.get(service, ())

    def is_of_another(self, service: ObjectKey, entry: Obj) -> bool:
        """Whether this state of a slice was written by somebody else."""
        known = self._generations.get(service, {}).get(meta.uid(entry))
        return known is None or _generation(entry) > known

    def is_taken_away(self, service: ObjectKey, entry: Obj) -> bool:
        """Told that a slice is gone: whether somebody else deleted it."""
        known = self._generations.get(service, {}).pop(meta.uid(entry), None)
        return known is not None and known != _GOING

    def is_behind(self, service: ObjectKey, found: Iterable[Obj]) -> bool:
        """Whether the informer has yet to show something that was written or deleted here."""
        known = self._generations.get(service)
        if not known:
            return False
        shown = {meta.uid(entry): _generation(entry) for entry in found}
        return any(
            uid in shown if generation == _GOING else shown.get(uid, _GOING) < generation
            for uid, generation in known.items()
        )

    def forget(self, service: ObjectKey) -> None:
        self._generations.pop(service, None)


def _generation(entry: Obj) -> int:
    return int(entry["metadata"].get("generation") or 0)
