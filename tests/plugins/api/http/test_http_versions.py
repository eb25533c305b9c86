"""resourceVersion and resourceVersionMatch of GET, LIST and WATCH."""

from __future__ import annotations

import re
from typing import Any

import pytest
from http_harness import PODS, Raw, World, check, pod

MATCH = "resourceVersionMatch"
FUTURE = "9999999999"


async def _versions(raw: Raw) -> tuple[str, str]:
    """The revisions of one pod before and after a change."""
    first = (await raw.request("POST", PODS, pod("a"))).json
    second = (await raw.request("PUT", f"{PODS}/a", first | {"spec": {"changed": True}})).json
    return first["metadata"]["resourceVersion"], second["metadata"]["resourceVersion"]


@pytest.mark.parametrize(
    ("query", "which"),
    [
        pytest.param("", "second", id="latest"),
        pytest.param("resourceVersion=0", "second", id="any"),
        pytest.param("resourceVersion={first}", "second", id="not older"),
        pytest.param("resourceVersion={first}&resourceVersionMatch=NotOlderThan", "second", id="said so"),
        pytest.param("resourceVersion={first}&resourceVersionMatch=Exact", "first", id="exact, past"),
        pytest.param("resourceVersion={second}&resourceVersionMatch=Exact", "second", id="exact, now"),
    ],
)
def test_get_and_list_read_the_version_that_is_asked_for(tmp_path: Any, query: str, which: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        first, second = await _versions(raw)
        expected = {"first": first, "second": second}[which]
        filled = query.format(first=first, second=second)
        got = (await raw.request("GET", f"{PODS}/a?{filled}")).json
        assert got["metadata"]["resourceVersion"] == expected
        listed = (await raw.request("GET", f"{PODS}?{filled}")).json
        assert [item["metadata"]["resourceVersion"] for item in listed["items"]] == [expected]

    check(body, tmp_path)


def test_an_exact_get_from_before_the_creation_finds_nothing(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        first, _ = await _versions(raw)
        answer = await raw.request("GET", f"{PODS}/a?resourceVersion={int(first) - 1}&{MATCH}=Exact")
        assert (answer.status, answer.json["reason"]) == (404, "NotFound")

    check(body, tmp_path)


@pytest.mark.parametrize("path", [pytest.param(PODS, id="list"), pytest.param(f"{PODS}/a", id="get")])
@pytest.mark.parametrize(
    "match",
    [
        pytest.param("", id="unset"),
        pytest.param(f"&{MATCH}=NotOlderThan", id="not older"),
        pytest.param(f"&{MATCH}=Exact", id="exact"),
    ],
)
def test_the_future_is_a_timeout_that_names_its_cause(tmp_path: Any, path: str, match: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        await _versions(raw)
        answer = await raw.request("GET", f"{path}?resourceVersion={FUTURE}{match}")
        told = answer.json
        assert (answer.status, told["reason"]) == (504, "Timeout")
        assert re.fullmatch(
            f"Timeout: Too large resource version: {FUTURE}, current: [1-9][0-9]*", told["message"]
        )
        assert told["details"]["causes"] == [
            {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        ]
        assert told["details"]["retryAfterSeconds"] == 1

    check(body, tmp_path)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        pytest.param(f"{PODS}/a?resourceVersion=x", 500, 'parsing "x": invalid syntax', id="get, malformed"),
        pytest.param(f"{PODS}?resourceVersion=x", 400, 'parsing "x": invalid syntax', id="list, malformed"),
        pytest.param(f"{PODS}?watch=1&resourceVersion=x", 500, "invalid syntax", id="watch, malformed"),
        pytest.param(
            f"{PODS}?{MATCH}=Exact",
            422,
            "is forbidden unless resourceVersion is provided",
            id="list, match alone",
        ),
        pytest.param(
            f"{PODS}?resourceVersion=0&{MATCH}=Exact", 422, '"exact" is forbidden for', id="list, exactly any"
        ),
        pytest.param(
            f"{PODS}?resourceVersion=1&{MATCH}=Newest",
            422,
            'Unsupported value: "Newest": supported values: "Exact", "NotOlderThan", ""',
            id="list, unknown match",
        ),
        pytest.param(
            f"{PODS}?watch=1&resourceVersion=1&{MATCH}=NotOlderThan",
            422,
            "is forbidden for watch unless sendInitialEvents is provided",
            id="watch, match alone",
        ),
        pytest.param(
            f"{PODS}?watch=1&sendInitialEvents=true",
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            id="watch, initial events alone",
        ),
        pytest.param(
            f"{PODS}?sendInitialEvents=true",
            422,
            "sendInitialEvents is forbidden for list",
            id="list, initial events",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path: Any, path: str, status: int, message: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        await _versions(raw)
        answer = await raw.request("GET", path)
        assert answer.status == status
        assert message in answer.json["message"]

    check(body, tmp_path)


def test_a_continue_token_brings_its_own_version(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for name in "abc":
            await raw.request("POST", PODS, pod(name))
        page = (await raw.request("GET", f"{PODS}?limit=1")).json
        assert page["metadata"]["remainingItemCount"] == 2
        token = page["metadata"]["continue"]
        answer = await raw.request("GET", f"{PODS}?limit=1&continue={token}&resourceVersion=1")
        assert answer.status == 400
        assert answer.json["message"] == "specifying resource version is not allowed when using continue"
        rest = (await raw.request("GET", f"{PODS}?limit=2&continue={token}")).json
        assert rest["metadata"]["resourceVersion"] == page["metadata"]["resourceVersion"]
        assert "remainingItemCount" not in rest["metadata"]

    check(body, tmp_path)


def test_a_selected_chunk_does_not_count_what_remains(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        for name in "abc":
            await raw.request("POST", PODS, pod(name))
        page = (await raw.request("GET", f"{PODS}?limit=1&labelSelector=!nothing")).json
        assert page["metadata"]["continue"]
        assert "remainingItemCount" not in page["metadata"]

    check(body, tmp_path)


@pytest.mark.parametrize("query", [f"{MATCH}=Exact", f"resourceVersion=0&{MATCH}=Exact"])
def test_a_get_of_no_certain_version_takes_any_match(tmp_path: Any, query: str) -> None:
    async def body(world: World, raw: Raw) -> None:
        await _versions(raw)
        answer = await raw.request("GET", f"{PODS}/a?{query}")
        assert answer.status == 200

    check(body, tmp_path)
