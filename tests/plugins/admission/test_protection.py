"""Finalizers that admission adds and controllers take away: nothing that is in use goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from workload_kit import pod

from kubernel.errors import Forbidden, NotFound
from kubernel.testing import Cluster

GROUPS = "podgroups.v1beta1.scheduling.k8s.io"
ATTRIBUTES = "volumeattributesclasses.v1.storage.k8s.io"


def gone(cluster: Cluster, resource: str, name: str) -> bool:
    try:
        cluster.get(resource, name)
    except NotFound:
        return True
    return False


def test_an_attributes_class_stays_until_no_claim_names_it(cluster: Cluster) -> None:
    made = cluster.create(
        {
            "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "fast"},
            "driverName": "x", "parameters": {"iops": "1"},
        }
    )  # fmt: skip
    assert made["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    spec = {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        "volumeAttributesClassName": "fast", "storageClassName": "none",
    }  # fmt: skip
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c"}, "spec": spec}
    cluster.create(claim)
    cluster.delete(ATTRIBUTES, "fast")
    cluster.settle()
    assert "deletionTimestamp" in cluster.get(ATTRIBUTES, "fast")["metadata"]
    cluster.delete("persistentvolumeclaims", "c")
    cluster.settle()
    assert gone(cluster, ATTRIBUTES, "fast")


@pytest.fixture
def grouped() -> Iterator[Cluster]:
    """Serves PodGroups, which is not on by default, as upstream's GenericWorkload is not."""
    with Cluster({"plugins": {"types": [{"builtin": {"serve": ["scheduling.k8s.io/v1beta1"]}}]}}) as cluster:
        yield cluster


def group(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": {"name": name},
        "spec": {"schedulingPolicy": {"gang": {"minCount": 1}}, **spec},
    }


def test_a_pod_group_stays_until_its_last_pod_has_ended(grouped: Cluster) -> None:
    made = grouped.create(group("g"))
    assert made["metadata"]["finalizers"] == ["scheduling.k8s.io/podgroup-protection"]
    grouped.create(pod("a", schedulingGroup={"podGroupName": "g"}))
    grouped.settle()
    grouped.delete(GROUPS, "g")
    grouped.settle()
    assert "deletionTimestamp" in grouped.get(GROUPS, "g")["metadata"]
    grouped.patch("pods", "a", {"status": {"phase": "Succeeded"}}, subresource="status")
    grouped.settle()
    assert gone(grouped, GROUPS, "g")


def test_a_pod_group_has_the_priority_of_its_class(grouped: Cluster) -> None:
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}}
    grouped.create({**kind, "value": 7})
    assert grouped.create(group("g", priorityClassName="high"))["spec"]["priority"] == 7
    with pytest.raises(Forbidden, match="no PriorityClass with name none was found"):
        grouped.create(group("h", priorityClassName="none"))
    with pytest.raises(Forbidden) as refusal:
        grouped.create(group("i", priorityClassName="high", priority=8))
    assert refusal.value.message == (
        'podgroups.scheduling.k8s.io "i" is forbidden: priority set in the pod group (8) must match the priority '
        "computed (7) based on the priority class set in the spec"
    )
