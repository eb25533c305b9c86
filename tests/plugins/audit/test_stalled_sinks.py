"""Sinks that do not keep up: what requests notice of it under either overflow policy."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from test_audit import PODS, Raw, World, check, handle, pod, policy
from webhook_kit import WebhookServer

from kubernel.clock import RealClock
from kubernel_plugins.audit import log, webhook
from kubernel_plugins.audit.queue import Overflow
from kubernel_plugins.audit.sink import Sink

BUFFER = 5
ONLY_CREATES = ({"level": "Metadata", "verbs": ["create"]},)


@contextlib.asynccontextmanager
async def running(plugin: Sink, tasks: list[Any]) -> AsyncIterator[None]:
    await plugin.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await plugin.stop()


async def create(raw: Raw, name: str) -> int:
    return (await raw.request("POST", PODS, pod(name))).status


async def lost(raw: Raw, sink: str) -> int:
    """As the metrics tell it."""
    prefix = f'apiserver_audit_error_total{{plugin="{sink}"}} '
    lines = (await raw.request("GET", "/metrics")).body.decode().splitlines()
    return int(next(line for line in lines if line.startswith(prefix)).removeprefix(prefix))


def serve(body: Any, directory: Path, plugin: Sink) -> None:
    settings = policy(directory, *ONLY_CREATES, omitStages=["RequestReceived"])
    check(body, directory / "data", settings=settings, extra=[(f"audit/{plugin.name}", plugin)])


@pytest.fixture
def silent(tmp_path: Path) -> Any:
    """A webhook that takes what it is sent and answers nothing until ``held`` is set."""
    server = WebhookServer(tmp_path / "server")
    server.raw["/hang"] = lambda told: (200, b"{}")
    yield server
    server.held.set()
    server.stop()


def silent_sink(server: WebhookServer, directory: Path, overflow: Overflow, tasks: list[Any]) -> Sink:
    settings = webhook.Settings(
        server.kubeconfig(directory, "/hang"), batch_size=1, timeout=600.0, buffer=BUFFER, overflow=overflow
    )
    return webhook.Plugin(settings, handle(directory, RealClock(), tasks))


def test_with_drop_no_request_waits_for_a_webhook_that_never_answers_and_the_loss_is_counted(
    silent: Any, tmp_path: Path
) -> None:
    tasks: list[Any] = []
    plugin = silent_sink(silent, tmp_path, "drop", tasks)

    async def body(world: World, raw: Raw) -> None:
        async with running(plugin, tasks):
            answers = [await create(raw, f"p{number}") for number in range(30)]
            assert answers == [201] * 30
            # One is on its way, as many as the buffer takes wait.
            assert await lost(raw, "webhook") == 30 - 1 - BUFFER
            assert not silent.held.is_set()
            silent.held.set()
            while len(silent.asked) < 1 + BUFFER:
                await asyncio.sleep(0)

    serve(body, tmp_path, plugin)


def test_with_block_requests_wait_for_a_webhook_that_never_answers_only_when_the_buffer_is_full(
    silent: Any, tmp_path: Path
) -> None:
    tasks: list[Any] = []
    plugin = silent_sink(silent, tmp_path, "block", tasks)

    async def body(world: World, raw: Raw) -> None:
        async with running(plugin, tasks):
            answers = [await create(raw, f"p{number}") for number in range(1 + BUFFER)]
            assert answers == [201] * (1 + BUFFER)
            other = await Raw.open(world)
            waiting = asyncio.ensure_future(create(raw, "last"))
            # What is not told to anyone is answered as ever; the write itself is done.
            while (await other.request("GET", f"{PODS}/last")).status != 200:
                pass
            for _ in range(10):
                assert (await other.request("GET", f"{PODS}/p0")).status == 200
            assert not waiting.done()
            silent.held.set()
            assert await waiting == 201
            while len(silent.asked) < 2 + BUFFER:
                await asyncio.sleep(0)
            assert await lost(other, "webhook") == 0
            names = [item["objectRef"]["name"] for _, told in silent.asked for item in told["items"]]
            assert names == [*(f"p{number}" for number in range(1 + BUFFER)), "last"]

    serve(body, tmp_path, plugin)


@pytest.mark.parametrize("overflow", ["drop", "block"])
def test_a_full_disk_loses_and_counts_events_and_no_request_waits(overflow: Overflow, tmp_path: Path) -> None:
    tasks: list[Any] = []
    plugin = log.Plugin(log.Settings(buffer=BUFFER, overflow=overflow), handle(tmp_path, RealClock(), tasks))
    place = tmp_path / "logs" / "audit.log"

    async def body(world: World, raw: Raw) -> None:
        async with running(plugin, tasks):
            plugin._close()
            plugin._file = os.open("/dev/full", os.O_WRONLY)
            answers = [await create(raw, f"p{number}") for number in range(30)]
            assert answers == [201] * 30
            while await lost(raw, "log") < 30:
                pass
            plugin._close()  # there is room again, and the next event finds it
            assert await create(raw, "after") == 201
            while not place.read_bytes():
                await asyncio.sleep(0)
            (line,) = place.read_text().splitlines()
            assert json.loads(line)["objectRef"]["name"] == "after"
            assert await lost(raw, "log") == 30

    serve(body, tmp_path, plugin)


def test_a_disk_that_fills_in_the_middle_of_a_line_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = log.Plugin(log.Settings(), handle(tmp_path, RealClock(), []))
    real = os.write

    def half(file: int, data: memoryview) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:10])

    plugin._append([b'{"event":1}'] * 3)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            plugin._append([b'{"event":2}', b'{"event":3}'])
    plugin._append([b'{"event":4}'])
    plugin._close()
    lines = (tmp_path / "logs" / "audit.log").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == [1, 1, 1, 4]
