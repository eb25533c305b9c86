"""The workloads once more, with authorization on: each controller acts as its own service account."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.objects import conditions
from kubernel.testing import Cluster

LABELS = {"app": "w"}
CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
RETENTION = {"whenScaled": "Delete", "whenDeleted": "Delete"}


def template(run: str = "", **spec: Any) -> dict[str, Any]:
    annotations = {"simulated.kubernel.dev/run-for": run} if run else {}
    pod = {"containers": [{"name": "c", "image": "x"}], **spec}
    return {"metadata": {"labels": LABELS, "annotations": annotations}, "spec": pod}


def obj(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "w"}, "spec": spec}


def selected(api_version: str, kind: str, **spec: Any) -> dict[str, Any]:
    return obj(api_version, kind, selector={"matchLabels": LABELS}, template=template(), **spec)


@pytest.fixture
def guarded(cluster_factory: Callable[..., Cluster]) -> Cluster:
    return cluster_factory(config={"plugins": {"auth": ["rbac"]}})


def refusals(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if "forbidden" in line]


def test_nothing_that_they_do_is_forbidden(guarded: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = guarded
    once = {"ttlSecondsAfterFinished": 5, "template": template("2s", restartPolicy="Never")}
    cluster.apply(selected("apps/v1", "DaemonSet"))
    cluster.apply(
        selected(
            "apps/v1",
            "StatefulSet",
            replicas=2,
            serviceName="w",
            volumeClaimTemplates=[CLAIM],
            persistentVolumeClaimRetentionPolicy=RETENTION,
        )
    )
    cluster.apply(obj("v1", "ReplicationController", replicas=1, selector=LABELS, template=template()))
    cluster.apply(obj("batch/v1", "CronJob", schedule="* * * * *", jobTemplate={"spec": once}))
    cluster.apply(obj("policy/v1", "PodDisruptionBudget", minAvailable=1, selector={"matchLabels": LABELS}))
    cluster.apply(obj("v1", "ResourceQuota", hard={"pods": "50", "count/cronjobs.batch": "5"}))
    cluster.clock.advance("2m30s")
    assert cluster.get("daemonsets.v1.apps", "w")["status"]["numberReady"] == 1
    assert cluster.get("statefulsets.v1.apps", "w")["status"]["readyReplicas"] == 2
    assert cluster.get("replicationcontrollers", "w")["status"]["readyReplicas"] == 1
    assert cluster.get("cronjobs.v1.batch", "w")["status"]["lastSuccessfulTime"]
    assert cluster.list("jobs.v1.batch", "default") == []
    assert conditions.is_true(cluster.get("poddisruptionbudgets.v1.policy", "w"), "DisruptionAllowed")
    assert cluster.get("resourcequotas", "w")["status"]["used"]["count/cronjobs.batch"] == "1"
    for number in (2, 3):
        for resource in ("daemonsets.v1.apps", "statefulsets.v1.apps"):
            image = [{"name": "c", "image": f"x:{number}"}]
            patch = {"spec": {"template": {"spec": {"containers": image}}, "revisionHistoryLimit": 0}}
            cluster.patch(resource, "w", patch)
        cluster.clock.advance(30)
    cluster.patch("statefulsets.v1.apps", "w", {"spec": {"replicas": 0}})
    cluster.delete("daemonsets.v1.apps", "w", propagation="Orphan")
    cluster.clock.advance(10)
    cluster.apply(selected("apps/v1", "DaemonSet"))
    cluster.clock.advance(10)
    assert cluster.list("persistentvolumeclaims", "default") == []
    cluster.faults.crash("node", "simulated")
    cluster.delete("nodes", "node-1")
    cluster.clock.advance("1m")
    assert refusals(cluster, capsys) == []
