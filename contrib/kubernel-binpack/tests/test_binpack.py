"""Pods go to the node that is fullest."""

from typing import Any

import pytest


@pytest.mark.parametrize(("policies", "nodes"), [(["*", "binpack"], 2), (["*"], 4)], ids=["with", "without"])
def test_nodes_are_filled_one_after_the_other(cluster_factory: Any, policies: list[str], nodes: int) -> None:
    plugins = {"node": [{"simulated": {"nodes": 4, "cpu": "2"}}], "scheduler_policy": policies}
    cluster = cluster_factory(config={"plugins": plugins})
    container = {"name": "m", "image": "x", "resources": {"requests": {"cpu": "500m"}}}
    for number in range(5):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"p{number}"}}
        cluster.create({**pod, "spec": {"containers": [container]}})
        cluster.clock.advance(1)
    assert len({each["spec"]["nodeName"] for each in cluster.list("pods")}) == nodes
