"""One pod against all nodes: what every policy of a profile says, and which node is best.

What was computed for a pod serves all pods of the same signature: after a placement only the rows that changed are
looked at again, by the policies whose answers can have changed. A run of pods from one template is placed in
batches: of the nodes that are equally good some are judged at once as they will be with one more of these
pods, and as long as nothing else happens each pod just takes the next of them.

Source of the order of things: k8s.io/kubernetes/pkg/scheduler/schedule_one.go (v1.37). All nodes are always
evaluated: there is no sampling (``percentageOfNodesToScore``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from kubernel.plugin.scheduling import ALL, SKIP, Narrowed, Policy, PolicyError, Refusal, overrides

if TYPE_CHECKING:
    import random

    from kubernel.plugin.scheduling import Amounts, Mask, PodState, Rows
    from kubernel_plugins.scheduler.default.nominations import Nominations
    from kubernel_plugins.scheduler.default.table import NodeTable

__all__ = ["Diagnosis", "Evaluation", "Weighed"]

_BATCH = 64
"""Pods that are placed at most before the nodes are compared again."""
_AHEAD = 4 * _BATCH
"""Rows that are kept judged for pods to come."""
_ONE_BY_ONE = 8
"""Up to so many changed rows are looked at as slices, which cost less than index arrays."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """A policy that scores, in a profile."""

    policy: Policy
    weight: int


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why no node fits: how many nodes there are, how many each reason holds for, and the nodes (by row) that
    were refused for good."""

    nodes: int
    reasons: Counter[str]
    lasting: Mask
    policies: frozenset[str]
    """Those that refused."""
    everywhere: str = ""
    """Set when a policy refused without looking at nodes."""


@dataclass(slots=True)
class _Filter:
    policy: Policy
    state: Any
    only: Mask | None = None


@dataclass(slots=True)
class _Scorer:
    """``raw`` is kept of scores that are compared between nodes later; ``uniform`` while all are equal: then
    they do not tell nodes apart."""

    policy: Policy
    weight: int
    state: Any
    raw: Amounts | None = None
    uniform: bool = False


class _Next(NamedTuple):
    """A node for one more pod of a batch, and how it will be judged with that pod."""

    row: int
    fits: bool
    total: int


class _Chosen(NamedTuple):
    """A pod that is about to be placed, and where; ``judged`` when it is known what that changes."""

    uid: str
    row: int
    judged: _Next | None


@contextmanager
def _on_node(table: NodeTable, row: int, pods: Collection[PodState]) -> Iterator[None]:
    name, position = table.name(row), table.position
    for pod in pods:
        table.place(pod, name)
    try:
        yield
    finally:
        for pod in pods:
            table.take_off(pod.uid)
        table.rewind(position)


