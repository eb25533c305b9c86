from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from workload_kit import condition, events, pod, template, view, watch

from kubernel.errors import Forbidden
from kubernel.objects import conditions, meta, times
from kubernel.testing import Cluster
from kubernel_plugins.controller.job.indexes import format_ranges, parse_ranges

JOBS = "jobs.v1.batch"
FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
QUICK = {"run-for": "5s"}
FAILING = {"run-for": "5s", "exit-code": "1"}


def job(
    name: str = "sum", script: dict[str, str] | None = None, *, policy: str = "Never", **spec: Any
) -> Any:
    made = template(None, QUICK if script is None else script, restartPolicy=policy)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": made, **spec},
    }


def pods_of(cluster: Cluster, name: str = "sum") -> list[dict[str, Any]]:
    return list(cluster.list("pods", "default", labels=f"batch.kubernetes.io/job-name={name}"))


def active(cluster: Cluster, name: str = "sum") -> list[dict[str, Any]]:
    return [
        found
        for found in pods_of(cluster, name)
        if not meta.is_deleting(found) and found["status"]["phase"] in ("Pending", "Running")
    ]


def status(cluster: Cluster, name: str = "sum") -> dict[str, Any]:
    return cluster.get(JOBS, name).get("status") or {}


def ended(cluster: Cluster, name: str = "sum") -> str:
    """Complete, Failed or nothing."""
    found = cluster.get(JOBS, name)
    return next((type for type in ("Complete", "Failed") if conditions.is_true(found, type)), "")


def complete(cluster: Cluster, name: str = "sum", timeout: str = "1h") -> dict[str, Any]:
    assert cluster.wait(lambda: ended(cluster, name), timeout) == "Complete"
    return status(cluster, name)


def untracked(cluster: Cluster) -> bool:
    return not any(FINALIZER in (found["metadata"].get("finalizers") or ()) for found in cluster.list("pods"))


def test_a_job_runs_to_completion_and_says_when(cluster: Cluster) -> None:
    begun = cluster.clock.time()
    cluster.apply(job())
    cluster.clock.advance(1)
    found = status(cluster)
    assert (found["active"], found["ready"], found["terminating"]) == (1, 1, 0)
    (one,) = pods_of(cluster)
    assert FINALIZER in one["metadata"]["finalizers"]
    assert meta.labels(one)["job-name"] == meta.labels(one)["batch.kubernetes.io/job-name"] == "sum"
    told = complete(cluster)
    assert cluster.clock.time() < begun + 8
    assert told["succeeded"] == 1
    assert "active" not in told
    assert told["startTime"] < told["completionTime"]
    assert told["uncountedTerminatedPods"] == {}
    types = [(entry["type"], entry["reason"]) for entry in told["conditions"]]
    assert types == [("SuccessCriteriaMet", "CompletionsReached"), ("Complete", "CompletionsReached")]
    assert untracked(cluster)
    assert [event["message"] for event in events(cluster, "Completed")] == ["Job completed"]


def test_completions_are_reached_with_at_most_parallelism_at_once(cluster: Cluster) -> None:
    pods = view(cluster, "pods")
    seen: list[int] = []
    running = ("Pending", "Running")
    watch(cluster, "pods", lambda: seen.append(sum(one["status"]["phase"] in running for one in pods())))
    cluster.apply(job(completions=10, parallelism=3))
    told = complete(cluster)
    assert told["succeeded"] == len(pods_of(cluster)) == 10
    assert max(seen) == 3


def test_without_completions_the_first_success_ends_it_once_the_others_are_done(cluster: Cluster) -> None:
    cluster.apply(job(parallelism=3))
    made = pods_of(cluster)
    assert len(made) == 3
    assert complete(cluster)["succeeded"] == 3
    assert len(pods_of(cluster)) == 3


