"""Claims, volumes and what brings them together, in a whole cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from workload_kit import events, pod

from kubernel.errors import Forbidden
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

CLAIMS, VOLUMES = "persistentvolumeclaims", "persistentvolumes"
ATTACHMENTS = "volumeattachments.v1.storage.k8s.io"


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> Any:
    """Of the default class unless ``storageClassName`` says otherwise."""
    made = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": made,
    }


def volume(name: str = "disk", size: str = "1Gi", **spec: Any) -> Any:
    made = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
        "hostPath": {"path": f"/nowhere/{name}"},
        **spec,
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": made}


def storage_class(name: str, provisioner: str = "acme.dev/disk", **more: Any) -> Any:
    frame = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}}
    return {**frame, "provisioner": provisioner, **more}


def using(name: str, *claims: str, **spec: Any) -> Any:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
    return pod(name, volumes=volumes, **spec)


def phase(cluster: Cluster, resource: str, name: str) -> str:
    return str(cluster.get(resource, name)["status"].get("phase"))


def told(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in events(cluster, reason)]


# --- by hand


def test_the_smallest_volume_that_suits_is_bound(cluster: Cluster) -> None:
    cluster.apply([volume("large", "10Gi"), volume("right", "2Gi"), volume("small", "500Mi")])
    cluster.apply(claim(storageClassName=""))
    bound = cluster.get(CLAIMS, "data")
    assert (bound["spec"]["volumeName"], bound["status"]["phase"]) == ("right", "Bound")
    assert bound["status"]["capacity"] == {"storage": "2Gi"}
    assert bound["status"]["accessModes"] == ["ReadWriteOnce"]
    assert meta.annotations(bound)["pv.kubernetes.io/bind-completed"] == "yes"
    assert meta.annotations(bound)["pv.kubernetes.io/bound-by-controller"] == "yes"
    disk = cluster.get(VOLUMES, "right")
    assert disk["status"]["phase"] == "Bound"
    assert disk["spec"]["claimRef"]["uid"] == meta.uid(bound)
    assert {phase(cluster, VOLUMES, name) for name in ("large", "small")} == {"Available"}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"accessModes": ["ReadWriteMany"]}, id="access mode"),
        pytest.param({"storageClassName": "fast"}, id="class"),
        pytest.param({"volumeMode": "Block"}, id="volume mode"),
        pytest.param({"selector": {"matchLabels": {"disk": "ssd"}}}, id="labels"),
        pytest.param({"resources": {"requests": {"storage": "5Gi"}}}, id="size"),
    ],
)
def test_what_does_not_suit_is_not_bound(cluster: Cluster, spec: Any) -> None:
    cluster.apply([volume(), claim(**{"storageClassName": "", **spec})])
    cluster.clock.advance("1m")
    assert phase(cluster, CLAIMS, "data") == "Pending"
    assert phase(cluster, VOLUMES, "disk") == "Available"


def test_a_claim_waits_for_a_volume_to_come(cluster: Cluster) -> None:
    cluster.apply(claim(storageClassName=""))
    assert told(cluster, "FailedBinding") == [
        "no persistent volumes available for this claim and no storage class is set"
    ]
    cluster.apply(volume())
    assert phase(cluster, CLAIMS, "data") == "Bound"


def test_a_claim_may_name_its_volume_and_a_volume_its_claim(cluster: Cluster) -> None:
    reference = {"namespace": "default", "name": "second"}
    cluster.apply([volume("one", "5Gi"), volume("two", "9Gi", claimRef=reference)])
    cluster.apply(claim("first", storageClassName="", volumeName="one"))
    cluster.apply(claim("second", storageClassName=""))
    assert cluster.get(CLAIMS, "second")["spec"]["volumeName"] == "two"
    assert phase(cluster, CLAIMS, "first") == phase(cluster, VOLUMES, "one") == "Bound"
    assert "pv.kubernetes.io/bound-by-controller" not in meta.annotations(cluster.get(VOLUMES, "two"))


def test_what_is_asked_for_by_name_must_suit_and_be_free(cluster: Cluster) -> None:
    cluster.apply([volume("small", "1Gi"), volume("taken", "1Gi")])
    cluster.apply(claim("first", storageClassName="", volumeName="taken"))
    cluster.apply(claim("large", "5Gi", storageClassName="", volumeName="small"))
    cluster.apply(claim("late", storageClassName="", volumeName="taken"))
    assert told(cluster, "VolumeMismatch") == [
        'Cannot bind to requested volume "small": requested PV is too small'
    ]
    assert told(cluster, "FailedBinding") == ['volume "taken" already bound to a different claim.']


def test_a_claim_whose_volume_is_gone_is_lost(cluster: Cluster) -> None:
    cluster.apply([volume(), claim(storageClassName="")])
    cluster.patch(VOLUMES, "disk", {"metadata": {"finalizers": None}})
    with cluster.faults.outage("controller", "pvprotection"):
        cluster.patch(VOLUMES, "disk", {"metadata": {"finalizers": None}})
        cluster.delete(VOLUMES, "disk")
    assert phase(cluster, CLAIMS, "data") == "Lost"
    assert told(cluster, "ClaimLost") == [
        "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
    ]


@pytest.mark.parametrize(
    ("policy", "after"), [("Retain", "Released"), ("Delete", "Failed"), ("Recycle", "Failed")]
)
def test_what_becomes_of_a_volume_without_its_claim(cluster: Cluster, policy: str, after: str) -> None:
    cluster.apply([volume(persistentVolumeReclaimPolicy=policy), claim(storageClassName="")])
    cluster.delete(CLAIMS, "data")
    cluster.settle()
    assert phase(cluster, VOLUMES, "disk") == after
    if policy == "Delete":
        assert told(cluster, "VolumeFailedDelete") == [
            'error getting deleter volume plugin for volume "disk": no deletable volume plugin matched'
        ]


# --- by a class


def test_a_claim_of_the_default_class_gets_a_directory_with_its_first_pod(cluster: Cluster) -> None:
    cluster.apply(claim())
    assert cluster.get(CLAIMS, "data")["spec"]["storageClassName"] == "standard"
    assert phase(cluster, CLAIMS, "data") == "Pending"
    assert told(cluster, "WaitForFirstConsumer") == [
        "waiting for first consumer to be created before binding"
    ]
    cluster.apply(using("web", "data"))
    found = cluster.wait_ready("pods", "web")
    bound = cluster.get(CLAIMS, "data")
    assert bound["status"]["phase"] == "Bound"
    disk = cluster.get(VOLUMES, bound["spec"]["volumeName"])
    assert meta.name(disk) == f"pvc-{meta.uid(bound)}"
    path = Path(disk["spec"]["hostPath"]["path"])
    assert path.is_dir()
    assert path.is_relative_to(cluster.data_dir)
    rule = disk["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert rule["values"] == [found["spec"]["nodeName"]]
    assert told(cluster, "ProvisioningSucceeded") == [f"Successfully provisioned volume {meta.name(disk)}"]


def test_a_made_volume_goes_with_its_claim_and_its_files(cluster: Cluster) -> None:
    cluster.apply([claim(), using("web", "data")])
    disk = cluster.list(VOLUMES)[0]
    path = Path(disk["spec"]["hostPath"]["path"])
    (path / "below").mkdir()
    (path / "below" / "file").write_text("x")
    (path / "link").symlink_to("/")
    cluster.delete("pods", "web")
    cluster.delete(CLAIMS, "data")
    cluster.clock.advance("1m")
    assert cluster.list(VOLUMES) == []
    assert not path.exists()


def test_with_retain_the_files_stay(cluster: Cluster) -> None:
    cluster.apply(storage_class("keep", "kernel.dev/none"))
    kept = storage_class("keep2", "kubernel.dev/local", reclaimPolicy="Retain")
    cluster.apply([kept, claim(storageClassName="keep2")])
    disk = cluster.list(VOLUMES)[0]
    assert phase(cluster, CLAIMS, "data") == "Bound"
    cluster.delete(CLAIMS, "data")
    cluster.clock.advance("1m")
    assert phase(cluster, VOLUMES, meta.name(disk)) == "Released"
    assert Path(disk["spec"]["hostPath"]["path"]).is_dir()


def test_another_provisioner_is_asked_and_waited_for(cluster: Cluster) -> None:
    cluster.apply([storage_class("disk"), claim(storageClassName="disk")])
    made = cluster.get(CLAIMS, "data")
    assert meta.annotations(made)["volume.kubernetes.io/storage-provisioner"] == "acme.dev/disk"
    assert told(cluster, "ExternalProvisioning")[0].startswith(
        "Waiting for a volume to be created either by the external provisioner 'acme.dev/disk'"
    )
    reference = {"namespace": "default", "name": "data", "uid": meta.uid(made)}
    cluster.apply(volume(storageClassName="disk", claimRef=reference))
    assert phase(cluster, CLAIMS, "data") == "Bound"


def test_an_unknown_class_is_told(cluster: Cluster) -> None:
    cluster.apply(claim(storageClassName="none"))
    assert told(cluster, "ProvisioningFailed") == ['storageclass.storage.k8s.io "none" not found']
    cluster.apply(storage_class("none", "kubernel.dev/local", volumeBindingMode="Immediate"))
    assert phase(cluster, CLAIMS, "data") == "Bound"


def test_a_claim_from_before_there_was_a_default_class_gets_it_later(cluster: Cluster) -> None:
    cluster.delete("storageclasses", "standard")
    cluster.apply(claim())
    assert "storageClassName" not in cluster.get(CLAIMS, "data")["spec"]
    made = storage_class("late", "kubernel.dev/local")
    made["metadata"]["annotations"] = {"storageclass.kubernetes.io/is-default-class": "true"}
    cluster.apply(made)
    assert cluster.get(CLAIMS, "data")["spec"]["storageClassName"] == "late"
    assert phase(cluster, CLAIMS, "data") == "Bound"


# --- pods


def message_of(cluster: Cluster, name: str) -> str:
    found = conditions.find(cluster.get("pods", name), "PodScheduled")
    return str(found["message"]) if found else ""


def test_a_pod_waits_for_its_claims(cluster: Cluster) -> None:
    cluster.apply(using("web", "data"))
    assert 'persistentvolumeclaim "data" not found' in message_of(cluster, "web")
    cluster.apply(claim(storageClassName=""))
    cluster.clock.advance("1m")
    assert "pod has unbound immediate PersistentVolumeClaims" in message_of(cluster, "web")
    cluster.apply(volume())
    cluster.wait_ready("pods", "web")


def test_a_pod_goes_where_its_volume_is() -> None:
    with Cluster({"plugins": {"node": [{"simulated": {"nodes": 5}}]}}) as cluster:
        rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-4"]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
        cluster.apply([volume(nodeAffinity=affinity), claim(storageClassName="")])
        cluster.apply(using("web", "data"))
        assert cluster.get("pods", "web")["spec"]["nodeName"] == "node-4"
        cluster.apply(using("lost", "data", nodeName="", nodeSelector={"kubernetes.io/hostname": "node-1"}))
        assert "1 node(s) didn't match PersistentVolume's node affinity" in message_of(cluster, "lost")


def test_of_volumes_made_by_hand_the_pods_node_decides() -> None:
    with Cluster({"plugins": {"node": [{"simulated": {"nodes": 3}}]}}) as cluster:
        provisioner = "kubernetes.io/no-provisioner"
        cluster.apply(storage_class("hand", provisioner, volumeBindingMode="WaitForFirstConsumer"))
        for number in (1, 2):
            rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": [f"node-{number}"]}
            affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
            cluster.apply(volume(f"disk-{number}", storageClassName="hand", nodeAffinity=affinity))
        for name in ("a", "b", "c"):
            cluster.apply([claim(name, storageClassName="hand"), using(f"pod-{name}", name)])
        cluster.clock.advance("1m")
        placed = {meta.name(each): each["spec"].get("nodeName") for each in cluster.list("pods")}
        assert sorted(filter(None, placed.values())) == ["node-1", "node-2"]
        left = next(name for name, node in placed.items() if not node)
        assert "node(s) didn't find available persistent volumes to bind" in message_of(cluster, left)
        for one in cluster.list(CLAIMS):
            if one["spec"].get("volumeName"):
                node = placed[f"pod-{meta.name(one)}"]
                assert one["spec"]["volumeName"] == str(node).replace("node", "disk")


def test_an_ephemeral_volume_is_made_for_its_pod_and_goes_with_it(cluster: Cluster) -> None:
    template = {"metadata": {"labels": {"of": "web"}}, "spec": claim()["spec"]}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    cluster.apply(pod("web", volumes=volumes))
    cluster.wait_ready("pods", "web")
    made = cluster.get(CLAIMS, "web-scratch")
    assert meta.labels(made) == {"of": "web"}
    assert (meta.controller_of(made) or {})["uid"] == meta.uid(cluster.get("pods", "web"))
    cluster.delete("pods", "web")
    cluster.clock.advance("1m")
    assert cluster.list(CLAIMS) == []
    assert cluster.list(VOLUMES) == []


def test_a_claim_of_that_name_which_is_somebody_elses_is_not_taken(cluster: Cluster) -> None:
    cluster.apply([volume(), claim("web-scratch", storageClassName="")])
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim()["spec"]}}}]
    cluster.apply(pod("web", volumes=volumes))
    cluster.clock.advance("1m")
    assert meta.controller_of(cluster.get(CLAIMS, "web-scratch")) is None


# --- protection


def test_a_claim_in_use_stays_until_its_pod_is_gone(cluster: Cluster) -> None:
    cluster.apply([claim(), using("web", "data")])
    assert cluster.get(CLAIMS, "data")["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    cluster.delete(CLAIMS, "data")
    cluster.clock.advance("1m")
    assert meta.is_deleting(cluster.get(CLAIMS, "data"))
    cluster.apply(using("late", "data"))
    assert 'persistentvolumeclaim "data" is being deleted' in message_of(cluster, "late")
    cluster.delete("pods", "web")
    cluster.clock.advance("1m")
    assert cluster.find(CLAIMS, "data") is None


def test_a_volume_in_use_stays_until_its_claim_is_gone(cluster: Cluster) -> None:
    cluster.apply([volume(), claim(storageClassName="")])
    cluster.delete(VOLUMES, "disk")
    cluster.clock.advance("1m")
    assert cluster.get(VOLUMES, "disk")["metadata"]["finalizers"] == ["kubernetes.io/pv-protection"]
    cluster.delete(CLAIMS, "data")
    cluster.clock.advance("1m")
    assert cluster.find(VOLUMES, "disk") is None


# --- growing


def grow(cluster: Cluster, size: str) -> None:
    cluster.patch(CLAIMS, "data", {"spec": {"resources": {"requests": {"storage": size}}}})


def test_a_claim_may_grow(cluster: Cluster) -> None:
    cluster.apply([claim(), using("web", "data")])
    grow(cluster, "3Gi")
    found = cluster.get(CLAIMS, "data")
    assert found["status"]["capacity"] == {"storage": "3Gi"}
    assert cluster.list(VOLUMES)[0]["spec"]["capacity"] == {"storage": "3Gi"}
    assert told(cluster, "VolumeResizeSuccessful") == ["Resize volume succeeded"]


def test_a_claim_may_not_grow_where_its_class_does_not_allow_it(cluster: Cluster) -> None:
    cluster.apply([volume(), claim(storageClassName="")])
    with pytest.raises(Forbidden) as refused:
        grow(cluster, "3Gi")
    assert refused.value.message == (
        'persistentvolumeclaims "data" is forbidden: only dynamically provisioned pvc can be resized and the '
        "storageclass that provisions the pvc must support resize"
    )


def test_another_resizer_is_waited_for(cluster: Cluster) -> None:
    made = storage_class("disk", allowVolumeExpansion=True)
    cluster.apply([made, volume(storageClassName="disk"), claim(storageClassName="disk")])
    grow(cluster, "3Gi")
    assert told(cluster, "ExternalExpanding") == ["waiting for an external controller to expand this PVC"]


# --- classes of attributes

ATTRIBUTES = "volumeattributesclasses.v1.storage.k8s.io"


def attributes(name: str = "fast") -> Any:
    frame = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": name}}
    return {**frame, "driverName": "acme.dev", "parameters": {"iops": "1000"}}


@pytest.mark.parametrize("where", ["claim", "current", "target", "volume"])
def test_a_class_of_attributes_stays_as_long_as_something_names_it(cluster: Cluster, where: str) -> None:
    named = {"volumeAttributesClassName": "fast"}
    cluster.apply(attributes())
    assert cluster.get(ATTRIBUTES, "fast")["metadata"]["finalizers"] == ["kubernetes.io/vac-protection"]
    if where == "volume":
        made = csi_volume()
        made["spec"] |= named
        cluster.apply(made)
    else:
        cluster.apply(claim(storageClassName="later", **(named if where == "claim" else {})))
    if where == "current":
        status = {"currentVolumeAttributesClassName": "fast"}
        cluster.patch(CLAIMS, "data", {"status": status}, subresource="status")
    elif where == "target":
        status = {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "fast", "status": "Pending"}}
        cluster.patch(CLAIMS, "data", {"status": status}, subresource="status")
    cluster.delete(ATTRIBUTES, "fast")
    cluster.clock.advance("1m")
    assert meta.is_deleting(cluster.get(ATTRIBUTES, "fast"))
    cluster.delete(VOLUMES if where == "volume" else CLAIMS, "disk" if where == "volume" else "data")
    cluster.settle()
    assert cluster.find(ATTRIBUTES, "fast") is None


# --- attaching


def csi_volume(name: str = "disk") -> Any:
    made = volume(name)
    del made["spec"]["hostPath"]
    made["spec"]["csi"] = {"driver": "acme.dev", "volumeHandle": f"handle-{name}"}
    return made


def test_a_csi_volume_is_attached_to_the_node_of_its_pod_and_detached_after_it(cluster: Cluster) -> None:
    cluster.apply([csi_volume(), claim(storageClassName=""), using("web", "data")])
    (made,) = cluster.list(ATTACHMENTS)
    assert made["spec"] == {
        "attacher": "acme.dev",
        "nodeName": "node-1",
        "source": {"persistentVolumeName": "disk"},
    }
    assert meta.name(made).startswith("csi-")
    name = "kubernetes.io/csi/acme.dev^handle-disk"
    assert cluster.get("nodes", "node-1")["status"].get("volumesAttached") is None
    cluster.patch(ATTACHMENTS, meta.name(made), {"status": {"attached": True}}, subresource="status")
    assert cluster.get("nodes", "node-1")["status"]["volumesAttached"] == [{"name": name, "devicePath": ""}]
    cluster.patch("nodes", "node-1", {"status": {"volumesInUse": [name]}}, subresource="status")
    cluster.delete("pods", "web")
    cluster.clock.advance("1m")
    assert len(cluster.list(ATTACHMENTS)) == 1
    cluster.patch("nodes", "node-1", {"status": {"volumesInUse": None}}, subresource="status")
    assert cluster.list(ATTACHMENTS) == []
    assert cluster.get("nodes", "node-1")["status"].get("volumesAttached") is None


def test_a_driver_may_need_no_attaching(cluster: Cluster) -> None:
    driver = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": "acme.dev"},
        "spec": {"attachRequired": False},
    }
    cluster.apply([driver, csi_volume(), claim(storageClassName=""), using("web", "data")])
    assert cluster.list(ATTACHMENTS) == []


def test_what_others_attach_stays_attached(cluster: Cluster) -> None:
    foreign = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": "theirs"},
        "spec": {
            "attacher": "acme.dev",
            "nodeName": "node-1",
            "source": {"persistentVolumeName": "disk"},
        },
    }
    cluster.apply([foreign])
    cluster.apply([csi_volume(), claim(storageClassName=""), using("web", "data")])
    cluster.delete("pods", "web")
    cluster.clock.advance("1m")
    assert [meta.name(one) for one in cluster.list(ATTACHMENTS)] == ["theirs"]


def test_pods_are_told_what_became_of_their_volume(cluster: Cluster) -> None:
    cluster.apply([csi_volume(), claim(storageClassName=""), using("web", "data")])
    (made,) = cluster.list(ATTACHMENTS)
    error = {"attachError": {"time": "2030-01-01T00:00:00Z", "message": "the disk is on fire"}}
    cluster.patch(
        ATTACHMENTS, meta.name(made), {"status": {"attached": False, **error}}, subresource="status"
    )
    assert told(cluster, "FailedAttachVolume") == [
        'AttachVolume.Attach failed for volume "disk" : the disk is on fire'
    ]
    good = {"status": {"attached": True, "attachError": None}}
    cluster.patch(ATTACHMENTS, meta.name(made), good, subresource="status")
    assert told(cluster, "SuccessfulAttachVolume") == ['AttachVolume.Attach succeeded for volume "disk" ']
    (event,) = events(cluster, "SuccessfulAttachVolume")
    assert (event["involvedObject"]["name"], event["source"]["component"]) == (
        "web",
        "attachdetach-controller",
    )


@pytest.fixture
def pair() -> Iterator[Cluster]:
    with Cluster({"plugins": {"node": [{"simulated": {"nodes": 2}}]}}) as made:
        yield made


def placed(name: str, node: str, *claims: str) -> Any:
    return using(name, *claims, nodeName=node)


def attached(cluster: Cluster) -> list[str]:
    return sorted(one["spec"]["nodeName"] for one in cluster.list(ATTACHMENTS))


def test_a_volume_for_one_node_is_attached_to_another_only_when_the_first_let_go(pair: Cluster) -> None:
    pair.apply([csi_volume(), claim(storageClassName=""), placed("web", "node-1", "data")])
    pair.apply(placed("late", "node-2", "data"))
    assert attached(pair) == ["node-1"]
    assert told(pair, "FailedAttachVolume") == [
        'Multi-Attach error for volume "disk" Volume is already used by pod(s) web'
    ]
    pair.clock.advance("10m")
    assert len(told(pair, "FailedAttachVolume")) == 1
    pair.delete("pods", "web")
    assert attached(pair) == ["node-2"]


def test_who_waits_for_a_volume_that_no_pod_uses_any_more_is_told_so(pair: Cluster) -> None:
    pair.apply([csi_volume(), claim(storageClassName=""), placed("web", "node-1", "data")])
    name = "kubernetes.io/csi/acme.dev^handle-disk"
    pair.patch("nodes", "node-1", {"status": {"volumesInUse": [name]}}, subresource="status")
    pair.delete("pods", "web")
    pair.apply(placed("late", "node-2", "data"))
    why = "Volume is already exclusively attached to one node and can't be attached to another"
    assert told(pair, "FailedAttachVolume") == [f'Multi-Attach error for volume "disk" {why}']
    pair.patch("nodes", "node-1", {"status": {"volumesInUse": None}}, subresource="status")
    assert attached(pair) == ["node-2"]


@pytest.mark.parametrize("mode", ["ReadWriteMany", "ReadOnlyMany"])
def test_a_volume_for_several_nodes_is_attached_to_all(pair: Cluster, mode: str) -> None:
    shared = csi_volume()
    shared["spec"]["accessModes"] = [mode]
    pair.apply([shared, claim(storageClassName="", accessModes=[mode])])
    pair.apply([placed("web", "node-1", "data"), placed("late", "node-2", "data")])
    assert attached(pair) == ["node-1", "node-2"]
    assert told(pair, "FailedAttachVolume") == []


def test_an_exclusive_volume_is_never_attached_twice_however_pods_come(pair: Cluster) -> None:
    for number in range(10):
        pair.apply([csi_volume(f"disk-{number}"), claim(f"data-{number}", storageClassName="")])
    for number in range(10):
        for node in ("node-1", "node-2"):
            pair.create(placed(f"web-{number}-{node}", node, f"data-{number}"))
    pair.settle()
    volumes = [one["spec"]["source"]["persistentVolumeName"] for one in pair.list(ATTACHMENTS)]
    assert len(volumes) == len(set(volumes)) == 10


@pytest.mark.parametrize(
    ("ready", "taint", "waits"),
    [
        pytest.param(True, False, None, id="a-ready-node-is-waited-for"),
        pytest.param(False, False, 360, id="a-dead-node-for-six-minutes"),
        pytest.param(True, True, 0, id="one-out-of-service-not-at-all"),
    ],
)
def test_a_volume_that_stays_mounted_is_taken_from_a_node_that_is_gone(
    cluster: Cluster, ready: bool, taint: bool, waits: int | None
) -> None:
    name = "kubernetes.io/csi/acme.dev^handle-disk"
    cluster.apply([csi_volume(), claim(storageClassName=""), using("web", "data")])
    cluster.patch("nodes", "node-1", {"status": {"volumesInUse": [name]}}, subresource="status")
    if not ready:
        cluster.faults.crash("node", "simulated")
        down = [{"type": "Ready", "status": "False", "reason": "Down", "message": "it is down"}]
        cluster.patch("nodes", "node-1", {"status": {"conditions": down}}, subresource="status")
    if taint:
        taints = [
            {"key": "node.kubernetes.io/out-of-service", "effect": "NoSchedule", "value": "nodeshutdown"}
        ]
        cluster.patch("nodes", "node-1", {"spec": {"taints": taints}})
    cluster.delete("pods", "web", grace_period=0)
    if waits is None:
        cluster.clock.advance("1h")
        assert attached(cluster) == ["node-1"]
        return
    if waits:
        cluster.clock.advance(waits - 10)
        assert attached(cluster) == ["node-1"]
        cluster.clock.advance(15)
    assert attached(cluster) == []


def test_a_csi_volume_written_into_a_pod_is_not_attached(cluster: Cluster) -> None:
    """The kubelet alone has to do with it (csiPlugin.CanAttach)."""
    inline = {"name": "scratch", "csi": {"driver": "acme.dev", "volumeAttributes": {"size": "1"}}}
    cluster.apply(pod("web", volumes=[inline]))
    cluster.clock.advance("1m")
    assert cluster.list(ATTACHMENTS) == []


def test_an_attachment_of_an_inline_volume_is_no_business_of_the_node_status(cluster: Cluster) -> None:
    source: dict[str, Any] = {"inlineVolumeSpec": {"accessModes": ["ReadWriteOnce"]}}
    source["inlineVolumeSpec"]["csi"] = {"driver": "acme.dev", "volumeHandle": "moved"}
    spec = {"attacher": "acme.dev", "nodeName": "node-1", "source": source}
    frame = {"apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "moved"}}
    cluster.apply({**frame, "spec": spec})
    cluster.patch(ATTACHMENTS, "moved", {"status": {"attached": True}}, subresource="status")
    cluster.clock.advance("1m")
    assert cluster.get("nodes", "node-1")["status"].get("volumesAttached") is None
    assert cluster.find(ATTACHMENTS, "moved") is not None


def test_a_statefulset_gets_a_volume_for_each_pod(cluster: Cluster) -> None:
    template = claim()
    del template["apiVersion"], template["kind"]
    labels = {"app": "db"}
    mount = {"name": "data", "mountPath": "/data"}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "main", "image": "x", "volumeMounts": [mount]}]},
                },
                "volumeClaimTemplates": [template],
            },
        }
    )
    cluster.clock.advance("1m")
    assert cluster.get("statefulsets.v1.apps", "db")["status"]["readyReplicas"] == 3
    assert {one["status"]["phase"] for one in cluster.list(CLAIMS)} == {"Bound"}
