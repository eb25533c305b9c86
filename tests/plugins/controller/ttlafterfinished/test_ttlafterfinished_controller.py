from __future__ import annotations

from typing import Any

import pytest

from kubernel.objects import conditions, meta
from kubernel.testing import Cluster

JOBS = "jobs.v1.batch"


def job(code: int = 0, **spec: Any) -> dict[str, Any]:
    annotations = {"simulated.kubernel.dev/run-for": "5s", "simulated.kubernel.dev/exit-code": str(code)}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
    template = {"metadata": {"annotations": annotations}, "spec": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


@pytest.mark.parametrize("code", [0, 1])
def test_a_finished_job_goes_with_its_pods_when_its_time_is_up(cluster: Cluster, code: int) -> None:
    cluster.apply(job(code, ttlSecondsAfterFinished=60))
    cluster.clock.advance(50)
    found = cluster.get(JOBS, "once")
    assert conditions.is_true(found, "Failed" if code else "Complete")
    cluster.clock.advance(30)
    assert cluster.find(JOBS, "once") is None
    assert cluster.list("pods", "default") == []


def test_a_running_job_and_one_without_a_limit_stay(cluster: Cluster) -> None:
    cluster.apply(job())
    cluster.clock.advance("24m")
    assert conditions.is_true(cluster.get(JOBS, "once"), "Complete")


def test_the_time_may_be_set_and_changed_after_the_end(cluster: Cluster) -> None:
    cluster.apply(job(ttlSecondsAfterFinished=60))
    cluster.clock.advance(50)
    cluster.patch(JOBS, "once", {"spec": {"ttlSecondsAfterFinished": 600}})
    cluster.clock.advance("5m")
    assert not meta.is_deleting(cluster.get(JOBS, "once"))
    cluster.patch(JOBS, "once", {"spec": {"ttlSecondsAfterFinished": 0}})
    cluster.clock.advance(5)
    assert cluster.find(JOBS, "once") is None


def test_an_outage_only_delays_it(cluster: Cluster) -> None:
    cluster.apply(job(ttlSecondsAfterFinished=10))
    with cluster.faults.outage("controller", "ttlafterfinished"):
        cluster.clock.advance("5m")
    cluster.clock.advance(5)
    assert cluster.find(JOBS, "once") is None