def test_indexed_pods_know_their_index(cluster: Cluster) -> None:
    cluster.apply(job(completionMode="Indexed", completions=5, parallelism=2))
    told = complete(cluster)
    assert told["completedIndexes"] == "0-4"
    assert told["succeeded"] == 5
    for index, found in enumerate(sorted(pods_of(cluster), key=lambda one: meta.annotations(one)[INDEX])):
        assert meta.annotations(found)[INDEX] == meta.labels(found)[INDEX] == str(index)
        assert found["spec"]["hostname"] == f"sum-{index}"
        assert meta.name(found).startswith(f"sum-{index}-")
        assert {
            "name": "JOB_COMPLETION_INDEX",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
        } in found["spec"]["containers"][0]["env"]


def test_a_failed_index_is_tried_again_with_the_same_index(cluster: Cluster) -> None:
    cluster.apply(job(script={}, completionMode="Indexed", completions=3, parallelism=3))
    victim = next(one for one in pods_of(cluster) if meta.annotations(one)[INDEX] == "1")
    cluster.patch("pods", meta.name(victim), {"status": {"phase": "Failed"}}, subresource="status")
    cluster.clock.advance(15)
    assert sorted(meta.annotations(one)[INDEX] for one in active(cluster)) == ["0", "1", "2"]
    assert status(cluster)["failed"] == 1


def test_an_elastic_indexed_job_shrinks_from_the_top(cluster: Cluster) -> None:
    cluster.apply(job(script={}, completionMode="Indexed", completions=5, parallelism=5))
    cluster.patch(JOBS, "sum", {"spec": {"completions": 3, "parallelism": 3}})
    cluster.clock.advance(5)
    assert sorted(meta.annotations(one)[INDEX] for one in active(cluster)) == ["0", "1", "2"]
    assert "failed" not in status(cluster)
    assert untracked(cluster) is False
    cluster.patch(JOBS, "sum", {"spec": {"completions": 4, "parallelism": 4}})
    assert sorted(meta.annotations(one)[INDEX] for one in active(cluster)) == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("text", "indexes"),
    [
        ("", set()),
        ("3", {3}),
        ("0,2", {0, 2}),
        ("1,2", {1, 2}),
        ("1,3-5,9", {1, 3, 4, 5, 9}),
        ("0-9", set(range(10))),
    ],
)
def test_indexes_as_text(text: str, indexes: set[int]) -> None:
    assert parse_ranges(text, 10) == indexes
    assert format_ranges(indexes) == text


def test_index_text_is_cut_at_the_completions_and_survives_nonsense() -> None:
    assert parse_ranges("0-99,x,3-y,5", 4) == {0, 1, 2, 3}


def test_failures_are_retried_with_growing_pauses_until_the_limit(cluster: Cluster) -> None:
    cluster.apply(job(script={"run-for": "1s", "exit-code": "3"}, backoffLimit=3))
    assert cluster.wait(lambda: ended(cluster), "1h") == "Failed"
    told = status(cluster)
    assert told["failed"] == 4
    assert condition(cluster, JOBS, "FailureTarget", "sum") == ("True", "BackoffLimitExceeded")
    failed = conditions.find(cluster.get(JOBS, "sum"), "Failed")
    assert failed is not None
    assert failed["message"] == "Job has reached the specified backoff limit"
    assert "completionTime" not in told
    begun = sorted(found["metadata"]["creationTimestamp"] for found in pods_of(cluster))
    gaps = [times.parse(after) - times.parse(before) for before, after in itertools.pairwise(begun)]
    assert [round(gap / 10) for gap in gaps] == [1, 2, 4]
    assert untracked(cluster)


def test_a_success_in_between_starts_the_pauses_anew(cluster: Cluster) -> None:
    cluster.apply(job(script={}, completions=4, backoffLimit=6))

    def end(phase: str) -> None:
        (one,) = active(cluster)
        cluster.patch("pods", meta.name(one), {"status": {"phase": phase}}, subresource="status")

    end("Failed")
    cluster.clock.advance(11)
    end("Failed")
    cluster.clock.advance(11)
    assert active(cluster) == []
    cluster.clock.advance(10)
    end("Succeeded")
    cluster.clock.advance(1)
    assert len(active(cluster)) == 1
    end("Failed")
    cluster.clock.advance(11)
    assert len(active(cluster)) == 1


