"""Binpack: the fullest node that still has room is the best, so that others stay empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import MAX_SCORE, Policy, PolicyFactory

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import Amounts, Nodes, PodState, Rows


class Binpack(Policy):
    """Scores a node by the larger of the shares of its CPU and memory that would be requested."""

    name = "Binpack"
    scope = "node"

    def sign(self, pod: PodState) -> Any:
        return [pod.requests.get(resource, 0) for resource in ("cpu", "memory")]

    def score(self, pod: PodState, state: Any, nodes: Nodes, rows: Rows) -> Amounts:
        fullest = numpy.zeros_like(nodes.pods[rows])
        for resource in ("cpu", "memory"):
            capacity = numpy.maximum(nodes.allocatable(resource)[rows], 1)
            used = nodes.requested(resource)[rows] + pod.requests.get(resource, 0)
            fullest = numpy.maximum(fullest, numpy.minimum(used * MAX_SCORE // capacity, MAX_SCORE))
        return fullest


class Plugin(Base):
    """The ``binpack`` policy. Its weight outvotes the default policies, which prefer empty nodes."""

    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        return PolicyFactory("Binpack", Binpack, weight=10)
