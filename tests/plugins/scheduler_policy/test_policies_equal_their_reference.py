"""On clusters made by chance each policy says, of all nodes at once, what a plain look at each node finds."""

from __future__ import annotations

from typing import Any

import pytest
import scalar_reference as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_reference import World
from scheduling_kit import node, pod, policy, table

from kubernel.plugin.scheduling import ALL, PodState, Policy
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed
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
        "matchExpressions": st.lists(expressions, max_size=2),
        "matchFields": st.lists(fields, max_size=1),
    },
)


@st.composite
def clusters(draw: Any) -> list[Obj]:
    found = []
    for name in NAMES[: draw(st.integers(1, 5))]:
        labels = {"kubernetes.io/hostname": name}
        if zone := draw(st.sampled_from((*ZONES, None))):
            labels["zone"] = zone
        if tier := draw(st.sampled_from(("1", "9", "x", None))):
            labels["tier"] = tier
        images = draw(st.lists(st.sampled_from(IMAGES), max_size=2, unique=True))
        size = draw(st.sampled_from((10, 300, 900)))
        found.append(
            node(
                name,
                labels=labels,
                taints=draw(taints),
                unschedulable=draw(st.booleans()),
                images=[{"names": [image], "sizeBytes": size * plain.MB} for image in images],
                cpu=draw(st.sampled_from(("1", "2", "0"))),
                memory=draw(st.sampled_from(("1Gi", "3Gi"))),
                pods=draw(st.sampled_from(("2", "10"))),
                **draw(st.sampled_from(({}, {"example.com/gpu": "2"}))),
            )
        )
    return found


def affinity_term(draw: Any) -> Obj:
    selector: Obj = {"matchLabels": {"app": draw(st.sampled_from(APPS))}}
    return {"labelSelector": selector, "topologyKey": draw(st.sampled_from(KEYS))}


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
    more = draw(st.sampled_from(({}, {"matchLabelKeys": ["version"]}, {"minDomains": 3})))
    if action == "ScheduleAnyway":
        more.pop("minDomains", None)
    return {
        "maxSkew": draw(st.integers(1, 2)),
        "topologyKey": draw(st.sampled_from(KEYS)),
        "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": {"app": app}},
        "nodeAffinityPolicy": draw(st.sampled_from(("Honor", "Ignore"))),
        "nodeTaintsPolicy": draw(st.sampled_from(("Honor", "Ignore"))),
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
        spec["topologySpreadConstraints"] = [spreading(draw, app) for _ in range(draw(st.integers(0, 2)))]
    if cls is InterPodAffinity:
        spec["affinity"] |= pod_affinity(draw)
    if cls is NodePorts:
        container["ports"] = draw(st.lists(host_ports, max_size=2))
    if cls in (NodeResourcesFit, BalancedAllocation):
        requests = {resource: draw(st.sampled_from(choices)) for resource, choices in AMOUNTS.items()}
        container["resources"] = {"requests": requests}
    spec["containers"] = [container]
    return pod(labels={"app": app, "version": draw(st.sampled_from(("1", "2")))}, **spec)


@st.composite
def worlds(draw: Any, cls: type[Policy]) -> tuple[World, PodState]:
    """A cluster, and a pod that wants a node of it."""
    nodes = draw(clusters())
    names = [each["metadata"]["name"] for each in nodes]
    placed = draw(st.lists(st.tuples(pods(cls), st.sampled_from(names)), max_size=8))
    return World({each["metadata"]["name"]: each for each in nodes}, placed), draw(pods(cls))


def built(world: World) -> Any:
    made = table(*world.nodes.values())
    for each, where in world.placed:
        made.place(each, where)
    return made


FILTERS = [
    pytest.param(NodeName, plain.name_refusals, id="NodeName"),
    pytest.param(NodeUnschedulable, plain.cordon_refusals, id="NodeUnschedulable"),
    pytest.param(TaintToleration, plain.taint_refusals, id="TaintToleration"),
    pytest.param(NodeAffinity, plain.affinity_refusals, id="NodeAffinity"),
    pytest.param(NodePorts, plain.port_refusals, id="NodePorts"),
    pytest.param(NodeResourcesFit, plain.resource_refusals, id="NodeResourcesFit"),
    pytest.param(PodTopologySpread, plain.spread_refusals, id="PodTopologySpread"),
    pytest.param(InterPodAffinity, plain.neighbour_refusals, id="InterPodAffinity"),
]


@pytest.mark.parametrize(("cls", "reference"), FILTERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_same_nodes_are_refused_for_the_same_reasons(
    cls: type[Policy], reference: Any, data: st.DataObject
) -> None:
    world, wanted = data.draw(worlds(cls))
    made = built(world)
    evaluation = Evaluation([policy(cls, made)], [], made)
    found, fits = evaluation.explain(wanted), evaluation.fitting(wanted)
    for name, its in world.nodes.items():
        expected = reference(wanted, its, world)
        told = found[name]["refusals"].get(cls.name, [])
        # A node that no term names is refused before the policy looks at it.
        if told == [f"node(s) didn't satisfy plugin(s) [{cls.name}]", *expected]:
            told = expected
        assert told == expected, name
        assert bool(fits[made.row(name)]) == (not expected), name


SCORERS = [
    pytest.param(TaintToleration, {}, plain.taint_scores, id="TaintToleration"),
    pytest.param(NodeAffinity, {}, plain.affinity_scores, id="NodeAffinity"),
    pytest.param(NodeResourcesFit, {}, plain.least_scores, id="LeastAllocated"),
    pytest.param(
        NodeResourcesFit,
        {
            "scoringStrategy": {
                "type": "MostAllocated",
                "resources": [{"name": name, "weight": weight} for name, weight in plain.WEIGHTS.items()],
            }
        },
        plain.most_scores,
        id="MostAllocated",
    ),
    pytest.param(
        NodeResourcesFit,
        {
            "scoringStrategy": {
                "type": "RequestedToCapacityRatio",
                "resources": [{"name": name, "weight": weight} for name, weight in plain.WEIGHTS.items()],
                "requestedToCapacityRatio": {"shape": plain.BENT},
            }
        },
        plain.bent_scores,
        id="RequestedToCapacityRatio",
    ),
    pytest.param(BalancedAllocation, {}, plain.balanced_scores, id="BalancedAllocation"),
    pytest.param(ImageLocality, {}, plain.image_scores, id="ImageLocality"),
    pytest.param(PodTopologySpread, {}, plain.spread_scores, id="PodTopologySpread"),
    pytest.param(InterPodAffinity, {}, plain.neighbour_scores, id="InterPodAffinity"),
]


@pytest.mark.parametrize(("cls", "args", "reference"), SCORERS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_nodes_that_fit_have_the_same_scores(
    cls: type[Policy], args: Obj, reference: Any, data: st.DataObject
) -> None:
    world, wanted = data.draw(worlds(cls))
    made = built(world)
    scorer = Weighed(policy(cls, made, args), 1)
    found = Evaluation([policy(NodeUnschedulable, made)], [scorer], made).explain(wanted)
    fits = [name for name in world.nodes if not found[name]["refusals"]]
    if fits:
        told = {name: found[name]["scores"].get(cls.name, 0) for name in fits}
        assert told == reference(wanted, world, fits)


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
