"""What an update may not bring, of whatever type: the rules that creations have, and those for what is there."""

from __future__ import annotations

from typing import Any

import pytest
from builtin_kit import OPTIONS, USER, Cluster, run

from kubernel.errors import ApiError

CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "x"},
    "provisioner": "a/b",
}
OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}


async def refusals(cluster: Cluster, obj: dict[str, Any], **changes: Any) -> list[tuple[str, str]]:
    """``metadata`` among ``changes`` is added to the stored one's."""
    stored = await cluster.create(obj)
    more = changes.pop("metadata", {})
    try:
        await cluster.update({**stored, **changes, "metadata": {**stored["metadata"], **more}})
    except ApiError as error:
        return [(cause.field, cause.message) for cause in error.causes]
    return []


@pytest.mark.parametrize(
    ("field", "value"),
    [("deletionTimestamp", "2026-01-01T00:00:00Z"), ("deletionGracePeriodSeconds", 3)],
)
def test_no_update_sets_the_time_of_deletion(field: str, value: Any) -> None:
    async def test(cluster: Cluster) -> None:
        found = await refusals(cluster, CLASS, metadata={field: value})
        assert [where for where, _ in found] == [f"metadata.{field}"]
        assert found[0][1].endswith("field is immutable")

    run(test)


def test_a_generated_name_is_looked_at_again_where_the_object_is() -> None:
    async def test(cluster: Cluster) -> None:
        found = await refusals(cluster, CLASS, metadata={"generateName": "A_"})
        assert [where for where, _ in found] == ["metadata.generateName"]

    run(test)


def test_a_generated_name_has_no_slash_in_any_type() -> None:
    async def test(cluster: Cluster) -> None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}}
        found = await refusals(cluster, lease, metadata={"generateName": "a/b"})
        assert found == [("metadata.generateName", "Invalid value: \"a/b\": may not contain '/'")]

    run(test)


def test_a_finalizer_needs_no_domain_where_upstream_asks_for_none() -> None:
    async def test(cluster: Cluster) -> None:
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}}
        assert await refusals(cluster, lease, metadata={"finalizers": ["plain"]}) == []
        found = await refusals(cluster, CLASS, metadata={"finalizers": ["plain"]})
        assert [where for where, _ in found] == ["metadata.finalizers[0]"]

    run(test)


def test_owners_that_are_there_twice_become_one_and_a_warning_says_so() -> None:
    async def test(cluster: Cluster) -> None:
        stored = await cluster.create({**CLASS, "metadata": {"name": "x"}})
        stored["metadata"]["ownerReferences"] = [OWNER, dict(OWNER)]
        type = cluster.type_of(CLASS)
        result = await cluster.registry.update(USER, type, "", "x", stored, OPTIONS)
        assert result.record.obj["metadata"]["ownerReferences"] == [OWNER]
        (warning,) = result.warnings
        assert warning.startswith(".metadata.ownerReferences contains duplicate entries; API server dedups")
        assert warning.endswith("duplicate UID(s) observed: u")

    run(test)


@pytest.mark.parametrize(
    ("obj", "changes", "fields"),
    [
        pytest.param(CLASS, {"provisioner": "/"}, {"provisioner"}, id="StorageClass"),
        pytest.param(
            {
                "apiVersion": "node.k8s.io/v1",
                "kind": "RuntimeClass",
                "metadata": {"name": "x"},
                "handler": "a",
            },
            {"handler": "A"},
            {"handler"},
            id="RuntimeClass",
        ),
        pytest.param(
            {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "CSIStorageCapacity",
                "metadata": {"name": "x"},
                "storageClassName": "a",
            },
            {"capacity": "-1"},
            {"capacity"},
            id="CSIStorageCapacity",
        ),
        pytest.param(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "IngressClass",
                "metadata": {"name": "x"},
                "spec": {"controller": "a.b/c"},
            },
            {"spec": {"controller": ""}},
            {"spec.controller"},
            id="IngressClass",
        ),
        pytest.param(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}},
            {"spec": {"podCIDR": "x"}},
            {"spec.podCIDRs[0]"},
            id="Node",
        ),
    ],
)
def test_an_update_is_judged_as_a_new_object_is(
    obj: dict[str, Any], changes: dict[str, Any], fields: set[str]
) -> None:
    async def test(cluster: Cluster) -> None:
        assert {where for where, _ in await refusals(cluster, obj, **changes)} == fields

    run(test)
