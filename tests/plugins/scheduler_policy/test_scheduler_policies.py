"""Each policy by itself: which nodes it refuses, in which words, and which it prefers."""

from __future__ import annotations

from typing import Any

import pytest
from scheduling_kit import node, pod, refused, scores, table

from kubernel.plugin.scheduling import PodState
from kubernel.testing import Cluster
from kubernel_plugins.scheduler_policy.image_locality.policy import ImageLocality
from kubernel_plugins.scheduler_policy.inter_pod_affinity.policy import InterPodAffinity
from kubernel_plugins.scheduler_policy.node_affinity.policy import NodeAffinity
from kubernel_plugins.scheduler_policy.node_declared_features.policy import NodeDeclaredFeatures
from kubernel_plugins.scheduler_policy.node_name.policy import NodeName
from kubernel_plugins.scheduler_policy.node_ports.policy import NodePorts
from kubernel_plugins.scheduler_policy.node_resources_balanced_allocation.policy import BalancedAllocation
from kubernel_plugins.scheduler_policy.node_resources_fit.policy import NodeResourcesFit
from kubernel_plugins.scheduler_policy.node_unschedulable.policy import NodeUnschedulable
from kubernel_plugins.scheduler_policy.pod_topology_spread.policy import PodTopologySpread
from kubernel_plugins.scheduler_policy.taint_toleration.policy import TaintToleration


def test_the_policies_answer_the_hook_in_the_order_of_the_configuration(cluster: Cluster) -> None:
    """kubernel_scheduler_policy"""
    found = cluster.kernel.plugin("scheduler", "default").handle.hooks.scheduler_policies()
    assert [(factory.name, factory.weight) for factory in found if factory.weight > 1] == [
        ("TaintToleration", 3),
        ("NodeAffinity", 2),
        ("PodTopologySpread", 2),
        ("InterPodAffinity", 2),
        ("DynamicResources", 2),
    ]
    assert [factory.name for factory in found][:4] == [
        "SchedulingGates",
        "PrioritySort",
        "NodeName",
        "NodeUnschedulable",
    ]


# --- node name and cordons


def test_a_named_node_is_the_only_one() -> None:
    wanted = pod(nodeName="a")
    made = table(node("a"), node("b"))
    assert refused(NodeName, wanted, made) == {"a": [], "b": ["node(s) didn't match the requested node name"]}
    assert refused(NodeName, pod(), made) == {"a": [], "b": []}


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
    given = refused(NodeUnschedulable, wanted, table(node("a", unschedulable=True), node("b")))
    assert given == {"a": [] if fits else ["node(s) were unschedulable"], "b": []}


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
    given = refused(TaintToleration, pod(tolerations=[toleration]), table(node(taints=[TAINT])))
    assert given == {"n": [] if fits else ["node(s) had untolerated taint(s)"]}


@pytest.mark.parametrize(
    ("effect", "fits"), [("NoSchedule", False), ("NoExecute", False), ("PreferNoSchedule", True)]
)
def test_effects_that_keep_pods_away(effect: str, fits: bool) -> None:
    taint = {"key": "k", "effect": effect}
    assert (refused(TaintToleration, pod(), table(node(taints=[taint]))) == {"n": []}) is fits


def test_the_fewer_soft_taints_the_better() -> None:
    soft = [{"key": str(number), "effect": "PreferNoSchedule"} for number in range(4)]
    made = table(node("a", taints=soft), node("b", taints=soft[:1]), node("c"))
    assert scores(TaintToleration, pod(), made) == {"a": 0, "b": 75, "c": 100}
    tolerant = pod(tolerations=[{"operator": "Exists"}])
    assert scores(TaintToleration, tolerant, made) == {"a": 100, "b": 100, "c": 100}


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
    assert refused(NodeAffinity, wanted, table(node(labels=labels))) == {"n": expected}


def test_a_pod_that_names_its_node_is_told_of_the_others_in_one_word() -> None:
    wanted = required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]})
    told = refused(NodeAffinity, wanted, table(node("a"), node("b")))
    assert told["a"][0] == "node(s) didn't satisfy plugin(s) [NodeAffinity]"
    assert told["b"] == []


