"""Failure and success policies, limits by index, and what belongs to other controllers."""

from __future__ import annotations

from typing import Any

import pytest
from workload_kit import events, template

from kubernel.errors import Invalid
from kubernel.objects import conditions, meta
from kubernel.testing import Cluster
from kubernel_plugins.controller.job.backoff import Row, remaining
from kubernel_plugins.controller.job.policy import match_failure, match_success

JOBS = "jobs.v1.batch"
FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def job(script: dict[str, str] | None = None, **spec: Any) -> Any:
    made = template(None, script or {}, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "sum"},
        "spec": {"template": made, **spec},
    }


def indexed(completions: int, script: dict[str, str] | None = None, **spec: Any) -> Any:
    spec = {"completionMode": "Indexed", "completions": completions, "parallelism": completions, **spec}
    return job(script, **spec)


def exit_codes(action: str, operator: str, *values: int, **more: Any) -> Any:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values), **more}}


def on_condition(action: str, type: str = "DisruptionTarget") -> Any:
    return {"action": action, "onPodConditions": [{"type": type, "status": "True"}]}


def active(cluster: Cluster) -> dict[int, dict[str, Any]]:
    """Active pods by index, or numbered."""
    found = [
        pod
        for pod in cluster.list("pods", "default")
        if not meta.is_deleting(pod) and pod["status"]["phase"] in ("Pending", "Running")
    ]
    return {int(meta.annotations(pod).get(INDEX, number)): pod for number, pod in enumerate(found)}


def end(cluster: Cluster, pod: dict[str, Any], code: int = 0, *marks: str) -> None:
    terminated = {"exitCode": code, "finishedAt": pod["metadata"]["creationTimestamp"]}
    state = {"name": "main", "state": {"terminated": terminated}, "restartCount": 0, "ready": False}
    state |= {"image": "app:1", "imageID": ""}
    kept = [one for one in pod["status"].get("conditions") or () if one["type"] not in ("Ready", *marks)]
    kept += [{"type": mark, "status": "True"} for mark in marks]
    change = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [state], "conditions": kept}
    cluster.patch("pods", meta.name(pod), {"status": change}, subresource="status")


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get(JOBS, "sum")["status"]
    return found


def told(cluster: Cluster, type: str) -> tuple[str, str] | None:
    """(reason, message) of a condition that is true."""
    found = conditions.find(cluster.get(JOBS, "sum"), type)
    return (found["reason"], found["message"]) if found and found["status"] == "True" else None


# --- podFailurePolicy


def test_an_exit_code_fails_the_whole_job_at_once(cluster: Cluster) -> None:
    rules = [exit_codes("FailJob", "In", 42)]
    cluster.apply(job(completions=3, parallelism=3, podFailurePolicy={"rules": rules}))
    victim = active(cluster)[0]
    end(cluster, victim, 42)
    cluster.clock.advance("1m")
    message = (
        f"Container main for pod default/{meta.name(victim)} failed with exit code 42 "
        "matching FailJob rule at index 0"
    )
    assert told(cluster, "FailureTarget") == told(cluster, "Failed") == ("PodFailurePolicy", message)
    assert active(cluster) == {}
    assert status(cluster)["failed"] == 3
    assert not any(FINALIZER in (pod["metadata"].get("finalizers") or ()) for pod in cluster.list("pods"))
    assert [event["message"] for event in events(cluster, "PodFailurePolicy")] == [message]


def test_a_condition_may_fail_the_job_too(cluster: Cluster) -> None:
    cluster.apply(job(podFailurePolicy={"rules": [on_condition("FailJob", "ConfigIssue")]}))
    victim = active(cluster)[0]
    end(cluster, victim, 1, "ConfigIssue")
    cluster.clock.advance(1)
    assert told(cluster, "Failed") == (
        "PodFailurePolicy",
        f"Pod default/{meta.name(victim)} has condition ConfigIssue matching FailJob rule at index 0",
    )


def test_an_ignored_failure_is_replaced_and_never_counted(cluster: Cluster) -> None:
    cluster.apply(job(backoffLimit=0, podFailurePolicy={"rules": [on_condition("Ignore")]}))
    for _ in range(3):
        end(cluster, active(cluster)[0], 1, "DisruptionTarget")
        cluster.clock.advance("10m")
    assert "failed" not in status(cluster)
    end(cluster, active(cluster)[0])
    cluster.clock.advance(1)
    assert told(cluster, "Complete") is not None


