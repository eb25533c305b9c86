"""On clusters made by chance each policy says, of all nodes at once, what a plain look at each node finds: also when
what it says is kept current while nodes and pods come, change and go."""

from __future__ import annotations

from typing import Any

import pytest
import scalar_reference as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_reference import World
from scheduling_kit import Objects, node, pod, policy, started, table

from kubernel.plugin.scheduling import ALL, PodState, Policy
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler.default.table import NodeTable
from kubernel_plugins.scheduler_policy.image_locality.policy import ImageLocality
from kubernel_plugins.scheduler_policy.inter_pod_affinity.policy import InterPodAffinity
from kubernel_plugins.scheduler_policy.node_affinity.policy import NodeAffinity
from kubernel_plugins.scheduler_policy.node_name.policy import NodeName
from kubernel_plugins.scheduler_policy.node_ports.policy import NodePorts
from kubernel_plugins.scheduler_policy.node_resources_balanced_allocation.policy import BalancedAllocation
from kubernel_plugins.scheduler_policy.node_resources_fit.policy import NodeResourcesFit
from kubernel_plugins.scheduler_policy.node_unschedulable.policy import NodeUnschedulable
from kubernel_plugins.scheduler_policy.pod_topology_spread.policy import PodTopologySpread
from kubernel_plugins.scheduler_policy.taint_toleration.policy import TaintToleration
from kubernel_plugins.scheduler_policy.volume_binding.matching import candidates, match

Obj = dict[str, Any]
NAMES = tuple(f"n{number}" for number in range(5))
ZONES, APPS = ("a", "b", "c"), ("web", "db")
KEYS = ("zone", "kubernetes.io/hostname")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
IMAGES = ("app:1", "app:2", "registry/tool:latest")

taints = st.lists(
    st.fixed_dictionaries(
        {"key": st.sampled_from(("k", "l")), "effect": st.sampled_from(EFFECTS)},
        optional={"value": st.sampled_from(("x", "y"))},
    ),
    max_size=2,
)
tolerations = st.lists(
    st.fixed_dictionaries(
        {"operator": st.sampled_from(("Exists", "Equal"))},
        optional={
            "key": st.sampled_from(("k", "l", "node.kubernetes.io/unschedulable")),
            "value": st.sampled_from(("x", "y")),
            "effect": st.sampled_from(EFFECTS),
        },
    ),
    max_size=2,
)
expressions = st.one_of(
    st.fixed_dictionaries(
        {
            "key": st.sampled_from(("zone", "tier")),
            "operator": st.sampled_from(("In", "NotIn")),
            "values": st.lists(st.sampled_from((*ZONES, "1", "9")), min_size=1, max_size=2),
        }
    ),
    st.fixed_dictionaries(
        {"key": st.sampled_from(("zone", "tier")), "operator": st.sampled_from(("Exists", "DoesNotExist"))}
    ),
    st.fixed_dictionaries(
        {
            "key": st.just("tier"),
            "operator": st.sampled_from(("Gt", "Lt")),
            "values": st.sampled_from((["3"], ["x"])),
        }
    ),
)
fields = st.fixed_dictionaries(
    {
        "key": st.just("metadata.name"),
        "operator": st.sampled_from(("In", "NotIn")),
        "values": st.lists(st.sampled_from(NAMES), min_size=1, max_size=1),
    }
)
selector_terms = st.fixed_dictionaries(
    {},
    optional={
        "matchExpressions": st.lists(expressions, min_size=1, max_size=2),
        "matchFields": st.lists(fields, max_size=1),
    },
)


@st.composite
def clusters(draw: Any) -> list[Obj]:
    return [draw(nodes(name)) for name in NAMES[: draw(st.sampled_from((1, 3, 4, 5, 5)))]]


