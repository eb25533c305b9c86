"""Each policy by itself: which nodes it refuses, in which words, and which it prefers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kubernel.plugin.scheduling import NodeState, PodState
from kubernel.testing import Cluster
from kubernel_plugins.scheduler_policy import (
    node_affinity,
    node_name,
    node_resources_fit,
    node_unschedulable,
    taint_toleration,
)

GI = 1024**3


def node(name: str = "n", *, labels: Mapping[str, str] | None = None, taints: Sequence[Any] = (),
         unschedulable: bool = False, **given: Any) -> NodeState:  # fmt: skip
    allocatable = {"cpu": 4000, "memory": 8 * GI, "pods": 10}
    return NodeState(
        name, {}, labels or {}, taints, unschedulable, given.pop("allocatable", allocatable), **given
    )


def pod(requests: Mapping[str, int] | None = None, **spec: Any) -> PodState:
    return PodState(("default", "p"), "u", {"spec": spec}, requests or {}, 0)


def refused(module: Any, wanted: PodState, *nodes: NodeState) -> list[list[str]]:
    verdicts = module.Plugin(None, None).filter(wanted, nodes)
    return [[refusal.text for refusal in verdict] for verdict in verdicts]


def scores(module: Any, wanted: PodState, *nodes: NodeState) -> list[float]:
    return list(module.Plugin(None, None).score(wanted, nodes))


def test_the_policies_answer_the_hook_in_the_order_of_the_configuration(cluster: Cluster) -> None:
    """kubernel_scheduler_policy"""
    found = cluster.kernel.plugin("scheduler", "default").handle.hooks.scheduler_policies()
    assert [(policy.name, policy.weight) for policy in found] == [
        ("NodeUnschedulable", 0.0),
        ("NodeName", 0.0),
        ("TaintToleration", 3.0),
        ("NodeAffinity", 2.0),
        ("NodeResourcesFit", 1.0),
    ]


# --- node name and cordons


def test_a_named_node_is_the_only_one() -> None:
    wanted = pod(nodeName="a")
    assert refused(node_name, wanted, node("a"), node("b")) == [
        [],
        ["node(s) didn't match the requested node name"],
    ]
    assert refused(node_name, pod(), node("a")) == [[]]


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        pytest.param(None, False, id="none"),
        pytest.param({"operator": "Exists"}, True, id="everything"),
        pytest.param({"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}, True, id="that-key"),
        pytest.param({"key": "node.kubernetes.io/not-ready", "operator": "Exists"}, False, id="other-key"),
        pytest.param({"operator": "Exists", "effect": "NoExecute"}, False, id="other-effect"),
    ],
)
def test_cordoned_nodes_take_only_who_tolerates_it(toleration: Any, fits: bool) -> None:
    wanted = pod(tolerations=[toleration] if toleration else [])
    given = refused(node_unschedulable, wanted, node(unschedulable=True), node())
    assert given == [[] if fits else ["node(s) were unschedulable"], []]


# --- taints

TAINT = {"key": "k", "value": "5", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        pytest.param(
            {"key": "k", "operator": "Equal", "value": "5", "effect": "NoSchedule"}, True, id="equal"
        ),
        pytest.param({"key": "k", "value": "5"}, True, id="operator-and-effect-left-out"),
        pytest.param({"key": "k", "value": "6"}, False, id="other-value"),
        pytest.param({"key": "k", "operator": "Exists"}, True, id="exists"),
        pytest.param({"operator": "Exists"}, True, id="any-key"),
        pytest.param({"key": "x", "operator": "Exists"}, False, id="other-key"),
        pytest.param({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False, id="other-effect"),
        pytest.param({"key": "k", "operator": "Gt", "value": "4"}, True, id="greater"),
        pytest.param({"key": "k", "operator": "Gt", "value": "5"}, False, id="not-greater"),
        pytest.param({"key": "k", "operator": "Lt", "value": "6"}, True, id="less"),
        pytest.param({"key": "k", "operator": "Lt", "value": "x"}, False, id="no-number"),
    ],
)
def test_which_tolerations_tolerate_a_taint(toleration: dict[str, Any], fits: bool) -> None:
    given = refused(taint_toleration, pod(tolerations=[toleration]), node(taints=[TAINT]))
    assert given == [[] if fits else ["node(s) had untolerated taint(s)"]]


@pytest.mark.parametrize(
    ("effect", "fits"), [("NoSchedule", False), ("NoExecute", False), ("PreferNoSchedule", True)]
)
def test_effects_that_keep_pods_away(effect: str, fits: bool) -> None:
    taint = {"key": "k", "effect": effect}
    assert (refused(taint_toleration, pod(), node(taints=[taint])) == [[]]) is fits


def test_the_fewer_soft_taints_the_better() -> None:
    soft = [{"key": str(number), "effect": "PreferNoSchedule"} for number in range(4)]
    nodes = node(taints=soft), node(taints=soft[:1]), node()
    assert scores(taint_toleration, pod(), *nodes) == [0.0, 75.0, 100.0]
    tolerant = pod(tolerations=[{"operator": "Exists"}])
    assert scores(taint_toleration, tolerant, *nodes) == [100.0, 100.0, 100.0]


# --- affinity


def required(*terms: dict[str, Any]) -> PodState:
    chosen = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return pod(affinity={"nodeAffinity": chosen})


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        pytest.param(pod(), True, id="anything"),
        pytest.param(pod(nodeSelector={"disk": "ssd"}), True, id="selector"),
        pytest.param(pod(nodeSelector={"disk": "ssd", "zone": "b"}), False, id="selector-all-of-it"),
        pytest.param(required(expression("disk", "In", "hdd", "ssd")), True, id="in"),
        pytest.param(required(expression("disk", "NotIn", "ssd")), False, id="not-in"),
        pytest.param(required(expression("gpu", "NotIn", "a")), True, id="not-in-without-the-label"),
        pytest.param(required(expression("disk", "Exists")), True, id="exists"),
        pytest.param(required(expression("disk", "DoesNotExist")), False, id="does-not-exist"),
        pytest.param(required(expression("cores", "Gt", "7")), True, id="greater"),
        pytest.param(required(expression("cores", "Lt", "8")), False, id="less"),
        pytest.param(required(expression("disk", "Gt", "1")), False, id="no-number"),
        pytest.param(required({}), False, id="empty-term"),
        pytest.param(required(), False, id="no-terms"),
        pytest.param(
            required(expression("gpu", "Exists"), expression("disk", "Exists")), True, id="one-term"
        ),
        pytest.param(
            required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}),
            True,
            id="by-name",
        ),
        pytest.param(
            required({"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n"]}]}),
            False,
            id="not-by-name",
        ),
    ],
)
def test_which_nodes_a_pod_selects(wanted: PodState, fits: bool) -> None:
    labels = {"disk": "ssd", "zone": "a", "cores": "8"}
    expected = [] if fits else ["node(s) didn't match Pod's node affinity/selector"]
    assert refused(node_affinity, wanted, node(labels=labels)) == [expected]


def test_preferred_nodes_score_by_weight() -> None:
    preferred = [
        {"weight": 30, "preference": expression("disk", "In", "ssd")},
        {"weight": 10, "preference": expression("zone", "In", "a")},
    ]
    wanted = pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
    nodes = node(labels={"disk": "ssd", "zone": "a"}), node(labels={"zone": "a"}), node()
    assert scores(node_affinity, wanted, *nodes) == [100.0, 25.0, 0.0]
    assert scores(node_affinity, wanted, node(), node()) == [0.0, 0.0]


# --- resources


def test_what_is_asked_must_be_left() -> None:
    half = node(requested={"cpu": 2000, "memory": 6 * GI}, pods=1)
    assert refused(node_resources_fit, pod({"cpu": 2000, "memory": 2 * GI}), half) == [[]]
    assert refused(node_resources_fit, pod({"cpu": 2001, "memory": 3 * GI}), half) == [
        ["Insufficient cpu", "Insufficient memory"]
    ]
    assert refused(node_resources_fit, pod({"example.com/gpu": 1}), half) == [
        ["Insufficient example.com/gpu"]
    ]
    assert refused(node_resources_fit, pod(), node(pods=10)) == [["Too many pods"]]
    crowded = node(requested={"cpu": 9000}, pods=1)
    assert refused(node_resources_fit, pod(), crowded) == [[]], "who asks for nothing fits anywhere"


def test_more_than_a_node_ever_has_cannot_be_made_room_for() -> None:
    full = node(requested={"cpu": 4000})
    (later,), (never,) = (
        node_resources_fit.Plugin(None, None).filter(pod({"cpu": cpu}), [full])[0] for cpu in (4000, 4001)
    )
    assert (later.lasting, never.lasting) == (False, True)


def test_emptier_nodes_are_better() -> None:
    empty, half = node(), node(nonzero={"cpu": 2000, "memory": 4 * GI})
    wanted = pod({"cpu": 1000, "memory": 2 * GI})
    assert scores(node_resources_fit, wanted, empty, half) == [75.0, 25.0]
    first, second = scores(node_resources_fit, pod(), empty, half)
    assert first > second, "also for pods that ask for nothing"
