"""Preemption, the queue's order, gates and declared features say what a plain look at each pod and node finds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import scalar_preemption as plain
from hypothesis import given, settings
from hypothesis import strategies as st
from scalar_reference import World, port_refusals, resource_refusals
from scheduling_kit import Objects, node, pod, policy, started, table

from kubernel.plugin.scheduling import PodState
from kubernel_plugins.scheduler.default.context import Supposed
from kubernel_plugins.scheduler.default.cycle import Evaluation
from kubernel_plugins.scheduler.default.nominations import Nominations
from kubernel_plugins.scheduler.default.pods import pod_state
from kubernel_plugins.scheduler_policy.default_preemption.policy import DefaultPreemption
from kubernel_plugins.scheduler_policy.node_declared_features.policy import NodeDeclaredFeatures
from kubernel_plugins.scheduler_policy.node_ports.policy import NodePorts
from kubernel_plugins.scheduler_policy.node_resources_fit.policy import NodeResourcesFit
from kubernel_plugins.scheduler_policy.priority_sort.policy import PrioritySort
from kubernel_plugins.scheduler_policy.scheduling_gates.policy import SchedulingGates

Obj = dict[str, Any]
NAMES = ("n0", "n1", "n2", "n3")
APPS = ("web", "db", "")
SECONDS = ("2030-01-01T00:00:01Z", "2030-01-01T00:00:02Z", "2030-01-01T00:00:03Z", None)


@st.composite
def running(draw: Any) -> PodState:
    app, port = draw(st.sampled_from(APPS)), draw(st.sampled_from((0, 0, 0, 80)))
    requests = {"cpu": draw(st.sampled_from(("500m", "1", "2")))}
    ports = [{"containerPort": 1, "hostPort": port}] if port else []
    containers = [{"name": "m", "image": "x", "resources": {"requests": requests}, "ports": ports}]
    made = pod(
        labels={"app": app} if app else {},
        containers=containers,
        priority=draw(st.sampled_from((-5, 0, 1, 2, 100))),
    )
    start = draw(st.sampled_from(SECONDS))
    return pod_state({**made.pod, "status": {"startTime": start} if start else {}})


@st.composite
def budgets(draw: Any) -> list[Obj]:
    return [
        {
            "metadata": {"name": f"b{number}", "namespace": "default", "uid": f"b{number}"},
            "spec": {"selector": {"matchLabels": {"app": draw(st.sampled_from(APPS[:2]))}}},
            "status": {"disruptionsAllowed": draw(st.integers(0, 2)), "disruptedPods": {}},
        }
        for number in range(draw(st.integers(0, 2)))
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(running(), st.sampled_from(NAMES)), min_size=3, max_size=14),
    running(),
    budgets(),
)
def test_the_same_pods_would_have_to_go_and_the_best_node_comes_first(
    placed: list[tuple[PodState, str]], wanted: PodState, given_budgets: list[Obj]
) -> None:
    nodes = {name: node(name, cpu="3") for name in NAMES}
    made = table(*nodes.values())
    for each, where in placed:
        made.place(each, where)
    world = World(nodes, placed)

    def fits(name: str, others: Any) -> bool:
        here = World(nodes, [(each, name) for each in others])
        its = nodes[name]
        return not (resource_refusals(wanted, its, here) or port_refusals(wanted, its, here))

    evaluation = Evaluation([policy(NodeResourcesFit, made), policy(NodePorts, made)], [], made)
    if any(fits(name, world.on(name)) for name in NAMES):
        assert evaluation.fitting(wanted).any()
        return
    objects = {"poddisruptionbudgets.v1.policy": Objects(*given_budgets)}
    preemption = started(DefaultPreemption, made, {}, objects)
    queue = SimpleNamespace(signature=lambda uid: None)
    scheduler: Any = SimpleNamespace(table=made, nominations=Nominations(), queue=queue)
    lasting = evaluation.diagnose(wanted).lasting
    found = preemption.proposals(Supposed(scheduler, wanted, evaluation, lasting, ()))
    expected = {
        name: its
        for name in NAMES
        if (its := plain.victims(wanted, world.on(name), lambda o, n=name: fits(n, o), given_budgets))
    }
    if not expected:
        assert isinstance(found, str)
        return
    assert not isinstance(found, str)
    told = {name: ({each.uid for each in its.victims}, its.violations) for name, its in found.items()}
    assert told == {name: ({each.uid for each in pods}, count) for name, (pods, count) in expected.items()}
    assert next(iter(found)) in plain.best(expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-3, 3), max_size=8))
def test_the_queue_is_ordered_by_priority_and_then_by_who_came_first(priorities: list[int]) -> None:
    sort = policy(PrioritySort, table())
    pods = [pod(priority=each) for each in priorities]
    ordered = sorted(pods, key=sort.sort_key)
    # One after the other: the first of the most important ones that are left.
    left, expected = list(pods), []
    while left:
        expected.append(next(each for each in left if each.priority == max(one.priority for one in left)))
        left.remove(expected[-1])
    assert [each.uid for each in ordered] == [each.uid for each in expected]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(("a.example.com/x", "b.example.com/y", "z")), max_size=3, unique=True))
def test_a_pod_is_kept_out_as_long_as_it_has_a_gate(gates: list[str]) -> None:
    told = policy(SchedulingGates, table()).pre_enqueue(
        pod(schedulingGates=[{"name": each} for each in gates])
    )
    text = ""
    for each in gates:
        text = f"{text} {each}" if text else f"waiting for scheduling gates: [{each}"
    assert told == (f"{text}]" if gates else "")


FEATURES = (
    "RestartAllContainersOnContainerExits",
    "UserNamespacesHostNetworkSupport",
    "VolumeBindMountOptions",
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sets(st.sampled_from(FEATURES)), min_size=1, max_size=4),
    st.sets(st.sampled_from(FEATURES)),
)
def test_a_pod_goes_where_all_features_it_uses_are_declared(declared: list[set[str]], uses: set[str]) -> None:
    container: Obj = {"name": "m", "image": "x"}
    spec: Obj = {"containers": [container]}
    if "RestartAllContainersOnContainerExits" in uses:
        container["restartPolicyRules"] = [{"action": "RestartAllContainers"}]
    if "VolumeBindMountOptions" in uses:
        container["volumeMounts"] = [{"name": "v", "mountPath": "/v", "bindMountOptions": ["noexec"]}]
    if "UserNamespacesHostNetworkSupport" in uses:
        spec |= {"hostNetwork": True, "hostUsers": False}
    nodes = [node(f"n{number}") for number in range(len(declared))]
    for each, features in zip(nodes, declared, strict=True):
        each["status"]["declaredFeatures"] = sorted(features)
    made = table(*nodes)
    fits = Evaluation([policy(NodeDeclaredFeatures, made)], [], made).fitting(pod(**spec))
    for each, features in zip(nodes, declared, strict=True):
        assert bool(fits[made.row(each["metadata"]["name"])]) == all(one in features for one in uses)
