"""Hours and days: clocks that change under CronJobs, indexes that fail, evictions from two sides, policies of pace."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from scenario_kit import Mischief, is_up, live, of
from workload_kit import PREFIX, autoscaled_web, deployment, rolled_out, template

from kubernel.errors import Conflict, NotFound, ServiceUnavailable, TooManyRequests
from kubernel.objects import conditions, meta, times
from kubernel.testing import Cluster
from kubernel_plugins import cron

Start = Callable[..., Cluster]
JOBS = "jobs.v1.batch"
CRONJOBS = "cronjobs.v1.batch"
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
SCHEDULES = {"each-hour": "30 * * * *", "at-night": "30 2 * * *", "at-midnight": "0 0 * * *"}
INDEX = "batch.kubernetes.io/job-completion-index"


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        pytest.param("America/New_York", "2026-03-08T00:00:00Z", id="New York forward"),
        pytest.param("Australia/Lord_Howe", "2026-04-04T10:00:00Z", id="Lord Howe, half an hour back"),
        pytest.param("Asia/Beirut", "2026-03-28T12:00:00Z", id="Beirut, without a midnight"),
    ],
)
def test_a_day_on_which_clocks_change_starts_each_job_once(
    cluster_factory: Start, always: Any, zone: str, start: str
) -> None:
    plugins = {"node": None, "scheduler": None, "controller": ["bootstrap", "cronjob", "job"]}
    cluster = cluster_factory(config={"plugins": plugins}, start=times.parse(start), seed=1)
    made: dict[str, tuple[str, float]] = {}

    def look(jobs: list[Any]) -> str:
        for job in jobs:
            owner = meta.controller_of(job)
            assert owner is not None
            made.setdefault(meta.uid(job), (owner["name"], times.parse(meta.annotations(job)[SCHEDULED])))
        return "two jobs of one time" if max(Counter(made.values()).values(), default=0) > 1 else ""

    always(cluster, JOBS, look)
    template_of_job = {"spec": {"template": template(None, restartPolicy="Never")}}
    for name, schedule in SCHEDULES.items():
        cluster.apply(
            {
                "apiVersion": "batch/v1",
                "kind": "CronJob",
                "metadata": {"name": name},
                "spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": template_of_job},
            }
        )
    begun = cluster.clock.time()
    mischief = Mischief(cluster, 1, ["cronjob", "job"], ["pods", JOBS, CRONJOBS])
    for _ in range(12):
        mischief.step()
        cluster.clock.advance("150m")
    mischief.end()
    cluster.clock.advance("10m")
    expected = []
    for name, text in SCHEDULES.items():
        schedule = cron.parse(text, cron.zone(zone))
        due = schedule.next(begun)
        while due is not None and due <= cluster.clock.time():
            expected.append((name, due))
            due = schedule.next(due)
    assert len(expected) > 28
    assert sorted(made.values()) == sorted(expected)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_indexes_that_fail_are_given_up_one_by_one_while_the_controller_comes_and_goes(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    cluster = cluster_factory(seed=seed)
    seen: dict[str, set[str]] = defaultdict(set)

    def broken(pods: list[Any]) -> str:
        mine = of(pods, "many")
        for pod in mine:
            seen[meta.annotations(pod)[INDEX]].add(meta.uid(pod))
        twice = [
            index
            for index, count in Counter(meta.annotations(p)[INDEX] for p in live(mine)).items()
            if count > 1
        ]
        return f"indexes {twice} run twice" if twice else ""

    always(cluster, "pods", broken)
    pods = template({"app": "many"}, {"run-for": "5s", "exit-code": "3"}, restartPolicy="Never")
    spec = {
        "completions": 6,
        "parallelism": 3,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 1,
        "template": pods,
    }
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "many"}, "spec": spec})
    mischief = Mischief(cluster, seed, ["job"], ["pods", JOBS])
    for _ in range(15):
        mischief.step()
    mischief.end()
    cluster.wait(lambda: conditions.is_true(cluster.get(JOBS, "many"), "Failed"), "1h")
    status = cluster.get(JOBS, "many")["status"]
    assert (status["failedIndexes"], status["failed"], status["terminating"]) == ("0-5", 12, 0)
    assert not any(status["uncountedTerminatedPods"].values())
    assert {index: len(uids) for index, uids in seen.items()} == {str(index): 2 for index in range(6)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_two_who_evict_at_once_leave_what_the_budget_asks_for(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    simulated = {"nodes": 3, "startDelay": 1.0, "readyDelay": 1.0, "stopDelay": 2.0}
    cluster = cluster_factory(config={"plugins": {"node": [{"simulated": simulated}]}}, seed=seed)
    cluster.apply(deployment(replicas=6))
    cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "web"}}},
        }
    )
    cluster.wait(lambda: rolled_out(cluster), "5m")
    cluster.clock.advance(5)

    def broken(pods: list[Any]) -> str:
        up = sum(map(is_up, of(pods, "web")))
        return f"only {up} pods are up" if up < 4 else ""

    always(cluster, "pods", broken)
    mischief = Mischief(cluster, seed, ["disruption", "replicaset"], ["poddisruptionbudgets.v1.policy"])
    granted = refused = 0
    for _ in range(20):
        for pod in live(list(cluster.list("pods", "default")))[:2]:
            eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": meta.name(pod)}}
            work = cluster.client().create(
                "pods", eviction, "default", subresource="eviction", name=meta.name(pod)
            )
            try:
                cluster.run(work)
                granted += 1
            except (Conflict, NotFound, ServiceUnavailable, TooManyRequests):
                refused += 1
        mischief.step()
    mischief.end()
    assert granted > 3
    assert refused > 0
    cluster.wait(lambda: rolled_out(cluster), "10m")


def test_hours_of_load_are_followed_no_faster_than_policies_allow(cluster_factory: Start) -> None:
    cluster = cluster_factory(config={"plugins": {"api": ["metrics"]}})
    behavior = {
        "scaleUp": {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
        "scaleDown": {
            "stabilizationWindowSeconds": 120,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
        },
    }
    autoscaled_web(cluster, 12, behavior=behavior)
    sizes: list[tuple[float, int]] = []
    for minute in range(80):
        load = 500 if minute % 40 < 20 else 60
        found = live(list(cluster.list("pods")))
        for pod in found:
            share = {"metadata": {"annotations": {f"{PREFIX}cpu": f"{load // len(found)}m"}}}
            cluster.patch("pods", meta.name(pod), share)
        for _ in range(4):
            cluster.clock.advance(15)
            size = cluster.get("deployments.v1.apps", "web")["spec"]["replicas"]
            sizes.append((cluster.clock.time(), size))
    for at, size in sizes:
        before = [other for then, other in sizes if at - 59 <= then <= at]
        assert size - min(before) <= 2
        assert max(before) - size <= 1
    assert (min(size for _, size in sizes), max(size for _, size in sizes)) == (2, 10)
