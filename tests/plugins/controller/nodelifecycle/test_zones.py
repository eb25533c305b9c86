"""The arithmetic of zones, in the cases of upstream's TestMonitorNodeHealth, TestSwapLimiter and TestTry."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel_plugins.controller.nodelifecycle.zones import (
    Change,
    Settings,
    State,
    Zone,
    Zones,
    state_of,
    zone_of,
)


def node(name: str, zone: str = "", **labels: str) -> dict[str, Any]:
    placed = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"metadata": {"name": name, "labels": {**placed, **labels}}}


@pytest.mark.parametrize(
    ("ready", "not_ready", "state"),
    [
        pytest.param(0, 1, State.FULL, id="its-only-node"),
        pytest.param(0, 10, State.FULL, id="all"),
        pytest.param(1, 2, State.NORMAL, id="two-are-too-few-for-a-verdict"),
        pytest.param(2, 3, State.PARTIAL, id="three-of-five"),
        pytest.param(3, 3, State.NORMAL, id="a-half-is-not-55-percent"),
        pytest.param(9, 11, State.PARTIAL, id="55-percent"),
        pytest.param(5, 0, State.NORMAL, id="none"),
        pytest.param(0, 0, State.NORMAL, id="no-nodes"),
    ],
)
def test_a_zone_is_as_disrupted_as_its_nodes_are(ready: int, not_ready: int, state: State) -> None:
    assert state_of(ready, not_ready, 0.55) is state


@pytest.mark.parametrize(
    ("labels", "key"),
    [
        ({}, ""),
        ({"topology.kubernetes.io/zone": "z"}, ":\x00:z"),
        ({"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z"}, "r:\x00:z"),
        ({"failure-domain.beta.kubernetes.io/region": "r"}, "r:\x00:"),
    ],
)
def test_zones_of_different_regions_are_different(labels: dict[str, str], key: str) -> None:
    assert zone_of({"metadata": {"labels": labels}}) == key


def test_nodes_wait_their_turn_in_the_order_in_which_they_came() -> None:
    zone = Zone(0.1)
    assert [zone.add(name) for name in ("a", "b", "a")] == [True, True, False]
    assert zone.next(0.0) == "a"
    assert zone.remove("a")
    assert (zone.next(5.0), zone.wait(5.0)) == (None, 5.0)
    assert zone.next(10.0) == "b"
    assert (zone.remove("b"), zone.remove("b")) == (True, False)
    assert zone.wait(10.0) is None


def test_a_zone_at_no_rate_lets_nobody_through() -> None:
    zone = Zone(0.1)
    zone.add("a")
    zone.set_rate(0.0, 0.0)
    assert (zone.next(1e6), zone.wait(1e6)) == (None, None)


def test_after_a_standstill_the_first_node_waits_a_whole_turn() -> None:
    zone = Zone(0.1)
    zone.add("a")
    zone.set_rate(0.0, 0.0)
    zone.set_rate(0.1, 100.0)
    assert (zone.next(109.0), zone.next(110.0)) == (None, "a")


def test_another_rate_lets_the_next_node_through_at_once_when_nobody_was_waiting_for_the_limiter() -> None:
    zone = Zone(0.1)
    zone.add("a")
    zone.set_rate(0.01, 50.0)
    assert zone.next(50.0) == "a"
    zone.remove("a")
    zone.add("b")
    zone.set_rate(0.1, 60.0)
    assert (zone.next(69.0), zone.next(70.0)) == (None, "b")


def test_an_unhealthy_zone_is_left_alone_when_it_is_small_and_goes_slowly_when_it_is_large() -> None:
    for size, rate in ((50, 0.0), (51, 0.01)):
        zones = Zones(Settings())
        zones.fill([(node(f"n{i}"), i >= 40) for i in range(size)], 0.0)
        assert (zones.zone("").state, zones.zone("").rate) == (State.PARTIAL, rate)


def test_a_zone_that_is_all_down_is_emptied_at_the_usual_rate_while_another_is_up() -> None:
    zones = Zones(Settings())
    zones.fill([(node("a", "one"), False), (node("b", "two"), True)], 0.0)
    one = zones.zone(zone_of(node("a", "one")))
    assert (one.state, one.rate, zones.stopped) == (State.FULL, 0.1, False)


def test_nobody_is_tainted_while_all_zones_are_down() -> None:
    zones = Zones(Settings())
    assert zones.fill([(node("a", "one"), True), (node("b", "two"), True)], 0.0) is Change.ZONES
    assert zones.note(node("a", "one"), False, 1.0) is Change.ZONES
    assert zones.note(node("b", "two"), False, 2.0) is Change.STOPPED
    assert {zones.zone(key).rate for key in zones.keys} == {0.0}
    assert zones.note(node("b", "two"), False, 3.0) is Change.NONE
    assert zones.note(node("b", "two"), True, 4.0) is Change.RESUMED
    assert {zones.zone(key).rate for key in zones.keys} == {0.1}


def test_the_last_node_that_is_up_may_be_deleted() -> None:
    zones = Zones(Settings())
    zones.fill([(node("a"), True), (node("b"), False)], 0.0)
    assert zones.forget("a", 1.0) is Change.STOPPED
    assert zones.forget("b", 2.0) is Change.NONE


def test_nodes_labelled_so_do_not_count() -> None:
    zones = Zones(Settings())
    excluded = node("a", **{"node.kubernetes.io/exclude-disruption": ""})
    zones.fill([(excluded, True), (node("b"), False)], 0.0)
    assert zones.stopped


def test_a_node_that_moves_to_another_zone_waits_there_alone() -> None:
    zones = Zones(Settings())
    zones.fill([(node("a", "one"), False), (node("b", "two"), True)], 0.0)
    old = zones.zone(zone_of(node("a", "one")))
    old.add("a")
    zones.note(node("a", "two"), False, 1.0)
    assert (old.size, old.wait(1.0)) == (0, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"node_monitor_period": 0.0},
        {"node_monitor_grace_period": 0.0},
        {"node_eviction_rate": -1.0},
        {"secondary_node_eviction_rate": -1.0},
        {"unhealthy_zone_threshold": 0.0},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        Settings(**wrong)  # type: ignore[arg-type]


def test_nodes_are_counted_by_zone() -> None:
    zones = Zones(Settings())
    nodes = [(node("a", "west"), True), (node("b", "west"), False), (node("c", "east"), True)]
    zones.fill(nodes, 0.0)
    zones.evicted(nodes[1][0])
    text = zones.render()
    west = 'zone=":\0:west"'
    assert f"node_collector_evictions_total{{{west}}} 1\n" in text
    assert f"node_collector_unhealthy_nodes_in_zone{{{west}}} 1\n" in text
    assert f"node_collector_zone_health{{{west}}} 50\n" in text
    assert f"node_collector_zone_size{{{west}}} 2\n" in text
