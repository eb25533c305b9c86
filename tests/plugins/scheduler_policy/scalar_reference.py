"""The policies once more, a node at a time and in plain Python: what the vectorised ones have to equal.

Written from the rules of k8s.io/kubernetes/pkg/scheduler/framework/plugins (v1.37), without a look at the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubernel.objects import selectors
from kubernel.plugin.scheduling import PodState, Term

Obj = dict[str, Any]
HARD = ("NoSchedule", "NoExecute")
HOSTNAME = "kubernetes.io/hostname"
MB = 1024 * 1024
NAMESPACES = {"default": {"env": "prod"}, "other": {"env": "test"}, "third": {"env": "test"}}
"""The namespaces of all worlds, with their labels."""


@dataclass
class World:
    """Nodes by name, and where pods are."""

    nodes: dict[str, Obj]
    placed: list[tuple[PodState, str]] = field(default_factory=list)

    def on(self, name: str) -> list[PodState]:
        return [pod for pod, where in self.placed if where == name]

    def there(self) -> list[tuple[PodState, Obj]]:
        return [(pod, self.nodes[where]) for pod, where in self.placed if where in self.nodes]


def labels_of(node: Obj) -> Mapping[str, str]:
    return node["metadata"]["labels"]


def offered(node: Obj, resource: str) -> int:
    from kubernel_plugins.scheduler.default.pods import amount

    return amount(resource, node["status"]["allocatable"].get(resource, 0))


# --- taints


def tolerated(taint: Mapping[str, str], tolerations: Sequence[Mapping[str, str]]) -> bool:
    for each in tolerations:
        if each.get("effect") and each["effect"] != taint["effect"]:
            continue
        if each.get("key") and each["key"] != taint["key"]:
            continue
        if each.get("operator") == "Exists" or each.get("value", "") == taint.get("value", ""):
            return True
    return False


def taint_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    tolerations = pod.pod["spec"].get("tolerations") or []
    hard = [taint for taint in node["spec"]["taints"] if taint["effect"] in HARD]
    return (
        [] if all(tolerated(taint, tolerations) for taint in hard) else ["node(s) had untolerated taint(s)"]
    )


def taint_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    tolerations = [
        each
        for each in pod.pod["spec"].get("tolerations") or []
        if each.get("effect", "") in ("", "PreferNoSchedule")
    ]
    counts = {}
    for name in fits:
        soft = [each for each in world.nodes[name]["spec"]["taints"] if each["effect"] == "PreferNoSchedule"]
        counts[name] = sum(not tolerated(each, tolerations) for each in soft)
    most = max(counts.values())
    return {name: 100 - 100 * count // most if most else 100 for name, count in counts.items()}


def cordon_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    free = not node["spec"]["unschedulable"] or tolerated(taint, pod.pod["spec"].get("tolerations") or [])
    return [] if free else ["node(s) were unschedulable"]


def name_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    wanted = pod.pod["spec"].get("nodeName")
    return (
        [] if wanted in (None, node["metadata"]["name"]) else ["node(s) didn't match the requested node name"]
    )


# --- node affinity


def requirement(each: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    key, operator, values = each["key"], each["operator"], each.get("values") or []
    if operator == "Exists":
        return key in given
    if operator == "DoesNotExist":
        return key not in given
    if operator == "NotIn":
        return given.get(key) not in values
    if key not in given:
        return False
    if operator == "In":
        return given[key] in values
    try:
        number, bound = int(given[key]), int(values[0])
    except ValueError:
        return False
    return number > bound if operator == "Gt" else number < bound


def selects(term: Mapping[str, Any], node: Obj) -> bool:
    by_label, by_field = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not by_label and not by_field:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    return all(requirement(each, labels_of(node)) for each in by_label) and all(
        requirement(each, name) for each in by_field
    )


def required(pod: PodState, node: Obj) -> bool:
    spec = pod.pod["spec"]
    if any(labels_of(node).get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    wanted = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return wanted is None or any(selects(term, node) for term in wanted["nodeSelectorTerms"])


ADDED = {
    "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "tier", "operator": "Exists"}]}]
    },
    "preferredDuringSchedulingIgnoredDuringExecution": [
        {
            "weight": 7,
            "preference": {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]},
        }
    ],
}
"""What a profile asks of all pods."""


def added_affinity_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    if "tier" not in labels_of(node):
        return ["node(s) didn't match scheduler-enforced node affinity"]
    return affinity_refusals(pod, node, world)


def added_affinity_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    return affinity_scores(pod, world, fits, ADDED["preferredDuringSchedulingIgnoredDuringExecution"])


def affinity_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    return [] if required(pod, node) else ["node(s) didn't match Pod's node affinity/selector"]


def affinity_scores(
    pod: PodState, world: World, fits: Sequence[str], added: Sequence[Obj] = ()
) -> dict[str, int]:
    affinity = (pod.pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = [*added, *(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or [])]
    sums = {
        name: sum(each["weight"] for each in preferred if selects(each["preference"], world.nodes[name]))
        for name in fits
    }
    most = max(sums.values())
    return {name: 100 * value // most if most else value for name, value in sums.items()}


# --- ports and resources


def port_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    used = [port for each in world.on(node["metadata"]["name"]) for port in each.ports]
    for ip, protocol, number in pod.ports:
        for other_ip, other_protocol, other in used:
            same = ip == other_ip or "0.0.0.0" in (ip, other_ip)
            if same and (protocol, number) == (other_protocol, other):
                return ["node(s) didn't have free ports for the requested pod ports"]
    return []


def resource_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    here = world.on(node["metadata"]["name"])
    found = ["Too many pods"] if len(here) + 1 > offered(node, "pods") else []
    for resource, wanted in pod.requests.items():
        used = sum(each.requests.get(resource, 0) for each in here)
        if wanted > offered(node, resource) - used:
            found.append(f"Insufficient {resource}")
    return found


def _used(pod: PodState, world: World, name: str, resource: str) -> int:
    """What counts as used when nodes are compared."""
    everyone = [*world.on(name), pod]
    if resource in ("cpu", "memory"):
        return sum(each.nonzero[0 if resource == "cpu" else 1] for each in everyone)
    return sum(each.requests.get(resource, 0) for each in everyone)


def _mean(one: Callable[[int, int], int], resources: Mapping[str, int], *, ratio: bool = False) -> Any:
    def scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
        found = {}
        for name in fits:
            total = weights = 0
            for resource, weight in resources.items():
                capacity = offered(world.nodes[name], resource)
                if not capacity or (resource not in ("cpu", "memory") and resource not in pod.requests):
                    continue
                score = one(_used(pod, world, name, resource), capacity)
                if not ratio or score > 0:
                    total, weights = total + weight * score, weights + weight
            if ratio:
                found[name] = math.floor(total / weights + 0.5) if weights else 0
            else:
                found[name] = total // weights if weights else 0
        return found

    return scores


def _least(used: int, capacity: int) -> int:
    return (capacity - used) * 100 // capacity if used <= capacity else 0


def _most(used: int, capacity: int) -> int:
    return min(used, capacity) * 100 // capacity


def _bent(used: int, capacity: int) -> int:
    """Through (0, 0), (50, 100), (100, 20)."""
    percent = 100 if used > capacity else used * 100 // capacity
    return 2 * percent if percent <= 50 else 100 + int(-80 * (percent - 50) / 50)


BENT = [{"utilization": 0, "score": 0}, {"utilization": 50, "score": 10}, {"utilization": 100, "score": 2}]
WEIGHTS = {"cpu": 3, "memory": 1, "example.com/gpu": 2}
least_scores = _mean(_least, {"cpu": 1, "memory": 1})
most_scores = _mean(_most, WEIGHTS)
bent_scores = _mean(_bent, WEIGHTS, ratio=True)


def balanced_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    return _balanced(pod, world, fits, ("cpu", "memory"))


def balanced_three_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    return _balanced(pod, world, fits, ("cpu", "memory", "example.com/gpu"))


def _balanced(pod: PodState, world: World, fits: Sequence[str], resources: Sequence[str]) -> dict[str, int]:
    """By how much the pod evens the use of the node out."""
    if not any(pod.requests.get(resource) for resource in resources):
        return dict.fromkeys(fits, 0)
    found = {}
    for name in fits:

        def balance(pods: Sequence[PodState], name: str = name) -> int:
            shares = []
            for resource in resources:
                capacity = offered(world.nodes[name], resource)
                if capacity and (resource in ("cpu", "memory") or resource in pod.requests):
                    used = sum(each.requests.get(resource, 0) for each in pods)
                    shares.append(min(used / capacity, 1.0))
            if len(shares) == 2:
                return int((1 - abs((shares[0] - shares[1]) / 2)) * 100)
            if len(shares) < 2:
                return 100
            mean = sum(shares) / len(shares)
            return int((1 - math.sqrt(sum((each - mean) ** 2 for each in shares) / len(shares))) * 100)

        here = world.on(name)
        found[name] = 50 + (50 + balance([*here, pod]) - balance(here)) // 2
    return found


def image_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    spec = pod.pod["spec"]
    images = [each["image"] for each in [*(spec.get("initContainers") or []), *spec["containers"]]]
    images += [each["image"]["reference"] for each in spec.get("volumes") or [] if "image" in each]
    names = [each if ":" in each.rpartition("/")[2] else each + ":latest" for each in images]
    having: dict[str, dict[str, int]] = {}
    for where, node in world.nodes.items():
        for image in node["status"]["images"]:
            for name in image["names"]:
                having.setdefault(name, {})[where] = image["sizeBytes"]
    found = {}
    for where in fits:
        total = 0
        for name in names:
            if where in having.get(name, {}):
                total += int(having[name][where] * (len(having[name]) / len(world.nodes)))
        low, high = 23 * MB, 1000 * MB * len(names)
        found[where] = 100 * (min(max(total, low), high) - low) // (high - low)
    return found


# --- spreading


@dataclass(frozen=True)
class Spread:
    stated: Mapping[str, Any]
    pod: PodState

    @property
    def key(self) -> str:
        return str(self.stated["topologyKey"])

    def _own(self) -> Mapping[str, str]:
        keys = self.stated.get("matchLabelKeys") or []
        return {key: self.pod.labels[key] for key in keys if key in self.pod.labels}

    def selects(self, pod: PodState) -> bool:
        selector = selectors.from_object(self.stated.get("labelSelector"))
        return selector.matches(pod.labels) and self._own().items() <= pod.labels.items()

    def counts(self, pods: Sequence[PodState]) -> int:
        """A selector that selects everything counts nobody."""
        if self.stated.get("labelSelector") == {} and not self._own():
            return 0
        return sum(
            each.namespace == self.pod.namespace and not each.leaving and self.selects(each) for each in pods
        )

    def includes(self, node: Obj) -> bool:
        if self.stated.get("nodeAffinityPolicy", "Honor") == "Honor" and not required(self.pod, node):
            return False
        if self.stated.get("nodeTaintsPolicy", "Ignore") == "Ignore":
            return True
        return not taint_refusals(self.pod, node, World({}))


SERVICE = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
"""The one service of all worlds: pods behind it that state no constraints have those of the cluster."""
SYSTEM = [
    {"topologyKey": HOSTNAME, "maxSkew": 3, "whenUnsatisfiable": "ScheduleAnyway"},
    {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 5, "whenUnsatisfiable": "ScheduleAnyway"},
]
LIST = [
    {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"},
    {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"},
]


def spreads(pod: PodState, action: str, defaults: Sequence[Obj] = ()) -> list[Spread]:
    stated = pod.pod["spec"].get("topologySpreadConstraints") or []
    if not stated and pod.namespace == "default" and pod.labels.get("app") == "web":
        stated = [{**each, "labelSelector": {"matchLabels": {"app": "web"}}} for each in defaults]
    return [Spread(each, pod) for each in stated if each["whenUnsatisfiable"] == action]


def complete(node: Obj, constraints: Sequence[Spread]) -> bool:
    return all(each.key in labels_of(node) for each in constraints)


def listed_spread_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    return spread_refusals(pod, node, world, LIST)


def listed_spread_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    return spread_scores(pod, world, fits, LIST)


def spread_refusals(pod: PodState, node: Obj, world: World, defaults: Sequence[Obj] = SYSTEM) -> list[str]:
    constraints = spreads(pod, "DoNotSchedule", defaults)
    text = "node(s) didn't match pod topology spread constraints"
    for each in constraints:
        counts: dict[str, int] = {}
        for name, other in world.nodes.items():
            if complete(other, constraints) and each.includes(other):
                value = labels_of(other)[each.key]
                counts[value] = counts.get(value, 0) + each.counts(world.on(name))
        if each.key not in labels_of(node):
            return [f"{text} (missing required label)"]
        fewest = min(counts.values()) if len(counts) >= (each.stated.get("minDomains") or 1) else 0
        skew = counts.get(labels_of(node)[each.key], 0) + each.selects(pod) - fewest
        if skew > each.stated["maxSkew"]:
            return [text]
    return []


def spread_scores(
    pod: PodState, world: World, fits: Sequence[str], defaults: Sequence[Obj] = SYSTEM
) -> dict[str, int]:
    constraints = spreads(pod, "ScheduleAnyway", defaults)
    if not constraints:
        return dict.fromkeys(fits, 0)
    # With the system's own constraints a node may lack a label: all such nodes are one more domain.
    strict = bool(pod.pod["spec"].get("topologySpreadConstraints")) or defaults is not SYSTEM
    scored = [name for name in fits if not strict or complete(world.nodes[name], constraints)]
    raw = dict.fromkeys(scored, 0.0)
    for each in constraints:
        if each.key == HOSTNAME:
            size = len(scored)
            counts = {labels_of(world.nodes[name])[HOSTNAME]: each.counts(world.on(name)) for name in scored}
        else:
            counts = {labels_of(world.nodes[name]).get(each.key, ""): 0 for name in scored}
            size = len(counts)
            for name, node in world.nodes.items():
                value = labels_of(node).get(each.key, "")
                counted = not strict or complete(node, constraints)
                if value in counts and counted and each.includes(node):
                    counts[value] += each.counts(world.on(name))
        weight = math.log(size + 2)
        for name in scored:
            if each.key in labels_of(world.nodes[name]):
                its = counts[labels_of(world.nodes[name])[each.key]]
                raw[name] += its * weight + each.stated["maxSkew"] - 1
    rounded = {name: round(value) for name, value in raw.items()}
    found = dict.fromkeys(fits, 0)
    if scored:
        least, most = min(rounded.values()), max(rounded.values())
        for name, value in rounded.items():
            found[name] = 100 * (most + least - value) // most if most else 100
    return found


# --- pods near pods


def asked(pod: PodState, kind: str) -> list[tuple[Term, int]]:
    return [(term, weight) for its, term, weight in pod.terms if its == kind]


def near(term: Term, node: Obj, world: World) -> list[PodState]:
    """The pods that a term asks for in the node's domain."""
    value = labels_of(node).get(term.topology_key)
    if value is None:
        return []
    return [
        pod
        for pod, at in world.there()
        if labels_of(at).get(term.topology_key) == value and term.matches(pod, NAMESPACES[pod.namespace])
    ]