def test_preferred_nodes_score_by_weight() -> None:
    preferred = [
        {"weight": 30, "preference": expression("disk", "In", "ssd")},
        {"weight": 10, "preference": expression("zone", "In", "a")},
    ]
    wanted = pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
    made = table(node("a", labels={"disk": "ssd", "zone": "a"}), node("b", labels={"zone": "a"}), node("c"))
    assert scores(NodeAffinity, wanted, made) == {"a": 100, "b": 25, "c": 0}
    assert scores(NodeAffinity, wanted, table(node("a"), node("b"))) == {"a": 0, "b": 0}


# --- resources


def test_what_is_asked_must_be_left() -> None:
    half = table(node(), placed={"n": [pod({"cpu": "2", "memory": "6Gi"})]})
    assert refused(NodeResourcesFit, pod({"cpu": "2", "memory": "2Gi"}), half) == {"n": []}
    assert refused(NodeResourcesFit, pod({"cpu": "2001m", "memory": "3Gi"}), half) == {
        "n": ["Insufficient cpu", "Insufficient memory"]
    }
    assert refused(NodeResourcesFit, pod({"example.com/gpu": "1"}), half) == {
        "n": ["Insufficient example.com/gpu"]
    }
    full = table(node(pods="1"), placed={"n": [pod()]})
    assert refused(NodeResourcesFit, pod(), full) == {"n": ["Too many pods"]}
    crowded = table(node(), placed={"n": [pod({"cpu": "9"})]})
    assert refused(NodeResourcesFit, pod(), crowded) == {"n": []}, "who asks for nothing fits anywhere"


def test_emptier_nodes_are_better() -> None:
    made = table(node("a"), node("b"), placed={"b": [pod({"cpu": "2", "memory": "4Gi"})]})
    assert scores(NodeResourcesFit, pod({"cpu": "1", "memory": "2Gi"}), made) == {"a": 75, "b": 25}
    found = scores(NodeResourcesFit, pod(), made)
    assert found["a"] > found["b"], "also for pods that ask for nothing"


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        pytest.param({"type": "MostAllocated"}, {"a": 25, "b": 75}, id="most"),
        pytest.param(
            {
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
            {"a": 25, "b": 75},
            id="ratio",
        ),
    ],
)
def test_scoring_strategies(strategy: dict[str, Any], expected: dict[str, int]) -> None:
    made = table(node("a"), node("b"), placed={"b": [pod({"cpu": "2", "memory": "4Gi"})]})
    wanted = pod({"cpu": "1", "memory": "2Gi"})
    assert scores(NodeResourcesFit, wanted, made, scoringStrategy=strategy) == expected


def test_a_pod_goes_where_it_evens_the_use_of_cpu_and_memory_out() -> None:
    made = table(node("a"), node("b"), placed={"b": [pod({"cpu": "2"})]})
    assert scores(BalancedAllocation, pod({"cpu": "1", "memory": "2Gi"}), made) == {"a": 75, "b": 75}
    assert scores(BalancedAllocation, pod({"memory": "4Gi"}), made) == {"a": 62, "b": 87}
    assert scores(BalancedAllocation, pod(), made) == {"a": 0, "b": 0}, "nothing is asked for"


# --- ports and images


def with_port(port: int, ip: str = "", protocol: str = "TCP") -> PodState:
    entry = {"containerPort": 80, "hostPort": port, "protocol": protocol, **({"hostIP": ip} if ip else {})}
    return pod(containers=[{"name": "m", "image": "app:1", "ports": [entry]}])


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        pytest.param(with_port(8080, "10.0.0.1"), False, id="the-same"),
        pytest.param(with_port(8080, "10.0.0.2"), True, id="another-address"),
        pytest.param(with_port(8080), False, id="any-address"),
        pytest.param(with_port(8080, "10.0.0.1", "UDP"), True, id="another-protocol"),
        pytest.param(with_port(8081, "10.0.0.1"), True, id="another-port"),
    ],
)
def test_a_host_port_is_given_once(wanted: PodState, fits: bool) -> None:
    made = table(node(), placed={"n": [with_port(8080, "10.0.0.1")]})
    text = "node(s) didn't have free ports for the requested pod ports"
    assert refused(NodePorts, wanted, made) == {"n": [] if fits else [text]}


def test_nodes_that_have_a_large_image_are_better() -> None:
    large = [{"names": ["app:1"], "sizeBytes": 1000 * 1024 * 1024}]
    made = table(node("a", images=large), node("b"))
    assert scores(ImageLocality, pod(), made) == {"a": 48, "b": 0}


