"""The policies of volumes once more, a node at a time and in plain Python.

Written from the rules of k8s.io/kubernetes/pkg/scheduler/framework/plugins (v1.37): volumerestrictions, volumezone,
nodevolumelimits and volumebinding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scalar_reference import World, labels_of, selects

from kubernel.plugin.scheduling import PodState

Obj = dict[str, Any]
GI = 1024**3
DRIVER = "csi.example.com"
BOUND = "pv.kubernetes.io/bind-completed"
SELECTED = "volume.kubernetes.io/selected-node"
ZONES = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
}


@dataclass
class Storage:
    """Objects by name."""

    claims: dict[str, Obj] = field(default_factory=dict)
    volumes: dict[str, Obj] = field(default_factory=dict)
    classes: dict[str, Obj] = field(default_factory=dict)
    drivers: dict[str, Obj] = field(default_factory=dict)
    pools: dict[str, Obj] = field(default_factory=dict)
    csi_nodes: dict[str, Obj] = field(default_factory=dict)
    attachments: dict[str, Obj] = field(default_factory=dict)


def claim_names(pod: PodState) -> list[str]:
    found = pod.pod["spec"].get("volumes") or []
    return [each["persistentVolumeClaim"]["claimName"] for each in found if "persistentVolumeClaim" in each]


def missing(name: str) -> str:
    return f'persistentvolumeclaim "{name}" not found'


# --- VolumeRestrictions


def disks(pod: PodState) -> list[tuple[str, Any, bool, frozenset[str]]]:
    found = []
    for each in pod.pod["spec"].get("volumes") or []:
        if disk := each.get("gcePersistentDisk"):
            found.append(("gce", disk["pdName"], disk.get("readOnly", False), frozenset[str]()))
        if disk := each.get("awsElasticBlockStore"):
            found.append(("aws", disk["volumeID"], False, frozenset[str]()))
        if disk := each.get("iscsi"):
            found.append(("iscsi", disk["iqn"], disk.get("readOnly", False), frozenset[str]()))
        if disk := each.get("rbd"):
            key = disk.get("pool", "rbd"), disk["image"]
            found.append(("rbd", key, disk.get("readOnly", False), frozenset(disk["monitors"])))
    return found


def restriction_refusals(pod: PodState, node: Obj, world: World, storage: Storage) -> list[str]:
    alone = []
    for name in claim_names(pod):
        if name not in storage.claims:
            return [missing(name)]
        if "ReadWriteOncePod" in storage.claims[name]["spec"]["accessModes"]:
            alone.append(name)
    for kind, key, read_only, monitors in disks(pod):
        for other in world.on(node["metadata"]["name"]):
            for its_kind, its_key, its_read_only, its_monitors in disks(other):
                same = (kind, key) == (its_kind, its_key) and (not monitors or monitors & its_monitors)
                if same and not (read_only and its_read_only):
                    return ["node(s) had no available disk"]
    if any(name in claim_names(other) for name in alone for other, _ in world.placed):
        in_use = "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
        return [f"node(s) unavailable due to {in_use}"]
    return []


# --- VolumeZone


def zone_refusals(pod: PodState, node: Obj, world: World, storage: Storage) -> list[str]:
    wanted: list[tuple[str, set[str]]] = []
    for name in claim_names(pod):
        claim = storage.claims.get(name)
        if claim is None:
            return [missing(name)]
        volume_name = claim["spec"].get("volumeName")
        if volume_name:
            if volume_name not in storage.volumes:
                return [f'persistentvolume "{volume_name}" not found']
            labels = storage.volumes[volume_name]["metadata"]["labels"]
            wanted += [(key, set(labels[key].split("__"))) for key in ZONES if key in labels]
            continue
        its_class = storage.classes.get(claim["spec"]["storageClassName"])
        if its_class is None:
            return [f'storageclass.storage.k8s.io "{claim["spec"]["storageClassName"]}" not found']
        if its_class["volumeBindingMode"] != "WaitForFirstConsumer":
            return ["PersistentVolume had no name"]
    given = labels_of(node)
    if not any(key in given for key in ZONES):
        return []
    for key, values in wanted:
        here = given.get(key, given.get(ZONES[key]))
        if here not in values:
            return ["node(s) had no available volume zone"]
    return []


# --- NodeVolumeLimits


def attached_as(name: str, storage: Storage) -> str:
    """What is attached for a claim; empty for what no driver attaches."""
    claim = storage.claims[name]
    volume = storage.volumes.get(claim["spec"].get("volumeName", ""))
    if volume is not None:
        return str(volume["spec"]["csi"]["volumeHandle"])
    found = storage.classes.get(claim["spec"]["storageClassName"])
    return f"unbound {name}" if found is not None and found["provisioner"] == DRIVER else ""


def limit_refusals(pod: PodState, node: Obj, world: World, storage: Storage) -> list[str]:
    new = set()
    for name in claim_names(pod):
        if name not in storage.claims:
            return [f"looking up PVC default/{name}: {missing(name)}"]
        new.add(attached_as(name, storage))
    new.discard("")
    if not new:
        return []
    name = node["metadata"]["name"]
    its_drivers = storage.csi_nodes.get(name, {"spec": {"drivers": []}})["spec"]["drivers"]
    driver = storage.drivers.get(DRIVER)
    if driver is not None and driver["spec"]["preventPodSchedulingIfMissing"] and not its_drivers:
        return [f"{DRIVER} CSI driver is not installed on the node"]
    limits = [each["allocatable"]["count"] for each in its_drivers if "allocatable" in each]
    if not limits:
        return []
    there = {
        attached_as(claim, storage)
        for other in world.on(name)
        for claim in claim_names(other)
        if claim in storage.claims
    } - {""}
    still = set()
    for each in storage.attachments.values():
        volume = storage.volumes.get(each["spec"]["source"]["persistentVolumeName"])
        if each["spec"]["nodeName"] == name and volume is not None:
            still.add(volume["spec"]["csi"]["volumeHandle"])
    used = len(there) + len(still - there)
    # A node that is overfull already still takes who brings nothing new.
    more = len(new - there)
    return ["node(s) exceed max volume count"] if more and used + more > limits[0] else []


# --- VolumeBinding


@dataclass
class Binding:
    """``refusals``; what is taken and what would be provided: (class, bytes asked for, bytes there)."""

    refusals: list[str]
    taken: list[tuple[str, int, int]] = field(default_factory=list)
    provided: list[tuple[str, int, int]] = field(default_factory=list)


def reachable(volume: Obj, node: Obj) -> bool:
    affinity = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return affinity is None or any(selects(term, node) for term in affinity["nodeSelectorTerms"])


def size(amounts: Mapping[str, str]) -> int:
    return int(amounts["storage"].removesuffix("Gi")) * GI


def binding(pod: PodState, node: Obj, world: World, storage: Storage) -> Binding:
    bound, waiting, chosen, immediate = [], [], [], False
    for name in claim_names(pod):
        claim = storage.claims.get(name)
        if claim is None:
            return Binding([missing(name)])
        spec, annotations = claim["spec"], claim["metadata"]["annotations"]
        if claim["status"]["phase"] == "Lost":
            told = f'bound to non-existent persistentvolume "{spec.get("volumeName", "")}"'
            return Binding([f'persistentvolumeclaim "{name}" {told}'])
        its_class = storage.classes.get(spec["storageClassName"])
        waits = its_class is not None and its_class["volumeBindingMode"] == "WaitForFirstConsumer"
        if spec.get("volumeName") and BOUND in annotations:
            bound.append(claim)
        elif spec.get("volumeName") or not waits:
            immediate = True
        elif SELECTED in annotations:
            chosen.append(claim)
        else:
            waiting.append(claim)
    if immediate:
        return Binding(["pod has unbound immediate PersistentVolumeClaims"])
    found = Binding([])
    for claim in bound:
        volume = storage.volumes.get(claim["spec"]["volumeName"])
        if volume is None:
            found.refusals.append("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            break
        if not reachable(volume, node):
            found.refusals.append("node(s) didn't match PersistentVolume's node affinity")
            break
    if any(claim["metadata"]["annotations"][SELECTED] != node["metadata"]["name"] for claim in chosen):
        found.refusals.append("node(s) didn't find available persistent volumes to bind")
        return found
    given: set[str] = set()
    to_provide = list(chosen)
    for claim in sorted(waiting, key=lambda claim: size(claim["spec"]["resources"]["requests"])):
        volume = smallest(claim, node, storage, given)
        if volume is None:
            to_provide.append(claim)
            continue
        given.add(volume["metadata"]["name"])
        asked, there = size(claim["spec"]["resources"]["requests"]), size(volume["spec"]["capacity"])
        found.taken.append((claim["spec"]["storageClassName"], asked, there))
    for claim in to_provide:
        if refusal := provide(claim, node, storage, found.provided):
            found.refusals.append(refusal)
            break
    return found


def smallest(claim: Obj, node: Obj, storage: Storage, given: set[str]) -> Obj | None:
    spec = claim["spec"]
    do = [
        volume
        for volume in storage.volumes.values()
        if volume["spec"]["storageClassName"] == spec["storageClassName"]
        and "claimRef" not in volume["spec"]
        and volume["metadata"]["name"] not in given
        and size(volume["spec"]["capacity"]) >= size(spec["resources"]["requests"])
        and set(spec["accessModes"]) <= set(volume["spec"]["accessModes"])
        and reachable(volume, node)
    ]
    return min(do, key=lambda volume: size(volume["spec"]["capacity"]), default=None)


def provide(claim: Obj, node: Obj, storage: Storage, provided: list[tuple[str, int, int]]) -> str:
    """Why no volume can be made there; what is made is added to ``provided``."""
    name, asked = claim["spec"]["storageClassName"], size(claim["spec"]["resources"]["requests"])
    its_class = storage.classes[name]
    topologies = its_class.get("allowedTopologies")
    allowed = topologies is None or any(
        labels_of(node).get(each["key"]) in each["values"]
        for term in topologies
        for each in term["matchLabelExpressions"]
    )
    if its_class["provisioner"] != DRIVER or not allowed:
        return "node(s) didn't find available persistent volumes to bind"
    driver = storage.drivers.get(DRIVER)
    if driver is None or not driver["spec"]["storageCapacity"]:
        return ""
    for pool in storage.pools.values():
        limit = pool.get("maximumVolumeSize", pool["capacity"])
        wanted = pool["nodeTopology"]["matchLabels"].items()
        here = pool["storageClassName"] == name and wanted <= dict(labels_of(node)).items()
        if here and size({"storage": limit}) >= asked:
            provided.append((name, asked, size({"storage": pool["capacity"]})))
            return ""
    return "node(s) did not have enough free storage"


def binding_refusals(pod: PodState, node: Obj, world: World, storage: Storage) -> list[str]:
    return binding(pod, node, world, storage).refusals


def binding_scores(pod: PodState, world: World, storage: Storage, fits: Sequence[str]) -> dict[str, int]:
    found = {}
    for name in fits:
        plan = binding(pod, world.nodes[name], world, storage)
        asked: dict[str, int] = {}
        there: dict[str, int] = {}
        for its_class, wanted, capacity in plan.taken:
            asked[its_class] = asked.get(its_class, 0) + wanted
            there[its_class] = there.get(its_class, 0) + capacity
        for its_class, wanted, capacity in [] if plan.taken else plan.provided:
            asked[its_class] = asked.get(its_class, 0) + wanted
            there[its_class] = capacity
        scores = []
        for its_class, wanted in asked.items():
            capacity = there[its_class]
            percent = 100 if not capacity or wanted > capacity else wanted * 100 // capacity
            # From 100 where nothing is used to 0 where everything is.
            scores.append(100 + int(-100 * percent / 100))
        found[name] = math.floor(sum(scores) / len(scores) + 0.5) if scores else 0
    return found
