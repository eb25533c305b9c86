from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from kubernel.errors import Invalid
from kubernel.objects import conditions, meta, times
from kubernel.testing import Cluster

CRONS = "cronjobs.v1.batch"
JOBS = "jobs.v1.batch"


def cronjob(schedule: str = "* * * * *", *, run: str = "5s", code: int = 0, **spec: Any) -> dict[str, Any]:
    """``run``: how long each pod takes."""
    annotations = {"simulated.kubernel.dev/run-for": run, "simulated.kubernel.dev/exit-code": str(code)}
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": schedule,
            "jobTemplate": {
                "metadata": {"labels": {"from": "tick"}, "annotations": {"a": "b"}},
                "spec": {
                    "backoffLimit": 0,
                    "template": {"metadata": {"annotations": annotations}, "spec": pod},
                },
            },
            **spec,
        },
    }


def jobs(cluster: Cluster) -> list[Any]:
    found = [job for job in cluster.list(JOBS, "default") if not meta.is_deleting(job)]
    return sorted(found, key=meta.name)


def running(cluster: Cluster) -> list[str]:
    return [meta.name(job) for job in jobs(cluster) if not ended(job)]


def ended(job: Any) -> bool:
    return conditions.is_true(job, "Complete") or conditions.is_true(job, "Failed")


