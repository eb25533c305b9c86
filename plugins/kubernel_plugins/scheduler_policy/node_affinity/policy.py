"""NodeAffinity.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity (v1.37).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin.scheduling import SKIP, Change, Narrowed, Policy, Refusal
from kubernel_plugins.scheduler_policy import selecting
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.scores import by_largest

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState, Rows

__all__ = ["NodeAffinity"]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_CONFLICT = Refusal("pod affinity terms conflict", lasting=True)
_ENFORCED = Refusal("node(s) didn't match scheduler-enforced node affinity", lasting=True)


class NodeAffinity(Policy):
    """Argument ``addedAffinity``: a NodeAffinity that every pod of the profile must match, too."""

    name = "NodeAffinity"
    scope = "node object"
    arguments = frozenset(("addedAffinity",))
    refusal = Refusal("node(s) didn't match Pod's node affinity/selector", lasting=True)

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        added = args.get("addedAffinity") or {}
        super().__init__(args, context)
        _check(added)
        required = added.get(_REQUIRED)
        self._added = None if required is None else {"nodeSelector": None, "required": required}
        self._added_preferred = _weighted(added.get(_PREFERRED))

    def sign(self, pod: PodState) -> Any:
        spec = pod.pod["spec"]
        return spec.get("nodeSelector"), (spec.get("affinity") or {}).get("nodeAffinity")

    def pre_filter(self, pod: PodState, nodes: Nodes) -> Any:
        affinity = selecting.required_affinity(pod.pod["spec"])
        if affinity is None and self._added is None:
            return SKIP
        named = _named(affinity) if affinity else None
        if named is None:
            return affinity
        if not named:
            return _CONFLICT
        there = numpy.zeros(len(nodes), dtype=bool)
        for name in named:
            if (row := nodes.row(name)) is not None:
                there[row] = True
        return Narrowed(there, affinity)

    def filter(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Mask:
        fits = nodes.live[rows] if state is None else selecting.selected(state, nodes, rows)
        return fits if self._added is None else fits & selecting.selected(self._added, nodes, rows)

    def reasons(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Iterable[tuple[Mask, Refusal]]:
        enforced = ~nodes.live[rows]
        if self._added is not None:
            enforced = ~selecting.selected(self._added, nodes, rows)
            yield enforced, _ENFORCED
        if state is not None:
            yield ~selecting.selected(state, nodes, rows) & ~enforced, self.refusal

    def pre_score(self, pod: PodState, nodes: Nodes) -> Any:
        affinity = (pod.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
        return [*self._added_preferred, *_weighted(affinity.get(_PREFERRED))] or SKIP

    def score(
        self, pod: PodState, state: Sequence[tuple[int, Mapping[str, Any]]], nodes: Nodes, rows: Rows
    ) -> Amounts:
        sums = numpy.zeros_like(nodes.pods[rows])
        for weight, preference in state:
            sums += weight * selecting.term(preference, nodes, rows)
        return sums

    def normalize(self, pod: PodState, state: Any, nodes: Nodes, scores: Amounts, fits: Mask) -> Amounts:
        return by_largest(scores, fits)

    def helps(self, pod: PodState, change: Change) -> bool:
        if change.resource != "nodes" or change.type == "DELETED":
            return False
        affinity = selecting.required_affinity(pod.pod["spec"])
        nodes = self.context.nodes
        row = nodes.row(change.obj["metadata"]["name"])
        if row is None:
            return True
        rows = slice(row, row + 1)
        return bool(
            (affinity is None or selecting.selected(affinity, nodes, rows)[0])
            and (self._added is None or selecting.selected(self._added, nodes, rows)[0])
        )


def _check(added: Mapping[str, Any]) -> None:
    """ValueError for terms that are none."""
    wrong = Problems()
    path = f"addedAffinity.{_REQUIRED}.nodeSelectorTerms"
    for position, each in enumerate((added.get(_REQUIRED) or {}).get("nodeSelectorTerms") or ()):
        wrong.node_selector_term(f"{path}[{position}]", each)
    for position, each in enumerate(added.get(_PREFERRED) or ()):
        wrong.node_selector_term(f"addedAffinity.{_PREFERRED}[{position}]", each.get("preference") or {})
    wrong.check()


def _weighted(preferred: Sequence[Mapping[str, Any]] | None) -> list[tuple[int, Mapping[str, Any]]]:
    """(weight, term) of those that can match something."""
    return [
        (entry["weight"], entry["preference"])
        for entry in preferred or ()
        if entry.get("weight") and any((entry.get("preference") or {}).values())
    ]


def _named(affinity: Mapping[str, Any]) -> set[str] | None:
    """The nodes that every term names by ``metadata.name``; None when some term does not."""
    found: set[str] = set()
    given = (affinity["required"] or {}).get("nodeSelectorTerms") or ()
    for each in given:
        names: set[str] | None = None
        for requirement in each.get("matchFields") or ():
            if requirement["key"] == "metadata.name" and requirement["operator"] == "In":
                values = set(requirement.get("values") or ())
                names = values if names is None else names & values
        if names is None:
            return None
        found |= names
    return found if given else None