# --- other pods

ZONES = {"a": "x", "b": "x", "c": "y"}
WEB = {"app": "web"}


def zoned(**placed: Any) -> Any:
    return table(
        *(node(name, labels={"zone": zone}) for name, zone in ZONES.items()), node("d"), placed=placed
    )


def near(kind: str, labels: dict[str, str] = WEB) -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": labels}, "topologyKey": "zone"}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_pods_go_near_those_they_want_near() -> None:
    text = ["node(s) didn't match pod affinity rules"]
    wanted = pod(affinity=near("podAffinity"))
    found = refused(InterPodAffinity, wanted, zoned(c=[pod(labels=WEB)]))
    assert found == {"a": text, "b": text, "c": [], "d": text}


def test_the_first_of_its_kind_needs_only_the_label() -> None:
    text = ["node(s) didn't match pod affinity rules"]
    wanted = pod(labels=WEB, affinity=near("podAffinity"))
    assert refused(InterPodAffinity, wanted, zoned()) == {"a": [], "b": [], "c": [], "d": text}


def test_pods_keep_away_from_those_they_do_not_want_near() -> None:
    text = ["node(s) didn't match pod anti-affinity rules"]
    wanted = pod(affinity=near("podAntiAffinity"))
    assert refused(InterPodAffinity, wanted, zoned(a=[pod(labels=WEB)])) == {
        "a": text,
        "b": text,
        "c": [],
        "d": [],
    }


def test_pods_that_are_there_keep_others_away() -> None:
    text = ["node(s) didn't satisfy existing pods anti-affinity rules"]
    there = pod(affinity=near("podAntiAffinity"))
    made = zoned(c=[there])
    assert refused(InterPodAffinity, pod(labels=WEB), made) == {"a": [], "b": [], "c": text, "d": []}
    made.take_off(there.uid)
    assert refused(InterPodAffinity, pod(labels=WEB), made)["c"] == []


def test_domains_that_are_wanted_and_are_not_there_are_empty_ones() -> None:
    labels = {"app": "web"}
    made = table(
        *(node(name, labels={"zone": name}) for name in "ab"),
        placed={name: [pod(labels=labels)] for name in "ab"},
    )
    spread = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }
    for wanted, why in ((2, []), (3, ["node(s) didn't match pod topology spread constraints"])):
        stated = [{**spread, "minDomains": wanted}]
        asking = pod(labels=labels, topologySpreadConstraints=stated)
        assert refused(PodTopologySpread, asking, made) == {"a": why, "b": why}


def test_pods_are_spread_within_the_skew() -> None:
    constraint = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": WEB},
    }
    ahead = ["node(s) didn't match pod topology spread constraints"]
    missing = ["node(s) didn't match pod topology spread constraints (missing required label)"]
    wanted = pod(labels=WEB, topologySpreadConstraints=[constraint])
    found = refused(PodTopologySpread, wanted, zoned(a=[pod(labels=WEB)]))
    assert found == {"a": ahead, "b": ahead, "c": [], "d": missing}
    soft = pod(labels=WEB, topologySpreadConstraints=[{**constraint, "whenUnsatisfiable": "ScheduleAnyway"}])
    found_scores = scores(PodTopologySpread, soft, zoned(a=[pod(labels=WEB)]))
    assert found_scores["c"] == 100
    assert found_scores["a"] == found_scores["b"] < 100
    assert found_scores["d"] == 0


# --- declared features


def test_a_pod_goes_where_the_features_it_needs_are_declared() -> None:
    declaring = node("new")
    declaring["status"]["declaredFeatures"] = [
        "RestartAllContainersOnContainerExits",
        "VolumeBindMountOptions",
    ]
    made, text = table(node("old"), declaring), ["node(s) didn't match Pod's required features"]
    rule = {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}
    container = {"name": "c", "image": "i", "restartPolicyRules": [rule]}
    its = NodeDeclaredFeatures
    assert refused(its, pod(containers=[container]), made) == {"new": [], "old": text}
    assert refused(its, pod(hostNetwork=True, hostUsers=False), made) == {"new": text, "old": text}
    assert refused(its, pod(hostUsers=False), made) == {"new": [], "old": []}
