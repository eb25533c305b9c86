"""Which topology spread constraints a pod has: its own, or those of the cluster's defaults.

Source: k8s.io/kubernetes/pkg/scheduler/framework/plugins, podtopologyspread/common.go and helper/spread.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import orjson

from kubernel.objects import selectors
from kubernel.plugin.scheduling import ALL, PodMatcher
from kubernel_plugins.scheduler_policy import selecting
from kubernel_plugins.scheduler_policy.arguments import Problems
from kubernel_plugins.scheduler_policy.tolerations import untolerated

if TYPE_CHECKING:
    from kubernel.client.informer import Informer
    from kubernel.objects.selectors import Selector
    from kubernel.plugin.scheduling import Amounts, Context, Mask, Nodes, PodState

__all__ = ["HARD", "HOSTNAME", "SOFT", "Constraint", "Constraints"]

HARD, SOFT = "DoNotSchedule", "ScheduleAnyway"
HOSTNAME = "kubernetes.io/hostname"
_SYSTEM = (
    {"topologyKey": HOSTNAME, "maxSkew": 3, "whenUnsatisfiable": SOFT},
    {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 5, "whenUnsatisfiable": SOFT},
)
_OWNERS = {
    ("apps/v1", "ReplicaSet"): "replicasets.v1.apps",
    ("apps/v1", "StatefulSet"): "statefulsets.v1.apps",
    ("v1", "ReplicationController"): "replicationcontrollers",
}


_TEMPLATES = 1024
"""Of so many the constraints are remembered."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint of one pod, with the pod's own labels in its selector (``matchLabelKeys``)."""

    topology_key: str
    max_skew: int
    min_domains: int
    matcher: PodMatcher
    honor_affinity: bool
    honor_taints: bool

    def selects(self, labels: Mapping[str, str]) -> bool:
        return all(selector.matches(labels) for selector in self.matcher.selectors)

    def matches(self, pod: PodState) -> bool:
        """Whether the pod counts for its own constraint."""
        return self.selects(pod.labels)

    def counts(self, nodes: Nodes) -> Amounts:
        """How many pods of each node count: none for a selector that selects everything."""
        if all(selector.everything for selector in self.matcher.selectors):
            return numpy.zeros(len(nodes), dtype=numpy.int64)
        return nodes.matching(self.matcher)

    def counts_in(self, nodes: Nodes) -> Amounts:
        """The same for each domain."""
        if all(selector.everything for selector in self.matcher.selectors):
            return numpy.zeros(len(nodes.label_values(self.topology_key)), dtype=numpy.int64)
        return nodes.matching_in(self.matcher, self.topology_key)

    def counts_all(self, pod: PodState) -> bool:
        """Whether the pods of every node count."""
        honored = self.honor_affinity and selecting.required_affinity(pod.pod["spec"]) is not None
        return not honored and not self.honor_taints

    def counts_nodes(self, pod: PodState, nodes: Nodes) -> Mask:
        """The nodes whose pods count (nodeAffinityPolicy, nodeTaintsPolicy)."""
        counted = nodes.live
        affinity = selecting.required_affinity(pod.pod["spec"]) if self.honor_affinity else None
        if affinity is not None:
            counted = counted & selecting.selected(affinity, nodes, ALL)
        if self.honor_taints:
            tolerations = pod.pod["spec"].get("tolerations") or ()
            ids, sets = nodes.taint_sets()
            hard = ("NoSchedule", "NoExecute")
            tolerated = [untolerated(taints, tolerations, hard) is None for taints in sets]
            counted = counted & numpy.array(tolerated, dtype=bool)[ids]
        return counted


