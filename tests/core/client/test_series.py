from __future__ import annotations

from typing import Any

from fake_api import FakeApi, run, settle

from kubernel.client.series import SeriesRecorder
from kubernel.errors import ServiceUnavailable

POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
}


def events(api: FakeApi) -> list[Any]:
    return [obj for key, obj in api.objects.items() if key[0] == "events.v1.events.k8s.io"]


def recorder(api: FakeApi) -> SeriesRecorder:
    return SeriesRecorder(api, api.clock, "default-scheduler", host="a")  # type: ignore[arg-type]


def test_an_event_says_what_was_done_to_whom_and_by_whom() -> None:
    async def check() -> None:
        api = FakeApi()
        other = {**POD, "metadata": {"name": "db", "namespace": "shop", "uid": "u2"}}
        recorder(api).event(POD, "Normal", "Preempted", "Preempting", "Preempted by u2", related=other)
        await settle()
        (event,) = events(api)
        assert event["metadata"]["name"].startswith("web.")
        assert event["regarding"] == {
            "kind": "Pod",
            "namespace": "shop",
            "name": "web",
            "uid": "u1",
            "apiVersion": "v1",
            "resourceVersion": "7",
        }
        assert event["related"]["name"] == "db"
        assert (event["reportingController"], event["reportingInstance"]) == (
            "default-scheduler",
            "default-scheduler-a",
        )
        assert (event["action"], event["reason"], event["type"]) == ("Preempting", "Preempted", "Normal")
        assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"
        assert "series" not in event

    run(check())


def test_the_second_time_makes_a_series_whose_end_is_told() -> None:
    async def check() -> None:
        api = FakeApi()
        its = recorder(api)
        for _ in range(4):
            its.event(POD, "Warning", "FailedScheduling", "Scheduling", "no room")
            await api.clock.advance(10, settle)
        (event,) = events(api)
        assert event["series"] == {"count": 2, "lastObservedTime": "2026-01-01T00:00:10.000000Z"}
        await api.clock.advance(900, settle)
        (event,) = events(api)
        assert event["series"] == {"count": 4, "lastObservedTime": "2026-01-01T00:00:30.000000Z"}
        its.event(POD, "Warning", "FailedScheduling", "Scheduling", "no room")
        await settle()
        assert len(events(api)) == 2

    run(check())


def test_another_version_of_the_object_is_another_event() -> None:
    async def check() -> None:
        api = FakeApi()
        its = recorder(api)
        its.event(POD, "Warning", "FailedScheduling", "Scheduling", "no room")
        newer = {**POD, "metadata": {**POD["metadata"], "resourceVersion": "8"}}  # type: ignore[dict-item]
        its.event(newer, "Warning", "FailedScheduling", "Scheduling", "no room")
        await settle()
        assert len(events(api)) == 2

    run(check())


def test_a_note_longer_than_the_api_takes_is_cut() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder(api).event(POD, "Warning", "FailedScheduling", "Scheduling", "x" * 2000)
        await settle()
        (event,) = events(api)
        assert event["note"] == "x" * 1020 + " ..."

    run(check())


def test_an_event_is_tried_again_while_the_server_is_away() -> None:
    async def check() -> None:
        api = FakeApi()
        api.failures = [ServiceUnavailable("away"), OSError()]
        recorder(api).event(POD, "Normal", "Scheduled", "Binding", "done")
        await settle()
        assert events(api) == []
        await api.clock.advance(30, settle)
        assert len(events(api)) == 1

    run(check())