def neighbour_refusals(pod: PodState, node: Obj, world: World) -> list[str]:
    terms = [term for term, _ in asked(pod, "affinity")]
    if terms:
        # A pod counts that is what all terms ask for.
        def together(where: Obj) -> bool:
            return all(
                any(
                    all(other.matches(each, NAMESPACES[each.namespace]) for other in terms)
                    for each in near(term, where, world)
                )
                for term in terms
            )

        anywhere = any(
            any(term.topology_key in labels_of(at) for term in terms)
            and all(term.matches(each, NAMESPACES[each.namespace]) for term in terms)
            for each, at in world.there()
        )
        first = not anywhere and all(term.matches(pod, NAMESPACES[pod.namespace]) for term in terms)
        labelled = all(term.topology_key in labels_of(node) for term in terms)
        if not labelled or not (first or together(node)):
            return ["node(s) didn't match pod affinity rules"]
    if any(near(term, node, world) for term, _ in asked(pod, "anti-affinity")):
        return ["node(s) didn't match pod anti-affinity rules"]
    for each, at in world.there():
        for term, _ in asked(each, "anti-affinity"):
            key = term.topology_key
            same = key in labels_of(node) and labels_of(node)[key] == labels_of(at).get(key)
            if same and term.matches(pod, NAMESPACES[pod.namespace]):
                return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []


def weighed_neighbour_scores(pod: PodState, world: World, fits: Sequence[str]) -> dict[str, int]:
    """With 40 for what pods that are there require, and without a look at them for pods that prefer nothing."""
    prefers = asked(pod, "preferred-affinity") or asked(pod, "preferred-anti-affinity")
    return neighbour_scores(pod, world, fits, 40) if prefers else dict.fromkeys(fits, 0)


def neighbour_scores(pod: PodState, world: World, fits: Sequence[str], hard: int = 1) -> dict[str, int]:
    weights: dict[tuple[str, str], int] = {}

    def add(term: Term, at: Obj, weight: int) -> None:
        if term.topology_key in labels_of(at):
            key = term.topology_key, labels_of(at)[term.topology_key]
            weights[key] = weights.get(key, 0) + weight

    for each, at in world.there():
        for kind, sign in (("preferred-affinity", 1), ("preferred-anti-affinity", -1)):
            for term, weight in asked(pod, kind):
                if term.matches(each, NAMESPACES[each.namespace]):
                    add(term, at, sign * weight)
            for term, weight in asked(each, kind):
                if term.matches(pod, NAMESPACES[pod.namespace]):
                    add(term, at, sign * weight)
        for term, _ in asked(each, "affinity"):
            if term.matches(pod, NAMESPACES[pod.namespace]):
                add(term, at, hard)
    raw = {
        name: sum(
            weight
            for (key, value), weight in weights.items()
            if labels_of(world.nodes[name]).get(key) == value
        )
        for name in fits
    }
    least, most = min(raw.values()), max(raw.values())
    return {
        name: int(100 * ((value - least) / (most - least))) if most > least else 0
        for name, value in raw.items()
    }