def times_of(cluster: Cluster) -> list[float]:
    """Of the jobs there are, in minutes since the cluster's first."""
    stamps = [
        times.parse(meta.annotations(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"])
        for job in jobs(cluster)
    ]
    return [(stamp - 1_767_225_600) / 60 for stamp in stamps]


def told(cluster: Cluster, reason: str) -> list[str]:
    return [event["message"] for event in cluster.list("events", "default") if event["reason"] == reason]


def two_for_one_time(found: list[Any]) -> list[str]:
    stamps = [meta.annotations(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"] for job in found]
    return sorted(stamps) if len(set(stamps)) < len(stamps) else []


def test_each_minute_a_job_runs_and_the_status_follows_it(cluster: Cluster, always: Any) -> None:
    always(cluster, JOBS, two_for_one_time)
    cluster.apply(cronjob())
    cluster.clock.advance(62)
    (job,) = jobs(cluster)
    assert meta.name(job) == f"tick-{(1_767_225_600 + 60) // 60}"
    assert meta.labels(job)["from"] == "tick"
    assert meta.annotations(job) == {
        "a": "b",
        "batch.kubernetes.io/cronjob-scheduled-timestamp": "2026-01-01T00:01:00Z",
    }
    controller = meta.controller_of(job)
    assert controller is not None
    assert (controller["kind"], controller["name"]) == ("CronJob", "tick")
    status = cluster.get(CRONS, "tick")["status"]
    assert [one["name"] for one in status["active"]] == [meta.name(job)]
    assert status["lastScheduleTime"] == "2026-01-01T00:01:00Z"
    cluster.clock.advance(10)
    status = cluster.get(CRONS, "tick")["status"]
    assert "active" not in status
    assert status["lastSuccessfulTime"] == "2026-01-01T00:01:06Z"
    assert told(cluster, "SawCompletedJob") == [f"Saw completed job: {meta.name(job)}, condition: Complete"]
    assert f"Created job {meta.name(job)}" in told(cluster, "SuccessfulCreate")


def test_a_day_of_hourly_jobs_starts_each_once(cluster_factory: Callable[..., Cluster], always: Any) -> None:
    quiet = {
        "node": [{"simulated": {"heartbeat": 3600.0}}],
        "controller": ["*", "-nodelifecycle"],
        "admission": ["*", "-taint_nodes"],
    }
    cluster = cluster_factory(config={"plugins": quiet})
    always(cluster, JOBS, two_for_one_time)
    seen: set[str] = set()
    always(cluster, JOBS, lambda found: seen.update(meta.name(job) for job in found))
    cluster.apply(cronjob("@hourly"))
    cluster.clock.advance("24h1m")
    assert len(seen) == 24
    assert cluster.get(CRONS, "tick")["status"]["lastScheduleTime"] == "2026-01-02T00:00:00Z"
    assert len(jobs(cluster)) == 3


def test_only_so_many_finished_jobs_are_kept(cluster: Cluster) -> None:
    cluster.apply(cronjob(successfulJobsHistoryLimit=2))
    cluster.clock.advance("10m30s")
    assert times_of(cluster) == [9, 10]
    cluster.apply(cronjob(code=1, failedJobsHistoryLimit=0, successfulJobsHistoryLimit=2))
    cluster.clock.advance("3m")
    assert times_of(cluster) == [9, 10]
    assert any(message.startswith("Deleted job tick-") for message in told(cluster, "SuccessfulDelete"))


def test_allow_lets_runs_overlap(cluster: Cluster) -> None:
    cluster.apply(cronjob(run="150s"))
    cluster.clock.advance("3m30s")
    assert len(running(cluster)) == 3
    assert len(cluster.get(CRONS, "tick")["status"]["active"]) == 3


def test_forbid_leaves_times_out_while_one_runs(cluster: Cluster, always: Any) -> None:
    def overlap(found: list[Any]) -> list[str]:
        open = [meta.name(job) for job in found if not ended(job)]
        return open if len(open) > 1 else []

    always(cluster, JOBS, overlap)
    cluster.apply(cronjob(run="150s", concurrencyPolicy="Forbid"))
    cluster.clock.advance("3m20s")
    assert len(running(cluster)) == 1
    assert told(cluster, "JobAlreadyActive") == [
        "Not starting job because prior execution is running and concurrency policy is Forbid"
    ]
    cluster.clock.advance("10m")
    assert len(jobs(cluster)) > 1


def test_replace_ends_the_run_before(cluster: Cluster) -> None:
    cluster.apply(cronjob(run="1h", concurrencyPolicy="Replace"))
    cluster.clock.advance("1m30s")
    (first,) = running(cluster)
    cluster.clock.advance("1m")
    (second,) = running(cluster)
    assert second != first
    assert cluster.find(JOBS, first) is None
    pods = [pod for pod in cluster.list("pods", "default") if not meta.is_deleting(pod)]
    assert len(pods) == 1


def test_suspended_ones_do_nothing_and_make_up_for_one_time_afterwards(cluster: Cluster) -> None:
    cluster.apply(cronjob(suspend=True))
    cluster.clock.advance("10m30s")
    assert jobs(cluster) == []
    cluster.apply(cronjob(suspend=False))
    cluster.clock.advance(10)
    assert times_of(cluster) == [10]


def test_times_missed_during_an_outage_start_one_job_and_too_many_are_told(cluster: Cluster) -> None:
    cluster.apply(cronjob())
    with cluster.faults.outage("controller", "cronjob"):
        cluster.clock.advance("3h0m30s")
    cluster.clock.advance(10)
    assert times_of(cluster) == [180]
    assert told(cluster, "TooManyMissedTimes") == [
        "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
    ]


def test_times_missed_by_more_than_the_deadline_are_not_started(cluster: Cluster) -> None:
    cluster.apply(cronjob("@hourly", startingDeadlineSeconds=60))
    with cluster.faults.outage("controller", "cronjob"):
        cluster.clock.advance("1h10m")
    cluster.clock.advance("10m")
    assert jobs(cluster) == []
    cluster.clock.advance("41m")
    assert times_of(cluster) == [120]


def test_a_time_zone_moves_the_schedule(cluster: Cluster) -> None:
    cluster.apply(cronjob("30 9 * * *", timeZone="Asia/Tokyo"))
    cluster.clock.advance("31m")
    (job,) = jobs(cluster)
    stamp = meta.annotations(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"]
    assert stamp == "2026-01-01T09:30:00+09:00"


def test_a_new_schedule_counts_from_now_on(cluster: Cluster) -> None:
    cluster.apply(cronjob("0 0 1 2 *"))
    cluster.clock.advance("30m30s")
    cluster.apply(cronjob("* * * * *"))
    cluster.clock.advance(10)
    assert jobs(cluster) == []
    cluster.clock.advance(30)
    assert times_of(cluster) == [31]


def test_a_job_that_somebody_deleted_leaves_the_status(cluster: Cluster) -> None:
    cluster.apply(cronjob(run="1h"))
    cluster.clock.advance("1m10s")
    (name,) = running(cluster)
    cluster.delete(JOBS, name, propagation="Background")
    cluster.clock.advance(5)
    assert "active" not in cluster.get(CRONS, "tick")["status"]
    assert told(cluster, "MissingJob") == [f"Active job went missing: {name}"]


def test_deleting_a_cronjob_deletes_its_jobs(cluster: Cluster) -> None:
    cluster.apply(cronjob(run="1h"))
    cluster.clock.advance("2m10s")
    cluster.delete(CRONS, "tick")
    cluster.clock.advance("5m")
    assert jobs(cluster) == []
    assert cluster.list("pods", "default") == []


def test_conflicts_and_lost_watches_start_no_job_twice(cluster: Cluster, always: Any) -> None:
    always(cluster, JOBS, two_for_one_time)
    cluster.apply(cronjob(successfulJobsHistoryLimit=20))
    for _ in range(6):
        cluster.faults.fail_writes(CRONS, times=2)
        cluster.clock.advance(59)
        cluster.faults.drop_watches(forget=True)
        cluster.clock.advance(1)
    cluster.clock.advance(30)
    assert times_of(cluster) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"schedule": "61 * * * *"}, "end of range (61) above maximum (59): 61"),
        (
            {"schedule": "TZ=UTC 0 * * * *"},
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        ({"timeZone": ""}, "timeZone must be nil or non-empty string"),
        ({"timeZone": "Local"}, "timeZone must be an explicit time zone"),
        ({"timeZone": "Mars/Base"}, "unknown time zone Mars/Base"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(cluster: Cluster, spec: dict[str, str], problem: str) -> None:
    with pytest.raises(Invalid) as error:
        cluster.apply(cronjob(**spec))
    assert problem in str(error.value)
