"""The search for devices finds a solution exactly where trying everything does, and what it finds is one."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel_plugins.scheduler_policy.dynamic_resources.allocator import Taken, allocate
from kubernel_plugins.scheduler_policy.dynamic_resources.devices import (
    Device,
    DeviceId,
    Pool,
    PoolId,
    Selectors,
)

DRIVER, NUMA = "d.example.com", "d.example.com/numa"
CLASS: dict[str, Any] = {"metadata": {"name": "gpu"}, "spec": {}}
SELECTORS = Selectors()


def device(number: int, numa: int, memory: int) -> Device:
    consumes = [{"counterSet": "card", "counters": {"memory": {"value": str(memory)}}}] if memory else []
    body = {
        "name": f"dev-{number}",
        "attributes": {"numa": {"int": numa}},
        **({"consumesCounters": consumes} if consumes else {}),
    }
    return Device(DeviceId(DRIVER, "p", f"dev-{number}"), body, {"nodeName": "n"})


def claim(name: str, counts: list[int], constraint: str) -> dict[str, Any]:
    requests = [
        {"name": f"r{n}", "exactly": {"deviceClassName": "gpu", "count": count}}
        for n, count in enumerate(counts)
    ]
    constraints = [{constraint: NUMA}] if constraint else []
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": {"requests": requests, "constraints": constraints}},
    }


def holds(chosen: list[list[Device]], constraints: list[str], memory: int) -> bool:
    """Whether these devices, by claim, may be given."""
    everything = [each for devices in chosen for each in devices]
    if len({each.id for each in everything}) < len(everything):
        return False
    if sum(int(amount) for each in everything for _, amount in each.consumes) > memory:
        return False
    for devices, constraint in zip(chosen, constraints, strict=True):
        values = [each.attribute(NUMA) for each in devices]
        if constraint == "matchAttribute" and len(set(values)) > 1:
            return False
        if constraint == "distinctAttribute" and len(set(values)) < len(values):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 10, 20])), min_size=1, max_size=5),
    st.lists(
        st.tuples(
            st.lists(st.integers(1, 2), min_size=1, max_size=2),
            st.sampled_from(["", "matchAttribute", "distinctAttribute"]),
        ),
        min_size=1,
        max_size=2,
    ),
    st.integers(0, 4),
)
def test_devices_are_found_where_there_are_any_and_only_there(
    given_devices: list[tuple[int, int]], wanted: list[tuple[list[int], str]], memory: int
) -> None:
    limit = memory * 10
    devices = [device(number, *each) for number, each in enumerate(given_devices)]
    consumers = [each for each in devices if each.consumes]
    pool = Pool(PoolId(DRIVER, "p"), devices, "", {("card", "memory"): limit}, consumers)
    claims = [claim(f"c{n}", counts, constraint) for n, (counts, constraint) in enumerate(wanted)]
    constraints = [constraint for _, constraint in wanted]
    found = allocate(claims, [pool], Taken(), lambda name: CLASS, SELECTORS)
    sizes = [sum(counts) for counts, _ in wanted]
    possible = any(
        holds([list(each) for each in choice], constraints, limit)
        for choice in product(*(combinations(devices, size) for size in sizes))
    )
    assert (found is not None) is possible
    if found is not None:
        chosen = [[got.device for got in each] for each in found]
        assert [len(each) for each in chosen] == sizes
        assert holds(chosen, constraints, limit)


def test_devices_that_are_taken_are_not_given_again() -> None:
    pool = Pool(PoolId(DRIVER, "p"), [device(0, 0, 0)])
    taken = Taken()
    results = [{"request": "r", "driver": DRIVER, "pool": "p", "device": "dev-0"}]
    taken.count({"devices": {"results": results}}, 1)
    wanted = [claim("c", [1], "")]
    assert allocate(wanted, [pool], taken, lambda name: CLASS, SELECTORS) is None
    taken.count({"devices": {"results": results}}, -1)
    assert allocate(wanted, [pool], taken, lambda name: CLASS, SELECTORS) is not None
