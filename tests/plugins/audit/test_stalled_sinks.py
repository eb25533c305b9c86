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


class Silent:
    """A webhook that takes what it is sent and answers nothing until ``held`` is set; ``told`` are the names."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / "kubeconfig"
        self.held = asyncio.Event()
        self.told: list[str] = []
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        cluster = {"server": f"http://127.0.0.1:{port}"}
        kubeconfig = {
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "a", "user": {}}],
        }
        self._place.write_text(json.dumps(kubeconfig))
        async with server:
            yield
            for writer in self._writers:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                events = json.loads(await reader.readexactly(length))
                self.told += [event["objectRef"]["name"] for event in events["items"]]
                await self.held.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    def sink(self, overflow: Overflow, tasks: list[Any]) -> Sink:
        settings = webhook.Settings(
            str(self._place), batch_size=1, timeout=600.0, buffer=BUFFER, overflow=overflow
        )
        return webhook.Plugin(settings, handle(self._place.parent, RealClock(), tasks))


def test_with_drop_no_request_waits_for_a_webhook_that_never_answers_and_the_loss_is_counted(
    tmp_path: Path,
) -> None:
    tasks: list[Any] = []
    silent = Silent(tmp_path)
    plugin = silent.sink("drop", tasks)

    async def body(world: World, raw: Raw) -> None:
        async with silent.listening(), running(plugin, tasks):
            answers = [await create(raw, f"p{number}") for number in range(30)]
            assert answers == [201] * 30
            # One is on its way, as many as the buffer takes wait.
            assert await lost(raw, "webhook") == 30 - 1 - BUFFER
            assert not silent.held.is_set()

    serve(body, tmp_path, plugin)


def test_with_block_requests_wait_for_a_webhook_that_never_answers_only_when_the_buffer_is_full(
    tmp_path: Path,
) -> None:
    tasks: list[Any] = []
    silent = Silent(tmp_path)
    plugin = silent.sink("block", tasks)

    async def body(world: World, raw: Raw) -> None:
        async with silent.listening(), running(plugin, tasks):
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
            while len(silent.told) < 2 + BUFFER:
                await asyncio.sleep(0)
            assert await lost(other, "webhook") == 0
            assert silent.told == [*(f"p{number}" for number in range(1 + BUFFER)), "last"]

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
