"""Priority and fairness as clients see it over HTTPS."""

from __future__ import annotations

import asyncio
from typing import Any

from http_harness import FLOW, PODS, RBAC, Raw, World, check, pod

from kubernel_plugins.api import http

SCHEMAS = f"/apis/{FLOW}/v1/flowschemas"
LEVELS = f"/apis/{FLOW}/v1/prioritylevelconfigurations"
TOKENS = {"t-jane": "jane", "t-joe": "joe"}
ONE_SEAT = http.Settings(max_inflight=1, max_mutating_inflight=0, shutdown_grace=0.2)
JANE = {"Authorization": "Bearer t-jane"}
JOE = {"Authorization": "Bearer t-joe"}
UIDS = ("x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid")


def schema(name: str, level: str, *users: str) -> dict[str, Any]:
    rule = {
        "subjects": [{"kind": "User", "user": {"name": user}} for user in users],
        "resourceRules": [
            {
                "verbs": ["*"],
                "apiGroups": ["*"],
                "resources": ["*"],
                "namespaces": ["*"],
                "clusterScope": True,
            }
        ],
    }
    return {
        "apiVersion": f"{FLOW}/v1",
        "kind": "FlowSchema",
        "metadata": {"name": name},
        "spec": {
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": 500,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [rule],
        },
    }


def level(name: str, queues: int, length: int, shares: int = 1) -> dict[str, Any]:
    response: dict[str, Any] = {"type": "Reject"}
    if queues:
        queueing = {"queues": queues, "handSize": 1, "queueLengthLimit": length}
        response = {"type": "Queue", "queuing": queueing}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": 0, "limitResponse": response}
    return {
        "apiVersion": f"{FLOW}/v1",
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": limited},
    }


async def prepare(raw: Raw) -> None:
    """Jane and Joe may do everything."""
    for user in ("jane", "joe"):
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": user},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "apiGroup": RBAC, "name": user}],
        }
        assert (await raw.request("POST", f"/apis/{RBAC}/v1/clusterrolebindings", binding)).status == 201


async def slow(world: World, headers: dict[str, str]) -> Raw:
    """A request that runs until its body comes."""
    raw = await Raw.open(world, world.context(admin=False))
    told = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    told += "Content-Type: application/json\r\nContent-Length: 2\r\n"
    await raw.send(f"POST {PODS} HTTP/1.1\r\nHost: localhost\r\n{told}\r\n".encode())
    admin = await Raw.open(world)
    while not any(
        row["Verb"] == "create" for row in await table(admin, "dump_requests?includeRequestDetails=1")
    ):
        await asyncio.sleep(0)
    return raw


async def table(raw: Raw, what: str) -> list[dict[str, str]]:
    answer = await raw.request("GET", f"/debug/api_priority_and_fairness/{what}")
    assert answer.status == 200
    head, *rows = [[cell.strip() for cell in line.split(",")] for line in answer.body.decode().splitlines()]
    return [dict(zip(head, row, strict=True)) for row in rows]


async def counted(raw: Raw, name: str, column: str) -> str:
    return next(
        row[column] for row in await table(raw, "dump_priority_levels") if row["PriorityLevelName"] == name
    )


