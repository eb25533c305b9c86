"""Whole clusters over hours of virtual time, with faults drawn from a seed; rules are looked at after every change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from scenario_kit import Mischief, is_up, live, of
from workload_kit import (
    PREFIX,
    autoscaled_web,
    condition,
    deployment,
    events,
    rolled_out,
    rolling,
    set_image,
    template,
    workload,
)

from kubernel.clock import rfc3339
from kubernel.objects import conditions, meta, times
from kubernel.testing import Cluster

Start = Callable[..., Cluster]
JOBS, CRONJOBS = "jobs.v1.batch", "cronjobs.v1.batch"
SEEDS = (1, 2, 3)


def nodes(count: int, **settings: Any) -> dict[str, Any]:
    return {"node": [{"simulated": {"nodes": count, **settings}}]}


# --- rollouts


def rollout(start: Start, seed: int, always: Any, *, elections: bool = False) -> tuple[Cluster, Mischief]:
    """Ten replicas on three nodes to a new image and back, while things go wrong."""
    config = {"plugins": nodes(3, startDelay=1.0, readyDelay=1.0, stopDelay=1.0)}
    config["cluster"] = {"leaderElection": elections}
    cluster = start(config=config, seed=seed)
    cluster.apply(deployment(replicas=10, strategy=rolling(2, 3)))
    cluster.wait(lambda: rolled_out(cluster), "10m")

    def broken(pods: list[Any]) -> str:
        mine = of(pods, "web")
        if len(live(mine)) > 12:
            return f"{len(live(mine))} pods, with maxSurge 2"
        up = sum(map(is_up, mine))
        return f"{up} available, with maxUnavailable 3" if up < 7 else ""

    always(cluster, "pods", broken)
    resources = ["pods", "replicasets.v1.apps", "deployments.v1.apps"]
    mischief = Mischief(cluster, seed, ["deployment", "replicaset", "garbage"], resources)
    for image in ("app:2", "app:3", "app:1"):
        set_image(cluster, image)
        for _ in range(6):
            mischief.step()
        mischief.end()
    cluster.wait(lambda: rolled_out(cluster), "30m")
    assert {pod["spec"]["containers"][0]["image"] for pod in live(list(cluster.list("pods")))} == {"app:1"}
    return cluster, mischief


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rollout_under_faults_keeps_its_limits_at_every_step(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    _, mischief = rollout(cluster_factory, seed, always)
    assert len(mischief.done) == 18
    assert always.looked > 100


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rollout_whose_leaders_change_keeps_its_limits(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    _, mischief = rollout(cluster_factory, seed, always, elections=True)
    assert any("taken" in done for done in mischief.done)


def test_two_candidates_of_which_one_dies_finish_a_rollout_together(
    cluster_factory: Start, always: Any
) -> None:
    config = {"cluster": {"leaderElection": True}, "plugins": nodes(2, startDelay=1.0, readyDelay=1.0)}
    cluster = cluster_factory(config=config)
    cluster.apply(deployment(replicas=6, strategy=rolling(1, 1)))
    cluster.wait(lambda: rolled_out(cluster), "10m")
    first = cluster.kernel.plugin("controller", "replicaset")
    second = type(first)(first.settings, first.handle)
    cluster.run(second.start())
    always(cluster, "pods", lambda pods: len(live(of(pods, "web"))) > 7)
    set_image(cluster, "app:2")
    cluster.clock.advance(3)
    cluster.faults.crash("controller", "replicaset")
    cluster.run(second.start())
    cluster.wait(lambda: rolled_out(cluster), "10m")
    cluster.run(second.stop())
    assert len(live(list(cluster.list("pods")))) == 6


def test_the_same_seed_is_the_same_story(cluster_factory: Start, always: Any) -> None:
    def story() -> tuple[list[str], str, list[str]]:
        cluster, mischief = rollout(cluster_factory, 7, always)
        pods = sorted(meta.name(pod) for pod in cluster.list("pods"))
        return mischief.done, str(cluster.kernel.registry.store.revision), pods

    assert story() == story()


def test_a_rollout_that_does_not_progress_is_told_after_its_deadline(cluster_factory: Start) -> None:
    cluster = cluster_factory()
    cluster.apply(deployment(replicas=2, progressDeadlineSeconds=600))
    bad = template({"app": "web"}, {"ready": "false"})
    bad["spec"]["containers"][0]["image"] = "app:2"
    cluster.patch("deployments.v1.apps", "web", {"spec": {"template": bad}})
    cluster.clock.advance("9m50s")
    assert condition(cluster, "deployments.v1.apps", "Progressing") == ("True", "ReplicaSetUpdated")
    cluster.clock.advance("20s")
    assert condition(cluster, "deployments.v1.apps", "Progressing") == ("False", "ProgressDeadlineExceeded")


# --- identities


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stateful_set_under_faults_is_ordered_and_has_one_pod_for_each_identity(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    cluster = cluster_factory(
        config={"plugins": nodes(2, startDelay=1.0, readyDelay=1.0, stopDelay=1.0)}, seed=seed
    )
    born: dict[str, list[str]] = {}

    def broken(pods: list[Any]) -> str:
        mine = {meta.name(pod): pod for pod in of(pods, "db")}
        for name, pod in mine.items():
            uids = born.setdefault(name, [])
            if meta.uid(pod) not in uids:
                uids.append(meta.uid(pod))
                lower = [f"db-{number}" for number in range(int(name.rpartition("-")[2]))]
                missing = [
                    one for one in lower if one not in mine or not conditions.is_true(mine[one], "Ready")
                ]
                if missing:
                    return f"{name} was made before {missing} were ready"
        return ""

    always(cluster, "pods", broken)
    db = workload("StatefulSet", "db", 4, pod_template=template({"app": "db"}), serviceName="db")
    cluster.apply(db)
    mischief = Mischief(cluster, seed, ["statefulset"], ["pods", "statefulsets.v1.apps"])
    for _ in range(8):
        mischief.step()
    mischief.end()
    cluster.clock.advance("5m")
    assert sorted(born) == ["db-0", "db-1", "db-2", "db-3"]
    assert all(len(uids) == 1 for uids in born.values())
    cluster.patch("statefulsets.v1.apps", "db", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
    for _ in range(6):
        mischief.step()
    mischief.end()
    cluster.clock.advance("10m")
    found = of(list(cluster.list("pods")), "db")
    assert {meta.labels(pod).get("v") for pod in found} == {"2"}
    assert all(map(is_up, found))


# --- jobs by the hour


@pytest.mark.parametrize("seed", SEEDS)
def test_hours_of_a_cron_job_under_faults_start_every_job_once(
    cluster_factory: Start, always: Any, seed: int
) -> None:
    cluster = cluster_factory(seed=seed)
    made: Counter[str] = Counter()
    uids: set[str] = set()

    def twice(jobs: list[Any]) -> str:
        for job in jobs:
            if meta.uid(job) not in uids:
                uids.add(meta.uid(job))
                made[meta.annotations(job)["batch.kubernetes.io/cronjob-scheduled-timestamp"]] += 1
        return next((f"two jobs for {stamp}" for stamp, count in made.items() if count > 1), "")

    always(cluster, JOBS, twice)
    pods = template(None, {"run-for": "30s"}, restartPolicy="Never")
    cluster.apply(
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "often"},
            "spec": {"schedule": "*/10 * * * *", "jobTemplate": {"spec": {"template": pods}}},
        }
    )
    begun = cluster.clock.time()
    mischief = Mischief(cluster, seed, ["cronjob", "job"], ["pods", JOBS, CRONJOBS])
    for _ in range(24):
        mischief.step()
        cluster.clock.advance("10m")
    mischief.end()
    cluster.clock.advance("1h")
    hours = (cluster.clock.time() - begun) / 3600
    first = math.ceil(begun / 600) * 600 if begun % 600 else begun + 600
    expected = {rfc3339(first + 600 * n) for n in range(int((cluster.clock.time() - first) // 600) + 1)}
    assert hours > 5
    assert set(made) == expected
    left = cluster.list(JOBS)
    assert len(left) == 3
    assert all(job["status"]["succeeded"] == 1 for job in left)


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_job_under_faults_counts_every_pod_once(
    cluster_factory: Start, always: Any, seed: int, mode: str
) -> None:
    cluster = cluster_factory(config={"plugins": nodes(2, startDelay=1.0)}, seed=seed)
    ended: dict[str, str] = {}

    def broken(pods: list[Any]) -> str:
        mine = of(pods, "count")
        for pod in mine:
            if (phase := pod["status"].get("phase")) in ("Succeeded", "Failed"):
                ended[meta.uid(pod)] = phase
        return f"{len(live(mine))} pods at once" if len(live(mine)) > 4 else ""

    always(cluster, "pods", broken)
    pods = template({"app": "count"}, {"run-for": "3s"}, restartPolicy="Never")
    spec = {"completions": 30, "parallelism": 4, "completionMode": mode, "template": pods}
    cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "count"}, "spec": spec})
    mischief = Mischief(cluster, seed, ["job", "garbage"], ["pods", JOBS])
    for _ in range(12):
        mischief.step()
    mischief.end()
    done = cluster.wait(lambda: conditions.is_true(cluster.get(JOBS, "count"), "Complete"), "30m")
    assert done
    status = cluster.get(JOBS, "count")["status"]
    counted = Counter(ended.values())
    assert (status["succeeded"], status.get("failed", 0)) == (30, 0)
    assert counted == {"Succeeded": 30}
    assert "uncountedTerminatedPods" not in status or not any(status["uncountedTerminatedPods"].values())
    assert status.get("completedIndexes") == ("0-29" if mode == "Indexed" else None)


# --- autoscaling


def test_an_hour_of_load_is_followed_without_to_and_fro(cluster_factory: Start) -> None:
    """An hour of load that goes up and down every two minutes, then quiet: it grows first, and shrinks last."""
    cluster = cluster_factory(config={"plugins": {"api": ["metrics"], **nodes(1)}})
    autoscaled_web(cluster, 8)
    sizes: list[int] = []

    def total(millicores: int) -> None:
        """All pods together use so much, evenly."""
        found = live(list(cluster.list("pods")))
        for pod in found:
            share = {"metadata": {"annotations": {f"{PREFIX}cpu": f"{millicores // len(found)}m"}}}
            cluster.patch("pods", meta.name(pod), share)

    for minute in range(60):
        total(300 if minute % 4 < 2 else 110)
        cluster.clock.advance(60)
        sizes.append(cluster.get("deployments.v1.apps", "web")["spec"]["replicas"])
    steady = sizes[10:]
    assert set(steady) == {6}
    for _ in range(10):
        total(80)
        cluster.clock.advance(60)
    assert cluster.get("deployments.v1.apps", "web")["spec"]["replicas"] == 2
    changes = [event["message"] for event in events(cluster, "SuccessfulRescale")]
    grown = [change for change in changes if change.endswith("above target")]
    # Twice up; then the peak is forgotten, and what is left to use is spread over fewer pods each time.
    assert changes[: len(grown)] == grown
    assert len(grown) == 2
    assert len(changes) <= 6


# --- nodes that fail


def test_pods_of_a_node_that_fails_are_made_again_and_none_is_missing_for_long(
    cluster_factory: Start, always: Any
) -> None:
    cluster = cluster_factory(config={"plugins": nodes(2, name="good-{}")})
    bad = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "bad", "labels": {"kubernetes.io/hostname": "bad"}},
    }
    status = {
        "capacity": {"cpu": "4", "memory": "8Gi", "pods": "50"},
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "50"},
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "lastHeartbeatTime": rfc3339(cluster.clock.time()),
                "lastTransitionTime": rfc3339(cluster.clock.time()),
            }
        ],
    }
    begun = cluster.clock.time()
    cluster.create(bad)
    cluster.patch("nodes", "bad", {"status": status}, subresource="status")
    cluster.clock.advance(5)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }
    made = template({"app": "web"}, None, topologySpreadConstraints=[spread])
    cluster.apply(deployment(replicas=9, pod_template=made))
    cluster.clock.advance(5)
    doomed = [pod for pod in cluster.list("pods") if pod["spec"].get("nodeName") == "bad"]
    assert doomed
    always(cluster, "pods", lambda pods: len(live(of(pods, "web"))) > 9)
    ready = condition(cluster, "deployments.v1.apps", "Available")
    assert ready is not None
    cluster.wait(lambda: rolled_out(cluster), "15m")
    took = cluster.clock.time() - begun
    # Forty seconds until the node is found silent, five minutes that its pods tolerate it.
    assert 340 <= took <= 420
    assert {pod["spec"]["nodeName"] for pod in live(list(cluster.list("pods")))} == {"good-1", "good-2"}
    silent = conditions.find(cluster.get("nodes", "bad"), "Ready")
    assert silent is not None
    assert silent["status"] == "Unknown"
    assert times.parse(silent["lastTransitionTime"]) - begun <= 60


# --- time itself


def test_two_hours_without_work_costs_only_heartbeats(cluster_factory: Start) -> None:
    cluster = cluster_factory()
    cluster.apply(deployment(replicas=20))
    cluster.clock.advance("1h")
    before = cluster.kernel.registry.store.revision
    cluster.clock.advance("1h")
    # The leases of one node and one server, every ten seconds.
    assert cluster.kernel.registry.store.revision - before <= 730