@st.composite
def nodes(draw: Any, name: str) -> Obj:
    labels = {"kubernetes.io/hostname": name}
    if zone := draw(st.sampled_from((*ZONES, None))):
        labels |= {"zone": zone, "topology.kubernetes.io/zone": zone}
    if tier := draw(st.sampled_from(("1", "9", "x", None))):
        labels["tier"] = tier
    images = draw(st.lists(st.sampled_from(IMAGES), max_size=2, unique=True))
    size = draw(st.sampled_from((10, 300, 900)))
    return node(
        name,
        labels=labels,
        taints=draw(taints),
        unschedulable=draw(st.sampled_from((False, False, True))),
        images=[{"names": [image], "sizeBytes": size * plain.MB} for image in images],
        cpu=draw(st.sampled_from(("1", "2", "0"))),
        memory=draw(st.sampled_from(("1Gi", "3Gi"))),
        pods=draw(st.sampled_from(("2", "10"))),
        **draw(st.sampled_from(({}, {"example.com/gpu": "2"}))),
    )


def affinity_term(draw: Any) -> Obj:
    selector: Obj = draw(st.sampled_from(({}, *({"matchLabels": {"app": app}} for app in APPS))))
    where = draw(
        st.sampled_from(
            (
                {},
                {},
                {"namespaces": ["other"]},
                {"namespaceSelector": {}},
                {"namespaceSelector": {"matchLabels": {"env": "test"}}},
            )
        )
    )
    return {"labelSelector": selector, "topologyKey": draw(st.sampled_from(KEYS)), **where}


def node_affinity(draw: Any) -> Obj:
    found: Obj = {}
    if draw(st.booleans()):
        found[REQUIRED] = {"nodeSelectorTerms": draw(st.lists(selector_terms, min_size=1, max_size=2))}
    found[PREFERRED] = [
        {"weight": draw(st.integers(1, 100)), "preference": {"matchExpressions": [draw(expressions)]}}
        for _ in range(draw(st.integers(0, 3)))
    ]
    return found


def spreading(draw: Any, app: str) -> Obj:
    action = draw(st.sampled_from(("DoNotSchedule", "ScheduleAnyway")))
    more = draw(st.sampled_from(({}, {"matchLabelKeys": ["version"]}, {"minDomains": 3}, {"minDomains": 3})))
    if action == "ScheduleAnyway":
        more = {key: value for key, value in more.items() if key != "minDomains"}
    return {
        "maxSkew": draw(st.integers(1, 2)),
        "topologyKey": draw(st.sampled_from(KEYS)),
        "whenUnsatisfiable": action,
        "labelSelector": draw(st.sampled_from(({"matchLabels": {"app": app}}, {}))),
        "nodeAffinityPolicy": draw(st.sampled_from(("Ignore", "Ignore", "Honor"))),
        "nodeTaintsPolicy": draw(st.sampled_from(("Ignore", "Ignore", "Honor"))),
        **more,
    }


def pod_affinity(draw: Any) -> Obj:
    found: Obj = {}
    for kind in ("podAffinity", "podAntiAffinity"):
        chosen = draw(st.sampled_from(("", REQUIRED, PREFERRED)))
        if chosen == REQUIRED:
            found[kind] = {REQUIRED: [affinity_term(draw) for _ in range(draw(st.integers(1, 2)))]}
        elif chosen:
            entry = {"weight": draw(st.integers(1, 100)), "podAffinityTerm": affinity_term(draw)}
            found[kind] = {PREFERRED: [entry]}
    return found


host_ports = st.fixed_dictionaries(
    {"containerPort": st.just(1), "hostPort": st.sampled_from((80, 81))},
    optional={
        "hostIP": st.sampled_from(("10.0.0.1", "10.0.0.2")),
        "protocol": st.sampled_from(("TCP", "UDP")),
    },
)
AMOUNTS = {"cpu": ("0", "300m", "1"), "memory": ("0", "300Mi", "1Gi"), "example.com/gpu": ("0", "0", "1")}


