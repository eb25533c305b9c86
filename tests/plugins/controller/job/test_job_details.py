"""Rules of Jobs that no whole run shows well: which pod, which time, which number."""

from __future__ import annotations

from typing import Any

import pytest

from kubernel_plugins.controller.job.account import Account
from kubernel_plugins.controller.job.backoff import finished_at
from kubernel_plugins.controller.job.indexes import failures_of_index, index_of, parse_ranges, with_index

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
BEGIN = 1_767_225_600


def stamp(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}Z"


def container(name: str, ended: int | None) -> Any:
    return {"name": name, "state": {"terminated": {"finishedAt": stamp(ended)}} if ended is not None else {}}


def pod(**more: Any) -> Any:
    return {"metadata": {"name": "p", "uid": "p", "creationTimestamp": stamp(1)}, "spec": {}, **more}


SIDECAR = {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]}


@pytest.mark.parametrize(
    ("found", "second"),
    [
        pytest.param(pod(status={"containerStatuses": [container("a", 3), container("b", 7)]}), 7, id="last"),
        pytest.param(
            pod(
                spec=SIDECAR,
                status={
                    "containerStatuses": [container("a", 3)],
                    "initContainerStatuses": [container("s", 9), container("i", 20)],
                },
            ),
            9,
            id="a sidecar ends after the others, an init container does not count",
        ),
        pytest.param(
            pod(
                spec=SIDECAR,
                status={
                    "containerStatuses": [container("a", 3)],
                    "initContainerStatuses": [container("s", None)],
                    "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": stamp(5)}],
                },
            ),
            5,
            id="not all have ended: since when it is not ready",
        ),
        pytest.param(
            pod(
                metadata={
                    "creationTimestamp": stamp(1),
                    "deletionTimestamp": stamp(50),
                    "deletionGracePeriodSeconds": 30,
                }
            ),
            20,
            id="when it was told to go",
        ),
        pytest.param(pod(), 1, id="made"),
    ],
)
def test_when_a_pod_ended(found: Any, second: int) -> None:
    assert finished_at(found) == BEGIN + second


@pytest.mark.parametrize(
    ("text", "index"),
    [("0", 0), ("17", 17), ("-1", None), ("x", None), ("", None), ("\u00b2", None), ("1" * 25, None)],
)
def test_an_index_is_a_number_that_is_not_negative(text: str, index: int | None) -> None:
    assert index_of(pod(metadata={"annotations": {INDEX: text}})) == index


@pytest.mark.parametrize(
    ("text", "failures"),
    [("3", 3), ("2147483647", 2147483647), ("2147483648", 0), ("-1", 0), ("many", 0)],
)
def test_a_count_of_failures_that_is_none_is_nought(text: str, failures: int) -> None:
    assert failures_of_index(pod(metadata={"annotations": {FAILURES: text}})) == (failures, 0)


def test_the_index_stays_in_a_name_that_is_too_long() -> None:
    job = {"metadata": {"name": "a" * 63}}
    made = with_index(pod(spec={"containers": [{"name": "m"}]}), job, 12)
    assert made["metadata"]["generateName"] == "a" * 54 + "-12-"
    assert made["spec"]["hostname"] == "a" * 63 + "-12"


def test_more_ends_than_two_of_a_range_are_passed_over() -> None:
    assert parse_ranges("1-3-9,5", 8) == {1, 2, 3, 5}


@pytest.mark.parametrize(
    ("former", "latter", "kept"),
    [
        pytest.param((1, 5), (2, 9), "latter", id="failed more often and later"),
        pytest.param((2, 5), (1, 9), "former", id="failed less often"),
        pytest.param((1, 9), (2, 5), "former", id="failed more often but earlier"),
        pytest.param((1, 5), (1, 5), "latter", id="alike"),
    ],
)
def test_the_failed_pod_of_an_index_that_is_kept_for_its_successor(
    former: tuple[int, int], latter: tuple[int, int], kept: str
) -> None:
    def failed(name: str, failures: int, ended: int) -> Any:
        metadata = {
            "name": name,
            "uid": name,
            "finalizers": [FINALIZER],
            "annotations": {INDEX: "0", FAILURES: str(failures)},
        }
        status = {"phase": "Failed", "containerStatuses": [container("m", ended)]}
        return {"metadata": metadata, "spec": {}, "status": status}

    spec = {"completionMode": "Indexed", "completions": 1, "backoffLimitPerIndex": 9}
    account = Account({"spec": spec}, [failed("former", *former), failed("latter", *latter)])
    assert account.delayed[0]["metadata"]["name"] == kept


def test_no_more_than_five_hundred_ends_are_noted_at_once_with_those_that_are_noted_already() -> None:
    def ended(number: int) -> Any:
        name = f"p{number}"
        metadata = {"name": name, "uid": name, "finalizers": [FINALIZER]}
        return {"metadata": metadata, "spec": {}, "status": {"phase": "Succeeded"}}

    status = {"uncountedTerminatedPods": {"succeeded": [f"p{number}" for number in range(100)]}}
    account = Account({"spec": {"completions": 900}, "status": status}, [ended(n) for n in range(700)])
    _, complete = account.note(failing=False, ending=False)
    assert not complete
    assert len(account.noted["succeeded"]) == 500