def test_when_it_fails_its_running_pods_are_ended_and_counted(cluster: Cluster) -> None:
    cluster.apply(job(script={"stop-delay": "8s"}, parallelism=3, completions=3, backoffLimit=0))
    victim = active(cluster)[0]
    cluster.patch("pods", meta.name(victim), {"status": {"phase": "Failed"}}, subresource="status")
    cluster.clock.advance(1)
    assert condition(cluster, JOBS, "FailureTarget", "sum") == ("True", "BackoffLimitExceeded")
    assert condition(cluster, JOBS, "Failed", "sum") is None
    assert status(cluster)["terminating"] == 2
    cluster.clock.advance(10)
    assert ended(cluster) == "Failed"
    assert status(cluster)["failed"] == 3
    assert status(cluster)["terminating"] == 0


def test_restarts_count_when_containers_are_restarted_in_place(cluster: Cluster) -> None:
    script = {"run-for": "1s", "exit-code": "1"}
    cluster.apply(job(script=script, policy="OnFailure", backoffLimit=2))
    assert cluster.wait(lambda: ended(cluster), "1h") == "Failed"
    assert condition(cluster, JOBS, "Failed", "sum") == ("True", "BackoffLimitExceeded")


def test_the_deadline_ends_it_whatever_it_does(cluster: Cluster) -> None:
    cluster.apply(job(script={}, parallelism=2, completions=2, activeDeadlineSeconds=30))
    cluster.clock.advance(29)
    assert ended(cluster) == ""
    cluster.clock.advance(2)
    assert ended(cluster) == "Failed"
    failed = conditions.find(cluster.get(JOBS, "sum"), "Failed")
    assert failed is not None
    assert (failed["reason"], failed["message"]) == (
        "DeadlineExceeded",
        "Job was active longer than specified deadline",
    )
    assert active(cluster) == []
    assert untracked(cluster)


def test_suspending_ends_the_pods_without_counting_and_resuming_starts_the_clock_anew(
    cluster: Cluster,
) -> None:
    cluster.apply(
        job(
            script={"run-for": "50s"}, parallelism=3, completions=3, activeDeadlineSeconds=100, backoffLimit=0
        )
    )
    cluster.clock.advance(10)
    cluster.patch(JOBS, "sum", {"spec": {"suspend": True}})
    assert condition(cluster, JOBS, "Suspended", "sum") == ("True", "JobSuspended")
    cluster.clock.advance("1h")
    told = status(cluster)
    assert pods_of(cluster) == []
    assert "failed" not in told
    assert "active" not in told
    assert "startTime" not in told
    cluster.patch(JOBS, "sum", {"spec": {"suspend": False}})
    assert condition(cluster, JOBS, "Suspended", "sum") == ("False", "JobResumed")
    assert complete(cluster)["succeeded"] == 3


def test_a_job_created_suspended_makes_no_pods(cluster: Cluster) -> None:
    cluster.apply(job(suspend=True))
    cluster.clock.advance("1h")
    assert pods_of(cluster) == []
    assert condition(cluster, JOBS, "Suspended", "sum") == ("True", "JobSuspended")
    cluster.patch(JOBS, "sum", {"spec": {"suspend": False}})
    assert complete(cluster)["succeeded"] == 1


def test_lower_parallelism_ends_surplus_pods_without_counting_them(cluster: Cluster) -> None:
    cluster.apply(job(script={"run-for": "60s"}, parallelism=5, completions=6, backoffLimit=0))
    cluster.patch(JOBS, "sum", {"spec": {"parallelism": 2}})
    assert len(active(cluster)) == 2
    cluster.clock.advance(1)
    assert "failed" not in status(cluster)
    cluster.patch(JOBS, "sum", {"spec": {"parallelism": 0}})
    cluster.clock.advance("10m")
    assert active(cluster) == []
    cluster.patch(JOBS, "sum", {"spec": {"parallelism": 10}})
    assert complete(cluster)["succeeded"] == 6