@st.composite
def pods(draw: Any, cls: type[Policy]) -> PodState:
    """With what the policy looks at: chance finds little in pods that have everything."""
    app = draw(st.sampled_from(APPS))
    spec: Obj = {"affinity": {}}
    container: Obj = {"name": "m", "image": draw(st.sampled_from((*IMAGES, "registry/tool")))}
    if cls is NodeName and draw(st.booleans()):
        spec["nodeName"] = draw(st.sampled_from(NAMES))
    if cls in (NodeUnschedulable, TaintToleration, PodTopologySpread):
        spec["tolerations"] = draw(tolerations)
    if cls in (NodeAffinity, PodTopologySpread):
        spec["affinity"]["nodeAffinity"] = node_affinity(draw)
        if draw(st.booleans()):
            spec["nodeSelector"] = {"zone": draw(st.sampled_from(ZONES))}
    if cls is PodTopologySpread:
        spec["topologySpreadConstraints"] = [
            spreading(draw, app) for _ in range(draw(st.sampled_from((0, 1, 2))))
        ]
    if cls is InterPodAffinity:
        spec["affinity"] |= pod_affinity(draw)
    if cls is NodePorts:
        container["ports"] = draw(st.lists(host_ports, max_size=2))
    if cls in (NodeResourcesFit, BalancedAllocation):
        requests = {resource: draw(st.sampled_from(choices)) for resource, choices in AMOUNTS.items()}
        container["resources"] = {"requests": requests}
    if cls is ImageLocality and draw(st.booleans()):
        spec["volumes"] = [{"name": "i", "image": {"reference": draw(st.sampled_from(IMAGES))}}]
    spec["containers"] = [container]
    namespace = draw(st.sampled_from(("default", "default", "other")))
    return pod(labels={"app": app, "version": draw(st.sampled_from(("1", "2")))}, namespace=namespace, **spec)


@st.composite
def worlds(draw: Any, cls: type[Policy]) -> tuple[World, PodState]:
    """A cluster, and a pod that wants a node of it."""
    found = draw(clusters())
    placed = draw(st.lists(st.tuples(pods(cls), st.sampled_from(NAMES)), min_size=3, max_size=9))
    return World({each["metadata"]["name"]: each for each in found}, placed), draw(pods(cls))


@st.composite
def changes(draw: Any, cls: type[Policy]) -> tuple[str, Any, Any]:
    kind = draw(st.sampled_from(("place", "take off", "alter", "alter", "node", "remove")))
    if kind == "place":
        return kind, draw(pods(cls)), draw(st.sampled_from(NAMES))
    if kind == "node":
        return kind, draw(nodes(draw(st.sampled_from(NAMES)))), None
    if kind == "remove":
        return kind, draw(st.sampled_from(NAMES)), None
    return kind, draw(st.integers(0, 20)), draw(st.sampled_from(("web", "db", "leaving")))


def happen(change: tuple[str, Any, Any], world: World, made: NodeTable) -> None:
    """In both the world and the table. Pods may be on nodes that are not there, and nodes go while pods are."""
    kind, what, more = change
    if kind == "place":
        world.placed.append((what, more))
        made.place(what, more)
    elif kind == "node":
        world.nodes[what["metadata"]["name"]] = what
        made.set_node(what)
    elif kind == "remove":
        world.nodes.pop(what, None)
        made.remove_node(what)
    elif world.placed:
        position = what % len(world.placed)
        before, where = world.placed[position]
        if kind == "take off":
            del world.placed[position]
            made.take_off(before.uid)
            return
        after = altered(before, more)
        world.placed[position] = after, where
        made.place(after, where)


def altered(pod: PodState, how: str) -> PodState:
    """The pod with another label, or on its way out."""
    metadata = dict(pod.pod["metadata"])
    if how == "leaving":
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    else:
        metadata["labels"] = {**metadata["labels"], "app": how}
    return pod_state({**pod.pod, "metadata": metadata})


def built(world: World) -> NodeTable:
    made = table(*world.nodes.values())
    for each, where in world.placed:
        made.place(each, where)
    return made


