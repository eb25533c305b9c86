"""Killing every process of a container, also those that left its process group."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

from kubernel_plugins.runtime.process import procfs

if TYPE_CHECKING:
    from kubernel.clock import Clock

__all__ = ["Sweeper", "exited"]

_ROUNDS = 20
_PATIENCE = 5.0


async def exited(pidfd: int) -> None:
    """Wait until the process behind a pidfd has ended; it is not reaped."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.add_reader(pidfd, _wake, future)
    try:
        await future
    finally:
        loop.remove_reader(pidfd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Sweeper:
    """One pass over ``/proc`` serves all containers that end at about the same time."""

    def __init__(self, clock: Clock, log: Any) -> None:
        self._clock = clock
        self._log = log
        self._waiting: list[tuple[int, bytes, asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def clear(self, session: int, marker: bytes) -> None:
        """Kill what belongs to ``session`` or carries ``marker``; return when none of it is left."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((session, marker, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        await future

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            sessions = {session for session, _, _ in batch if session > 1}
            markers = {marker for _, marker, _ in batch}
            try:
                await self._clear(sessions, markers)
            finally:
                for _, _, future in batch:
                    if not future.done():
                        future.set_result(None)

    async def _clear(self, sessions: set[int], markers: set[bytes]) -> None:
        found: list[procfs.ProcessInfo] = []
        for _round in range(_ROUNDS):
            found = await asyncio.to_thread(procfs.kin, sessions, markers)
            if not found:
                return
            await self._kill(found)
        self._log.warning("processes {} do not die", [info.pid for info in found])

    async def _kill(self, found: list[procfs.ProcessInfo]) -> None:
        descriptors = []
        for info in found:
            try:
                descriptor = os.pidfd_open(info.pid)
            except OSError:
                continue
            descriptors.append(descriptor)
            now = procfs.stat(info.pid)
            if now is not None and now.start == info.start:
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        try:
            async with self._clock.timeout(_PATIENCE):
                for descriptor in descriptors:
                    await exited(descriptor)
        except TimeoutError:
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
