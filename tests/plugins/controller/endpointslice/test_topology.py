"""How endpoints are given to zones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from kubernel_plugins.controller.endpointslice.topology import Event, TopologyCache
from kubernel_plugins.controller.slicewriter import Changes

Obj = dict[str, Any]
SERVICE = ("default", "web")


def node(name: str, zone: str = "", cpu: str = "4", ready: bool = True, **labels: str) -> Obj:
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {
            "allocatable": {"cpu": cpu},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def cache(*nodes: Obj) -> TopologyCache:
    made = TopologyCache()
    for each in nodes:
        made.node_changed(each["metadata"]["name"], each)
    return made


def entry(*zones: str) -> Obj:
    """A slice with a ready endpoint in each of the zones."""
    endpoints = [
        {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": True}, "zone": zone}
        for number, zone in enumerate(zones)
    ]
    return {"metadata": {"name": "web-1"}, "endpoints": endpoints}


def hinted(cache: TopologyCache, *zones: str) -> tuple[Counter[str], list[Event]]:
    """For which zones endpoints in these are."""
    changes = Changes(create=[entry(*zones)])
    events = cache.add_hints(SERVICE, "IPv4", changes, [])
    found = [
        hint["name"]
        for endpoint in changes.create[0]["endpoints"]
        for hint in endpoint.get("hints", {}).get("forZones", ())
    ]
    return Counter(found), events


def test_each_zone_keeps_its_own_where_they_are_in_proportion() -> None:
    zones, events = hinted(cache(node("1", "a"), node("2", "b")), "a", "b", "a", "b")
    assert zones == {"a": 2, "b": 2}
    told = "Topology Aware Hints has been enabled, addressType: IPv4"
    assert events == [("Normal", "TopologyAwareHintsEnabled", told)]


@pytest.mark.parametrize(
    ("cpus", "endpoints", "given"),
    [
        pytest.param({"a": "1", "b": "3"}, "aaaa", {"a": 1, "b": 3}, id="one zone has them all"),
        pytest.param({"a": "1", "b": "1"}, "aaab", {"a": 2, "b": 2}, id="halves"),
        pytest.param({"a": "2", "b": "2", "c": "2"}, "aaaaab", {"a": 2, "b": 2, "c": 2}, id="thirds"),
        pytest.param({"a": "1", "b": "9"}, "ab" * 5, {"a": 1, "b": 9}, id="a small zone"),
    ],
)
def test_zones_with_too_many_give_to_those_with_too_few(
    cpus: dict[str, str], endpoints: str, given: dict[str, int]
) -> None:
    nodes = [node(zone, zone, cpu) for zone, cpu in cpus.items()]
    assert hinted(cache(*nodes), *endpoints)[0] == given


@pytest.mark.parametrize(
    ("nodes", "endpoints", "why"),
    [
        pytest.param(
            [node("1", "a"), node("2")],
            "ab",
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
            id="a node without a zone",
        ),
        pytest.param(
            [node("1", "a"), node("2", "b", cpu="0")],
            "ab",
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
            id="a node without CPU",
        ),
        pytest.param(
            [node("1", "a"), node("2", "b", ready=False)],
            "ab",
            "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes",
            id="one ready zone",
        ),
        pytest.param(
            [node("1", "a"), node("2", "b"), node("3", "c")],
            "ab",
            "Insufficient number of endpoints (2 endpoints, 3 zones)",
            id="fewer endpoints than zones",
        ),
        pytest.param(
            [node("1", "a", cpu="1"), node("2", "b", cpu="50"), node("3", "c", cpu="1")],
            "abc",
            "Unable to allocate minimum required endpoints to each zone without exceeding overload "
            "threshold (3 endpoints, 3 zones)",
            id="too uneven",
        ),
        pytest.param(
            [node("1", "a"), node("2", "b")],
            ["a", "b", "a", ""],
            "One or more endpoints do not have a zone specified",
            id="an endpoint without a zone",
        ),
    ],
)
def test_no_hints_are_given_and_it_is_told_why(nodes: list[Obj], endpoints: Any, why: str) -> None:
    zones, events = hinted(cache(*nodes), *endpoints)
    assert not zones
    assert events == [("Warning", "TopologyAwareHintsDisabled", f"{why}, addressType: IPv4")]


def test_a_service_is_overloaded_once_its_zones_have_other_shares() -> None:
    made = cache(node("1", "a"), node("2", "b"))
    hinted(made, "a", "b", "a", "b")
    assert made.overloaded() == []
    assert made.node_changed("3", node("3", "a", cpu="20"))
    assert made.overloaded() == [SERVICE]
    assert made.node_changed("3", None)
    assert made.overloaded() == []
    assert not made.node_changed("4", node("4", "c", **{"node-role.kubernetes.io/control-plane": ""}))


def test_slices_that_are_right_are_left_and_those_that_are_not_are_written() -> None:
    made = cache(node("1", "a"), node("2", "b"))
    changes = Changes(create=[entry("a", "b")])
    made.add_hints(SERVICE, "IPv4", changes, [])
    (right,) = changes.create
    again = Changes()
    assert made.add_hints(SERVICE, "IPv4", again, [right]) == []
    assert again.update == []
    made.add_hints(SERVICE, "IPv4", again, [entry("a", "b")])
    assert again.update == [right]