def test_the_first_rule_that_matches_counts(cluster: Cluster) -> None:
    rules = [exit_codes("Count", "In", 7), exit_codes("FailJob", "NotIn", 8)]
    cluster.apply(job(podFailurePolicy={"rules": rules}))
    end(cluster, active(cluster)[0], 7)
    cluster.clock.advance(11)
    assert status(cluster)["failed"] == 1
    end(cluster, active(cluster)[0], 8)
    cluster.clock.advance(21)
    assert status(cluster)["failed"] == 2
    end(cluster, active(cluster)[0], 9)
    cluster.clock.advance(1)
    assert told(cluster, "FailureTarget") is not None


def test_with_a_failure_policy_a_pod_on_its_way_out_is_neither_counted_nor_replaced(cluster: Cluster) -> None:
    cluster.apply(job({"stop-delay": "20s"}, podFailurePolicy={"rules": [exit_codes("FailJob", "In", 42)]}))
    assert cluster.get(JOBS, "sum")["spec"]["podReplacementPolicy"] == "Failed"
    cluster.delete("pods", meta.name(active(cluster)[0]))
    cluster.clock.advance(10)
    assert (status(cluster).get("failed", 0), status(cluster)["terminating"]) == (0, 1)
    assert active(cluster) == {}
    cluster.clock.advance(40)
    assert status(cluster)["failed"] == 1
    assert len(active(cluster)) == 1


def test_rules_may_name_a_container() -> None:
    def pod(**codes: int) -> Any:
        statuses = [
            {"name": name, "state": {"terminated": {"exitCode": code}}} for name, code in codes.items()
        ]
        return {
            "metadata": {"name": "p", "namespace": "n"},
            "status": {"initContainerStatuses": statuses[:1], "containerStatuses": statuses[1:]},
        }

    policy = {"rules": [exit_codes("FailIndex", "In", 3, containerName="b")]}
    assert match_failure(policy, pod(init=0, a=3, b=4)).action == ""
    assert match_failure(policy, pod(init=0, a=1, b=3)).action == "FailIndex"
    anywhere = {"rules": [exit_codes("Ignore", "NotIn", 3)]}
    assert match_failure(anywhere, pod(init=3, a=0, b=0)).action == ""
    assert match_failure(anywhere, pod(init=9, a=0, b=0)).counts is False
    assert match_failure(None, pod(init=9)).counts is True


# --- by index


def test_an_index_is_given_up_after_its_own_limit_and_the_others_go_on(cluster: Cluster) -> None:
    cluster.apply(indexed(2, backoffLimitPerIndex=1))
    assert cluster.get(JOBS, "sum")["spec"]["backoffLimit"] == 2147483647
    assert [meta.annotations(pod)[FAILURES] for pod in active(cluster).values()] == ["0", "0"]
    end(cluster, active(cluster)[0], 1)
    cluster.clock.advance(1)
    assert status(cluster)["failedIndexes"] == ""
    assert sorted(active(cluster)) == [1]
    cluster.clock.advance(11)
    assert meta.annotations(active(cluster)[0])[FAILURES] == "1"
    end(cluster, active(cluster)[0], 1)
    cluster.clock.advance(1)
    assert status(cluster)["failedIndexes"] == "0"
    cluster.clock.advance("1h")
    assert sorted(active(cluster)) == [1]
    end(cluster, active(cluster)[1])
    cluster.clock.advance(1)
    assert told(cluster, "Failed") == ("FailedIndexes", "Job has failed indexes")
    assert (status(cluster)["completedIndexes"], status(cluster)["failed"]) == ("1", 2)


def test_the_failed_pod_of_an_index_is_kept_until_its_successor_has_its_count(cluster: Cluster) -> None:
    cluster.apply(indexed(1, backoffLimitPerIndex=5))
    first = meta.name(active(cluster)[0])
    end(cluster, active(cluster)[0], 1)
    cluster.clock.advance(5)
    assert FINALIZER in cluster.get("pods", first)["metadata"]["finalizers"]
    assert "failed" not in status(cluster)
    cluster.clock.advance(6)
    assert not cluster.get("pods", first)["metadata"].get("finalizers")
    assert status(cluster)["failed"] == 1


def test_each_index_waits_for_its_own_pause(cluster: Cluster) -> None:
    cluster.apply(indexed(2, {"run-for": "1s", "exit-code": "1"}, backoffLimitPerIndex=2, backoffLimit=100))
    cluster.clock.advance("10m")
    assert status(cluster)["failed"] == 6
    assert told(cluster, "Failed") == ("FailedIndexes", "Job has failed indexes")


