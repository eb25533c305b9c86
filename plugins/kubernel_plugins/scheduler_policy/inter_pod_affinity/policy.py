"""InterPodAffinity.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/interpodaffinity (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.objects import meta
from kubernel.plugin.scheduling import MAX_SCORE, SKIP, Change, PodMatcher, Policy, Refusal, Term
from kubernel_plugins.scheduler_policy import domains
from kubernel_plugins.scheduler_policy.arguments import Problems

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows
    from kubernel.store.records import Obj

__all__ = ["InterPodAffinity"]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_AFFINITY = Refusal("node(s) didn't match pod affinity rules", lasting=True)
_ANTI_AFFINITY = Refusal("node(s) didn't match pod anti-affinity rules")
_EXISTING = Refusal("node(s) didn't satisfy existing pods anti-affinity rules")


@dataclass(slots=True)
class _State:
    """By topology key, for each domain: ``wanted`` where a pod that the term asks for is (one entry a term),
    ``unwanted`` and ``rejecting`` where one is that keeps this pod away. ``first``: nobody anywhere is
    what it asks for but itself."""

    wanted: list[tuple[str, Mask]] = field(default_factory=list)
    first: bool = False
    unwanted: dict[str, Mask] = field(default_factory=dict)
    rejecting: dict[str, Mask] = field(default_factory=dict)


class InterPodAffinity(Policy):
    """Arguments: ``hardPodAffinityWeight``, ``ignorePreferredTermsOfExistingPods``."""

    name = "InterPodAffinity"
    scope = "cluster"
    refusal = _AFFINITY
    arguments = frozenset(("hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"))

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        super().__init__(args, context)
        self._hard_weight = args.get("hardPodAffinityWeight", 1)
        wrong = Problems()
        wrong.within("hardPodAffinityWeight", self._hard_weight, 0, 100)
        wrong.check()
        self._ignore_existing = bool(args.get("ignorePreferredTermsOfExistingPods"))
        self._namespaces: Informer | None = None

    async def start(self) -> None:
        self._namespaces = self.context.client.informer("namespaces")
        await self._namespaces.synced()

    def sign(self, pod: PodState) -> Any:
        affinity = pod.pod["spec"].get("affinity") or {}
        return (
            sorted(pod.labels.items()),
            pod.namespace,
            affinity.get("podAffinity"),
            affinity.get("podAntiAffinity"),
        )

    # --- namespaces

    def _labels_of(self, namespace: str) -> Mapping[str, str]:
        found = self._namespaces.get(namespace) if self._namespaces is not None else None
        return (found or {}).get("metadata", {}).get("labels") or {}

    def _names(self, term: Term) -> frozenset[str]:
        """The namespaces of a term, those that its selector selects among them."""
        selector = term.namespace_selector
        if selector is None or self._namespaces is None:
            return term.namespaces
        return term.namespaces.union(
            each["metadata"]["name"]
            for each in self._namespaces.list()
            if selector.matches(each["metadata"].get("labels") or {})
        )

    def _matcher(self, *terms: Term) -> PodMatcher:
        """Of pods that are what all ``terms`` ask for."""
        names = self._names(terms[0]).intersection(*(self._names(term) for term in terms[1:]))
        return PodMatcher(names, tuple(term.selector for term in terms))

    def _there(self, nodes: Nodes, term: Term) -> Amounts:
        """How many pods each domain of the term has that are what it asks for."""
        return nodes.matching_in(self._matcher(term), term.topology_key)

    # --- filter

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        state = _State()
        labels = self._labels_of(pod.namespace)
        affinity = [term for kind, term, _ in pod.terms if kind == "affinity"]
        if affinity:
            matcher = self._matcher(*affinity)
            state.wanted = [
                (term.topology_key, nodes.matching_in(matcher, term.topology_key) > 0) for term in affinity
            ]
            state.first = not any(mask.any() for _, mask in state.wanted) and all(
                term.matches(pod, labels) for term in affinity
            )
        for kind, term, _ in pod.terms:
            if kind == "anti-affinity":
                _join(state.unwanted, term, self._there(nodes, term))
        for _, term, _, there in nodes.terms("anti-affinity"):
            if term.matches(pod, labels):
                _join(state.rejecting, term, there)
        return state if state.wanted or state.unwanted or state.rejecting else SKIP

    def filter(self, pod: PodState, state: _State, nodes: Nodes, rows: Rows) -> Mask:
        return (
            _affine(state, nodes, rows)
            & ~_in_any(state.unwanted, nodes, rows)
            & ~_in_any(state.rejecting, nodes, rows)
        )

    def reasons(
        self, pod: PodState, state: _State, nodes: Nodes, rows: Rows
    ) -> Iterable[tuple[Mask, Refusal]]:
        alone = ~_affine(state, nodes, rows)
        yield alone, _AFFINITY
        unwanted = _in_any(state.unwanted, nodes, rows) & ~alone
        yield unwanted, _ANTI_AFFINITY
        yield _in_any(state.rejecting, nodes, rows) & ~alone & ~unwanted, _EXISTING

    # --- score

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        """For each topology key what each domain weighs."""
        weights: dict[str, Amounts] = {}
        for kind, term, weight in pod.terms:
            if kind == "preferred-affinity":
                _add(weights, term, self._there(nodes, term), weight)
            elif kind == "preferred-anti-affinity":
                _add(weights, term, self._there(nodes, term), -weight)
        asks = any(kind.startswith("preferred") for kind, _, _ in pod.terms)
        if asks or not self._ignore_existing:
            self._add_existing(weights, pod, nodes)
        return weights or SKIP

    def _add_existing(self, weights: dict[str, Amounts], pod: PodState, nodes: Nodes) -> None:
        labels: Mapping[str, str] | None = None
        for kind, term, weight, there in nodes.terms(
            "affinity", "preferred-affinity", "preferred-anti-affinity"
        ):
            labels = self._labels_of(pod.namespace) if labels is None else labels
            factor = (
                self._hard_weight
                if kind == "affinity"
                else weight
                if kind == "preferred-affinity"
                else -weight
            )
            if factor and term.matches(pod, labels):
                _add(weights, term, there, factor)

    def score(self, pod: PodState, state: Mapping[str, Amounts], nodes: Nodes, rows: Rows) -> Amounts:
        total = numpy.zeros_like(nodes.pods[rows])
        for key, weights in state.items():
            total += domains.at(nodes, key, weights, rows)
        return total

    def normalize(self, pod: PodState, state: Any, nodes: Nodes, scores: Amounts, fits: Mask) -> Amounts:
        least, most = int(scores[fits].min()), int(scores[fits].max())
        if most == least:
            return numpy.zeros_like(scores)
        return (MAX_SCORE * ((scores - least) / (most - least))).astype(numpy.int64)

    # --- what may help

    def helps(self, pod: PodState, change: Change) -> bool:
        affinity = [term for kind, term, _ in pod.terms if kind == "affinity"]
        against = [term for kind, term, _ in pod.terms if kind == "anti-affinity"]
        if change.resource == "nodes":
            return change.type != "DELETED" and _other_domain(change, affinity, against)
        if change.resource != "pods":
            return False
        if change.type == "ADDED":
            return self._is_all(affinity, change.obj)
        if change.type == "DELETED":
            return self._is_any(against, change.obj) or any(
                self._asks_for(term, pod.namespace, pod.labels) for term in _keeping_away(change.obj)
            )
        before = change.old or change.obj
        return (self._is_all(affinity, change.obj) and not self._is_all(affinity, before)) or (
            self._is_any(against, before) and not self._is_any(against, change.obj)
        )

    def _is_all(self, terms: Sequence[Term], obj: Obj) -> bool:
        """Whether a pod is what all terms ask for, of which there are some."""
        namespace, labels = meta.namespace(obj), meta.labels(obj)
        return bool(terms) and all(self._asks_for(term, namespace, labels) for term in terms)

    def _is_any(self, terms: Sequence[Term], obj: Obj) -> bool:
        namespace, labels = meta.namespace(obj), meta.labels(obj)
        return any(self._asks_for(term, namespace, labels) for term in terms)

    def _asks_for(self, term: Term, namespace: str, labels: Mapping[str, str]) -> bool:
        there = namespace in term.namespaces or (
            term.namespace_selector is not None
            and term.namespace_selector.matches(self._labels_of(namespace))
        )
        return there and term.selector.matches(labels)


def _other_domain(change: Change, affinity: Sequence[Term], against: Sequence[Term]) -> bool:
    """Whether a node came into a domain that a term looks at, or for terms that keep away left one."""
    now = meta.labels(change.obj)
    if change.old is None:
        return bool(against) or any(term.topology_key in now for term in affinity)
    before = meta.labels(change.old)

    def moved(key: str) -> bool:
        return before.get(key) != now.get(key)

    return any(moved(key) and key in now for key in {term.topology_key for term in affinity}) or any(
        moved(key) and key in before for key in {term.topology_key for term in against}
    )


def _keeping_away(obj: Obj) -> Iterable[Term]:
    """What a pod requires to be away from it."""
    stated = ((obj["spec"].get("affinity") or {}).get("podAntiAffinity") or {}).get(_REQUIRED) or ()
    return (Term.of(meta.namespace(obj), each) for each in stated)


def _join(into: dict[str, Mask], term: Term, counts: Amounts) -> None:
    there = counts > 0
    before = into.get(term.topology_key)
    into[term.topology_key] = there if before is None else before | there


def _add(into: dict[str, Amounts], term: Term, counts: Amounts, factor: int) -> None:
    if not counts.any():
        return
    there = counts * factor
    before = into.get(term.topology_key)
    into[term.topology_key] = there if before is None else before + there


def _affine(state: _State, nodes: Nodes, rows: Rows) -> Mask:
    """Where every term is satisfied; the first pod of its kind needs only the labels."""
    fits = nodes.live[rows]
    for key, there in state.wanted:
        fits = fits & (
            nodes.label(key)[rows] >= 0 if state.first else domains.at(nodes, key, there, rows, False)
        )
    return fits


def _in_any(masks: Mapping[str, Mask], nodes: Nodes, rows: Rows) -> Mask:
    found = numpy.zeros_like(nodes.live[rows])
    for key, there in masks.items():
        found |= domains.at(nodes, key, there, rows, False)
    return found
