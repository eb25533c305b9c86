"""What the scheduler of Kubernetes v1.37 said of some pods, asked one after the other: ``recorded/placements.json``.

Each cluster has nodes, objects, pods that are there first, and pods of which is known whether they were placed and what
their condition PodScheduled says; in the third also what their events said of failures, and which of the pods of before
had to go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubernel.objects import conditions
from kubernel.testing import Cluster

Obj = dict[str, Any]
CLUSTERS = json.loads((Path(__file__).parent / "recorded" / "placements.json").read_text())
CONFIG = {"plugins": {"node": [], "controller": ["bootstrap", "namespace", "serviceaccount"]}}


def build(cluster: Cluster, recorded: Obj) -> None:
    for node in recorded["nodes"]:
        name = node["metadata"]["name"]
        cluster.create({key: value for key, value in node.items() if key != "status"})
        cluster.run(
            cluster.client().patch("nodes", name, {"status": node["status"]}, "", subresource="status")
        )
        cluster.patch("nodes", name, {"spec": {"taints": node["spec"].get("taints")}})
    for obj in recorded["objects"]:
        cluster.create(obj)
        if obj["kind"] == "PersistentVolumeClaim" and "volumeName" in obj["spec"]:
            bound = {
                "phase": "Bound",
                "accessModes": obj["spec"]["accessModes"],
                "capacity": {"storage": "1Gi"},
            }
            cluster.run(
                cluster.client().patch(
                    "persistentvolumeclaims",
                    obj["metadata"]["name"],
                    {"status": bound},
                    "default",
                    subresource="status",
                )
            )
    begin(cluster, recorded)


def begin(cluster: Cluster, recorded: Obj) -> None:
    """The pods that are there first, those that had to go made again."""
    for pod in recorded["first"]:
        if cluster.find("pods", pod["metadata"]["name"]) is None:
            cluster.create(pod)
    cluster.settle()


@pytest.mark.parametrize("recorded", CLUSTERS, ids=["first", "second", "third"])
def test_pods_are_judged_as_they_were_by_the_scheduler_of_kubernetes(
    cluster_factory: Callable[..., Cluster], recorded: Obj
) -> None:
    cluster = cluster_factory(config=CONFIG)
    build(cluster, recorded)
    for entry in recorded["pods"]:
        name = entry["pod"]["metadata"]["name"]
        cluster.create(entry["pod"])
        cluster.clock.advance(0.9)
        pod = cluster.get("pods", name)
        found = conditions.find(pod, "PodScheduled")
        said = None if found is None else [found.get("reason"), found.get("message")]
        assert (bool(pod["spec"].get("nodeName")), said) == (entry["placed"], entry["said"]), name
        if "failed" in entry:
            assert failures(cluster, pod) == entry["failed"], name
            first = [each["metadata"]["name"] for each in recorded["first"]]
            assert [each for each in first if cluster.find("pods", each) is None] == entry["gone"], name
        cluster.delete("pods", name)
        release_claims(cluster)
        cluster.clock.advance(0.2)
        begin(cluster, recorded)


def failures(cluster: Cluster, pod: Obj) -> list[str]:
    return [
        each["note"]
        for each in cluster.list("events.v1.events.k8s.io")
        if each["regarding"].get("uid") == pod["metadata"]["uid"] and each["reason"] == "FailedScheduling"
    ]


def release_claims(cluster: Cluster) -> None:
    for claim in cluster.list("resourceclaims", "default"):
        cluster.patch("resourceclaims", claim["metadata"]["name"], {"metadata": {"finalizers": None}})
        if cluster.find("resourceclaims", claim["metadata"]["name"]) is not None:
            cluster.delete("resourceclaims", claim["metadata"]["name"])
