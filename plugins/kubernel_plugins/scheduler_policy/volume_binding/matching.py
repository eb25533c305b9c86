"""Which volumes may satisfy which claims, on all nodes at once.

Source: k8s.io/component-helpers/storage/volume/pv_helpers.go, FindMatchingVolume, and
k8s.io/kubernetes/pkg/scheduler/framework/plugins/volumebinding/binder.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy

from kubernel.objects import meta, selectors
from kubernel_plugins.scheduler_policy import volumes

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Mask, Nodes, Rows
    from kubernel.store.records import Obj

__all__ = ["Match", "belongs_to", "candidates", "match"]


@dataclass(slots=True)
class Match:
    """What a claim would be bound to. ``taken``: volumes, each with the rows where the claim gets it;
    ``unmatched``: the rows where it gets none."""

    claim: Obj
    taken: list[tuple[Obj, Mask]]
    unmatched: Mask = field(repr=False)


def belongs_to(volume: Obj, claim: Obj) -> bool:
    """Whether a volume is bound to, or reserved for, a claim."""
    reference = volume["spec"].get("claimRef")
    if not reference:
        return False
    found = claim["metadata"]
    if (reference.get("name"), reference.get("namespace")) != (found["name"], found.get("namespace")):
        return False
    return not reference.get("uid") or reference["uid"] == found.get("uid")


def candidates(claim: Obj, of_class: Iterable[Obj]) -> list[Obj]:
    """The volumes of the claim's class that would do, wherever they are reachable from: the smallest first, or just
    the one that is reserved for it."""
    spec = claim["spec"]
    wanted = volumes.size((spec.get("resources") or {}).get("requests"))
    selector = selectors.from_object(spec["selector"]) if spec.get("selector") else None
    modes = set(spec.get("accessModes") or ())
    found = []
    for volume in of_class:
        offered = volume["spec"]
        mine = belongs_to(volume, claim)
        if offered.get("claimRef") and not mine:
            continue
        if (
            volumes.size(offered.get("capacity")) < wanted
            or (offered.get("volumeMode") or "Filesystem") != (spec.get("volumeMode") or "Filesystem")
            or (offered.get("volumeAttributesClassName") or "")
            != (spec.get("volumeAttributesClassName") or "")
            or meta.is_deleting(volume)
        ):
            continue
        if mine:
            return [volume]
        if (
            (volume.get("status") or {}).get("phase") == "Available"
            and (selector is None or selector.matches(meta.labels(volume)))
            and modes <= set(offered.get("accessModes") or ())
        ):
            found.append(volume)
    return sorted(found, key=lambda volume: volumes.size(volume["spec"].get("capacity")))


def match(claims: Sequence[tuple[Obj, Sequence[Obj]]], nodes: Nodes, rows: Rows) -> list[Match]:
    """Give each claim, the ones that ask for least first, the smallest of its candidates that is reachable and
    not given away, for each row by itself."""
    given: dict[str, Mask] = {}
    found = []
    for claim, volumes_for_it in sorted(claims, key=_asked):
        unmatched = numpy.ones_like(nodes.live[rows])
        taken = []
        for volume in volumes_for_it:
            name = volume["metadata"]["name"]
            here = unmatched & volumes.reachable(volume, nodes, rows)
            if name in given:
                here &= ~given[name]
            if here.any():
                taken.append((volume, here))
                given[name] = given[name] | here if name in given else here
                unmatched = unmatched & ~here
                if not unmatched.any():
                    break
        found.append(Match(claim, taken, unmatched))
    return found


def _asked(claim: tuple[Obj, Sequence[Obj]]) -> int:
    return volumes.size((claim[0]["spec"].get("resources") or {}).get("requests"))