class Evaluation:
    """What a profile's policies say about pods of one signature."""

    def __init__(self, filters: Sequence[Policy], scorers: Sequence[Weighed], table: NodeTable) -> None:
        self._policies = filters
        self._weighed = scorers
        self._table = table
        self._epoch = -1
        self._position = 0
        self._refusal: tuple[Policy, Refusal] | None = None
        self._filters: list[_Filter] = []
        self._scorers: list[_Scorer] = []
        self._run = 0
        """Pods placed one after the other, with nothing else in between."""
        self._batch: list[_Next] = []
        self._ahead: dict[int, _Next] = {}
        """By row, of rows that were drawn for pods to come where more than the nodes themselves decides."""
        self._chosen: _Chosen | None = None

    # --- bringing it up to date

    def update(self, pod: PodState) -> None:
        """Take in what changed since the last time."""
        table = self._table
        changes = table.changes_since(self._position) if self._epoch == table.epoch else None
        if changes is None:
            self._begin(pod)
            return
        chosen, self._chosen = self._chosen, None
        self._position = table.position
        if not changes:
            return
        if chosen is not None and changes == [chosen.row] and table.is_on(chosen.uid, chosen.row):
            self._run += 1
            self._settle(pod, chosen)
            return
        self._forget_batch()
        nodes = {~entry for entry in changes if entry < 0}
        rows = nodes.union(entry for entry in changes if entry >= 0)
        if nodes and self._narrowed:
            # Which nodes come into question was said of the nodes of then.
            self._begin(pod)
        elif len(rows) > _ONE_BY_ONE:
            self._refresh(pod, numpy.fromiter(rows, dtype=numpy.intp), objects=bool(nodes))
        else:
            for row in rows:
                self._refresh(pod, slice(row, row + 1), objects=row in nodes)

    def _settle(self, pod: PodState, chosen: _Chosen) -> None:
        """The pod that was to be placed is, and nothing else happened."""
        row, judged = chosen.row, chosen.judged
        self._ahead.pop(row, None)
        if judged is None:
            self._refresh(pod, slice(row, row + 1), objects=False)
        else:
            self._fits[row], self._total[row] = judged.fits, judged.total
            self._ranked[row] = judged.total if judged.fits else -1

    def _forget_batch(self) -> None:
        self._run, self._chosen = 0, None
        self._batch.clear()
        self._ahead.clear()

    def _begin(self, pod: PodState) -> None:
        table = self._table
        self._forget_batch()
        self._epoch, self._position = table.epoch, table.position
        self._refusal = None
        self._filters, self._scorers = [], []
        self._narrowed = False
        for policy in self._policies:
            state = None if policy.scope == "cluster" else policy.pre_filter(pod, table)
            if isinstance(state, Refusal):
                # It may be another answer the next time.
                self._refusal, self._epoch = (policy, state), -1
                return
            only = None
            if isinstance(state, Narrowed):
                only, state = state.nodes, state.state
                self._narrowed = True
            if state is not SKIP or only is not None:
                self._filters.append(_Filter(policy, state, only))
        for each in self._weighed:
            state = None if each.policy.scope == "cluster" else each.policy.pre_score(pod, table)
            if state is not SKIP:
                self._scorers.append(_Scorer(each.policy, each.weight, state))
        size = len(table)
        self._wide = [each for each in self._filters if each.policy.scope == "cluster"]
        self._late = [
            each
            for each in self._scorers
            if each.policy.scope == "cluster" or overrides(each.policy, "normalize")
        ]
        self._late_moving = [each for each in self._late if each.policy.scope == "node"]
        self._static = numpy.zeros(size, dtype=bool)
        self._fits = numpy.zeros(size, dtype=bool)
        self._total = numpy.zeros(size, dtype=numpy.int64)
        self._ranked = numpy.full(size, -1, dtype=numpy.int64)
        for scorer in self._late:
            if scorer.policy.scope != "cluster":
                scorer.raw = numpy.zeros(size, dtype=numpy.int64)
        self._refresh(pod, ALL, objects=True)

    def _refresh(self, pod: PodState, rows: Rows, *, objects: bool) -> None:
        """Compute some rows anew; ``objects``: the nodes themselves changed, not just their pods."""
        table = self._table
        if objects:
            static = table.live[rows]
            for each in self._filters:
                if each.only is not None:
                    static = static & each.only[rows]
                if each.policy.scope == "node object" and each.state is not SKIP:
                    static = static & each.policy.filter(pod, each.state, table, rows)
            self._static[rows] = static
        for scorer in self._late:
            if scorer.raw is not None and (scorer.policy.scope == "node" or objects):
                scorer.raw[rows] = scorer.policy.score(pod, scorer.state, table, rows)
                raw = scorer.raw[table.live]
                scorer.uniform = not raw.size or bool(raw.min() == raw.max())
        fits, total = self._judge(pod, rows)
        self._fits[rows] = fits
        self._total[rows] = total
        self._ranked[rows] = numpy.where(fits, total, -1)

    def _judge(self, pod: PodState, rows: Rows) -> tuple[Mask, Any]:
        """Whether and how well the nodes suit, but for what depends on the whole cluster."""
        table = self._table
        fits = self._static[rows]
        for each in self._filters:
            if each.policy.scope == "node" and each.state is not SKIP:
                fits = fits & each.policy.filter(pod, each.state, table, rows)
        total: Any = 0
        for scorer in self._scorers:
            if scorer.raw is None and scorer.policy.scope != "cluster":
                total = total + scorer.weight * scorer.policy.score(pod, scorer.state, table, rows)
        return fits, total

    # --- deciding

    def choose(self, pod: PodState, rng: random.Random, nominations: Nominations | None = None) -> int | None:
        """The row of the best node, by lot among equals; None when no node fits."""
        self.update(pod)
        if self._refusal is not None:
            return None
        wide = self._asked(pod, self._wide)
        late = [each for each in self._late if not each.uniform]
        scores = list(self._late_scores(pod, self._fits, late)) if not (wide or nominations) else None
        if scores == []:
            return self._next(pod, rng)
        self._batch.clear()
        ranked = self._ranked
        if scores is None:
            fits = self._fitting(pod, wide, nominations)
            if not fits.any():
                return None
            ranked = numpy.where(fits, self._total, -1)
            scores = list(self._late_scores(pod, fits, late))
        else:
            fits = self._fits
        for each in scores:
            ranked = ranked + numpy.where(fits, each, 0)
        best = ranked.max()
        if best < 0:
            return None
        return self._by_lot(pod, ranked, int(best), rng)

    def choose_among(
        self, pod: PodState, rng: random.Random, nominations: Nominations, only: Mask, extra: Amounts
    ) -> int | None:
        """As ``choose``, among some nodes, whose scores have something added."""
        fits = self.fitting(pod, nominations) & only
        if not fits.any():
            return None
        ranked = numpy.where(fits, self._total + extra, -1)
        for each in self._late_scores(pod, fits, self._late):
            ranked = ranked + numpy.where(fits, each, 0)
        equals = numpy.flatnonzero(ranked == ranked.max())
        return int(equals[int(rng.random() * len(equals))])

    def _by_lot(self, pod: PodState, ranked: Any, best: int, rng: random.Random) -> int:
        """One of the rows with the ``best`` rank; in a run of pods alike one that was drawn and judged before."""
        row = next((row for row in self._ahead if ranked[row] == best), None)
        if row is None:
            equals = numpy.flatnonzero(ranked == best)
            if self._run and not self._late_moving:
                row = self._draw(pod, equals, rng)
            else:
                row = int(equals[0] if len(equals) == 1 else equals[int(rng.random() * len(equals))])
        self._chosen = _Chosen(pod.uid, row, self._ahead.pop(row, None))
        return row

    def _draw(self, pod: PodState, equals: Any, rng: random.Random) -> int:
        """Draw rows for the next pods and judge them as they will be with one more of these; the first of them."""
        count = min(self._run, _BATCH, len(equals))
        if len(self._ahead) > _AHEAD:
            self._ahead.clear()
        rows = equals[rng.sample(range(len(equals)), count)]
        for each in self._with_one_more(pod, rows):
            self._ahead[each.row] = each
        return int(rows[0])

    def _with_one_more(self, pod: PodState, rows: Any) -> Iterator[_Next]:
        with self._table.supposed(pod, rows):
            fits, total = self._judge(pod, rows)
        total = numpy.broadcast_to(total, fits.shape)
        for row, fit, its in zip(rows.tolist(), fits.tolist(), total.tolist(), strict=True):
            yield _Next(row, fit, its)

    def _next(self, pod: PodState, rng: random.Random) -> int | None:
        """The best node where nothing but the nodes themselves decides."""
        if not self._batch:
            best = self._ranked.max()
            if best < 0:
                return None
            equals = numpy.flatnonzero(self._ranked == best)
            if len(equals) == 1 or not self._run or self._late_moving:
                row = int(equals[0] if len(equals) == 1 else equals[int(rng.random() * len(equals))])
                self._chosen = _Chosen(pod.uid, row, None)
                return row
            self._plan(pod, equals, int(best), rng)
        following = self._batch.pop()
        self._chosen = _Chosen(pod.uid, following.row, following)
        return following.row

    def _plan(self, pod: PodState, equals: Any, best: int, rng: random.Random) -> None:
        """Choose nodes for the next pods by lot, as long as each is no longer among the best with its pod."""
        count = min(self._run, _BATCH, len(equals))
        rows = equals[rng.sample(range(len(equals)), count)]
        for each in self._with_one_more(pod, rows):
            self._batch.append(each)
            if each.fits and each.total >= best:
                break
        self._batch.reverse()

    def fitting(self, pod: PodState, nominations: Nominations | None = None) -> Mask:
        """Where the pod may go. Nodes promised to pods of its priority or a higher one must have room for
        these, too."""
        self.update(pod)
        if self._refusal is not None:
            return numpy.zeros(len(self._table), dtype=bool)
        return self._fitting(pod, self._asked(pod, self._wide), nominations)

    def _asked(self, pod: PodState, filters: Sequence[_Filter]) -> list[tuple[Policy, Any]]:
        """The filters that have something to say, each with its state of now."""
        asked = []
        for each in filters:
            state = each.state
            if each.policy.scope == "cluster":
                state = each.policy.pre_filter(pod, self._table)
            if state is SKIP:
                continue
            asked.append((each.policy, state))
        return asked

    def _fitting(
        self, pod: PodState, wide: Sequence[tuple[Policy, Any]], nominations: Nominations | None
    ) -> Mask:
        table = self._table
        fits = self._fits
        for policy, state in wide:
            fits = fits & _passes(policy, pod, state, table, ALL)
        if nominations:
            fits = fits.copy()
            for row, promised in nominations.against(pod, table):
                if fits[row]:
                    fits[row] = self.fits_at(pod, row, promised)
        return fits

    def is_local(self, pod: PodState) -> bool:
        """Whether nothing but a node and its pods decides if the pod may go there."""
        self.update(pod)
        return self._refusal is None and not self._asked(pod, self._wide)

    def fits_at(self, pod: PodState, row: int, promised: Collection[PodState] = ()) -> bool:
        """Whether the pod may go to one node as the table is now, also with the ``promised`` pods there.
        Pods may have come and gone since ``update``, nodes may not have changed."""
        if promised:
            with _on_node(self._table, row, promised):
                if not self.fits_at(pod, row):
                    return False
        if self._refusal is not None or not self._static[row]:
            return False
        rows = slice(row, row + 1)
        moving = [each for each in self._filters if each.policy.scope != "node object"]
        return all(
            _passes(policy, pod, state, self._table, rows)[0] for policy, state in self._asked(pod, moving)
        )

    def refusals_at(self, pod: PodState, row: int, promised: Collection[PodState] = ()) -> Sequence[str]:
        """Why ``fits_at`` says no: the texts of the first policy that refuses the node."""
        if promised:
            with _on_node(self._table, row, promised):
                return self.refusals_at(pod, row)
        return next(iter(self._refusals_at(pod, row).values()), ())

    def _late_scores(self, pod: PodState, fits: Mask, late: Iterable[_Scorer]) -> Iterator[Amounts]:
        """Weighted scores that are found by comparing the nodes that fit."""
        if not fits.any():
            return
        for scorer in late:
            if (scores := self._late_score(pod, scorer, fits)) is not None:
                yield scorer.weight * scores

    def _late_score(self, pod: PodState, scorer: _Scorer, fits: Mask) -> Amounts | None:
        policy, table = scorer.policy, self._table
        state, raw = scorer.state, scorer.raw
        if policy.scope == "cluster":
            state = policy.pre_score(pod, table)
            if state is SKIP:
                return None
            raw = policy.score(pod, state, table, ALL)
        assert raw is not None  # noqa: S101 - made with every late scorer of a narrower scope
        return policy.normalize(pod, state, table, raw, fits)

    # --- telling

    def diagnose(self, pod: PodState) -> Diagnosis:
        """For each node what the first policy that refuses it says."""
        self.update(pod)
        table = self._table
        lasting = numpy.zeros(len(table), dtype=bool)
        reasons: Counter[str] = Counter()
        if self._refusal is not None:
            policy, refusal = self._refusal
            names = frozenset((policy.name,))
            return Diagnosis(table.count, reasons, table.live & refusal.lasting, names, refusal.text)
        asked = self._asked(pod, self._filters)
        for policy, state in asked:
            if isinstance(state, Refusal):
                names = frozenset((policy.name,))
                return Diagnosis(table.count, reasons, table.live & state.lasting, names, state.text)
        alive = table.live.copy()
        refused = set()
        for name, mask, refusal in self._refusals(pod, asked):
            found = mask & alive
            if count := int(found.sum()):
                reasons[refusal.text] += count
                refused.add(name)
                if refusal.lasting:
                    lasting |= found
        return Diagnosis(table.count, reasons, lasting, frozenset(refused))

    def _refusals(
        self, pod: PodState, asked: Sequence[tuple[Policy, Any]]
    ) -> Iterator[tuple[str, Mask, Refusal]]:
        """Each reason with the nodes for which no policy before this one had any."""
        passed = numpy.ones(len(self._table), dtype=bool)
        narrowing = [each for each in self._filters if each.only is not None]
        if narrowing:
            names = ", ".join(sorted(each.policy.name for each in narrowing))
            for each in narrowing:
                assert each.only is not None  # noqa: S101 - as selected above
                passed &= each.only
            yield narrowing[0].policy.name, ~passed, _not_selected(names)
        for policy, state in asked:
            now = passed
            for mask, refusal in _reasons(policy, pod, state, self._table):
                yield policy.name, mask & passed, refusal
                now = now & ~mask
            passed = now

    def _refusals_at(self, pod: PodState, row: int) -> dict[str, list[str]]:
        """What the policies say against one node as the table is now."""
        found: dict[str, list[str]] = {}
        for policy, state in self._asked(pod, self._filters):
            for mask, refusal in _reasons(policy, pod, state, self._table):
                if mask[row]:
                    found.setdefault(policy.name, []).append(refusal.text)
        return found

    def explain(self, pod: PodState, nominations: Nominations | None = None) -> dict[str, dict[str, Any]]:
        """For every node: ``refusals`` (policy -> its texts, of all policies, also of those that would not be asked
        any more), ``scores`` (policy -> 0 to 100, for nodes that fit) and ``total``, weights counted."""
        table = self._table
        found: dict[str, dict[str, Any]] = {
            name: {"refusals": {}, "scores": {}, "total": None} for name in table.names()
        }

        def refuse(policy: Policy, mask: Mask, text: str) -> None:
            for row in numpy.flatnonzero(mask & table.live):
                found[table.name(int(row))]["refusals"].setdefault(policy.name, []).append(text)

        try:
            self.update(pod)
            fits = self.fitting(pod, nominations)
            stopped = self._refusal is not None
        except PolicyError:
            stopped = True
        if stopped:
            # The pod goes nowhere, whatever the others say; here they are asked nevertheless.
            for policy in self._policies:
                try:
                    state = policy.pre_filter(pod, table)
                    for mask, refusal in () if state is SKIP else _reasons(policy, pod, state, table):
                        refuse(policy, mask, refusal.text)
                except PolicyError as error:
                    refuse(policy, table.live, str(error))
            return found
        for each in self._filters:
            if each.only is not None:
                refuse(each.policy, ~each.only, _not_selected(each.policy.name).text)
        for policy, state in self._asked(pod, self._filters):
            for mask, refusal in _reasons(policy, pod, state, table):
                refuse(policy, mask, refusal.text)
        for promised_row, promised in nominations.against(pod, table) if nominations else ():
            entry = found[table.name(promised_row)]
            if not fits[promised_row] and not entry["refusals"]:
                with _on_node(table, promised_row, promised):
                    entry["refusals"] = self._refusals_at(pod, promised_row)
        for scorer in self._scorers if fits.any() else ():
            scores = (
                self._late_score(pod, scorer, fits)
                if scorer in self._late
                else scorer.policy.score(pod, scorer.state, table, ALL)
            )
            if scores is None:
                continue
            for row in numpy.flatnonzero(fits):
                entry = found[table.name(int(row))]
                entry["scores"][scorer.policy.name] = int(scores[row])
                entry["total"] = (entry["total"] or 0) + scorer.weight * int(scores[row])
        return found


def _not_selected(names: str) -> Refusal:
    return Refusal(f"node(s) didn't satisfy plugin(s) [{names}]", lasting=True)


def _passes(policy: Policy, pod: PodState, state: Any, table: NodeTable, rows: Rows) -> Mask:
    """What the policy's filter says; ``state`` is an answer of ``pre_filter`` other than SKIP."""
    if isinstance(state, Refusal):
        return numpy.zeros(len(table), dtype=bool)[rows]
    if isinstance(state, Narrowed):
        return state.nodes[rows] & policy.filter(pod, state.state, table, rows)
    return policy.filter(pod, state, table, rows)


def _reasons(policy: Policy, pod: PodState, state: Any, table: NodeTable) -> Iterable[tuple[Mask, Refusal]]:
    if isinstance(state, Refusal):
        yield numpy.ones(len(table), dtype=bool), state
        return
    if isinstance(state, Narrowed):
        yield ~state.nodes, _not_selected(policy.name)
        state = state.state
        if state is SKIP:
            return
    yield from policy.reasons(pod, state, table, ALL)
