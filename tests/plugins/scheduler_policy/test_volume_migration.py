"""Volumes of kinds that a CSI driver took over count, and are found, as those of the driver."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from volume_kit import ZONE, bind, claim, claiming, csi_node, node_of, offer, said, storage_class, volume
from workload_kit import pod

from kubernel.testing import Cluster
from kubernel_plugins.scheduler_policy import migration

Obj = dict[str, Any]
_OLD = "failure-domain.beta.kubernetes.io"


@pytest.mark.parametrize(
    ("source", "driver", "handle"),
    [
        pytest.param(
            {"gcePersistentDisk": {"pdName": "d"}},
            "pd.csi.storage.gke.io",
            "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d",
            id="gce",
        ),
        pytest.param({"awsElasticBlockStore": {"volumeID": "vol-1"}}, "ebs.csi.aws.com", "vol-1", id="aws"),
        pytest.param(
            {"awsElasticBlockStore": {"volumeID": "aws://us-east-1a/vol-1"}},
            "ebs.csi.aws.com",
            "vol-1",
            id="aws-url",
        ),
        pytest.param({"cinder": {"volumeID": "c"}}, "cinder.csi.openstack.org", "c", id="cinder"),
        pytest.param(
            {"azureDisk": {"diskName": "d", "diskURI": "/uri", "kind": "Managed"}},
            "disk.csi.azure.com",
            "/uri",
            id="azure-disk",
        ),
        pytest.param(
            {"azureFile": {"secretName": "azure-storage-account-acc-secret", "shareName": "s"}},
            "file.csi.azure.com",
            "#acc#s#v#ns",
            id="azure-file",
        ),
        pytest.param(
            {"azureFile": {"secretName": "other", "shareName": "s"}},
            "file.csi.azure.com",
            "#other#s#v#ns",
            id="azure-file-of-any-secret",
        ),
        pytest.param(
            {"vsphereVolume": {"volumePath": "[ds] v.vmdk"}},
            "csi.vsphere.vmware.com",
            "[ds] v.vmdk",
            id="vsphere",
        ),
        pytest.param({"portworxVolume": {"volumeID": "p"}}, "pxd.portworx.com", "p", id="portworx"),
    ],
)
def test_a_pods_own_volume_has_a_driver_and_a_handle(source: Obj, driver: str, handle: str) -> None:
    assert migration.inline({"name": "v", **source}, "ns") == (driver, handle)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param(
            {"azureDisk": {"diskURI": "u", "kind": "Dedicated"}},
            "kind(Dedicated) is not supported in csi migration",
            id="azure-kind",
        ),
        pytest.param(
            {"awsElasticBlockStore": {"volumeID": "aws:///x"}},
            "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume (aws:///x)",
            id="aws-url",
        ),
    ],
)
def test_a_volume_that_the_driver_cannot_have_is_told(source: Obj, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(why)}$"):
        migration.inline({"name": "v", **source}, "ns")


@pytest.mark.parametrize(
    ("labels", "handle"),
    [
        pytest.param({ZONE: "us-east1-a"}, "zones/us-east1-a", id="zone"),
        pytest.param({f"{_OLD}/zone": "us-east1-a__us-east1-b"}, "regions/us-east1", id="several"),
        pytest.param({}, "zones/UNSPECIFIED", id="none"),
    ],
)
def test_a_gce_disk_is_known_by_its_zone_or_region(labels: Obj, handle: str) -> None:
    found = migration.translated(
        {"metadata": {"name": "v", "labels": labels}, "spec": {"gcePersistentDisk": {"pdName": "d"}}}
    )
    assert found["spec"]["csi"]["volumeHandle"] == f"projects/UNSPECIFIED/{handle}/disks/d"
    assert "gcePersistentDisk" not in found["spec"]


def _terms(*expressions: tuple[str, list[str]]) -> Obj:
    found = [{"key": key, "operator": "In", "values": values} for key, values in expressions]
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": found}]}}


@pytest.mark.parametrize(
    ("labels", "affinity", "wanted"),
    [
        pytest.param(
            {},
            _terms((ZONE, ["a"]), ("topology.kubernetes.io/region", ["r"])),
            _terms(("topology.ebs.csi.aws.com/zone", ["a"]), ("topology.kubernetes.io/region", ["r"])),
            id="zone-of-today",
        ),
        pytest.param(
            {},
            _terms((f"{_OLD}/zone", ["a"]), (f"{_OLD}/region", ["r"])),
            _terms(("topology.ebs.csi.aws.com/zone", ["a"]), ("topology.kubernetes.io/region", ["r"])),
            id="old-zone-and-region",
        ),
        pytest.param(
            {ZONE: "b__a"},
            _terms(("disk", ["ssd"])),
            _terms(("disk", ["ssd"]), ("topology.ebs.csi.aws.com/zone", ["a", "b"])),
            id="label",
        ),
        pytest.param({}, None, None, id="nothing"),
    ],
)
def test_where_a_volume_is_reachable_from_is_said_in_the_drivers_words(
    labels: Obj, affinity: Obj | None, wanted: Obj | None
) -> None:
    spec: Obj = {"awsElasticBlockStore": {"volumeID": "vol-1"}}
    if affinity is not None:
        spec["nodeAffinity"] = affinity
    found = migration.translated({"metadata": {"name": "v", "labels": labels}, "spec": spec})
    assert found["spec"].get("nodeAffinity") == wanted


# --- in a cluster


@pytest.fixture
def cluster(volume_cluster: Callable[[], Cluster]) -> Cluster:
    return volume_cluster()


def _disk(name: str, disk: str) -> Obj:
    return pod(name, volumes=[{"name": "d", "gcePersistentDisk": {"pdName": disk, "readOnly": True}}])


def test_disks_that_stand_in_pods_count_against_the_drivers_limit(cluster: Cluster) -> None:
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 1 if number == 1 else 0, "pd.csi.storage.gke.io"))
    cluster.create(_disk("a", "one"))
    assert node_of(cluster, "a") == "node-1"
    cluster.create(_disk("b", "two"))
    assert said(cluster, "b") == "0/3 nodes are available: 3 node(s) exceed max volume count."
    cluster.create(_disk("c", "one"))
    assert node_of(cluster, "c") == "node-1"
    for name in ("a", "c"):
        cluster.delete("pods", name)
    cluster.clock.advance(11)
    assert node_of(cluster, "b") == "node-1"


def test_bound_volumes_and_classes_of_a_migrated_kind_count_too(cluster: Cluster) -> None:
    cluster.create(storage_class("waits", provisioner="kubernetes.io/aws-ebs"))
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 1 if number == 1 else 0, "ebs.csi.aws.com"))
    made = volume("v")
    del made["spec"]["csi"]
    made["spec"]["awsElasticBlockStore"] = {"volumeID": "vol-1"}
    offer(cluster, made)
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    cluster.create(claiming("a", "data"))
    assert node_of(cluster, "a") == "node-1"
    cluster.create(claim("more"))
    cluster.create(claiming("b", "more"))
    assert said(cluster, "b") == "0/3 nodes are available: 3 node(s) exceed max volume count."


def test_kinds_that_are_not_taken_for_migrated_do_not_count(cluster: Cluster) -> None:
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 0, "csi.vsphere.vmware.com"))
    cluster.create(pod("a", volumes=[{"name": "d", "vsphereVolume": {"volumePath": "[ds] v"}}]))
    assert node_of(cluster, "a")


def test_a_disk_that_cannot_be_migrated_is_an_error(cluster: Cluster) -> None:
    disk = {"diskName": "d", "diskURI": "https://x.blob.core.windows.net/vhds/d.vhd", "kind": "Dedicated"}
    cluster.create(pod("a", volumes=[{"name": "d", "azureDisk": disk}]))
    for number in (1, 2, 3):
        cluster.create(csi_node(f"node-{number}", 1, "disk.csi.azure.com"))
    assert said(cluster, "a") == (
        'running "NodeVolumeLimits" filter plugin: converting volume(d) from inline to csi: '
        "kind(Dedicated) is not supported in csi migration"
    )


def test_nodes_where_the_driver_took_over_are_asked_for_the_drivers_labels(cluster: Cluster) -> None:
    cluster.create(storage_class("waits"))
    made = volume("v")
    del made["spec"]["csi"]
    made["spec"]["awsElasticBlockStore"] = {"volumeID": "vol-1"}
    made["spec"]["nodeAffinity"] = _terms((ZONE, ["b"]))
    offer(cluster, made)
    cluster.create(claim("data"))
    bind(cluster, "data", "v")
    migrated = csi_node("node-2", None, "ebs.csi.aws.com")
    migrated["metadata"]["annotations"] = {
        "storage.alpha.kubernetes.io/migrated-plugins": "kubernetes.io/cinder,kubernetes.io/aws-ebs"
    }
    cluster.create(migrated)
    cluster.patch("nodes", "node-3", {"spec": {"unschedulable": True}})
    cluster.create(claiming("a", "data"))
    assert said(cluster, "a") == (
        "0/3 nodes are available: 1 node(s) were unschedulable, "
        "2 node(s) didn't match PersistentVolume's node affinity."
    )
    cluster.patch("nodes", "node-2", {"metadata": {"labels": {"topology.ebs.csi.aws.com/zone": "b"}}})
    cluster.clock.advance(11)
    assert node_of(cluster, "a") == "node-2"