def test_too_many_failed_indexes_fail_the_job(cluster: Cluster) -> None:
    cluster.apply(indexed(4, backoffLimitPerIndex=0, maxFailedIndexes=1))
    end(cluster, active(cluster)[2], 1)
    cluster.clock.advance(1)
    assert told(cluster, "FailureTarget") is None
    end(cluster, active(cluster)[3], 1)
    cluster.clock.advance("1m")
    assert told(cluster, "Failed") == (
        "MaxFailedIndexesExceeded",
        "Job has exceeded the specified maximal number of failed indexes",
    )
    assert status(cluster)["failedIndexes"] == "2,3"


def test_a_rule_may_give_up_an_index_before_its_limit(cluster: Cluster) -> None:
    rules = [exit_codes("FailIndex", "In", 42), on_condition("Ignore")]
    cluster.apply(indexed(2, backoffLimitPerIndex=5, podFailurePolicy={"rules": rules}))
    end(cluster, active(cluster)[1], 42)
    cluster.clock.advance(1)
    assert status(cluster)["failedIndexes"] == "1"
    end(cluster, active(cluster)[0], 1, "DisruptionTarget")
    cluster.clock.advance(15)
    assert meta.annotations(active(cluster)[0])[FAILURES] == "0"
    assert meta.annotations(active(cluster)[0])[IGNORED] == "1"


# --- successPolicy


def test_a_leader_that_succeeds_ends_the_job(cluster: Cluster) -> None:
    cluster.apply(
        indexed(3, {"stop-delay": "5s"}, successPolicy={"rules": [{"succeededIndexes": "0"}]}, backoffLimit=0)
    )
    end(cluster, active(cluster)[0])
    cluster.clock.advance(1)
    assert told(cluster, "SuccessCriteriaMet") == ("SuccessPolicy", "Matched rules at index 0")
    assert told(cluster, "Complete") is None
    cluster.clock.advance("1m")
    assert told(cluster, "Complete") == ("SuccessPolicy", "Matched rules at index 0")
    assert active(cluster) == {}
    assert (status(cluster)["succeeded"], status(cluster).get("failed", 0)) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "succeeded", "met"),
    [
        pytest.param({"succeededCount": 2}, {0, 4}, True, id="any two"),
        pytest.param({"succeededCount": 3}, {0, 4}, False, id="one is missing"),
        pytest.param({"succeededIndexes": "0,2-3"}, {0, 2, 3, 4}, True, id="all of a set"),
        pytest.param({"succeededIndexes": "0,2-3"}, {0, 2, 4}, False, id="not all of a set"),
        pytest.param({"succeededIndexes": "0,2-3", "succeededCount": 2}, {0, 2}, True, id="some of a set"),
        pytest.param({"succeededIndexes": "0,2-3", "succeededCount": 2}, {0, 4}, False, id="others"),
        pytest.param({"succeededCount": 0}, set(), False, id="nothing yet"),
    ],
)
def test_success_rules(rule: dict[str, Any], succeeded: set[int], met: bool) -> None:
    policy = {"rules": [{"succeededIndexes": "9"}, rule]}
    assert match_success(policy, 10, succeeded) == ("Matched rules at index 1" if met else "")


# --- others' Jobs


def test_a_job_managed_by_another_controller_is_left_alone(cluster: Cluster) -> None:
    cluster.apply(job(managedBy="acme.com/queue"))
    cluster.clock.advance("1h")
    assert cluster.list("pods") == []
    assert not cluster.get(JOBS, "sum").get("status", {}).get("conditions")


# --- pauses


def test_pauses_double_and_end_at_ten_minutes() -> None:
    assert [remaining(count, 0.0, 0.0) for count in (0, 1, 2, 3, 7, 8, 5000)] == [
        0,
        10,
        20,
        40,
        600,
        600,
        600,
    ]
    assert remaining(1, 0.0, 30.0) == 0


def test_failures_after_the_last_success_begin_a_new_row() -> None:
    def pod(end: str) -> Any:
        terminated = {"finishedAt": f"2026-01-01T00:00:{end}Z"}
        return {"metadata": {}, "status": {"containerStatuses": [{"state": {"terminated": terminated}}]}}

    row = Row(5, 1.0).after([pod("10")], [pod("05"), pod("11"), pod("12")])
    assert row.count == 2
    assert row.after([], [pod("30")]).count == 3
    assert row.after([pod("40")], []) == Row()