# --- volumes


def matched_volumes(claims: Sequence[Obj], volumes: Sequence[Obj], node: Obj) -> dict[str, str]:
    """Claim -> volume on one node: who asks for least first, the smallest volume that does and is not given away."""
    given: set[str] = set()
    found = {}
    for claim in sorted(claims, key=lambda claim: claim["spec"]["resources"]["requests"]["storage"]):
        best = None
        for volume in volumes:
            affinity = (volume["spec"].get("nodeAffinity") or {}).get("required")
            reachable = affinity is None or any(selects(term, node) for term in affinity["nodeSelectorTerms"])
            reference = volume["spec"].get("claimRef")
            mine = bool(reference) and reference["name"] == claim["metadata"]["name"]
            big = volume["spec"]["capacity"]["storage"] >= claim["spec"]["resources"]["requests"]["storage"]
            if not big or (reference and not mine) or volume["metadata"]["name"] in given:
                continue
            if mine:
                best = volume if reachable else None
                break
            modes = set(claim["spec"]["accessModes"]) <= set(volume["spec"]["accessModes"])
            if (
                reachable
                and modes
                and volume["status"]["phase"] == "Available"
                and (
                    best is None
                    or volume["spec"]["capacity"]["storage"] < best["spec"]["capacity"]["storage"]
                )
            ):
                best = volume
        if best is not None:
            given.add(best["metadata"]["name"])
            found[claim["metadata"]["name"]] = best["metadata"]["name"]
    return found
