"""A pod that has a node and is not bound after all gives everything back, and comes again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import pytest
from workload_kit import pod

from kubernel.errors import ApiError, Conflict, InternalError, NotFound, ServerTimeout
from kubernel.objects import conditions
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl
from kubernel.plugin.catalogue import Catalogue, Found
from kubernel.plugin.scheduling import Change, PodState, Policy, PolicyError, PolicyFactory, Wait
from kubernel.testing import Cluster

Obj = dict[str, Any]


class Obstacle(Policy):
    """Does what the test wants at each extension point, and notes what it was asked."""

    name = "Obstacle"
    scope = "node object"
    asked: ClassVar[list[str]]
    refusals: ClassVar[dict[str, Any]]

    def sign(self, pod: PodState) -> Any:
        return ()

    def _at(self, point: str, pod: PodState) -> Any:
        self.asked.append(f"{point} {pod.name}")
        wanted = self.refusals.get(point)
        if isinstance(wanted, list):
            wanted = wanted.pop(0) if wanted else None
        if isinstance(wanted, Exception):
            raise wanted
        return wanted

    def reserve(self, pod: PodState, node: str) -> str:
        return self._at("reserve", pod) or ""

    def unreserve(self, pod: PodState, node: str) -> None:
        self._at("unreserve", pod)

    def permit(self, pod: PodState, node: str) -> Wait | str | None:
        found: Wait | str | None = self._at("permit", pod)
        return found

    def pre_bind(self, pod: PodState, node: str) -> Awaitable[None] | None:
        seconds = self._at("pre_bind", pod)
        return None if seconds is None else self.context.clock.sleep(seconds)

    def helps(self, pod: PodState, change: Change) -> bool:
        return change.resource == "nodes"


class Plugin(Base):
    @hookimpl
    def kubernel_scheduler_policy(self) -> PolicyFactory:
        return PolicyFactory("Obstacle", Obstacle)


class Obstructed(Catalogue):
    """What is installed, and this policy."""

    def select(self, role: str, name: str) -> Found:
        return Found(role, name, "", "tests", "0") if name == "obstacle" else super().select(role, name)

    def load(self, found: Found) -> type[Base]:
        return Plugin if found.name == "obstacle" else super().load(found)


class Start:
    """A cluster with one node that waits to be uncordoned."""

    def __init__(self, make: Callable[..., Cluster]) -> None:
        plugins = {
            "node": [{"simulated": {"nodes": 1, "cpu": "2"}}],
            "controller": ["bootstrap", "namespace", "serviceaccount"],
            "admission": ["*", "-taint_nodes"],
            "scheduler_policy": ["*", "obstacle"],
        }
        self.cluster = make(config={"plugins": plugins}, catalogue=Obstructed())
        self.cluster.patch("nodes", "node-1", {"spec": {"unschedulable": True}})
        self.cluster.settle()

    def go(self) -> None:
        self.cluster.patch("nodes", "node-1", {"spec": {"unschedulable": None}})
        self.cluster.settle()

    def said(self, name: str) -> tuple[str, str]:
        found = conditions.find(self.cluster.get("pods", name), "PodScheduled") or {}
        return found.get("reason", ""), found.get("message", "")

    def node(self, name: str) -> str:
        return str(self.cluster.get("pods", name)["spec"].get("nodeName", ""))

    def promised(self, name: str) -> str:
        return str(self.cluster.get("pods", name)["status"].get("nominatedNodeName", ""))


@pytest.fixture
def start(cluster_factory: Callable[..., Cluster]) -> Iterator[Start]:
    Obstacle.asked, Obstacle.refusals = [], {}
    yield Start(cluster_factory)
    Obstacle.asked, Obstacle.refusals = [], {}


def large(name: str, **spec: Any) -> Obj:
    return pod(
        name,
        containers=[{"name": "m", "image": "x", "resources": {"requests": {"cpu": "2"}}}],
        terminationGracePeriodSeconds=0,
        **spec,
    )


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Conflict.for_object("pods/binding", "", "a", "somebody was faster"), id="conflict"),
        pytest.param(InternalError("the store is away"), id="internal"),
        pytest.param(ServerTimeout("the request did not complete in time"), id="timeout"),
        pytest.param(NotFound.for_object("pods", "", "a"), id="not-found"),
    ],
)
def test_a_binding_that_fails_gives_all_back_and_is_tried_again(start: Start, error: ApiError) -> None:
    cluster = start.cluster
    cluster.create(large("a"))
    cluster.settle()
    cluster.faults.fail_writes("pods", error, verbs=["create"])
    Obstacle.asked.clear()
    start.go()
    assert Obstacle.asked == ["reserve a", "permit a", "pre_bind a", "unreserve a"]
    assert start.said("a") == ("SchedulerError", f'running Bind plugin "DefaultBinder": {error}')
    assert start.node("a") == ""
    # An error has the pod wait even when nobody else does.
    cluster.clock.advance(0.5)
    assert start.node("a") == ""
    cluster.clock.advance(1)
    assert start.node("a") == "node-1"


def test_what_a_failed_binding_gives_back_is_free_for_others(start: Start) -> None:
    cluster = start.cluster
    cluster.create(large("a"))
    cluster.clock.advance(1)
    cluster.create(large("b"))
    cluster.settle()
    cluster.faults.fail_writes("pods", InternalError("no"), verbs=["create"])
    start.go()
    assert (start.node("a"), start.node("b")) == ("", "node-1")


def test_a_pod_that_is_deleted_while_it_is_bound_is_forgotten(start: Start) -> None:
    cluster = start.cluster
    Obstacle.refusals["pre_bind"] = 5.0
    cluster.create(large("a"))
    start.go()
    cluster.delete("pods", "a")
    cluster.clock.advance(6)
    assert Obstacle.asked[-1] == "unreserve a"
    cluster.create(large("b"))
    cluster.clock.advance(6)
    assert start.node("b") == "node-1"


def test_who_refuses_to_keep_what_a_pod_needs_is_asked_again_when_it_says(start: Start) -> None:
    cluster = start.cluster
    Obstacle.refusals["reserve"] = ["nothing left"]
    cluster.create(large("a"))
    start.go()
    assert start.said("a") == ("Unschedulable", "0/1 nodes are available: 1 nothing left.")
    cluster.clock.advance(60)
    assert start.node("a") == ""
    cluster.patch("nodes", "node-1", {"metadata": {"labels": {"new": "yes"}}})
    cluster.settle()
    assert start.node("a") == "node-1"


def test_something_wrong_with_keeping_is_an_error(start: Start) -> None:
    Obstacle.refusals["reserve"] = [PolicyError("lost")]
    start.cluster.create(large("a"))
    start.go()
    assert start.said("a") == ("SchedulerError", 'running Reserve plugin "Obstacle": lost')
    start.cluster.clock.advance(2)
    assert start.node("a") == "node-1"


def test_a_pod_that_is_not_permitted_says_so(start: Start) -> None:
    Obstacle.refusals["permit"] = ["not yet"]
    start.cluster.create(large("a"))
    start.go()
    assert start.said("a") == ("Unschedulable", "0/1 nodes are available: 1 not yet.")
    assert Obstacle.asked[-1] == "unreserve a"


def test_a_held_pod_tells_where_it_is_to_go_and_is_refused_when_its_time_is_over(start: Start) -> None:
    cluster = start.cluster
    Obstacle.refusals["permit"] = [Wait(90)]
    cluster.create(large("a"))
    start.go()
    assert (start.node("a"), start.promised("a")) == ("", "node-1")
    cluster.clock.advance(91)
    assert start.said("a") == (
        "Unschedulable",
        "0/1 nodes are available: 1 rejected due to timeout after waiting 1m30s at plugin Obstacle.",
    )
    assert (start.node("a"), start.promised("a")) == ("", "")


def test_what_happens_while_a_pod_is_held_counts_when_it_is_refused(start: Start) -> None:
    cluster = start.cluster
    Obstacle.refusals["permit"] = [Wait(5)]
    cluster.create(large("a"))
    start.go()
    cluster.patch("nodes", "node-1", {"metadata": {"labels": {"new": "yes"}}})
    cluster.clock.advance(6)
    assert start.node("a") == "node-1"


def test_a_pod_for_which_things_are_prepared_tells_where_it_is_to_go(start: Start) -> None:
    cluster = start.cluster
    Obstacle.refusals["pre_bind"] = [5.0]
    cluster.create(large("a"))
    start.go()
    assert (start.node("a"), start.promised("a")) == ("", "node-1")
    cluster.clock.advance(6)
    assert (start.node("a"), start.promised("a")) == ("node-1", "")


@pytest.mark.parametrize(
    ("point", "seconds", "why"),
    [
        pytest.param("permit", Wait(60), "waiting on permit for pod: preempted", id="held"),
        pytest.param(
            "pre_bind",
            60.0,
            'running PreBind plugin "Obstacle": preempted by DefaultPreemption',
            id="prepared",
        ),
    ],
)
def test_a_pod_that_is_not_bound_yet_makes_room_without_being_deleted(
    start: Start, point: str, seconds: Any, why: str
) -> None:
    cluster = start.cluster
    metadata = {"name": "high"}
    cluster.create(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": metadata, "value": 9}
    )
    Obstacle.refusals[point] = [seconds]
    cluster.create(large("low"))
    start.go()
    uid = cluster.get("pods", "low")["metadata"]["uid"]
    cluster.create(large("high", priorityClassName="high"))
    cluster.settle()
    assert start.node("high") == "node-1"
    assert cluster.get("pods", "low")["metadata"]["uid"] == uid
    assert why in [note for _, note in told(cluster, "low")]
    high = cluster.get("pods", "high")["metadata"]["uid"]
    assert (
        "Preempted",
        f"Preempted by pod {high} on node node-1 (in kube-scheduler memory).",
    ) in told(cluster, "low")


def told(cluster: Cluster, name: str) -> list[tuple[str, str]]:
    return [
        (each["reason"], each["note"])
        for each in cluster.list("events.v1.events.k8s.io")
        if each["regarding"]["name"] == name
    ]
