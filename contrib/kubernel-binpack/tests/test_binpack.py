"""Pods go to the node that is fullest."""

from __future__ import annotations

from typing import Any

import pytest


def pod(name: str, cpu: str) -> dict[str, Any]:
    container = {"name": "m", "image": "x", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [container]},
    }


@pytest.mark.parametrize(
    ("policies", "nodes"), [(["*", "binpack"], 2), (["*"], 4)], ids=["with-it", "without-it"]
)
def test_nodes_are_filled_one_after_the_other(cluster_factory: Any, policies: list[str], nodes: int) -> None:
    node = [{"simulated": {"nodes": 4, "cpu": "2"}}]
    cluster = cluster_factory(config={"plugins": {"node": node, "scheduler_policy": policies}})
    for number in range(5):
        cluster.create(pod(f"p{number}", "500m"))
        cluster.clock.advance(1)
    used = [each["spec"]["nodeName"] for each in cluster.list("pods")]
    assert len(set(used)) == nodes