def begun(cls: type[Policy], made: NodeTable, args: Obj) -> Policy:
    namespaces = [{"metadata": {"name": name, "labels": labels}} for name, labels in plain.NAMESPACES.items()]
    return started(cls, made, args, {"namespaces": Objects(*namespaces), "services": Objects(plain.SERVICE)})


LISTED = {"defaultingType": "List", "defaultConstraints": plain.LIST}
FILTERS = [
    pytest.param(NodeName, {}, plain.name_refusals, id="NodeName"),
    pytest.param(NodeUnschedulable, {}, plain.cordon_refusals, id="NodeUnschedulable"),
    pytest.param(TaintToleration, {}, plain.taint_refusals, id="TaintToleration"),
    pytest.param(NodeAffinity, {}, plain.affinity_refusals, id="NodeAffinity"),
    pytest.param(
        NodeAffinity, {"addedAffinity": plain.ADDED}, plain.added_affinity_refusals, id="NodeAffinity-added"
    ),
    pytest.param(NodePorts, {}, plain.port_refusals, id="NodePorts"),
    pytest.param(NodeResourcesFit, {}, plain.resource_refusals, id="NodeResourcesFit"),
    pytest.param(PodTopologySpread, {}, plain.spread_refusals, id="PodTopologySpread"),
    pytest.param(PodTopologySpread, LISTED, plain.listed_spread_refusals, id="PodTopologySpread-listed"),
    pytest.param(InterPodAffinity, {}, plain.neighbour_refusals, id="InterPodAffinity"),
]


