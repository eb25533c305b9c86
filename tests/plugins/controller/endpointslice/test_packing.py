"""Which endpoint stands in which slice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubernel_plugins.controller.endpointslice.packing import Endpoints, endpoint_key, pack

Obj = dict[str, Any]


def endpoint(number: int, ready: bool = True) -> Obj:
    return {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": ready}}


def entry(name: str, *endpoints: Obj) -> Obj:
    return {"metadata": {"name": name}, "endpoints": list(endpoints)}


def wanted(*endpoints: Obj) -> Endpoints:
    return {endpoint_key(each): each for each in endpoints}


def packed(existing: list[Obj], desired: Endpoints, limit: int = 3, relabelled: bool = False) -> Any:
    return pack(existing, desired, limit, lambda entry: ({}, relabelled), lambda: {"metadata": {}})


def sizes(entries: list[Obj]) -> list[int]:
    return [len(each["endpoints"]) for each in entries]


def test_what_is_as_it_should_be_is_not_written() -> None:
    changes = packed([entry("a", endpoint(1), endpoint(2))], wanted(endpoint(1), endpoint(2)))
    assert (changes.create, changes.update, changes.delete) == ([], [], [])


def test_a_slice_that_is_written_anyway_is_filled_first() -> None:
    existing = [entry("a", endpoint(1)), entry("b", endpoint(2))]
    changes = packed(existing, wanted(endpoint(1), endpoint(2, ready=False), endpoint(3)))
    assert [each["metadata"]["name"] for each in changes.update] == ["b"]
    assert sizes(changes.update) == [2]
    assert changes.create == []


def test_the_slice_that_they_fill_best_takes_the_rest() -> None:
    existing = [entry("a", endpoint(1)), entry("b", endpoint(2), endpoint(3))]
    changes = packed(existing, wanted(*(endpoint(number) for number in range(1, 5))))
    assert [each["metadata"]["name"] for each in changes.update] == ["b"]
    assert sizes(changes.update) == [3]


def test_what_fits_in_no_slice_begins_a_new_one_rather_than_being_spread() -> None:
    existing = [entry("a", endpoint(1), endpoint(2)), entry("b", endpoint(3), endpoint(4))]
    changes = packed(existing, wanted(*(endpoint(number) for number in range(1, 7))))
    assert changes.update == []
    assert sizes(changes.create) == [2]


def test_a_slice_that_loses_all_goes() -> None:
    existing = [entry("a", endpoint(1))]
    changes = packed(existing, wanted(endpoint(2)))
    assert changes.delete == existing
    assert sizes(changes.create) == [1]


def test_hints_stay_when_only_labels_change() -> None:
    hinted = {**endpoint(1), "hints": {"forZones": [{"name": "a"}]}}
    changes = packed([entry("a", hinted)], wanted(endpoint(1)), relabelled=True)
    assert changes.update[0]["endpoints"] == [hinted]


@pytest.mark.parametrize("key", ["hostname", "addresses"])
def test_another_name_or_address_is_another_endpoint(key: str) -> None:
    other = {**endpoint(1), key: ["10.9.9.9"] if key == "addresses" else "first"}
    assert endpoint_key(other) != endpoint_key(endpoint(1))


@given(
    st.lists(st.lists(st.integers(0, 30), max_size=4, unique=True), max_size=4),
    st.sets(st.integers(0, 30)),
    st.integers(1, 4),
)
def test_every_endpoint_stands_in_one_slice_and_none_is_too_full(
    before: list[list[int]], after: set[int], limit: int
) -> None:
    seen: set[int] = set()
    existing = []
    for index, numbers in enumerate(before):
        mine = [number for number in numbers if number not in seen][:limit]
        seen.update(mine)
        existing.append(entry(str(index), *map(endpoint, mine)))
    changes = packed(existing, wanted(*map(endpoint, sorted(after))), limit)
    written = {each["metadata"]["name"] for each in (*changes.update, *changes.delete)}
    there = [each for each in existing if each["metadata"]["name"] not in written]
    there += [*changes.update, *changes.create]
    held = sorted(each["addresses"][0] for one in there for each in one["endpoints"])
    assert held == sorted(f"10.0.0.{number}" for number in after)
    assert all(len(one["endpoints"]) <= limit for one in there)
