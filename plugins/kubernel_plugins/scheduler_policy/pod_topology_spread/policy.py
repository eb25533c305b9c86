"""PodTopologySpread.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/podtopologyspread (v1.37).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from kubernel.objects import meta
from kubernel.plugin.scheduling import MAX_SCORE, SKIP, Change, Policy, Refusal
from kubernel_plugins.scheduler_policy import domains
from kubernel_plugins.scheduler_policy.pod_topology_spread.constraints import (
    HARD,
    HOSTNAME,
    SOFT,
    Constraint,
    Constraints,
)

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows

__all__ = ["PodTopologySpread"]

_MISSING = Refusal(
    "node(s) didn't match pod topology spread constraints (missing required label)", lasting=True
)


class _Hard(NamedTuple):
    """A constraint with, for each domain, by how much a pod there would be ahead of the emptiest one."""

    constraint: Constraint
    skews: Amounts
    elsewhere: int
    """The same for a domain in which no node counts."""


class PodTopologySpread(Policy):
    """Arguments: ``defaultConstraints`` for pods that state none, ``defaultingType`` ``System`` (the default) or
    ``List``."""

    name = "PodTopologySpread"
    scope = "cluster"
    arguments = frozenset(("defaultConstraints", "defaultingType"))
    refusal = Refusal("node(s) didn't match pod topology spread constraints")

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._constraints = Constraints(args, context)

    async def start(self) -> None:
        await self._constraints.start()

    def sign(self, pod: PodState) -> Any:
        spec = pod.pod["spec"]
        owners = [each.get("uid") for each in pod.pod["metadata"].get("ownerReferences") or ()]
        return (
            spec.get("topologySpreadConstraints"),
            sorted(pod.labels.items()),
            pod.namespace,
            owners,
            spec.get("nodeSelector"),
            (spec.get("affinity") or {}).get("nodeAffinity"),
            spec.get("tolerations"),
        )

    # --- filter

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        constraints = self._constraints.of(pod, HARD)
        if not constraints:
            return SKIP
        if len(constraints) == 1 and constraints[0].counts_all(pod):
            # What is kept current for the whole domain is what counts.
            (alone,) = constraints
            there = nodes.domains(alone.topology_key) > 0
            return [self._skews(pod, alone, alone.counts_in(nodes), there)]
        complete = _with_all_keys(constraints, nodes)
        found = []
        for each in constraints:
            key, eligible = each.topology_key, complete & each.counts_nodes(pod, nodes)
            matching = domains.sums(nodes, key, each.counts(nodes), eligible)
            there = domains.sums(nodes, key, eligible.astype(numpy.int64)) > 0
            found.append(self._skews(pod, each, matching, there))
        return found

    @staticmethod
    def _skews(pod: PodState, constraint: Constraint, matching: Amounts, present: Mask) -> _Hard:
        there = matching[present]
        fewest = int(there.min()) if len(there) >= max(constraint.min_domains, 1) else 0
        ahead = int(constraint.matches(pod)) - fewest
        return _Hard(constraint, matching + ahead, ahead)

    def filter(self, pod: PodState, state: Sequence[_Hard], nodes: Nodes, rows: Rows) -> Mask:
        fits = nodes.live[rows]
        for each in state:
            within = each.skews <= each.constraint.max_skew
            fits = fits & domains.at(nodes, each.constraint.topology_key, within, rows, False)
        return fits

    def reasons(
        self, pod: PodState, state: Sequence[_Hard], nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        """The first constraint that does not hold is the reason."""
        alive = nodes.live[rows]
        yield ~alive, self.refusal
        for each in state:
            key = each.constraint.topology_key
            missing = alive & (nodes.label(key)[rows] < 0)
            yield missing, _MISSING
            alive = alive & ~missing
            ahead = alive & (domains.at(nodes, key, each.skews, rows) > each.constraint.max_skew)
            yield ahead, self.refusal
            alive = alive & ~ahead

    # --- score

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        return self._constraints.of(pod, SOFT) or SKIP

    def score(self, pod: PodState, state: Sequence[Constraint], nodes: Nodes, rows: Rows) -> Amounts:
        """Not yet a score: which domains count is known only with the nodes that fit."""
        return numpy.zeros_like(nodes.pods[rows])

    def normalize(
        self, pod: PodState, state: Sequence[Constraint], nodes: Nodes, scores: Amounts, fits: Mask
    ) -> Amounts:
        strict = self._constraints.strict(pod)
        complete = _with_all_keys(state, nodes) if strict else nodes.live
        scored = fits & complete
        if not scored.any():
            return numpy.zeros_like(scores)
        total = numpy.zeros(len(nodes))
        for each in state:
            total += self._soft(pod, each, complete, scored, nodes)
        # Half to even and half away differ only where a sum of logarithms is exactly half: never.
        rounded = numpy.rint(total).astype(numpy.int64)
        least, most = int(rounded[scored].min()), int(rounded[scored].max())
        if not most:
            return numpy.where(scored, MAX_SCORE, 0)
        return numpy.where(scored, MAX_SCORE * (most + least - rounded) // most, 0)

    @staticmethod
    def _soft(pod: PodState, constraint: Constraint, complete: Mask, scored: Mask, nodes: Nodes) -> Any:
        """What one constraint adds to each node: the more pods in its domain, the more."""
        key = constraint.topology_key
        counts = constraint.counts(nodes)
        has_key = nodes.label(key) >= 0
        if key == HOSTNAME:
            size, there = int(scored.sum()), counts
        else:
            candidates = domains.sums(nodes, key, scored.astype(numpy.int64)) > 0
            # Nodes without the label are one more domain where that is allowed.
            size = int(candidates.sum()) + bool((scored & ~has_key).any())
            eligible = complete & constraint.counts_nodes(pod, nodes)
            there = domains.at(nodes, key, domains.sums(nodes, key, counts, eligible), slice(None))
        weight = math.log(size + 2)
        return numpy.where(has_key, there * weight + (constraint.max_skew - 1), 0.0)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource not in ("nodes", "pods"):
            return False
        constraints = self._constraints.of(pod, HARD)
        if change.resource == "nodes":
            return _other_domains(change, [each.topology_key for each in constraints])
        if meta.namespace(change.obj) != pod.namespace:
            return False
        after = meta.labels(change.obj)
        if change.type != "MODIFIED":
            return any(each.selects(after) for each in constraints)
        before = meta.labels(change.old or change.obj)
        return any(each.selects(before) != each.selects(after) for each in constraints)


def _other_domains(change: Change, keys: Sequence[str]) -> bool:
    """Whether a node that has all labels came, went, changed one of them or its taints, or now lacks one."""
    after = meta.labels(change.obj)
    complete = all(key in after for key in keys)
    if change.type != "MODIFIED" or change.old is None:
        return complete
    before = meta.labels(change.old)
    if complete != all(key in before for key in keys):
        return True
    moved = any(before.get(key) != after.get(key) for key in keys)
    return complete and (
        moved or meta.get(change.old, "spec", "taints") != meta.get(change.obj, "spec", "taints")
    )


def _with_all_keys(constraints: Sequence[Constraint], nodes: Nodes) -> Mask:
    complete = nodes.live
    for each in constraints:
        complete = complete & (nodes.label(each.topology_key) >= 0)
    return complete
