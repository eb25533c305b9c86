"""Pods with volumes in a whole cluster: the tests bind, provide and attach what controllers would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from volume_kit import (
    ZONE,
    bind,
    claim,
    claiming,
    csi_node,
    node_of,
    offer,
    said,
    storage_class,
    volume,
)
from workload_kit import events, pod

from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]


@pytest.fixture
def cluster(volume_cluster: Callable[[], Cluster]) -> Cluster:
    return volume_cluster()


def retried(cluster: Cluster) -> None:
    """Let the backoff pass."""
    cluster.clock.advance(11)


# --- VolumeBinding: claims that have to be there


def test_a_pod_waits_for_its_claim_to_be_there(cluster: Cluster) -> None:
    cluster.create(claiming("a", "data"))
    assert said(cluster, "a") == '0/3 nodes are available: persistentvolumeclaim "data" not found.'
    full = conditions.find(cluster.get("pods", "a"), "PodScheduled") or {}
    # Nobody is asked to make room after DynamicResources missed what it had not prepared.
    assert full["message"].endswith('"data" not found. not found')
    cluster.create(storage_class("waits"))
    cluster.create(claim("other"))
    retried(cluster)
    assert '"data" not found' in said(cluster, "a")
    cluster.create(claim("data"))
    retried(cluster)
    assert "volume.kubernetes.io/selected-node" in cluster.get("pvc", "data")["metadata"]["annotations"]


def test_a_claim_that_its_class_binds_at_once_has_to_be_bound_before(cluster: Cluster) -> None:
    cluster.create(storage_class("now", "Immediate"))
    cluster.create(claim("data", cls="now"))
    cluster.create(claiming("a", "data"))
    assert said(cluster, "a") == "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    offer(cluster, volume("v", cls="now", on=["node-2"]))
    bind(cluster, "data", "v")
    retried(cluster)
    assert node_of(cluster, "a") == "node-2"


def test_a_claim_of_no_known_class_counts_as_one_to_be_bound_at_once(cluster: Cluster) -> None:
    cluster.create(claim("data", cls="nowhere"))
    cluster.create(claiming("a", "data"))
    assert "pod has unbound immediate PersistentVolumeClaims" in said(cluster, "a")


def test_a_lost_claim_and_one_that_is_deleted_are_named(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    cluster.create({**claim("lost"), "spec": {**claim("lost")["spec"], "volumeName": "gone"}})
    cluster.patch("pvc", "lost", {"status": {"phase": "Lost"}}, subresource="status")
    cluster.create(claiming("a", "lost"))
    assert said(cluster, "a") == (
        '0/3 nodes are available: persistentvolumeclaim "lost" bound to non-existent persistentvolume "gone".'
    )
    going = claim("going")
    going["metadata"]["finalizers"] = ["example.com/keep"]
    cluster.create(going)
    cluster.delete("pvc", "going")
    cluster.create(claiming("b", "going"))
    assert said(cluster, "b") == '0/3 nodes are available: persistentvolumeclaim "going" is being deleted.'


def test_the_claim_of_an_ephemeral_volume_has_to_be_the_pods_own(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    ephemeral = [{"name": "tmp", "ephemeral": {"volumeClaimTemplate": {"spec": claim("x")["spec"]}}}]
    cluster.create(pod("a", volumes=ephemeral))
    assert said(cluster, "a") == (
        '0/3 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim "a-tmp".'
    )
    cluster.create(claim("a-tmp"))
    retried(cluster)
    assert said(cluster, "a") == (
        "0/3 nodes are available: PVC default/a-tmp was not created for pod default/a (pod is not owner)."
    )


def test_a_bound_volume_decides_by_its_node_affinity(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", on=["elsewhere"]))
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert (
        said(cluster, "a")
        == "0/3 nodes are available: 3 node(s) didn't match PersistentVolume's node affinity."
    )


def test_a_bound_volume_that_is_gone_is_told(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    done = claim("data", volumeName="gone")
    done["metadata"]["annotations"] = {"pv.kubernetes.io/bind-completed": "yes"}
    cluster.create(done)
    cluster.create(claiming("a", "data"))
    # VolumeZone wants to know its zone before any node is looked at.
    assert said(cluster, "a") == '0/3 nodes are available: persistentvolume "gone" not found.'


# --- VolumeBinding: claims that wait for a pod


def test_the_smallest_volume_that_does_is_reserved_and_the_pod_held_until_it_is_bound(
    cluster: Cluster,
) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    offer(
        cluster,
        volume("large", "8Gi", on=["node-2"]),
        volume("small", "2Gi", on=["node-2"]),
        volume("tiny", "512Mi", on=["node-1", "node-2", "node-3"]),
    )
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") == ""
    reserved = cluster.get("pv", "small")
    assert reserved["spec"]["claimRef"]["name"] == "data"
    assert reserved["spec"]["claimRef"]["uid"] == cluster.get("pvc", "data")["metadata"]["uid"]
    assert reserved["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}
    assert "claimRef" not in cluster.get("pv", "large")["spec"]
    bind(cluster, "data", "small")
    assert node_of(cluster, "a") == "node-2"


def test_no_volume_and_nobody_to_provide_one(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    assert said(cluster, "a") == (
        "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind."
    )
    offer(cluster, volume("v", on=["node-3"]))
    retried(cluster)
    bind(cluster, "data", "v")
    assert node_of(cluster, "a") == "node-3"


def test_what_a_claim_asks_for_decides_which_volumes_do(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    offer(
        cluster,
        volume("block", spec={"volumeMode": "Block"}),
        volume("read", spec={"accessModes": ["ReadOnlyMany"]}),
        volume("unlabelled"),
        volume("other", cls="other", labels={"tier": "gold"}),
        volume("taken", labels={"tier": "gold"}, spec={"claimRef": {"name": "x", "namespace": "default"}}),
        volume("right", "4Gi", labels={"tier": "gold"}, on=["node-1"]),
    )
    cluster.create(claim("data", selector={"matchLabels": {"tier": "gold"}}))
    cluster.create(claiming("a", "data"))
    cluster.settle()
    assert cluster.get("pv", "right")["spec"]["claimRef"]["name"] == "data"


def test_two_claims_of_a_pod_get_a_volume_each(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    offer(cluster, volume("a1", "1Gi", on=["node-1"]), volume("b1", "1Gi", on=["node-2"]))
    cluster.create(claim("one"))
    cluster.create(claim("two"))
    cluster.create(claiming("a", "one", "two"))
    assert "3 node(s) didn't find available persistent volumes to bind" in said(cluster, "a")
    offer(cluster, volume("b2", "1Gi", on=["node-2"]))
    retried(cluster)
    names = {cluster.get("pv", name)["spec"].get("claimRef", {}).get("name") for name in ("b1", "b2")}
    assert names == {"one", "two"}
    assert "claimRef" not in cluster.get("pv", "a1")["spec"]


def test_a_volume_that_a_user_reserved_for_the_claim_is_the_only_one(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    mine = volume("mine", "9Gi", on=["node-3"], spec={"claimRef": {"name": "data", "namespace": "default"}})
    offer(cluster, volume("smaller", on=["node-1"]), mine)
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    cluster.settle()
    reserved = cluster.get("pv", "mine")
    assert reserved["spec"]["claimRef"]["uid"]
    assert "annotations" not in reserved["metadata"]
    bind(cluster, "data", "mine")
    assert node_of(cluster, "a") == "node-3"


def test_two_pods_at_once_do_not_get_the_same_volume(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    offer(cluster, volume("v1", on=["node-1"]), volume("v2", on=["node-2"]))
    cluster.create(claim("one"))
    cluster.create(claim("two"))
    cluster.faults.slow_store(1.0)
    cluster.create(claiming("a", "one"))
    cluster.create(claiming("b", "two"))
    cluster.faults.clear()
    cluster.clock.advance(5)
    got = {cluster.get("pv", name)["spec"]["claimRef"]["name"] for name in ("v1", "v2")}
    assert got == {"one", "two"}


def test_a_volume_to_be_provided_is_asked_for_on_the_chosen_node(cluster: Cluster) -> None:
    topology = [{"matchLabelExpressions": [{"key": ZONE, "values": ["a"]}]}]
    cluster.create(storage_class("waits", allowedTopologies=topology))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") == ""
    asked = cluster.get("pvc", "data")["metadata"]["annotations"]
    assert asked == {"volume.kubernetes.io/selected-node": "node-1"}
    offer(cluster, volume("made", on=["node-1"]))
    bind(cluster, "data", "made")
    assert node_of(cluster, "a") == "node-1"


def test_topologies_of_the_class_that_no_node_has(cluster: Cluster) -> None:
    topology = [{"matchLabelExpressions": [{"key": ZONE, "values": ["z"]}]}]
    cluster.create(storage_class("waits", allowedTopologies=topology))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    assert "3 node(s) didn't find available persistent volumes to bind" in said(cluster, "a")
    cluster.patch("nodes", "node-2", {"metadata": {"labels": {ZONE: "z"}}})
    retried(cluster)
    asked = cluster.get("pvc", "data")["metadata"]["annotations"]
    assert asked == {"volume.kubernetes.io/selected-node": "node-2"}


def test_a_provider_that_gives_up_sends_the_pod_back(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    cluster.settle()
    key = "volume.kubernetes.io/selected-node"
    cluster.patch("pvc", "data", {"metadata": {"annotations": {key: None, "example.com/tried": "yes"}}})
    (event,) = events(cluster, "FailedScheduling")
    assert event["message"] == (
        'running PreBind plugin "VolumeBinding": binding volumes: provisioning failed for PVC "data"'
    )
    retried(cluster)
    assert key in cluster.get("pvc", "data")["metadata"]["annotations"]


def test_a_provider_that_is_silent_keeps_nobody_else_waiting(
    cluster_factory: Callable[..., Cluster],
) -> None:
    plugins = {
        "node": [{"simulated": {"nodes": 1}}],
        "scheduler": [{"default": {"parallelBinds": 2}}],
        "controller": ["bootstrap", "serviceaccount"],
        "admission": ["*", "-taint_nodes"],
    }
    cluster = cluster_factory(config={"plugins": plugins})
    cluster.create(storage_class("waits"))
    for name in ("a", "b", "c"):
        cluster.create(claim(name))
        cluster.create(claiming(name, name))
    cluster.settle()
    cluster.create(pod("plain"))
    assert node_of(cluster, "plain") == "node-1"
    offer(cluster, volume("made", on=["node-1"]))
    bind(cluster, "b", "made")
    assert [node_of(cluster, name) for name in ("a", "b", "c")] == ["", "node-1", ""]


def test_volumes_that_are_not_bound_in_time_send_the_pod_back(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data"))
    cluster.clock.advance(601)
    assert 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded' in [
        event["message"] for event in events(cluster, "FailedScheduling")
    ]


def test_a_pod_that_is_deleted_while_it_is_held_gives_everything_back(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/no-provisioner"))
    offer(cluster, volume("v", on=["node-1"]))
    cluster.create(claim("data"))
    cluster.create(claiming("a", "data", containers=_asking("3")))
    cluster.settle()
    cluster.delete("pods", "a", grace_period=0)
    cluster.create(pod("b", nodeSelector={"kubernetes.io/hostname": "node-1"}, containers=_asking("3")))
    assert node_of(cluster, "b") == "node-1"


def _asking(cpu: str) -> list[Obj]:
    return [{"name": "m", "image": "x", "resources": {"requests": {"cpu": cpu}}}]


def test_pools_without_room_are_refused_and_those_with_most_room_preferred(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    driver = {"metadata": {"name": "csi.example.com"}, "spec": {"storageCapacity": True}}
    cluster.create({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", **driver})
    cluster.create(claim("large", "1Ti"))
    cluster.create(claiming("a", "large"))
    for name, capacity, node in (("little", "12Gi", "node-1"), ("much", "100Gi", "node-3")):
        pool = {
            "metadata": {"name": name, "namespace": "default"},
            "storageClassName": "waits",
            "capacity": capacity,
            "nodeTopology": {"matchLabels": {"kubernetes.io/hostname": node}},
        }
        cluster.create({"apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", **pool})
    retried(cluster)
    assert said(cluster, "a") == "0/3 nodes are available: 3 node(s) did not have enough free storage."
    cluster.create(claim("data", "10Gi"))
    cluster.create(claiming("b", "data"))
    cluster.settle()
    asked = cluster.get("pvc", "data")["metadata"]["annotations"]
    assert asked == {"volume.kubernetes.io/selected-node": "node-3"}


# --- VolumeZone


def test_a_volume_of_a_zone_keeps_its_pods_there(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", labels={ZONE: "a__c"}))
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") == "node-1"
    cluster.create(claiming("b", "data", nodeSelector={ZONE: "b"}))
    assert said(cluster, "b") == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "2 node(s) had no available volume zone."
    )


def test_the_old_label_of_a_volume_means_todays_of_a_node(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", labels={"failure-domain.beta.kubernetes.io/zone": "a"}))
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") == "node-1"


def test_nodes_without_any_zone_take_every_volume(cluster: Cluster) -> None:
    for number in (1, 2, 3):
        cluster.patch("nodes", f"node-{number}", {"metadata": {"labels": {ZONE: None}}})
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", labels={ZONE: "a"}))
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") != ""


# --- VolumeRestrictions


def test_a_claim_for_one_pod_is_not_given_to_a_second(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", spec={"accessModes": ["ReadWriteOncePod"]}))
    cluster.create(claim("data", mode="ReadWriteOncePod"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") != ""
    cluster.create(claiming("b", "data"))
    assert said(cluster, "b") == (
        "0/3 nodes are available: 3 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access "
        "mode already in-use by another pod."
    )
    cluster.delete("pods", "a")
    retried(cluster)
    assert node_of(cluster, "b") != ""


def test_a_claim_for_one_pod_is_taken_from_one_of_lower_priority(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    offer(cluster, volume("v", spec={"accessModes": ["ReadWriteOncePod"]}))
    cluster.create(claim("data", mode="ReadWriteOncePod"))
    bind(cluster, "data", "v")
    cluster.create(claiming("low", "data"))
    assert node_of(cluster, "low")
    high = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 10,
    }
    cluster.create(high)
    cluster.create(claiming("high", "data", priorityClassName="high"))
    retried(cluster)
    assert cluster.find("pods", "low") is None
    assert node_of(cluster, "high")


@pytest.mark.parametrize(
    ("first", "second", "conflict"),
    [
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d"}}, {"gcePersistentDisk": {"pdName": "d"}}, True, id="gce"
        ),
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            {"gcePersistentDisk": {"pdName": "d", "readOnly": True}},
            False,
            id="gce-read-only",
        ),
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d"}},
            {"gcePersistentDisk": {"pdName": "e"}},
            False,
            id="gce-other",
        ),
        pytest.param(
            {"awsElasticBlockStore": {"volumeID": "d", "readOnly": True}},
            {"awsElasticBlockStore": {"volumeID": "d", "readOnly": True}},
            True,
            id="aws-even-read-only",
        ),
        pytest.param(
            {"rbd": {"monitors": ["a", "b"], "image": "i"}},
            {"rbd": {"monitors": ["b"], "image": "i"}},
            True,
            id="rbd",
        ),
        pytest.param(
            {"rbd": {"monitors": ["a"], "image": "i"}},
            {"rbd": {"monitors": ["b"], "image": "i"}},
            False,
            id="rbd-of-other-monitors",
        ),
        pytest.param(
            {"iscsi": {"targetPortal": "p", "iqn": "iqn.2001-04.com.example:x", "lun": 0}},
            {"iscsi": {"targetPortal": "q", "iqn": "iqn.2001-04.com.example:x", "lun": 1}},
            True,
            id="iscsi",
        ),
    ],
)
def test_disks_that_stand_in_pods_are_shared_for_reading_at_most(
    cluster: Cluster, first: Obj, second: Obj, conflict: bool
) -> None:
    here = {"nodeSelector": {"kubernetes.io/hostname": "node-1"}}
    cluster.create(pod("a", volumes=[{"name": "d", **first}], **here))
    assert node_of(cluster, "a") == "node-1"
    cluster.create(pod("b", volumes=[{"name": "d", **second}], **here))
    assert node_of(cluster, "b") == ("" if conflict else "node-1")
    if conflict:
        assert "1 node(s) had no available disk" in said(cluster, "b")


# --- NodeVolumeLimits


def attached(cluster: Cluster, *names: str) -> None:
    """Claims with a bound volume each."""
    for name in names:
        offer(cluster, volume(f"v-{name}"))
        cluster.create(claim(name))
        bind(cluster, name, f"v-{name}")


def test_a_node_takes_as_many_volumes_as_its_driver_attaches(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 2 if number == 1 else 0))
    attached(cluster, "one", "two", "three")
    cluster.create(claiming("a", "one", "two"))
    assert node_of(cluster, "a") == "node-1"
    cluster.create(claiming("b", "three"))
    assert said(cluster, "b") == "0/3 nodes are available: 3 node(s) exceed max volume count."
    # A volume that is there already costs nothing.
    cluster.create(claiming("c", "one"))
    assert node_of(cluster, "c") == "node-1"
    cluster.delete("pods", "a")
    retried(cluster)
    assert node_of(cluster, "b") == "node-1"


def test_volumes_of_pods_of_lower_priority_make_room(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 1 if number == 1 else 0))
    attached(cluster, "one", "two")
    cluster.create(claiming("low", "one"))
    cluster.settle()
    high = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "high"},
        "value": 10,
    }
    cluster.create(high)
    cluster.create(claiming("high", "two", priorityClassName="high"))
    retried(cluster)
    assert cluster.find("pods", "low") is None
    assert node_of(cluster, "high") == "node-1"


def test_what_is_still_attached_counts_and_a_higher_limit_helps(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 1 if number == 1 else 0))
    attached(cluster, "one", "two")
    cluster.create(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": "x"},
            "spec": {
                "attacher": "csi.example.com",
                "nodeName": "node-1",
                "source": {"persistentVolumeName": "v-one"},
            },
        }
    )
    cluster.create(claiming("a", "two"))
    assert "3 node(s) exceed max volume count" in said(cluster, "a")
    cluster.delete("volumeattachments", "x")
    retried(cluster)
    assert node_of(cluster, "a") == "node-1"
    cluster.create(claiming("b", "one"))
    assert "exceed max volume count" in said(cluster, "b")
    cluster.patch("csinodes", "node-2", csi_node("node-2", 5))
    retried(cluster)
    assert node_of(cluster, "b") == "node-2"


def test_a_driver_that_wants_to_be_there_keeps_pods_from_other_nodes(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    spec = {"preventPodSchedulingIfMissing": True}
    metadata = {"name": "csi.example.com"}
    cluster.create(
        {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": metadata, "spec": spec}
    )
    attached(cluster, "one")
    cluster.create(claiming("a", "one"))
    assert said(cluster, "a") == (
        "0/3 nodes are available: 3 csi.example.com CSI driver is not installed on the node."
    )
    cluster.create(csi_node("node-2", None))
    retried(cluster)
    assert node_of(cluster, "a") == "node-2"