def test_answers_say_how_they_were_classified(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        made = (await raw.request("POST", LEVELS, level("mine", 0, 0))).json
        flow = (await raw.request("POST", SCHEMAS, schema("mine", "mine", "jane"))).json
        uids = (flow["metadata"]["uid"], made["metadata"]["uid"])
        await raw.request("POST", PODS, pod("a"))
        client = await Raw.open(world, world.context(admin=False))
        for method, path in (
            ("GET", PODS),
            ("GET", f"{PODS}/a"),
            ("GET", f"{PODS}/none"),
            ("GET", "/api/v1/nothing"),
        ):
            answer = await client.request(method, path, headers=JANE)
            assert tuple(answer.headers[name] for name in UIDS) == uids, path
        other = await client.request("GET", PODS, headers=JOE)
        assert tuple(other.headers[name] for name in UIDS) != uids
        # Watches tell it at their beginning; what is neither a watch nor short is not classified.
        watched = await client.request("GET", f"{PODS}?watch=1&timeoutSeconds=1", headers=JANE)
        assert tuple(watched.headers[name] for name in UIDS) == uids

    check(body, tmp_path, tokens=TOKENS)


def test_who_finds_no_seat_in_a_level_without_queues_is_told_when_to_come_back(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        first = await slow(world, JANE)
        client = await Raw.open(world, world.context(admin=False))
        answer = await client.request("GET", PODS, headers=JOE)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.body == b"Too many requests, please try again later.\n"
        assert all(name in answer.headers for name in UIDS)
        # The administrators' group is exempt.
        assert (await raw.request("GET", PODS)).status == 200
        await first.send(b"{}")
        assert (await first.answer()).status == 422
        assert (await client.request("GET", PODS, headers=JOE)).status == 200
        assert await counted(raw, "catch-all", "RejectedRequests") == "1"
        metrics = (await raw.request("GET", "/metrics")).body.decode()
        labels = 'priority_level="catch-all",flow_schema="catch-all",reason="concurrency-limit"'
        assert f"apiserver_flowcontrol_rejected_requests_total{{{labels}}} 1" in metrics
        assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="catch-all"} 1' in metrics

    check(body, tmp_path, tokens=TOKENS, settings=ONE_SEAT)


def test_requests_wait_in_queues_until_there_is_a_seat(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        await raw.request("POST", LEVELS, level("mine", 1, 1))
        await raw.request("POST", SCHEMAS, schema("mine", "mine", "jane"))
        first = await slow(world, JANE)
        second = await Raw.open(world, world.context(admin=False))
        waiting = asyncio.create_task(second.request("GET", PODS, headers=JANE))
        while await counted(raw, "mine", "WaitingRequests") != "1":
            await asyncio.sleep(0)
        rows = await table(raw, "dump_requests")
        assert sorted(
            (row["QueueIndex"], row["RequestIndexInQueue"], row["FlowDistingsher"])
            for row in rows
            if row["PriorityLevelName"] == "mine"
        ) == [("0", "-1", ""), ("0", "0", "")]
        (queue,) = [row for row in await table(raw, "dump_queues") if row["PriorityLevelName"] == "mine"]
        assert (queue["PendingRequests"], queue["ExecutingRequests"], queue["SeatsInUse"]) == ("1", "1", "1")
        third = await Raw.open(world, world.context(admin=False))
        assert (await third.request("GET", PODS, headers=JANE)).status == 429
        # Another level has seats of its own.
        assert (await third.request("GET", PODS, headers=JOE)).status == 200
        assert not waiting.done()
        await first.send(b"{}")
        assert (await waiting).status == 200
        assert await counted(raw, "mine", "IsIdle") == "true"

    check(body, tmp_path, tokens=TOKENS, settings=ONE_SEAT)


def test_who_waits_and_hangs_up_leaves_the_queue(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        await raw.request("POST", LEVELS, level("mine", 1, 5))
        await raw.request("POST", SCHEMAS, schema("mine", "mine", "jane"))
        first = await slow(world, JANE)
        second = await Raw.open(world, world.context(admin=False))
        await second.send(
            f"GET {PODS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t-jane\r\n\r\n".encode()
        )
        while await counted(raw, "mine", "WaitingRequests") != "1":
            await asyncio.sleep(0)
        await second.close()
        while await counted(raw, "mine", "WaitingRequests") != "0":
            await asyncio.sleep(0)
        assert await counted(raw, "mine", "CancelledRequests") == "1"
        await first.send(b"{}")
        assert (await first.answer()).status == 422

    check(body, tmp_path, tokens=TOKENS, settings=ONE_SEAT)


def test_a_watch_keeps_its_seat_only_until_it_has_begun(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        await raw.request("POST", PODS, pod("a"))
        watcher = await Raw.open(world, world.context(admin=False))
        await watcher.send(
            f"GET {PODS}?watch=1 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer t-jane\r\n\r\n".encode()
        )
        assert (await watcher.head())[0] == 200
        assert b"ADDED" in await anext(watcher.chunks())
        assert await counted(raw, "catch-all", "ExecutingRequests") == "0"
        client = await Raw.open(world, world.context(admin=False))
        assert (await client.request("GET", PODS, headers=JOE)).status == 200

    check(body, tmp_path, tokens=TOKENS, settings=ONE_SEAT)


def test_a_level_that_is_deleted_stays_until_its_requests_are_done(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        await prepare(raw)
        await raw.request("POST", LEVELS, level("mine", 1, 5))
        await raw.request("POST", SCHEMAS, schema("mine", "mine", "jane"))
        first = await slow(world, JANE)
        await raw.request("DELETE", f"{LEVELS}/mine")
        client = await Raw.open(world, world.context(admin=False))
        # Its schema leads nowhere now: Jane is caught like everybody else.
        answer = await client.request("GET", PODS, headers=JANE)
        assert answer.headers[UIDS[1]] == ""
        assert await counted(raw, "mine", "IsQuiescing") == "true"
        await first.send(b"{}")
        assert (await first.answer()).status == 422
        await client.request("GET", PODS, headers=JOE)
        assert "mine" not in [row["PriorityLevelName"] for row in await table(raw, "dump_priority_levels")]

    check(body, tmp_path, tokens=TOKENS, settings=http.Settings(max_inflight=4, shutdown_grace=0.2))


def test_dumps_are_for_those_who_may_see_them(tmp_path: Any) -> None:
    async def body(world: World, raw: Raw) -> None:
        client = await Raw.open(world, world.context(admin=False))
        path = "/debug/api_priority_and_fairness/dump_priority_levels"
        assert (await client.request("GET", path, headers=JANE)).status == 403
        text = (await raw.request("GET", path)).body.decode().splitlines()
        assert text[0].startswith("PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ")
        assert [line.split(",")[0] for line in text[1:]] == ["catch-all", "exempt"]
        assert (await raw.request("GET", "/debug/api_priority_and_fairness/none")).status == 404

    check(body, tmp_path, tokens=TOKENS)
