"""One running container: its leader, its output, its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from kubernel_plugins.runtime.process.streams import OutputQueue, Reader, Writer, resize_terminal
from kubernel_plugins.runtime.process.sweep import exited

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel_plugins.runtime.process.launch import Launched
    from kubernel_plugins.runtime.process.logfile import LogFile
    from kubernel_plugins.runtime.process.sweep import Sweeper

__all__ = ["Attachment", "Ended", "ProcessExecution", "RunningContainer"]


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """``code`` is 128+n when signal n ended it."""

    code: int
    signal: int


def _ended(process: subprocess.Popen[bytes]) -> Ended:
    status = process.wait()
    return Ended(status, 0) if status >= 0 else Ended(128 - status, -status)


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal the group of a leader that we have not reaped: its id cannot have been given away."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


class RunningContainer:
    def __init__(
        self, launched: Launched, log: LogFile, sweeper: Sweeper, marker: bytes, clock: Clock, tty: bool
    ) -> None:
        self.process = launched.process
        self.tty = tty
        self._pidfd = launched.pidfd
        self._log = log
        self._sweeper = sweeper
        self._marker = marker
        self._clock = clock
        self._terminal = launched.stdout if tty else -1
        self._attached: set[OutputQueue] = set()
        self.executions: set[ProcessExecution] = set()
        self.stdin = Writer(launched.stdin) if launched.stdin >= 0 else None
        self._readers = [Reader(launched.stdout, lambda data: self._output(1, data))]
        if launched.stderr >= 0:
            self._readers.append(Reader(launched.stderr, lambda data: self._output(2, data)))
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def watch(self) -> Ended:
        """Wait for the leader's end, kill whatever it left, deliver the last output."""
        await exited(self._pidfd)
        # The leader stays a zombie until the sweep is over, so nobody else can get its pid.
        signal_group(self.process, signal.SIGKILL)
        await self._sweeper.clear(self.process.pid, self._marker)
        result = _ended(self.process)
        for reader in self._readers:
            reader.finish()
        self._terminal = -1
        if self.stdin is not None:
            self.stdin.close()
        self._log.close()
        for queue in self._attached:
            queue.close()
        os.close(self._pidfd)
        self.ended.set_result(result)
        return result

    async def stop(self, grace: float, first: int) -> None:
        """Signal ``first`` to the group, SIGKILL after ``grace`` seconds."""
        if grace > 0:
            signal_group(self.process, first)
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(grace):
                    await asyncio.shield(self.ended)
        if not self.ended.done():
            signal_group(self.process, signal.SIGKILL)
            await asyncio.shield(self.ended)

    def _output(self, stream: int, data: bytes) -> None:
        self._log.write("stdout" if stream == 1 else "stderr", data)
        for queue in list(self._attached):
            queue.put(stream, data)
            if queue.full:
                # Whoever attaches and does not read must not stop the container.
                queue.close()
                self._attached.discard(queue)

    def resize(self, width: int, height: int) -> None:
        if self._terminal >= 0:
            resize_terminal(self._terminal, width, height)

    def attach(self) -> OutputQueue:
        queue = OutputQueue()
        self._attached.add(queue)
        if self.ended.done():
            queue.close()
        return queue

    def detach(self, queue: OutputQueue) -> None:
        self._attached.discard(queue)
        queue.close()


class Attachment:
    """``Execution`` of attach: the container's own streams."""

    def __init__(self, container: RunningContainer, *, stdin: bool, once: bool) -> None:
        self._container = container
        self._stdin = container.stdin if stdin else None
        self._once = once
        self._queue = container.attach()

    async def write(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        if self._container.tty:
            await self._stdin.write(b"\x04")
        elif self._once:
            self._stdin.close()

    async def resize(self, width: int, height: int) -> None:
        self._container.resize(width, height)

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._queue.drain()

    async def wait(self) -> int:
        return (await asyncio.shield(self._container.ended)).code

    async def close(self) -> None:
        self._container.detach(self._queue)


class ProcessExecution:
    """``Execution`` of exec: a process of its own session beside the container's."""

    def __init__(self, launched: Launched, tty: bool, on_end: Callable[[ProcessExecution], None]) -> None:
        self._process = launched.process
        self._pidfd = launched.pidfd
        self._tty = tty
        self._terminal = launched.stdout if tty else -1
        self._on_end = on_end
        self._queue = OutputQueue(self._resume)
        self._stdin = Writer(launched.stdin) if launched.stdin >= 0 else None
        self._readers = [Reader(launched.stdout, lambda data: self._output(1, data))]
        if launched.stderr >= 0:
            self._readers.append(Reader(launched.stderr, lambda data: self._output(2, data)))
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def _output(self, stream: int, data: bytes) -> None:
        self._queue.put(stream, data)
        if self._queue.full:
            for reader in self._readers:
                reader.pause()

    def _resume(self) -> None:
        for reader in self._readers:
            reader.resume()

    async def _watch(self) -> int:
        await exited(self._pidfd)
        os.close(self._pidfd)
        result = _ended(self._process)
        for reader in self._readers:
            reader.finish()
        self._terminal = -1
        if self._stdin is not None:
            self._stdin.close()
        self._queue.close()
        self._on_end(self)
        return result.code

    async def write(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        if self._tty:
            await self._stdin.write(b"\x04")
        else:
            self._stdin.close()

    async def resize(self, width: int, height: int) -> None:
        if self._terminal >= 0:
            resize_terminal(self._terminal, width, height)

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._queue.drain()

    async def wait(self) -> int:
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        signal_group(self._process, signal.SIGKILL)
        await asyncio.shield(self._task)
