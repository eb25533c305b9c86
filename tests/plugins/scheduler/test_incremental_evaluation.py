"""What is brought up to date after changes equals what is computed from nothing, and a plain look at each node."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scheduling_kit import node, pod, policy, table

from kubernel.plugin.scheduling import PodState
from kubernel_plugins.scheduler.default.cycle import Evaluation, Weighed
from kubernel_plugins.scheduler.default.table import NodeTable
from kubernel_plugins.scheduler_policy.inter_pod_affinity.policy import InterPodAffinity
from kubernel_plugins.scheduler_policy.node_affinity.policy import NodeAffinity
from kubernel_plugins.scheduler_policy.node_ports.policy import NodePorts
from kubernel_plugins.scheduler_policy.node_resources_balanced_allocation.policy import BalancedAllocation
from kubernel_plugins.scheduler_policy.node_resources_fit.policy import NodeResourcesFit
from kubernel_plugins.scheduler_policy.node_unschedulable.policy import NodeUnschedulable
from kubernel_plugins.scheduler_policy.pod_topology_spread.policy import PodTopologySpread
from kubernel_plugins.scheduler_policy.taint_toleration.policy import TaintToleration

FILTERS = (
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
)
SCORERS = (
    TaintToleration,
    NodeAffinity,
    PodTopologySpread,
    InterPodAffinity,
    NodeResourcesFit,
    BalancedAllocation,
)
NAMES = tuple(f"n{number}" for number in range(20))
ZONES = ("a", "b", None)
APPS = ("web", "db")


def term(app: str) -> dict[str, Any]:
    return {"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": "zone"}


def affinity(kind: str, app: str, *, soft: bool) -> dict[str, Any]:
    if soft:
        preferred = [{"weight": 7, "podAffinityTerm": term(app)}]
        return {kind: {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term(app)]}}


@st.composite
def pods(draw: Any) -> PodState:
    spec: dict[str, Any] = {}
    app = draw(st.sampled_from(APPS))
    if draw(st.booleans()):
        kind = draw(st.sampled_from(("podAffinity", "podAntiAffinity")))
        spec["affinity"] = affinity(kind, draw(st.sampled_from(APPS)), soft=draw(st.booleans()))
    if draw(st.booleans()):
        action = draw(st.sampled_from(("DoNotSchedule", "ScheduleAnyway")))
        selector = {"matchLabels": {"app": app}}
        constraint = {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": action,
            "labelSelector": selector,
        }
        spec["topologySpreadConstraints"] = [constraint]
    if draw(st.booleans()):
        spec["nodeSelector"] = {"zone": draw(st.sampled_from(ZONES[:2]))}
    if draw(st.booleans()):
        spec["tolerations"] = [{"operator": "Exists"}]
    requests = {"cpu": draw(st.sampled_from(("0", "300m", "1")))}
    port = draw(st.sampled_from((0, 0, 80)))
    ports = [{"containerPort": 1, "hostPort": port}] if port else []
    containers = [{"name": "m", "image": "x", "resources": {"requests": requests}, "ports": ports}]
    return pod(labels={"app": app}, containers=containers, **spec)


@st.composite
def nodes(draw: Any) -> dict[str, Any]:
    zone = draw(st.sampled_from(ZONES))
    effect = draw(st.sampled_from((None, None, "NoSchedule", "PreferNoSchedule")))
    return node(
        draw(st.sampled_from(NAMES)),
        labels={"zone": zone} if zone else {},
        taints=[{"key": "k", "effect": effect}] if effect else [],
        unschedulable=draw(st.sampled_from((False, False, True))),
        cpu=draw(st.sampled_from(("1", "2", "4"))),
    )


OPERATIONS = st.one_of(
    st.tuples(st.just("node"), nodes()),
    st.tuples(st.just("place"), st.tuples(pods(), st.sampled_from(NAMES))),
    st.tuples(st.just("take"), st.integers(0, 30)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES)),
)


def evaluation(made: NodeTable) -> Evaluation:
    scorers = [Weighed(policy(cls, made), 2) for cls in SCORERS]
    return Evaluation([policy(cls, made) for cls in FILTERS], scorers, made)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(nodes(), min_size=1, max_size=6),
    st.lists(OPERATIONS, max_size=25),
    st.lists(pods(), min_size=1, max_size=3),
)
def test_an_evaluation_kept_current_says_the_same_as_a_new_one(
    first: list[dict[str, Any]], operations: list[Any], wanted: list[PodState]
) -> None:
    made = table(*first)
    kept = [evaluation(made) for _ in wanted]
    placed: list[str] = []
    for kind, what in operations:
        if kind == "node":
            made.set_node(what)
        elif kind == "remove":
            made.remove_node(what)
        elif kind == "place":
            made.place(*what)
            placed.append(what[0].uid)
        elif placed:
            made.take_off(placed[what % len(placed)])
        for each, one in zip(wanted, kept, strict=True):
            assert one.explain(each) == evaluation(made).explain(each)


STRATEGIES = ("LeastAllocated", "MostAllocated")
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "zone",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchLabels": {"app": "web"}},
}
WISHES: tuple[dict[str, Any], ...] = (
    {},
    {"topologySpreadConstraints": [SPREAD]},
    {"affinity": affinity("podAffinity", "web", soft=False)},
    {"affinity": affinity("podAntiAffinity", "web", soft=True)},
)
"""With the first nothing but the nodes themselves decides."""


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from(("2", "2", "2", "4")), min_size=1, max_size=8).map(
        lambda sizes: [
            node(NAMES[number], cpu=size, labels={"zone": "ab"[number % 2]})
            for number, size in enumerate(sizes)
        ]
    ),
    st.sampled_from(("300m", "1")),
    st.sampled_from(STRATEGIES),
    st.sampled_from(WISHES),
    st.lists(st.sampled_from((*["place"] * 12, "other", "give up", "node")), min_size=5, max_size=40),
    st.randoms(use_true_random=False),
)
def test_each_of_many_alike_gets_a_node_that_is_the_best_at_that_moment(
    given_nodes: list[dict[str, Any]],
    cpu: str,
    strategy: str,
    wishes: dict[str, Any],
    steps: list[str],
    rng: Any,
) -> None:
    made = table(*given_nodes)
    names = [each["metadata"]["name"] for each in given_nodes]
    args = {"scoringStrategy": {"type": strategy}}

    def judge() -> Evaluation:
        filters = [
            policy(cls, made)
            for cls in (
                NodeUnschedulable,
                TaintToleration,
                NodePorts,
                NodeResourcesFit,
                PodTopologySpread,
                InterPodAffinity,
            )
        ]
        scorers = [
            Weighed(policy(NodeResourcesFit, made, args), 1),
            Weighed(policy(BalancedAllocation, made), 1),
            Weighed(policy(InterPodAffinity, made), 2),
        ]
        return Evaluation(filters, scorers, made)

    kept = judge()
    for step in steps:
        if step == "other":
            made.place(pod({"cpu": "300m"}), rng.choice(names))
        elif step == "node":
            zone = {"zone": rng.choice("abc")}
            made.set_node(node(rng.choice(names), cpu=rng.choice(("2", "8")), labels=zone))
        wanted = pod({"cpu": cpu, "memory": "1Gi"}, labels={"app": "web"}, **wishes)
        row = kept.choose(wanted, rng)
        totals = {
            name: each["total"] for name, each in judge().explain(wanted).items() if not each["refusals"]
        }
        if row is None:
            assert not totals
            continue
        assert totals[made.name(row)] == max(totals.values())
        if step != "give up":
            made.place(wanted, made.name(row))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(nodes(), min_size=1, max_size=6),
    st.lists(st.tuples(pods(), st.sampled_from(NAMES)), max_size=15),
    pods(),
)
def test_resources_and_affinity_are_what_a_plain_look_at_each_node_finds(
    given_nodes: list[dict[str, Any]], placed: list[tuple[PodState, str]], wanted: PodState
) -> None:
    made = table(*given_nodes)
    known = {each["metadata"]["name"]: each for each in given_nodes}
    for each, where in placed:
        made.place(each, where)
    there = [(each, known[where]) for each, where in placed if where in known]
    found = Evaluation([policy(NodeResourcesFit, made), policy(InterPodAffinity, made)], [], made).explain(
        wanted
    )
    for name, its in known.items():
        told = found[name]["refusals"]
        assert told.get("NodeResourcesFit", []) == lacking(wanted, its, [p for p, n in there if n is its])
        assert told.get("InterPodAffinity", []) == unwelcome(wanted, its, there)


def lacking(wanted: PodState, its: dict[str, Any], on_it: list[PodState]) -> list[str]:
    free = int(its["status"]["allocatable"]["cpu"]) * 1000 - sum(
        each.requests.get("cpu", 0) for each in on_it
    )
    refusals = ["Too many pods"] if len(on_it) >= 10 else []
    asked = wanted.requests.get("cpu", 0)
    return [*refusals, "Insufficient cpu"] if asked and asked > free else refusals


def wants(owner: PodState, kind: str) -> list[str]:
    found = (owner.pod["spec"].get("affinity") or {}).get(kind) or {}
    required = found.get("requiredDuringSchedulingIgnoredDuringExecution") or []
    return [each["labelSelector"]["matchLabels"]["app"] for each in required]


def unwelcome(
    wanted: PodState, its: dict[str, Any], there: list[tuple[PodState, dict[str, Any]]]
) -> list[str]:
    zone = its["metadata"]["labels"].get("zone")

    def near(app: str, where: str | None) -> bool:
        return where is not None and any(
            each.labels["app"] == app and at["metadata"]["labels"].get("zone") == where for each, at in there
        )

    for app in wants(wanted, "podAffinity"):
        first = app == wanted.labels["app"] and not any(near(app, each) for each in ZONES)
        if zone is None or not (first or near(app, zone)):
            return ["node(s) didn't match pod affinity rules"]
    if any(near(app, zone) for app in wants(wanted, "podAntiAffinity")):
        return ["node(s) didn't match pod anti-affinity rules"]
    for each, at in there:
        same = zone is not None and at["metadata"]["labels"].get("zone") == zone
        if same and wanted.labels["app"] in wants(each, "podAntiAffinity"):
            return ["node(s) didn't satisfy existing pods anti-affinity rules"]
    return []
