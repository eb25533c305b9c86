"""What is explained is what the scheduler then does, on clusters made by chance."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from volume_kit import ZONE, claim, csi_node, offer, storage_class, volume
from workload_kit import pod

from kubernel.objects import conditions
from kubernel.plugin.explaining import Explanation
from kubernel.testing import Cluster

Obj = dict[str, Any]
NODES = ("node-1", "node-2", "node-3", "node-4")
ZONES = ("a", "a", "b", None)
APPS = ("web", "db")
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
RESOURCE = "resource.k8s.io/v1"
GATE = [{"name": "example.com/look-first"}]


@pytest.fixture
def cluster(cluster_factory: Callable[..., Cluster]) -> Cluster:
    """Nobody binds or provides volumes, so that their policies decide for long."""
    plugins = {
        "types": [{"builtin": {"serve": ["scheduling.k8s.io/v1beta1"]}}],
        "node": [{"simulated": {"nodes": 4, "cpu": "2", "memory": "4Gi"}}],
        "controller": ["bootstrap", "namespace", "serviceaccount", "disruption"],
        "admission": ["*", "-taint_nodes"],
        "scheduler_policy": ["*", "gang_scheduling"],
    }
    made = cluster_factory(config={"plugins": plugins})
    made.create(storage_class("waits"))
    made.create(storage_class("now", "Immediate"))
    selector = {"cel": {"expression": "device.driver == 'd.example.com'"}}
    made.create(
        {
            "apiVersion": RESOURCE,
            "kind": "DeviceClass",
            "metadata": {"name": "gpu"},
            "spec": {"selectors": [selector]},
        }
    )
    for name, value in (("low", 0), ("high", 100)):
        made.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                "value": value,
            }
        )
    made.create(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": "web"}}},
        }
    )
    return made


def prepare(cluster: Cluster, rng: random.Random) -> None:
    for name, zone in zip(NODES, rng.sample(ZONES, 4), strict=True):
        change: Obj = {"metadata": {"labels": {ZONE: zone}}} if zone else {}
        taint = {"key": "k", "effect": rng.choice(("NoSchedule", "PreferNoSchedule"))}
        spec: Obj = {"taints": [taint]} if rng.random() < 0.4 else {}
        if rng.random() < 0.15:
            spec["unschedulable"] = True
        cluster.patch("nodes", name, {**change, "spec": spec})
        if rng.random() < 0.5:
            cluster.create(csi_node(name, rng.choice((1, 2))))
        if rng.random() < 0.7:
            cluster.create(devices(name, rng.choice((1, 2))))
    for number in range(5):
        on = rng.sample(NODES, rng.choice((1, 2)))
        offer(cluster, volume(f"v{number}", f"{rng.randint(1, 4)}Gi", on=on))


def devices(node: str, count: int) -> Obj:
    return {
        "apiVersion": RESOURCE,
        "kind": "ResourceSlice",
        "metadata": {"name": node},
        "spec": {
            "driver": "d.example.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": f"d{number}"} for number in range(count)],
        },
    }


def neighbours(rng: random.Random) -> Obj:
    kind = rng.choice(("podAffinity", "podAntiAffinity"))
    term = {
        "labelSelector": {"matchLabels": {"app": rng.choice(APPS)}},
        "topologyKey": rng.choice((ZONE, "kubernetes.io/hostname")),
    }
    if rng.random() < 0.5:
        return {kind: {REQUIRED: [term]}}
    return {kind: {PREFERRED: [{"weight": rng.randint(1, 100), "podAffinityTerm": term}]}}


def spreading(rng: random.Random, app: str) -> Obj:
    return {
        "maxSkew": 1,
        "topologyKey": rng.choice((ZONE, "kubernetes.io/hostname")),
        "whenUnsatisfiable": rng.choice(("DoNotSchedule", "ScheduleAnyway")),
        "labelSelector": {"matchLabels": {"app": app}},
    }


def drawn(cluster: Cluster, rng: random.Random, name: str) -> Obj:
    """A pod with a few wishes; what it refers to is made, or not."""
    app = rng.choice(APPS)
    container: Obj = {"name": "m", "image": "app:1"}
    container["resources"] = {"requests": {"cpu": rng.choice(("100m", "600m", "1500m", "3"))}}
    spec: Obj = {"containers": [container], "schedulingGates": GATE}
    spec["priorityClassName"] = rng.choice(("low", "low", "high"))
    wishes = rng.sample(("affinity", "spread", "port", "volume", "device", "selector", "toleration"), 2)
    if "affinity" in wishes:
        spec["affinity"] = neighbours(rng)
    if "spread" in wishes:
        spec["topologySpreadConstraints"] = [spreading(rng, app)]
    if "port" in wishes:
        container["ports"] = [{"containerPort": 80, "hostPort": 80}]
    if "selector" in wishes:
        spec["nodeSelector"] = {ZONE: rng.choice("ab")}
    if "toleration" in wishes:
        spec["tolerations"] = [{"operator": "Exists"}]
    if "volume" in wishes:
        if rng.random() < 0.8:
            cluster.create(claim(name, f"{rng.randint(1, 3)}Gi", cls=rng.choice(("waits", "waits", "now"))))
        spec["volumes"] = [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]
    if "device" in wishes:
        request = {"name": "r", "exactly": {"deviceClassName": "gpu"}}
        cluster.create(
            {
                "apiVersion": RESOURCE,
                "kind": "ResourceClaim",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"devices": {"requests": [request]}},
            }
        )
        spec["resourceClaims"] = [{"name": "c", "resourceClaimName": name}]
    return pod(name, {"app": app}, **spec)


def explained(cluster: Cluster, name: str) -> Explanation:
    plugin: Any = cluster.kernel.plugin("scheduler", "default")
    found: Explanation = cluster.run(plugin.explain("default", name))
    return found


def fitting(found: Explanation) -> dict[str, int]:
    return {name: each["total"] or 0 for name, each in found.nodes.items() if not each["refusals"]}


def reasons(found: Explanation) -> Iterator[str]:
    """Of each node what the first policy says against it."""
    for each in found.nodes.values():
        first = next(policy for policy in found.policies if policy in each["refusals"])
        yield from each["refusals"][first]


def everywhere(found: Explanation) -> set[str]:
    """What is said against all nodes."""
    said = [{text for texts in each["refusals"].values() for text in texts} for each in found.nodes.values()]
    return set.intersection(*said)


def says_the_same(message: str, found: Explanation) -> bool:
    counted = sorted(f"{count} {reason}" for reason, count in Counter(reasons(found)).items())
    start = f"0/{len(found.nodes)} nodes are available: "
    return message.startswith(f"{start}{', '.join(counted)}.") or any(
        # A policy that refuses before any node is looked at is heard alone.
        message.startswith(f"{start}{text}.")
        for text in everywhere(found)
    )


def names(cluster: Cluster) -> set[str]:
    return {f"default/{each['metadata']['name']}" for each in cluster.list("pods")}


def preempted(cluster: Cluster) -> set[str]:
    """Whoever had to go, also those that were not bound yet and only wait again."""
    cluster.clock.advance(1)
    return {
        f"default/{each['regarding']['name']}"
        for each in cluster.list("events.v1.events.k8s.io")
        if each["reason"] == "Preempted"
    }


@pytest.mark.parametrize("seed", range(8))
def test_each_pod_goes_where_it_was_explained_or_waits_for_what_was_explained(
    cluster: Cluster, seed: int
) -> None:
    rng = random.Random(seed)
    prepare(cluster, rng)
    for number in range(25):
        name = f"p{number}"
        cluster.create(drawn(cluster, rng, name))
        cluster.settle()
        found = explained(cluster, name)
        assert found.gates == {"SchedulingGates": "waiting for scheduling gates: [example.com/look-first]"}
        before = names(cluster)
        cluster.patch("pods", name, {"spec": {"schedulingGates": []}})
        cluster.settle()
        its = cluster.get("pods", name)
        went = its["spec"].get("nodeName") or its["status"].get("nominatedNodeName", "")
        told = conditions.find(its, "PodScheduled") or {}
        fits = fitting(found)
        for node, total in fits.items():
            scores = found.nodes[node]["scores"]
            assert total == sum(found.weights[policy] * score for policy, score in scores.items())
        if fits:
            # One whose volume has to be made is held on its node.
            assert went in {node for node, total in fits.items() if total == max(fits.values())}, (name, told)
            assert before <= names(cluster)
            continue
        room = found.room.get("DefaultPreemption", {})
        if went:
            assert not isinstance(room, str)
            assert went == next(iter(room)), room
            victims = set(room[went]["victims"])
            assert before - names(cluster) <= victims <= preempted(cluster)
            continue
        assert says_the_same(told["message"], found), (told["message"], found)
        if isinstance(room, str) and "Preemption" in told["message"]:
            assert told["message"].endswith(room)
        cluster.delete("pods", name)


def group(minimum: int) -> Obj:
    return {
        "apiVersion": "scheduling.k8s.io/v1beta1",
        "kind": "PodGroup",
        "metadata": {"name": "ring"},
        "spec": {"schedulingPolicy": {"gang": {"minCount": minimum}}},
    }


@pytest.mark.parametrize("seed", range(8))
def test_a_gang_is_explained_as_a_whole(cluster: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    cpu, count = rng.choice(("500m", "1", "1500m")), rng.randint(2, 10)
    minimum = rng.randint(2, count)
    cluster.create(group(minimum))
    for number in range(count):
        container = {"name": "m", "image": "x", "resources": {"requests": {"cpu": cpu}}}
        spec = {"schedulingGroup": {"podGroupName": "ring"}, "schedulingGates": GATE}
        cluster.create(pod(f"m{number}", containers=[container], **spec))
    cluster.settle()
    found = explained(cluster, "m0").group
    assert found is not None
    assert found == explained(cluster, "m1").group or found["refusal"] == ""
    for number in range(count):
        cluster.patch("pods", f"m{number}", {"spec": {"schedulingGates": []}})
    cluster.clock.advance(1)
    placed = [each for each in cluster.list("pods") if each["spec"].get("nodeName")]
    assert found["name"] == "default/ring"
    if found["refusal"]:
        assert placed == []
        told = conditions.find(cluster.get("podgroups", "ring"), "PodGroupInitiallyScheduled") or {}
        assert told["message"].startswith(found["refusal"])
    else:
        assert len(placed) == len(found["nodes"]) >= minimum
