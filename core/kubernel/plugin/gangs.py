"""Gangs: pods that get their nodes together, as scheduling policies see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import PodState
    from kubernel.store.records import Obj

__all__ = ["Gang", "GangNomination", "GangTrial"]


@dataclass(frozen=True, slots=True)
class Gang:
    """Pods that are looked at together: enough of them get a node, or none does.

    ``placed``: uids of those that have a node; ``members``: of those that have none.
    """

    key: tuple[str, str]
    group: Obj
    placed: Sequence[str]
    members: Sequence[str]
    priority: int = 0
    """What all of its pods must have, and are worth."""
    whole: bool = False
    """Whether none of its pods may be disrupted without the others."""


@dataclass(frozen=True, slots=True)
class GangNomination:
    """Answer of ``post_filter_gang``: the gang will fit on ``nodes`` (uid of a pod -> node) once ``victims`` are gone;
    ``text`` says so."""

    nodes: Mapping[str, str]
    victims: int
    text: str


class GangTrial(Protocol):
    """A gang that cannot be placed, and the cluster as it might be. What is supposed here has to be undone
    (``restore``) before anything is awaited."""

    @property
    def gang(self) -> Gang: ...
    @property
    def members(self) -> Sequence[PodState]: ...

    def take_off(self, pod: PodState) -> None:
        """As if the pod, of any node, were gone."""

    def put_back(self, pod: PodState) -> None:
        """One that was taken off."""

    def place(self) -> tuple[str, Mapping[str, str]]:
        """Find nodes for the members as things are supposed to be, and suppose them there: why that cannot be, and the
        node of each (by uid) that has one."""
        ...

    def fits(self) -> bool:
        """Whether all filters still let the members be where they were placed."""
        ...

    def restore(self) -> None:
        """All is again as it really is."""
