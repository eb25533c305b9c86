"""The garbage collector against a model that is obviously right: whatever owns whatever, whatever is deleted."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kubernel.plugin.catalogue import Catalogue
from kubernel.testing import Cluster

OBJECTS = 6
CATALOGUE = Catalogue()
SMALL = {
    "plugins": {
        "controller": ["bootstrap", "garbage"],
        "admission": [],
        "node": [],
        "scheduler": [],
        "scheduler_policy": [],
    }
}


def survivors(owners: dict[int, set[int]], deleted: list[int]) -> set[int]:
    """An object goes when it is deleted, or when it has owners and none of them is left."""
    alive = set(owners)
    for one in deleted:
        alive.discard(one)
        while gone := {each for each in alive if owners[each] and not owners[each] & alive}:
            alive -= gone
    return alive


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, OBJECTS - 1), st.integers(0, OBJECTS - 1)), max_size=10),
    st.lists(st.tuples(st.integers(0, OBJECTS - 1), st.booleans()), max_size=5),
)
def test_what_is_left_is_what_the_model_leaves(
    edges: list[tuple[int, int]], deletions: list[tuple[int, bool]]
) -> None:
    owners: dict[int, set[int]] = {number: set() for number in range(OBJECTS)}
    for child, owner in edges:
        if child != owner:
            owners[child].add(owner)
    with Cluster(SMALL, catalogue=CATALOGUE) as cluster:
        uids: dict[int, str] = {}
        for number in range(OBJECTS):
            made = cluster.create(
                {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"o{number}"}}
            )
            uids[number] = made["metadata"]["uid"]
        for child, parents in owners.items():
            references = [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": f"o{parent}", "uid": uids[parent]}
                for parent in sorted(parents)
            ]
            cluster.patch("configmaps", f"o{child}", {"metadata": {"ownerReferences": references or None}})
        cluster.clock.advance(1)
        deleted: list[int] = []
        for number, lose_watches in deletions:
            if lose_watches:
                cluster.faults.drop_watches(forget=True)
            if cluster.find("configmaps", f"o{number}") is not None:
                cluster.delete("configmaps", f"o{number}")
                deleted.append(number)
            cluster.clock.advance("2m")
        left: Any = {int(obj["metadata"]["name"][1:]) for obj in cluster.list("configmaps", "default")}
        assert left == survivors(owners, deleted)
