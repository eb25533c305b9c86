"""Preemption and scheduler profiles in a whole cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.objects import conditions
from kubernel.testing import Cluster


def start(cluster_factory: Any, nodes: int = 1, **scheduler: Any) -> Cluster:
    plugins: dict[str, Any] = {"node": [{"simulated": {"nodes": nodes, "cpu": "2"}}]}
    if scheduler:
        plugins["scheduler"] = {"default": scheduler}
    made: Cluster = cluster_factory(config={"plugins": plugins})
    for name, value in (("low", 1), ("mid", 50), ("high", 100)):
        made.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
            }
        )
    return made


def asking(name: str, cpu: str, priority: str, **spec: Any) -> dict[str, Any]:
    requests = {"requests": {"cpu": cpu}}
    spec.setdefault("priorityClassName", priority)
    containers = [{"name": "m", "image": "x", "resources": requests}]
    return pod(name, {"app": name}, containers=containers, terminationGracePeriodSeconds=5, **spec)


def names(cluster: Cluster) -> set[str]:
    return {each["metadata"]["name"] for each in cluster.list("pods")}


def test_the_least_important_pods_make_room(cluster_factory: Any) -> None:
    cluster = start(cluster_factory)
    cluster.create(asking("low", "1", "low"))
    cluster.create(asking("mid", "1", "mid"))
    cluster.clock.advance(5)
    # Its end is seen as long as something holds it.
    cluster.patch("pods", "low", {"metadata": {"finalizers": ["example.com/look"]}})
    cluster.create(asking("high", "1", "high"))
    cluster.clock.advance(1)
    victim = cluster.get("pods", "low")
    told = conditions.find(victim, "DisruptionTarget") or {}
    assert (told.get("status"), told.get("reason")) == ("True", "PreemptionByScheduler")
    assert "deletionTimestamp" in victim["metadata"]
    listed = cluster.list("events.v1.events.k8s.io")
    assert next(each["note"] for each in listed if each["regarding"]["name"] == "high") == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: found a potential placement for pod on node node-1, "
        "preempting 1 victims"
    )
    (event,) = events(cluster, "Preempted")
    assert (
        event["message"]
        == f"Preempted by pod {cluster.get('pods', 'high')['metadata']['uid']} on node node-1"
    )
    cluster.patch("pods", "low", {"metadata": {"finalizers": None}})
    cluster.clock.advance("1m")
    assert names(cluster) == {"mid", "high"}
    assert cluster.get("pods", "high")["spec"]["nodeName"] == "node-1"


def test_a_promised_node_is_not_given_to_a_lesser_pod(cluster_factory: Any) -> None:
    cluster = start(cluster_factory)
    cluster.create(asking("low", "2", "low"))
    cluster.clock.advance(5)
    cluster.patch("pods", "low", {"metadata": {"finalizers": ["example.com/look"]}})
    cluster.create(asking("high", "2", "high"))
    cluster.clock.advance(1)
    cluster.create(asking("mid", "1", "mid"))
    cluster.patch("pods", "low", {"metadata": {"finalizers": None}})
    cluster.clock.advance("1m")
    assert cluster.get("pods", "high")["spec"].get("nodeName") == "node-1"
    assert not cluster.get("pods", "mid")["spec"].get("nodeName")


def test_the_node_whose_budgets_allow_it_is_chosen(cluster_factory: Any) -> None:
    cluster = start(cluster_factory, nodes=2)
    for name in ("a", "b"):
        cluster.create(asking(name, "2", "low"))
    cluster.clock.advance(5)
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}},
    }
    cluster.create(budget)
    cluster.clock.advance(5)
    cluster.create(asking("high", "1", "high"))
    cluster.clock.advance("1m")
    assert names(cluster) == {"a", "high"}


def test_who_may_not_preempt_waits_and_says_so(cluster_factory: Any) -> None:
    cluster = start(cluster_factory)
    cluster.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": "polite"},
            "value": 100,
            "preemptionPolicy": "Never",
        }
    )
    cluster.create(asking("low", "2", "low"))
    cluster.clock.advance(5)
    cluster.create(asking("polite", "1", "polite"))
    cluster.clock.advance(5)
    assert names(cluster) == {"low", "polite"}
    found = conditions.find(cluster.get("pods", "polite"), "PodScheduled") or {}
    assert found["message"] == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never."
    )


def test_profiles_decide_by_scheduler_name(cluster_factory: Any) -> None:
    profiles = [
        {"schedulerName": "default-scheduler"},
        {
            "schedulerName": "packing",
            "pluginConfig": [
                {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
            ],
            "plugins": {"score": {"disabled": [{"name": "NodeResourcesBalancedAllocation"}]}},
        },
    ]
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "profiles": profiles,
    }
    cluster = start(cluster_factory, nodes=3, configuration=configuration)
    for number in range(3):
        cluster.create(asking(f"packed-{number}", "200m", "low", schedulerName="packing"))
        cluster.clock.advance(1)
    packed = {each["spec"]["nodeName"] for each in cluster.list("pods")}
    assert len(packed) == 1
    for number in range(2):
        cluster.create(asking(f"spread-{number}", "200m", "low"))
        cluster.clock.advance(1)
    spread = {
        each["spec"]["nodeName"]
        for each in cluster.list("pods")
        if each["metadata"]["name"].startswith("spread")
    }
    assert len(spread) == 2
    assert not spread & packed


@pytest.mark.parametrize(
    ("configuration", "words"),
    [
        pytest.param({"profile": []}, 'did you mean "profiles"', id="unknown-field"),
        pytest.param(
            {"profiles": [{"plugins": {"score": {"enabled": [{"name": "NodeResourceFit"}]}}}]},
            'ScorePlugin "NodeResourceFit" does not exist',
            id="unknown-policy",
        ),
        pytest.param(
            {
                "profiles": [
                    {
                        "pluginConfig": [
                            {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "Best"}}}
                        ]
                    }
                ]
            },
            'Unsupported value: "Best"',
            id="wrong-argument",
        ),
        pytest.param(
            {"extenders": [{"urlPrefix": "http://x", "prioritizeVerb": "p"}]},
            "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it",
            id="extenders",
        ),
    ],
)
def test_a_wrong_configuration_is_the_state_of_the_scheduler(
    cluster_factory: Any, configuration: dict[str, Any], words: str
) -> None:
    cluster = start(cluster_factory, configuration=configuration)
    (state,) = (each for each in cluster.kernel.plugins if each.label == "scheduler/default")
    assert state.phase == "failed"
    assert words in state.error


def test_a_configuration_file_is_read_with_the_care_of_our_own(cluster_factory: Any, tmp_path: Path) -> None:
    file = tmp_path / "scheduler.yaml"
    file.write_text("profiles: []\nprofiles: []\n")
    cluster = start(cluster_factory, configurationFile=str(file))
    (state,) = (each for each in cluster.kernel.plugins if each.label == "scheduler/default")
    assert state.phase == "failed"
    assert f"{file}:2" in state.error
    assert "profiles" in state.error
