from __future__ import annotations

from typing import Any

from fake_api import FakeApi, run, settle

from kubernel.client.recorder import EventRecorder
from kubernel.errors import Forbidden, ServiceUnavailable

POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7"},
}


def events(api: FakeApi) -> list[Any]:
    return [obj for key, obj in api.objects.items() if key[0] == "events"]


def test_an_event_says_what_happened_to_whom_and_who_saw_it() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "kubelet", host="node-1")  # type: ignore[arg-type]
        await recorder.event(POD, "Normal", "Started", "Started container", field_path="spec.containers{web}")
        await settle()
        (event,) = events(api)
        assert event["metadata"]["name"].startswith("web.")
        int(event["metadata"]["name"].removeprefix("web."), 16)
        assert event["metadata"]["namespace"] == "shop"
        assert event["involvedObject"] == {
            "kind": "Pod",
            "namespace": "shop",
            "name": "web",
            "uid": "u1",
            "apiVersion": "v1",
            "resourceVersion": "7",
            "fieldPath": "spec.containers{web}",
        }
        assert event["source"] == {"component": "kubelet", "host": "node-1"}
        assert (event["type"], event["reason"], event["count"]) == ("Normal", "Started", 1)
        assert event["firstTimestamp"] == event["lastTimestamp"] == "2026-01-01T00:00:00Z"

    run(check())


def test_the_same_again_counts_up() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "kubelet")  # type: ignore[arg-type]
        for _ in range(3):
            await recorder.event(POD, "Warning", "BackOff", "back-off")
            await api.clock.advance(10, settle)
        (event,) = events(api)
        assert event["count"] == 3
        assert event["firstTimestamp"] == "2026-01-01T00:00:00Z"
        assert event["lastTimestamp"] == "2026-01-01T00:00:20Z"

    run(check())


def test_an_event_that_expired_is_written_again() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "kubelet")  # type: ignore[arg-type]
        await recorder.event(POD, "Warning", "BackOff", "back-off")
        await settle()
        api.drop("events", events(api)[0]["metadata"]["name"], "shop")
        await recorder.event(POD, "Warning", "BackOff", "back-off")
        await settle()
        assert [event["count"] for event in events(api)] == [2]

    run(check())


def test_many_similar_ones_become_one_combined() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "scheduler")  # type: ignore[arg-type]
        for number in range(14):
            await recorder.event(POD, "Warning", "Failed", f"attempt {number}")
        await settle()
        assert [event["message"] for event in events(api)[:9]] == [f"attempt {n}" for n in range(9)]
        (combined,) = events(api)[9:]
        assert combined["message"] == "(combined from similar events): attempt 13"
        assert combined["count"] == 5

    run(check())


def test_bursts_about_one_object_are_throttled() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "scheduler")  # type: ignore[arg-type]
        for _ in range(40):
            await recorder.event(POD, "Warning", "Failed", "no")
        await settle()
        assert events(api)[0]["count"] == 25
        await api.clock.advance(301, settle)
        await recorder.event(POD, "Warning", "Failed", "no")
        await settle()
        assert events(api)[0]["count"] == 26

    run(check())


def test_refusals_and_outages_never_reach_the_caller() -> None:
    async def check() -> None:
        api = FakeApi()
        recorder = EventRecorder(api, api.clock, "scheduler")  # type: ignore[arg-type]
        api.failures = [Forbidden("terminating")]
        await recorder.event(POD, "Normal", "Lost", "refused")
        await settle()
        assert events(api) == []
        api.failures = [ServiceUnavailable("away")] * 2
        await recorder.event(POD, "Normal", "Late", "kept")
        await api.clock.advance(30, settle)
        assert [event["reason"] for event in events(api)] == ["Late"]
        await recorder.close()

    run(check())
