"""Explanations: what a scheduler would say of a pod, policy by policy and node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Explainer", "Explanation"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a scheduler judges a pod now, a pod that has a node as if it had none.

    ``nodes`` holds for each node ``refusals`` (policy -> its texts), ``scores`` (policy -> 0 to 100, of nodes that
    fit) and ``total`` (weights counted, None where the pod does not fit). ``gates``: policy -> why it keeps the
    pod out of the queue. ``policies``: all that filter or score, in their order; one that is nowhere in ``nodes`` has
    nothing to say about such a pod. ``weights`` of the policies that score.
    """

    scheduler_name: str
    node: str
    """Where it is; empty for a pod without a node."""
    gates: Mapping[str, str]
    policies: Sequence[str]
    weights: Mapping[str, int]
    nodes: Mapping[str, Mapping[str, Any]]
    room: Mapping[str, Any]
    """Of a pod that fits nowhere what policies that make room say of it: policy -> a text, or node ->
    ``victims`` (namespace/name) and how many ``violations`` of budgets that would be, the best node first."""
    group: Mapping[str, Any] | None
    """Of a pod that is placed with others: the group's ``name``, ``nodes`` (name of a pod -> node) that its pods would
    get together, ``refusal`` (why it would not be placed, empty when it would)."""


class Explainer(Protocol):
    """What a plugin of role ``scheduler`` offers beside scheduling."""

    async def explain(self, namespace: str, name: str) -> Explanation:
        """NotFound when there is no such pod; KubernelError when it names another scheduler."""
        ...
