"""How many pods of each node, and of each topology domain, match what somebody asked about: counted once, then kept
current as pods come and go.

Sums by domain are made when they are first asked for, and anew after nodes or their labels changed, which is seldom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Ids, PodMatcher, PodState, Term, TermKind
    from kubernel_plugins.scheduler.default.table import NodeTable

    Entry = tuple[TermKind, Term, int]

__all__ = ["PodCounts"]

_MATCHERS = 512
"""Counted at a time; the one unused for longest makes room."""
_KINDS = 8192
"""Kinds of pods (namespace, labels) of which it is remembered who counts them."""
_Label = tuple[str, str]


class _Counted:
    """``rows``: pods of each node; ``sums``: by topology key those of each domain, with the ids of the nodes' domains;
    ``made``: as of which labels."""

    __slots__ = ("made", "pods", "rows", "sums")

    def __init__(self, rows: Amounts) -> None:
        self.rows = rows
        self.pods = 0
        self.sums: dict[str, tuple[Ids, Amounts]] = {}
        self.made = -1

    def add(self, row: int, sign: int, labelling: int) -> None:
        self.rows[row] += sign
        self.pods += sign
        if self.made != labelling:
            self.sums.clear()
        for ids, sums in self.sums.values():
            domain = ids[row]
            if domain >= 0:
                sums[domain] += sign

    def summed(self, table: NodeTable, key: str) -> Amounts:
        if self.made != table.labelling:
            self.sums.clear()
            self.made = table.labelling
        found = self.sums.get(key)
        if found is None:
            ids = table.label(key)
            found = self.sums[key] = ids, _sums(ids, self.rows, len(table.label_values(key)))
        return found[1]


def _sums(ids: Ids, counts: Amounts, size: int) -> Amounts:
    there = ids >= 0
    return numpy.bincount(ids[there], weights=counts[there], minlength=size).astype(numpy.int64)


class PodCounts:
    """Of one table, which tells of every pod that comes to a row or leaves it."""

    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._matchers: dict[PodMatcher, _Counted] = {}
        self._anchored: dict[_Label | None, list[PodMatcher]] = {}
        self._matched_by: dict[Any, list[_Counted]] = {}
        self._terms: dict[Entry, _Counted] = {}
        self._nodes: dict[str, Amounts] = {}
        self._made = -1

    @property
    def wanted(self) -> bool:
        """Whether pods without affinity terms are counted at all."""
        return bool(self._matchers)

    # --- reading

    def domains(self, key: str) -> Amounts:
        """How many nodes each domain has."""
        table = self._table
        if self._made != table.labelling:
            self._nodes.clear()
            self._made = table.labelling
        found = self._nodes.get(key)
        if found is None:
            ids = table.label(key)
            ones = numpy.ones(len(ids), dtype=numpy.int64)
            found = self._nodes[key] = _sums(ids, ones, len(table.label_values(key)))
        return found

    def matching(self, matcher: PodMatcher) -> Amounts:
        return self._counted(matcher).rows

    def matching_in(self, matcher: PodMatcher, key: str) -> Amounts:
        return self._counted(matcher).summed(self._table, key)

    def terms(self, *kinds: TermKind) -> Iterator[tuple[TermKind, Term, int, Amounts]]:
        for (kind, term, weight), counted in self._terms.items():
            if kind in kinds:
                yield kind, term, weight, counted.summed(self._table, term.topology_key)

    def _counted(self, matcher: PodMatcher) -> _Counted:
        counted = self._matchers.pop(matcher, None)
        if counted is not None:
            self._matchers[matcher] = counted
            return counted
        table = self._table
        counted = _Counted(numpy.zeros(len(table), dtype=numpy.int64))
        anchor = _anchor(matcher)
        for row in table.rows():
            for pod in table.pods_on(row):
                if (anchor is None or pod.labels.get(anchor[0]) == anchor[1]) and matcher.matches(pod):
                    counted.add(row, 1, table.labelling)
        if len(self._matchers) >= _MATCHERS:
            self._forget(next(iter(self._matchers)))
        self._matchers[matcher] = counted
        self._anchored.setdefault(anchor, []).append(matcher)
        self._forget_kinds(anchor)
        return counted

    def _forget(self, matcher: PodMatcher) -> None:
        anchor = _anchor(matcher)
        del self._matchers[matcher]
        self._anchored[anchor].remove(matcher)
        if not self._anchored[anchor]:
            del self._anchored[anchor]
        self._forget_kinds(anchor)

    def _forget_kinds(self, anchor: _Label | None) -> None:
        """Who counts pods with this label is to be found out anew."""
        if anchor is None:
            self._matched_by.clear()
        for kind in [kind for kind in self._matched_by if anchor in kind[1]]:
            del self._matched_by[kind]

    # --- changing

    def add(self, row: int, pod: PodState, sign: int) -> None:
        """A pod came (1) to a row or left it (-1)."""
        if self._matchers:
            for counted in self._matched(pod):
                counted.add(row, sign, self._table.labelling)
        for entry in pod.terms:
            self._add_term(row, entry, sign)

    def grow(self, longer: Callable[[Amounts], Amounts]) -> None:
        for counted in (*self._matchers.values(), *self._terms.values()):
            counted.rows = longer(counted.rows)
            counted.made = -1
            counted.sums.clear()

    def _matched(self, pod: PodState) -> Iterable[_Counted]:
        kind = (pod.namespace, frozenset(pod.labels.items()), pod.leaving)
        found = self._matched_by.get(kind)
        if found is None:
            if len(self._matched_by) > _KINDS:
                self._matched_by.clear()
            found = [
                self._matchers[matcher]
                for anchor in (None, *pod.labels.items())
                for matcher in self._anchored.get(anchor, ())
                if matcher.matches(pod)
            ]
            self._matched_by[kind] = found
        return found

    def _add_term(self, row: int, entry: Entry, sign: int) -> None:
        counted = self._terms.get(entry)
        if counted is None:
            rows = numpy.zeros(len(self._table), dtype=numpy.int64)
            counted = self._terms[entry] = _Counted(rows)
        counted.add(row, sign, self._table.labelling)
        if not counted.pods:
            del self._terms[entry]


def _anchor(matcher: PodMatcher) -> _Label | None:
    """A label that every pod it counts has."""
    for selector in matcher.selectors:
        for each in selector.requirements:
            if each.operator in ("=", "=="):
                return each.key, each.values[0]
    return None