def test_no_completions_is_complete_at_once(cluster: Cluster) -> None:
    cluster.apply(job(completions=0))
    assert ended(cluster) == "Complete"
    assert pods_of(cluster) == []


def test_a_deleted_pod_is_a_failure_and_replaced(cluster: Cluster) -> None:
    cluster.apply(job(script={"run-for": "60s"}))
    cluster.delete("pods", meta.name(pods_of(cluster)[0]))
    cluster.clock.advance(15)
    assert status(cluster)["failed"] == 1
    assert len(active(cluster)) == 1
    assert untracked(cluster) is False
    assert complete(cluster)["succeeded"] == 1
    assert untracked(cluster)


def test_pod_replacement_may_wait_for_the_end_of_the_former(cluster: Cluster) -> None:
    cluster.apply(job(script={"stop-delay": "20s"}, podReplacementPolicy="Failed"))
    cluster.delete("pods", meta.name(pods_of(cluster)[0]))
    cluster.clock.advance(5)
    assert len(pods_of(cluster)) == 1
    assert status(cluster)["terminating"] == 1
    cluster.clock.advance(60)
    assert len(active(cluster)) == 1


def test_a_refused_pod_is_told_and_tried_again(cluster: Cluster) -> None:
    cluster.faults.fail_writes("pods", Forbidden.for_object("pods", "", "", "exceeded quota"), times=5)
    cluster.apply(job(completions=3, parallelism=3))
    assert events(cluster, "FailedCreate")
    assert complete(cluster)["succeeded"] == 3
    assert len(pods_of(cluster)) == 3


def manual(script: dict[str, str], labels: dict[str, str], **spec: Any) -> Any:
    made = job(script=script, manualSelector=True, selector={"matchLabels": labels}, **spec)
    made["spec"]["template"]["metadata"]["labels"] = labels
    return made


def test_an_adopted_pod_is_tracked_and_counted_and_a_released_one_is_neither(cluster: Cluster) -> None:
    labels = {"app": "sum"}
    cluster.create(pod("orphan", labels, {"run-for": "30s"}, restartPolicy="Never"))
    cluster.apply(manual({"run-for": "30s"}, labels, parallelism=2, completions=2))
    cluster.clock.advance(1)
    adopted = cluster.get("pods", "orphan")
    assert meta.controller_of(adopted)
    assert FINALIZER in adopted["metadata"]["finalizers"]
    assert len(cluster.list("pods", "default")) == 2
    other = next(one for one in cluster.list("pods", "default") if meta.name(one) != "orphan")
    cluster.patch("pods", meta.name(other), {"metadata": {"labels": {"app": "else"}}})
    cluster.clock.advance(1)
    released = cluster.get("pods", meta.name(other))
    assert meta.owners(released) == []
    assert FINALIZER not in (released["metadata"].get("finalizers") or ())
    assert complete(cluster)["succeeded"] == 2
    assert len(cluster.list("pods", "default")) == 3


def test_the_finalizer_on_a_pod_of_another_kind_is_that_kinds_to_take_off(cluster: Cluster) -> None:
    owner = {"apiVersion": "example.com/v1", "kind": "Job", "name": "other", "uid": "u-1", "controller": True}
    made = pod("theirs", {"app": "x"}, restartPolicy="Never")
    made["metadata"] |= {"ownerReferences": [owner], "finalizers": [FINALIZER]}
    # The garbage collector would take a pod of an owner that is not there.
    with cluster.faults.outage("controller", "garbage"):
        cluster.create(made)
        cluster.clock.advance(5)
        assert FINALIZER in cluster.get("pods", "theirs")["metadata"]["finalizers"]


