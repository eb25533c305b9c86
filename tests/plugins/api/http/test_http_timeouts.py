"""How long a request may take."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from http_harness import Raw, run, serving

from kubernel.clock import VirtualClock
from kubernel.plugin import hookimpl
from kubernel_plugins.api import http

MAPS = "/api/v1/namespaces/default/configmaps"
NEW = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}}


class Slow:
    """An admission plugin that holds each write until it is let go."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    @hookimpl
    async def kubernel_admit(self, request: Any) -> None:
        self.asked.set()
        await self.go.wait()


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("query", "allotted"),
    [("", 60.0), ("?timeout=5s", 5.0), ("?timeout=2m", 60.0), ("?timeout=0s", 60.0), ("?timeout=", 60.0)],
)
def test_a_request_that_takes_too_long_is_answered_504_and_what_it_began_goes_on(
    tmp_path: Path, query: str, allotted: float
) -> None:
    async def main() -> None:
        clock, slow = VirtualClock(), Slow()
        async with serving(tmp_path, clock=clock, extra=[("admission/slow", slow)]) as world:
            raw = await Raw.open(world)
            asking = asyncio.ensure_future(raw.request("POST", MAPS + query, NEW))
            await slow.asked.wait()
            await clock.advance(allotted - 0.5, settle)
            assert not asking.done()
            await clock.advance(1, settle)
            answer = await asking
            assert answer.status == 504
            assert answer.json == {
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Failure",
                "message": "Timeout: request did not complete within the allotted timeout",
                "reason": "Timeout",
                "details": {},
                "code": 504,
            }
            assert answer.headers["connection"] == "close"
            other = await Raw.open(world)
            assert (await other.request("GET", f"{MAPS}/a")).status == 404
            slow.go.set()
            while (await other.request("GET", f"{MAPS}/a")).status == 404:
                await settle()

    run(main())


def test_a_timeout_that_is_no_duration_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as world:
            raw = await Raw.open(world)
            for method, path in (("GET", f"{MAPS}/a"), ("GET", MAPS), ("POST", MAPS)):
                answer = await raw.request(method, f"{path}?timeout=soon", NEW if method == "POST" else None)
                wrong = 'invalid timeout specified in the request URL - time: invalid duration "soon"'
                assert (answer.status, answer.json["message"]) == (400, wrong)

    run(main())


def test_a_watch_and_a_quick_request_do_not_end_with_the_time_of_requests(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        settings = http.Settings(request_timeout=10.0, shutdown_grace=0.5)
        async with serving(tmp_path, settings=settings, clock=clock) as world:
            raw, watching = await Raw.open(world), await Raw.open(world)
            asked = f"GET {MAPS}?watch=1&timeout=1s HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await watching.send(asked.encode())
            assert (await watching.head())[0] == 200
            await clock.advance(30, settle)
            assert (await raw.request("POST", MAPS, NEW)).status == 201
            await clock.advance(30, settle)
            assert (await raw.request("GET", f"{MAPS}/a")).status == 200
            async for piece in watching.chunks():
                assert b'"ADDED"' in piece
                break

    run(main())
