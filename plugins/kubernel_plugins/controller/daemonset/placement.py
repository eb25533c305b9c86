"""On which nodes a DaemonSet's pod belongs, and what makes a pod belong to one node.

Source: k8s.io/kubernetes/pkg/controller/daemon/{daemon_controller.go,util/daemonset_util.go} (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernel.objects import meta
from kubernel_plugins.controller import pods
from kubernel_plugins.controller.revisions import HASH_LABEL
from kubernel_plugins.scheduler_policy.terms import any_term_matches
from kubernel_plugins.scheduler_policy.tolerations import untolerated

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = [
    "GENERATION_LABEL",
    "STAYS_AWAY",
    "Fit",
    "fit",
    "pod_for",
    "target",
    "template_generation",
    "tolerations",
]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_EVERYWHERE = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


GENERATION_LABEL = "pod-template-generation"
"""On pods: what tells new ones from old to clients older than revisions."""
_GENERATION = "deprecated.daemonset.template.generation"


def template_generation(daemons: Obj) -> str | None:
    """The annotation by which the API counts templates; None when it is no number."""
    text = meta.annotations(daemons).get(_GENERATION, "")
    return str(int(text)) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None


@dataclass(frozen=True, slots=True)
class Fit:
    """``runs``: a pod should be made there; ``stays``: one that is there may go on."""

    runs: bool
    stays: bool


STAYS_AWAY = Fit(False, False)
_RUNS = Fit(True, True)
_STAYS = Fit(False, True)


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    labels: Mapping[str, str]


def tolerations(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pod's tolerations with those that every daemon has."""
    found = list(spec.get("tolerations") or ())
    for key, effect in (*_EVERYWHERE, _HOST_NETWORK) if spec.get("hostNetwork") else _EVERYWHERE:
        added = {"key": key, "operator": "Exists", "effect": effect}
        if added not in found:
            found.append(added)
    return found


def fit(daemons: Obj, node: Obj) -> Fit:
    """Where the pod goes by its node name, selector, affinity and the node's taints.

    A taint that only keeps new pods away (NoSchedule) lets those that are there stay.
    """
    spec = meta.get(daemons, "spec", "template", "spec", default={})
    name = meta.name(node)
    if spec.get("nodeName") not in (None, "", name):
        return STAYS_AWAY
    labels = meta.labels(node)
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return STAYS_AWAY
    required = meta.get(spec, "affinity", "nodeAffinity", _REQUIRED)
    if required is not None and not any_term_matches(
        required.get("nodeSelectorTerms") or (), _Place(name, labels)
    ):
        return STAYS_AWAY
    taints: Sequence[Mapping[str, Any]] = meta.get(node, "spec", "taints", default=())
    if taints:
        tolerated = tolerations(spec)
        if untolerated(taints, tolerated, ("NoExecute",)) is not None:
            return STAYS_AWAY
        if untolerated(taints, tolerated, ("NoSchedule",)) is not None:
            return _STAYS
    return _RUNS


def pod_for(daemons: Obj, node: str, digest: str) -> Obj:
    """The DaemonSet's pod for one node; the scheduler binds it there."""
    pod = pods.from_template(daemons["spec"]["template"], daemons)
    labels = {**pod["metadata"].get("labels", {}), HASH_LABEL: digest}
    if (generation := template_generation(daemons)) is not None:
        labels[GENERATION_LABEL] = generation
    pod["metadata"]["labels"] = labels
    spec = pod["spec"]
    here = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = spec.get("affinity") or {}
    affinity = {
        **affinity,
        "nodeAffinity": {**(affinity.get("nodeAffinity") or {}), _REQUIRED: {"nodeSelectorTerms": [here]}},
    }
    return {**pod, "spec": {**spec, "affinity": affinity, "tolerations": tolerations(spec)}}


def target(pod: Obj) -> str:
    """The node the pod is on or is meant for; empty when neither is said."""
    spec = pod.get("spec") or {}
    if bound := spec.get("nodeName"):
        return str(bound)
    for term in meta.get(spec, "affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms", default=()):
        for field in term.get("matchFields") or ():
            values: Sequence[str] = field.get("values") or ()
            if field.get("key") == "metadata.name" and field.get("operator") == "In" and len(values) == 1:
                return str(values[0])
    return ""