# --- validation


def refused(cluster: Cluster, made: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        cluster.create(made)
    return [(cause.field, cause.message) for cause in caught.value.causes]


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        pytest.param(
            {"podFailurePolicy": {"rules": [{"action": "FailJob"}]}},
            "spec.podFailurePolicy.rules[0]",
            "Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            id="rule without a requirement",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [{**exit_codes("Count", "In", 1), **on_condition("Count")}]}},
            "spec.podFailurePolicy.rules[0]",
            "Invalid value: specifying both OnExitCodes and OnPodConditions is not supported",
            id="rule with both",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [exit_codes("FailIndex", "In", 1)]}},
            "spec.podFailurePolicy.rules[0].action",
            'Invalid value: "FailIndex": requires the backoffLimitPerIndex to be set',
            id="FailIndex without indexes",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [exit_codes("Count", "In", 0)]}},
            "spec.podFailurePolicy.rules[0].onExitCodes.values[0]",
            "Invalid value: 0: must not be 0 for the In operator",
            id="success is no failure",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [exit_codes("Count", "In", 3, 2)]}},
            "spec.podFailurePolicy.rules[0].onExitCodes.values",
            "Invalid value: [3,2]: must be ordered",
            id="unordered values",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [exit_codes("Count", "In", 3, 3)]}},
            "spec.podFailurePolicy.rules[0].onExitCodes.values[1]",
            "Duplicate value: 3",
            id="twice the same value",
        ),
        pytest.param(
            {"podFailurePolicy": {"rules": [exit_codes("Count", "In", 3, containerName="other")]}},
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName",
            'Invalid value: "other": must be one of the container or initContainer names in the pod template',
            id="unknown container",
        ),
        pytest.param(
            {
                "podFailurePolicy": {"rules": [on_condition("Count")]},
                "podReplacementPolicy": "TerminatingOrFailed",
            },
            "spec.podReplacementPolicy",
            'Unsupported value: "TerminatingOrFailed": supported values: "Failed"',
            id="early replacement with a failure policy",
        ),
        pytest.param(
            {"successPolicy": {"rules": []}},
            "spec.successPolicy",
            'Invalid value: {"Rules":[]}: requires indexed completion mode',
            id="success policy without indexes",
        ),
        pytest.param(
            {"completionMode": "Indexed", "completions": 2, "successPolicy": {"rules": [{}]}},
            "spec.successPolicy.rules[0]",
            "Required value: at least one of succeededCount or succeededIndexes must be specified",
            id="success rule without a requirement",
        ),
        pytest.param(
            {
                "completionMode": "Indexed",
                "completions": 2,
                "successPolicy": {"rules": [{"succeededIndexes": "0,x"}]},
            },
            "spec.successPolicy.rules[0].succeededIndexes",
            'Invalid value: "0,x": error parsing succeededIndexes: cannot convert string to integer for index: "x"',
            id="indexes that are none",
        ),
        pytest.param(
            {
                "completionMode": "Indexed",
                "completions": 3,
                "successPolicy": {"rules": [{"succeededIndexes": "0-1", "succeededCount": 3}]},
            },
            "spec.successPolicy.rules[0].succeededCount",
            "Invalid value: 3: must be less than or equal to 2 "
            "(the number of indexes in the specified succeededIndexes field)",
            id="more than the set has",
        ),
        pytest.param(
            {"completionMode": "Indexed", "completions": 3, "maxFailedIndexes": 1},
            "spec.backoffLimitPerIndex",
            "Required value: when maxFailedIndexes is specified",
            id="failed indexes without their limit",
        ),
        pytest.param(
            {
                "completionMode": "Indexed",
                "completions": 3,
                "backoffLimitPerIndex": 1,
                "maxFailedIndexes": 4,
            },
            "spec.maxFailedIndexes",
            "Invalid value: 4: must be less than or equal to completions",
            id="more failed indexes than there are",
        ),
        pytest.param(
            {"managedBy": "queue"},
            "spec.managedBy",
            'Invalid value: "queue": must be a domain-prefixed path (such as "acme.io/foo")',
            id="manager without a domain",
        ),
    ],
)
def test_what_policies_may_say(cluster: Cluster, spec: dict[str, Any], field: str, message: str) -> None:
    assert (field, message) in refused(cluster, job(**spec))
