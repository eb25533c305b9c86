"""NodeAffinity: the pod's node selector and affinity.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins/nodeaffinity (v1.37).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kubernel.objects import meta
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.scheduling import FITS, Refusal
from kubernel_plugins.scheduler_policy.terms import any_term_matches, term_matches

if TYPE_CHECKING:
    from kubernel.plugin.scheduling import NodeState, PodState, SchedulerPolicy, Verdict

__all__ = ["Plugin"]

_REFUSED: Verdict = (Refusal("node(s) didn't match Pod's node affinity/selector", lasting=True),)


class Plugin(Base):
    """The ``node_affinity`` policy."""

    name = "NodeAffinity"
    weight = 2.0

    @hookimpl
    def kubernel_scheduler_policy(self) -> SchedulerPolicy:
        return self

    def filter(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[Verdict]:
        spec = pod.pod["spec"]
        selector = spec.get("nodeSelector") or {}
        required = meta.get(
            spec, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"
        )
        if not selector and required is None:
            return [FITS] * len(nodes)
        verdicts: list[Verdict] = []
        for node in nodes:
            fits = all(node.labels.get(key) == value for key, value in selector.items()) and (
                required is None or any_term_matches(required.get("nodeSelectorTerms") or (), node)
            )
            verdicts.append(FITS if fits else _REFUSED)
        return verdicts

    def score(self, pod: PodState, nodes: Sequence[NodeState]) -> Sequence[float]:
        preferred = meta.get(
            pod.pod["spec"],
            "affinity",
            "nodeAffinity",
            "preferredDuringSchedulingIgnoredDuringExecution",
            default=(),
        )
        if not preferred:
            return [0.0] * len(nodes)
        sums = [
            sum(entry["weight"] for entry in preferred if term_matches(entry["preference"], node))
            for node in nodes
        ]
        most = max(sums)
        return [100.0 * value / most if most else 0.0 for value in sums]
