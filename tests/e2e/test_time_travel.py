"""`kubernel history`, `diff` and `blame` on a running cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

CLIENT = "kubernel (the command)"


@pytest.mark.kubectl
def test_an_objects_past_is_told(cluster_running: Any) -> None:
    kubectl = cluster_running.kubectl()
    target = ("--data-dir", str(cluster_running.data))
    kubectl("create", "configmap", "travelled", "--from-literal=x=1")
    before = kubectl.json("get", "configmap", "travelled")["metadata"]["resourceVersion"]
    kubectl("patch", "configmap", "travelled", "-p", '{"data":{"x":"2"}}')

    told = cluster_running.run("history", "cm", "travelled", "-o", "json", *target)
    assert told.returncode == 0, told.stderr
    changes = json.loads(told.stdout)
    assert [change["what"] for change in changes] == ["changed", "created"]
    assert (changes[0]["paths"], changes[0]["who"]) == (["data.x"], ["kubectl-patch"])

    differences = cluster_running.run("diff", "cm", "travelled", "--since", before, *target)
    assert differences.returncode == 1, differences.stderr
    assert "-  x: '1'\n+  x: '2'\n" in differences.stdout
    everything = cluster_running.run("diff", "--since", before, *target)
    assert "configmaps/default/travelled" in everything.stdout
    nothing = cluster_running.run("diff", "cm", "kube-root-ca.crt", "--since", before, *target)
    assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr

    blamed = cluster_running.run("blame", "configmap", "travelled", *target)
    assert yaml.safe_load(blamed.stdout)["data"] == {"x": "2"}
    assert "  # kubectl-patch Update" in blamed.stdout

    kubectl("delete", "configmap", "travelled")
    gone = cluster_running.run("history", "cm", "travelled", *target)
    assert "deleted" in gone.stdout.splitlines()[1], gone.stderr
    unknown = cluster_running.run("history", "cm", "never-was", *target)
    assert (unknown.returncode, unknown.stderr) == (1, 'kubernel: configmaps "never-was" not found\n')