@pytest.mark.parametrize("propagation", ["Background", "Foreground", "Orphan"])
def test_deletion_leaves_no_finalizer_behind(cluster: Cluster, propagation: Any) -> None:
    cluster.apply(job(script={"run-for": "30s", "stop-delay": "2s"}, parallelism=3, completions=9))
    cluster.clock.advance(35)
    cluster.delete(JOBS, "sum", propagation=propagation)
    cluster.clock.advance(10)
    assert cluster.find(JOBS, "sum") is None
    assert untracked(cluster)
    assert len(pods_of(cluster)) == (6 if propagation == "Orphan" else 0)


def test_what_was_deleted_while_the_controller_was_away_is_freed_when_it_is_back(cluster: Cluster) -> None:
    cluster.apply(job(script={}, parallelism=2, completions=2))
    with cluster.faults.outage("controller", "job"):
        cluster.delete(JOBS, "sum", propagation="Background")
        cluster.clock.advance("1m")
        assert len(pods_of(cluster)) == 2
        cluster.apply(job(script={}))
    cluster.clock.advance("1m")
    uid = meta.uid(cluster.get(JOBS, "sum"))
    assert [meta.controller_of(one)["uid"] for one in pods_of(cluster)] == [uid]  # type: ignore[index]


def test_a_finished_job_adopts_nothing_and_makes_nothing(cluster: Cluster) -> None:
    labels = {"app": "sum"}
    cluster.apply(manual(QUICK, labels))
    complete(cluster)
    cluster.create(pod("orphan", labels))
    cluster.delete("pods", meta.name(pods_of_label(cluster)[0]))
    cluster.clock.advance("1h")
    assert meta.owners(cluster.get("pods", "orphan")) == []
    assert len(cluster.list("pods", "default")) == 1
    assert status(cluster)["succeeded"] == 1


def pods_of_label(cluster: Cluster) -> list[dict[str, Any]]:
    return [one for one in cluster.list("pods", "default") if meta.controller_of(one)]


@pytest.mark.parametrize("mode", ["NonIndexed", "Indexed"])
@pytest.mark.parametrize("seed", range(4))
def test_counts_are_exact_under_faults(cluster_factory: Any, seed: int, mode: str) -> None:
    cluster: Cluster = cluster_factory(seed=seed)
    rng = random.Random(seed)
    cluster.apply(
        job(script={"run-for": "3s"}, completions=24, parallelism=6, completionMode=mode, backoffLimit=50)
    )
    failures: set[str] = set()
    for step in range(25):
        choice = rng.randrange(6)
        if choice == 0:
            cluster.faults.drop_watches(forget=bool(step % 2))
        elif choice == 1:
            with cluster.faults.outage("controller", "job"):
                cluster.clock.advance(rng.uniform(0.5, 6))
        elif choice == 2:
            cluster.faults.fail_writes("pods", times=rng.randrange(1, 6), verbs=["patch", "create"])
        elif choice == 3:
            cluster.faults.fail_writes(JOBS, times=rng.randrange(1, 4), verbs=["update"])
        elif choice == 4:
            cluster.faults.slow_store(rng.choice([0, 0.2]))
        elif running := active(cluster):
            victim = rng.choice(running)
            failed = {"metadata": {"uid": meta.uid(victim)}, "status": {"phase": "Failed"}}
            try:
                cluster.run(
                    cluster.client().patch("pods", meta.name(victim), failed, "default", subresource="status")
                )
            except Exception:
                continue
            failures.add(meta.uid(victim))
        cluster.clock.advance(rng.uniform(0, 2))
    cluster.faults.clear()
    told = complete(cluster)
    phases = [one["status"]["phase"] for one in pods_of(cluster)]
    assert told["succeeded"] == phases.count("Succeeded") == 24
    assert told.get("failed", 0) == phases.count("Failed")
    assert untracked(cluster)
    if mode == "Indexed":
        assert told["completedIndexes"] == "0-23"
    cluster.clock.advance("10m")
    assert status(cluster) == told
