"""`kubernel schedule explain` and `what-if` on a running cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.mark.kubectl
def test_a_pending_pod_is_explained_and_helped_in_thought_only(cluster_running: Any) -> None:
    kubectl = cluster_running.kubectl()
    target = ("--data-dir", str(cluster_running.data))
    overrides = {"spec": {"nodeSelector": {"disk": "ssd"}}}
    kubectl("run", "choosy", "--image=app:1", f"--overrides={json.dumps(overrides)}")

    told = cluster_running.run("schedule", "explain", "pod/choosy", *target)
    assert told.returncode == 1, told.stderr
    assert "default-scheduler: without a node; fits 0 of 1 nodes" in told.stdout
    assert "node(s) didn't match Pod's node affinity/selector" in told.stdout

    supposed = cluster_running.run(
        "schedule", "what-if", "--add-node", "big=8cpu,32Gi,label:disk=ssd", *target
    )
    assert supposed.returncode == 0, supposed.stdout + supposed.stderr
    assert "default/Pod/choosy  big        0    1" in supposed.stdout
    assert "big" not in kubectl("get", "nodes", "-o", "name")
    assert "nodeName" not in kubectl.json("get", "pod", "choosy")["spec"]

    unknown = cluster_running.run("schedule", "explain", "pod/never-was", *target)
    assert (unknown.returncode, unknown.stderr) == (1, 'kubernel: pods "never-was" not found\n')
    kubectl("delete", "pod", "choosy")
