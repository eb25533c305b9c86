"""The contract of scheduling policies: a pod, all nodes at once, verdicts and scores.

A policy looks at every node in one call, so that it may work on arrays. Node and pod are given in
the form the scheduler computed once: amounts as integers (``cpu`` in millicores, everything else in its
unit), selectors and tolerations as in the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["FITS", "UNREQUESTED", "NodeState", "PodState", "Refusal", "SchedulerPolicy", "Verdict"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod cannot go to a node, in upstream's words (``Insufficient cpu``).

    ``lasting``: removing pods from the node would not help.
    """

    text: str
    lasting: bool = False


Verdict = tuple[Refusal, ...]
"""Of one policy about one node; empty when the pod fits."""

FITS: Verdict = ()

UNREQUESTED: Mapping[str, int] = {"cpu": 100, "memory": 200 * 1024 * 1024}
"""What a pod that requests nothing counts as when nodes are compared, so that such pods spread too
(k8s.io/kubernetes/pkg/scheduler/util/pod_resources.go)."""


@dataclass(slots=True)
class NodeState:
    """A node and what is on it. Only the scheduler changes it.

    ``requested`` is the sum of its pods' requests; ``nonzero`` the same with pods that request nothing
    counted as ``UNREQUESTED``.
    """

    name: str
    node: Obj
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, Any]]
    unschedulable: bool
    allocatable: dict[str, int]
    requested: dict[str, int] = field(default_factory=dict)
    nonzero: dict[str, int] = field(default_factory=dict)
    pods: int = 0


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod to place. ``requests`` holds only what is greater than zero."""

    key: tuple[str, str]
    uid: str
    pod: Obj
    requests: Mapping[str, int]
    priority: int


class SchedulerPolicy(Protocol):
    """What the hook ``kubernel_scheduler_policy`` answers with.

    ``weight`` multiplies the policy's scores; 0 for policies that only filter. Both methods are
    called once for each pod, synchronously; they must not keep or change what they are given.
    """

    @property
    def name(self) -> str:
        """Upstream's name of the policy, as in events: ``NodeResourcesFit``."""
        ...

    @property
    def weight(self) -> float: ...

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        """One verdict for each of ``nodes``, which passed the policies before this one."""
        ...

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        """0 (worst) to 100 for each of ``nodes``, all of which fit."""
        ...