@pytest.mark.parametrize(("cls", "args", "reference"), FILTERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_same_nodes_are_refused_for_the_same_reasons(
    cls: type[Policy], args: Obj, reference: Any, data: st.DataObject
) -> None:
    world, wanted = data.draw(worlds(cls))
    made = built(world)
    evaluation = Evaluation([begun(cls, made, args)], [], made)
    for several in ((), *data.draw(st.lists(st.lists(changes(cls), min_size=1, max_size=3), max_size=2))):
        for change in several:
            happen(change, world, made)
        found, fits = evaluation.explain(wanted), evaluation.fitting(wanted)
        for name, its in world.nodes.items():
            expected = reference(wanted, its, world)
            told = found[name]["refusals"].get(cls.name, [])
            # A node that no term names is refused before the policy looks at it.
            if told == [f"node(s) didn't satisfy plugin(s) [{cls.name}]", *expected]:
                told = expected
            assert told == expected, name
            assert bool(fits[made.row(name)]) == (not expected), name


STRATEGY_RESOURCES = [{"name": name, "weight": weight} for name, weight in plain.WEIGHTS.items()]
SCORERS = [
    pytest.param(TaintToleration, {}, plain.taint_scores, id="TaintToleration"),
    pytest.param(NodeAffinity, {}, plain.affinity_scores, id="NodeAffinity"),
    pytest.param(
        NodeAffinity, {"addedAffinity": plain.ADDED}, plain.added_affinity_scores, id="NodeAffinity-added"
    ),
    pytest.param(NodeResourcesFit, {}, plain.least_scores, id="LeastAllocated"),
    pytest.param(
        NodeResourcesFit,
        {"scoringStrategy": {"type": "MostAllocated", "resources": STRATEGY_RESOURCES}},
        plain.most_scores,
        id="MostAllocated",
    ),
    pytest.param(
        NodeResourcesFit,
        {
            "scoringStrategy": {
                "type": "RequestedToCapacityRatio",
                "resources": STRATEGY_RESOURCES,
                "requestedToCapacityRatio": {"shape": plain.BENT},
            }
        },
        plain.bent_scores,
        id="RequestedToCapacityRatio",
    ),
    pytest.param(BalancedAllocation, {}, plain.balanced_scores, id="BalancedAllocation"),
    pytest.param(
        BalancedAllocation,
        {"resources": [{"name": entry["name"]} for entry in STRATEGY_RESOURCES]},
        plain.balanced_three_scores,
        id="BalancedAllocation-of-three",
    ),
    pytest.param(ImageLocality, {}, plain.image_scores, id="ImageLocality"),
    pytest.param(PodTopologySpread, {}, plain.spread_scores, id="PodTopologySpread"),
    pytest.param(PodTopologySpread, LISTED, plain.listed_spread_scores, id="PodTopologySpread-listed"),
    pytest.param(InterPodAffinity, {}, plain.neighbour_scores, id="InterPodAffinity"),
    pytest.param(
        InterPodAffinity,
        {"hardPodAffinityWeight": 40, "ignorePreferredTermsOfExistingPods": True},
        plain.weighed_neighbour_scores,
        id="InterPodAffinity-weighed",
    ),
]


@pytest.mark.parametrize(("cls", "args", "reference"), SCORERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data(), rng=st.randoms(use_true_random=False))
def test_nodes_that_fit_have_the_same_scores(
    cls: type[Policy], args: Obj, reference: Any, data: st.DataObject, rng: Any
) -> None:
    world, wanted = data.draw(worlds(cls))
    made = built(world)
    scorer = Weighed(begun(cls, made, args), 1)
    evaluation = Evaluation([policy(NodeUnschedulable, made)], [scorer], made)
    for several in ((), *data.draw(st.lists(st.lists(changes(cls), min_size=1, max_size=3), max_size=2))):
        for change in several:
            happen(change, world, made)
        row = evaluation.choose(wanted, rng)
        found = evaluation.explain(wanted)
        fits = [name for name in world.nodes if not found[name]["refusals"]]
        if not fits:
            assert row is None
            continue
        told = {name: found[name]["scores"].get(cls.name, 0) for name in fits}
        expected = reference(wanted, world, fits)
        assert told == expected
        assert row is not None
        assert expected[made.name(row)] == max(expected.values())


# --- volumes


@st.composite
def storage(draw: Any) -> tuple[list[Obj], list[Obj]]:
    claims = [
        {
            "metadata": {"name": f"c{number}", "namespace": "default", "uid": f"c{number}"},
            "spec": {
                "accessModes": draw(st.sampled_from((["ReadWriteOnce"], ["ReadOnlyMany"]))),
                "resources": {"requests": {"storage": draw(st.integers(1, 6)) * 10 + number}},
            },
        }
        for number in range(draw(st.integers(1, 3)))
    ]
    volumes = []
    for number in range(draw(st.integers(0, 5))):
        spec: Obj = {
            # Different sizes: of two that are equal any may be taken.
            "capacity": {"storage": draw(st.integers(1, 6)) * 10 + number},
            "accessModes": draw(st.sampled_from((["ReadWriteOnce"], ["ReadWriteOnce", "ReadOnlyMany"]))),
        }
        if draw(st.booleans()):
            spec["nodeAffinity"] = {
                "required": {"nodeSelectorTerms": draw(st.lists(selector_terms, min_size=1, max_size=2))}
            }
        # At most one volume is reserved for a claim.
        if number < 3 and draw(st.sampled_from((False, False, True))):
            spec["claimRef"] = {"name": f"c{number}", "namespace": "default"}
        phase = draw(st.sampled_from(("Available", "Available", "Bound")))
        volumes.append({"metadata": {"name": f"v{number}"}, "spec": spec, "status": {"phase": phase}})
    return claims, volumes


@settings(max_examples=150, deadline=None)
@given(clusters(), storage())
def test_claims_get_the_same_volumes_on_each_node(nodes: list[Obj], given_storage: Any) -> None:
    claims, volumes = given_storage
    made = table(*nodes)
    found = match([(claim, candidates(claim, volumes)) for claim in claims], made, ALL)
    for each in nodes:
        row = made.row(each["metadata"]["name"])
        got = {
            its.claim["metadata"]["name"]: volume["metadata"]["name"]
            for its in found
            for volume, mask in its.taken
            if mask[row]
        }
        assert got == plain.matched_volumes(claims, volumes, each)
        missing = {its.claim["metadata"]["name"] for its in found if its.unmatched[row]}
        assert missing == {claim["metadata"]["name"] for claim in claims} - got.keys()
