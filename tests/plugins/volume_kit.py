"""Clusters with volumes: the tests bind, provide and attach what controllers would."""

from __future__ import annotations

from typing import Any

from workload_kit import pod

from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]
ZONE = "topology.kubernetes.io/zone"
WAITS = "WaitForFirstConsumer"


def claiming(name: str, *claims: str, **spec: Any) -> Obj:
    found = [{"name": f"v{n}", "persistentVolumeClaim": {"claimName": c}} for n, c in enumerate(claims)]
    return pod(name, volumes=found, **spec)


def storage_class(name: str, mode: str = WAITS, provisioner: str = "csi.example.com", **more: Any) -> Obj:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": provisioner,
        "volumeBindingMode": mode,
        **more,
    }


def claim(name: str, size: str = "1Gi", cls: str = "waits", mode: str = "ReadWriteOnce", **spec: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": [mode],
            "storageClassName": cls,
            "resources": {"requests": {"storage": size}},
            **spec,
        },
    }


def volume(name: str, size: str = "1Gi", cls: str = "waits", on: Any = (), **more: Any) -> Obj:
    """``on``: the nodes from which it can be reached; none: all."""
    spec: Obj = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": cls,
        "csi": {"driver": "csi.example.com", "volumeHandle": name},
        **more.pop("spec", {}),
    }
    if on:
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(on)}
        spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name, **more}, "spec": spec}


def offer(cluster: Cluster, *volumes: Obj) -> None:
    for each in volumes:
        cluster.create(each)
        name = each["metadata"]["name"]
        cluster.patch("pv", name, {"status": {"phase": "Available"}}, subresource="status")


def bind(cluster: Cluster, name: str, to: str) -> None:
    """As the controller that binds."""
    uid = cluster.get("pvc", name)["metadata"]["uid"]
    reference = {
        "name": name,
        "namespace": "default",
        "uid": uid,
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
    }
    cluster.patch("pv", to, {"spec": {"claimRef": reference}})
    done = {
        "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": to},
    }
    cluster.patch("pvc", name, done)
    cluster.patch("pvc", name, {"status": {"phase": "Bound"}}, subresource="status")


def node_of(cluster: Cluster, name: str) -> str:
    cluster.settle()
    return str(cluster.get("pods", name)["spec"].get("nodeName", ""))


def said(cluster: Cluster, name: str) -> str:
    cluster.settle()
    found = conditions.find(cluster.get("pods", name), "PodScheduled") or {}
    return str(found.get("message", "")).partition(" preemption:")[0].removesuffix(" not found")


def csi_node(name: str, count: int | None, driver: str = "csi.example.com") -> Obj:
    found: Obj = {"name": driver, "nodeID": name}
    if count is not None:
        found["allocatable"] = {"count": count}
    metadata = {"name": name}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": metadata,
        "spec": {"drivers": [found]},
    }
