"""Which pods of an owner are the least loss, kept by the pods' events: choosing a few need not look at them all.

Source: ActivePodsWithRanks in k8s.io/kubernetes/pkg/controller/controller_utils.go (v1.37). Pods that are alike in all
that ranks them, but for restarts and age, are kept together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import TYPE_CHECKING, NamedTuple

from kubernel.objects import meta, times
from kubernel_plugins.controller import pods

if TYPE_CHECKING:
    from kubernel.store.records import EventType, Obj

__all__ = ["PodRanks", "Ranks"]

_COST = "controller.kubernetes.io/pod-deletion-cost"


class _Rank(NamedTuple):
    stage: tuple[bool, int, bool]
    cost: int
    node: str
    ready_since: float | None


class Ranks:
    """Active pods of one owner."""

    __slots__ = ("_alike", "nodes")

    def __init__(self, owned: Iterable[Obj] = ()) -> None:
        self._alike: dict[_Rank, dict[str, Obj]] = {}
        self.nodes: Counter[str] = Counter()
        """How many there are on each node."""
        for pod in owned:
            self.add(pod)

    def __bool__(self) -> bool:
        return bool(self._alike)

    def add(self, pod: Obj) -> None:
        """A pod that is not active is passed over."""
        if pods.is_active(pod):
            rank = _rank(pod)
            self._alike.setdefault(rank, {})[meta.uid(pod)] = pod
            self.nodes[rank.node] += 1

    def remove(self, pod: Obj) -> None:
        """``pod`` as it was added."""
        if not pods.is_active(pod):
            return
        rank = _rank(pod)
        alike = self._alike.get(rank)
        if alike is None or alike.pop(meta.uid(pod), None) is None:
            return
        self.nodes[rank.node] -= 1
        if not self.nodes[rank.node]:
            del self.nodes[rank.node]
        if not alike:
            del self._alike[rank]

    def first(self, count: int, same_node: Mapping[str, int], now: float) -> list[Obj]:
        """The ``count`` pods that are the least loss.

        ``same_node`` counts, by node, the pods of the same owner's family there. Of pods that have been ready, or
        there, for about as long (the same power of two of nanoseconds, KEP-2185) the uid decides: not always the
        newest go.
        """
        groups: dict[tuple[int, ...], list[_Rank]] = {}
        for rank in self._alike:
            since = rank.ready_since
            ready_for = 0 if since is None else _magnitude(now - since)
            key = (*rank.stage, rank.cost, -same_node.get(rank.node, 0), ready_for)
            groups.setdefault(key, []).append(rank)
        gone: list[Obj] = []
        for _, ranks in sorted(groups.items()):
            group = [pod for rank in ranks for pod in self._alike[rank].values()]
            left = count - len(gone)
            if len(group) <= left:
                gone += group
            elif len({rank.ready_since for rank in ranks}) == 1:
                gone += nsmallest(left, group, lambda pod: (*pods.restarts(pod), *_age(pod, now)))
            else:
                gone += nsmallest(left, group, meta.uid)
            if len(gone) == count:
                break
        return gone


class PodRanks:
    """Ranks of all owners of one kind. ``observe`` is a listener of the pods' informer."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._ranks: dict[str, Ranks] = {}

    def of(self, owner: str) -> Ranks:
        """Those of the owner with this uid."""
        return self._ranks.get(owner) or Ranks()

    def observe(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if old is not None and (owner := self._owner(old)) and (ranks := self._ranks.get(owner)):
            ranks.remove(old)
            if not ranks:
                del self._ranks[owner]
        if type != "DELETED" and (owner := self._owner(pod)) and pods.is_active(pod):
            self._ranks.setdefault(owner, Ranks()).add(pod)

    def _owner(self, pod: Obj) -> str:
        controller = meta.controller_of(pod)
        ours = controller is not None and controller.get("kind") == self._kind
        return str(controller["uid"]) if controller is not None and ours else ""


def _rank(pod: Obj) -> _Rank:
    since = pods.ready_since(pod)
    node = (pod.get("spec") or {}).get("nodeName", "")
    return _Rank(pods.stage(pod, since), _cost(pod), node, since)


def _magnitude(seconds: float) -> int:
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def _age(pod: Obj, now: float) -> tuple[int, str]:
    return _magnitude(now - times.parse(pod["metadata"]["creationTimestamp"])), meta.uid(pod)


def _cost(pod: Obj) -> int:
    text = meta.annotations(pod).get(_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0
