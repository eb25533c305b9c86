"""Forwarding the connections of one address and port."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kubernel.clock import Clock

__all__ = ["Backend", "Forwarder", "Gate", "Rules"]

_CONNECT_TIMEOUT = 5.0
_CHUNK = 64 * 1024
_REMEMBERED = 10_000
"""Clients whose backend is remembered for session affinity; the oldest are forgotten."""


class Backend(NamedTuple):
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Rules:
    """``affinity``: seconds for which a client keeps its backend; 0 is no affinity."""

    backends: tuple[Backend, ...]
    affinity: int = 0


class Gate:
    """Counts connections, so that all services together stay within a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    def enter(self) -> bool:
        if self._open >= self._limit:
            return False
        self._open += 1
        return True

    def leave(self) -> None:
        self._open -= 1


class Forwarder:
    """Round robin over ``rules.backends``; one that cannot be reached is passed over."""

    def __init__(self, clock: Clock, gate: Gate, rules: Rules) -> None:
        self.rules = rules
        self._clock = clock
        self._gate = gate
        self._next = 0
        self._clients: dict[str, tuple[Backend, float]] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def listen(self, address: str, port: int) -> None:
        """Raises OSError where that is not possible."""
        self._server = await asyncio.start_server(self._accept, address, port, backlog=256)

    async def close(self) -> None:
        """Stop listening and cut what is under way."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        if not self._gate.enter():
            writer.transport.abort()
            return
        try:
            await self._forward(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._gate.leave()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await self._connect(writer.get_extra_info("peername")[0])
        if upstream is None:
            # As a packet filter would: nobody is there.
            writer.transport.abort()
            return
        far_reader, far_writer = upstream
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(reader, far_writer))
                group.create_task(_pump(far_reader, writer))
        except* OSError:
            far_writer.transport.abort()
            writer.transport.abort()
        finally:
            far_writer.close()
            writer.close()

    async def _connect(self, client: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for backend in self._order(client):
            try:
                async with self._clock.timeout(_CONNECT_TIMEOUT):
                    streams = await asyncio.open_connection(backend.address, backend.port)
            except (OSError, TimeoutError):
                continue
            self._remember(client, backend)
            return streams
        return None

    def _order(self, client: str) -> list[Backend]:
        backends = self.rules.backends
        if not backends:
            return []
        start = self._next = (self._next + 1) % len(backends)
        ordered = [*backends[start:], *backends[:start]]
        known = self._clients.get(client) if self.rules.affinity else None
        if known is not None and self._clock.monotonic() - known[1] < self.rules.affinity:
            # False sorts first: the remembered one, if it is still there, and the others as they are.
            ordered.sort(key=lambda backend: backend != known[0])
        return ordered

    def _remember(self, client: str, backend: Backend) -> None:
        if not self.rules.affinity:
            self._clients.clear()
            return
        self._clients.pop(client, None)
        self._clients[client] = (backend, self._clock.monotonic())
        if len(self._clients) > _REMEMBERED:
            del self._clients[next(iter(self._clients))]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, then pass the end on: the other direction may still have to say something."""
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    with contextlib.suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