class Constraints:
    """Constraints of pods, defaults filled in: for pods that state none and are behind a service or in a
    ReplicaSet, StatefulSet or ReplicationController."""

    def __init__(self, args: Mapping[str, Any], context: Context) -> None:
        kind = args.get("defaultingType") or "System"
        given = args.get("defaultConstraints") or ()
        _check(kind, given)
        self._system = kind == "System"
        self._defaults = _SYSTEM if self._system else tuple(given)
        self._context = context
        self._known: dict[Any, list[Constraint]] = {}
        self._services: Informer | None = None
        self._owners: dict[str, Informer] = {}

    async def start(self) -> None:
        if not self._defaults:
            return
        client = self._context.client
        self._services = client.informer("services")
        self._owners = {resource: client.informer(resource) for resource in _OWNERS.values()}
        for informer in (self._services, *self._owners.values()):
            await informer.synced()

    def strict(self, pod: PodState) -> bool:
        """Whether nodes without one of the labels score nothing: not with the system's defaults, so that nodes
        without zones are still spread over by name."""
        return bool(pod.pod["spec"].get("topologySpreadConstraints")) or not self._system

    def of(self, pod: PodState, action: str) -> list[Constraint]:
        stated = pod.pod["spec"].get("topologySpreadConstraints")
        if stated:
            return self._stated(pod, stated, action)
        wanted = [each for each in self._defaults if each["whenUnsatisfiable"] == action]
        if not wanted:
            return []
        selected = self._deduced(pod)
        return [_constraint(each, pod, selected) for each in wanted] if selected else []

    def _stated(self, pod: PodState, stated: Sequence[Mapping[str, Any]], action: str) -> list[Constraint]:
        """The pods of a template have the same ones."""
        key = pod.namespace, action, orjson.dumps(stated), frozenset(pod.labels.items())
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _TEMPLATES:
                self._known.clear()
            found = self._known[key] = [
                _constraint(each, pod, _selector(each, pod))
                for each in stated
                if each["whenUnsatisfiable"] == action
            ]
        return found

    def _deduced(self, pod: PodState) -> tuple[Selector, ...]:
        """What the pod's services and owner select by; empty when there are none."""
        if not pod.labels or self._services is None:
            return ()
        found: dict[str, str] = {}
        for service in self._services.list(pod.namespace):
            selector = service["spec"].get("selector")
            if selector and selector.items() <= pod.labels.items():
                found |= selector
        chosen = [selectors.from_labels(found)] if found else []
        owner = next(
            (each for each in pod.pod["metadata"].get("ownerReferences") or () if each.get("controller")),
            None,
        )
        resource = _OWNERS.get((owner["apiVersion"], owner["kind"])) if owner else None
        if owner and resource and (its := self._owners[resource].get(owner["name"], pod.namespace)):
            wanted = its["spec"].get("selector")
            if resource == "replicationcontrollers":
                chosen.append(selectors.from_labels(wanted))
            elif wanted is not None:
                chosen.append(selectors.from_object(wanted))
        return tuple(selector for selector in chosen if not selector.everything)


def _check(kind: str, given: Sequence[Mapping[str, Any]]) -> None:
    """ValueError for wrong arguments."""
    wrong = Problems()
    if wrong.one_of("defaultingType", kind, "System", "List") and kind == "System" and given:
        wrong.invalid("defaultingType", kind, "when .defaultConstraints are not empty")
    seen = []
    for position, each in enumerate(given):
        path = f"defaultConstraints[{position}]"
        key, action = each.get("topologyKey", ""), each.get("whenUnsatisfiable", "")
        if each.get("maxSkew", 0) <= 0:
            wrong.invalid(f"{path}.maxSkew", each.get("maxSkew", 0), "not in valid range (0, inf)")
        if key:
            wrong.label_name(f"{path}.topologyKey", key)
        else:
            wrong.required(f"{path}.topologyKey", "can not be empty")
        if action:
            wrong.one_of(f"{path}.whenUnsatisfiable", action, HARD, SOFT)
        else:
            wrong.required(f"{path}.whenUnsatisfiable", "can not be empty")
        if each.get("labelSelector") is not None:
            why = "constraint must not define a selector, as they deduced for each pod"
            wrong.forbidden(f"{path}.labelSelector", why)
        if (key, action) in seen:
            wrong.duplicate(path, f"{{{key}, {action}}}")
        seen.append((key, action))
    wrong.check()


def _selector(stated: Mapping[str, Any], pod: PodState) -> tuple[Selector, ...]:
    own = {key: pod.labels[key] for key in stated.get("matchLabelKeys") or () if key in pod.labels}
    selector = selectors.from_object(stated.get("labelSelector"))
    return (selector, selectors.from_labels(own)) if own else (selector,)


def _constraint(stated: Mapping[str, Any], pod: PodState, selected: Sequence[Selector]) -> Constraint:
    return Constraint(
        topology_key=stated["topologyKey"],
        max_skew=stated["maxSkew"],
        min_domains=stated.get("minDomains") or 1,
        matcher=PodMatcher(frozenset((pod.namespace,)), tuple(selected), leaving=False),
        honor_affinity=(stated.get("nodeAffinityPolicy") or "Honor") == "Honor",
        honor_taints=(stated.get("nodeTaintsPolicy") or "Ignore") == "Honor",
    )
