"""Port forwarding: a client's connections to ports of a pod, over one WebSocket.

Two protocols: SPDY/3.1 streams in pairs (data and error, joined by their ``requestID``), tunnelled through the
WebSocket, as kubectl has it (KEP-4006); and one channel pair for each port, as client libraries without SPDY have it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from kubernel.errors import ApiError, BadRequest

from .spdy import REFUSED_STREAM, SpdyError, SpdySession

if TYPE_CHECKING:
    from kubernel.plugin.contract import NodeStreams
    from kubernel.store.records import Obj

    from . import query as q
    from .spdy import SpdyStream
    from .transport import SocketChannel

__all__ = ["PROTOCOLS", "PortForward", "forwarded_ports"]

TUNNEL = "SPDY/3.1+portforward.k8s.io"
CHANNELS = "v4.channel.k8s.io"
PROTOCOLS = (TUNNEL, CHANNELS)
_CHUNK = 64 * 1024


def forwarded_ports(query: q.Query) -> list[int]:
    """The ports in ``?ports=80,81&ports=82``; BadRequest for what is none."""
    return [_port(text) for value in query.get("ports", ()) for text in value.split(",")]


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 0 < port < 65536:
        raise BadRequest(f'unable to parse "{text}" as a port: must be between 1 and 65535, inclusive')
    return port


class PortForward:
    """One client's forwarding to one pod; ends with the client's connection."""

    def __init__(self, channel: SocketChannel, streams: NodeStreams, pod: Obj) -> None:
        self._channel = channel
        self._streams = streams
        self._pod = pod
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, ports: list[int]) -> None:
        try:
            if self._channel.protocol == TUNNEL:
                await self._tunnel()
            else:
                await self._channels(ports)
        except ConnectionError:
            pass
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._channel.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- SPDY

    async def _tunnel(self) -> None:
        session = SpdySession(self._channel)
        waiting: dict[str, SpdyStream] = {}
        with contextlib.suppress(SpdyError):
            async for stream in session.accept():
                kind = stream.headers.get("streamtype", "")
                # Clients from before request ids open the error stream, then the data stream.
                pair = stream.headers.get("requestid") or str(stream.number - 2 * (kind == "data"))
                other = waiting.pop(pair, None)
                if kind not in ("data", "error") or (other and other.headers.get("streamtype") == kind):
                    await stream.reset(REFUSED_STREAM)
                elif other is None:
                    waiting[pair] = stream
                else:
                    data, error = (stream, other) if kind == "data" else (other, stream)
                    self._spawn(self._serve(data, error))

    async def _serve(self, data: SpdyStream, error: SpdyStream) -> None:
        with contextlib.suppress(ConnectionError):
            told = await self._forward(data.headers.get("port", ""), data.chunks(), data.write)
            data.discard()
            await error.write(told.encode(), fin=True)
            await data.finish()

    # --- channels

    async def _channels(self, ports: list[int]) -> None:
        queues: list[asyncio.Queue[bytes]] = [asyncio.Queue(64) for _ in ports]
        for number, port in enumerate(ports):
            for channel in (2 * number, 2 * number + 1):
                await self._channel.send(bytes((channel,)) + port.to_bytes(2, "little"))
        served = asyncio.ensure_future(self._all(ports, queues))
        served.add_done_callback(lambda _: self._spawn(self._channel.close()))
        try:
            async for message in self._channel.messages():
                number, odd = divmod(message[0], 2) if message else (len(queues), 0)
                if number < len(queues) and not odd and len(message) > 1:
                    await queues[number].put(message[1:])
        finally:
            served.cancel()
            await asyncio.gather(served, return_exceptions=True)

    async def _all(self, ports: list[int], queues: list[asyncio.Queue[bytes]]) -> None:
        """Until every port's connection has ended."""

        async def one(number: int) -> None:
            data, error = bytes((2 * number,)), bytes((2 * number + 1,))
            told = await self._forward(
                str(ports[number]),
                _queued(queues[number]),
                lambda chunk: self._channel.send(data + chunk),
            )
            if told:
                await self._channel.send(error + told.encode())

        await asyncio.gather(*(one(number) for number in range(len(ports))), return_exceptions=True)

    # --- both

    async def _forward(
        self, port: str, inward: AsyncIterator[bytes], outward: Callable[[bytes], Awaitable[None]]
    ) -> str:
        """Copies both ways until the pod's side ends; what went wrong, or nothing."""
        try:
            reader, writer = await self._streams.dial(self._pod, _port(port))
        except ApiError as refusal:
            metadata = self._pod["metadata"]
            return f"error forwarding port {port} to pod {metadata['name']}, uid {metadata['uid']}: {refusal.message}"
        sending = asyncio.ensure_future(_copy_in(inward, writer))
        try:
            while chunk := await reader.read(_CHUNK):
                await outward(chunk)
        except ConnectionError:
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        return ""


async def _copy_in(chunks: AsyncIterator[bytes], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        async for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _queued(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()
