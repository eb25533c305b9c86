"""The web server behind ``transport``, on aiohttp's."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any, cast

from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

from .aio import AioExchange, Connection, Response
from .aio_streams import Turns
from .entrance import Entrance
from .heads import Again, Heads
from .limits import Limits
from .transport import AtOnce, Handler

if TYPE_CHECKING:
    from kubernel.clock import Clock

    from .transport import Exchange

__all__ = ["HttpServer"]


class _Server(Server):
    """Makes connections of our own class."""

    def __init__(self, owner: HttpServer, handler: Any, **kwargs: Any) -> None:
        super().__init__(handler, request_factory=owner.exchange, **kwargs)
        self.owner = owner

    def __call__(self) -> RequestHandler:
        return Connection(self, self.owner, self.owner.clock.monotonic(), loop=self._loop, **self._kwargs)


class HttpServer:
    """Listens, reads requests, hands them to ``handler``, writes its replies. ``at_once`` is asked first
    where a reply could be sent before anything else is read."""

    def __init__(
        self,
        handler: Handler,
        clock: Clock,
        drain_time: float = Limits.DRAIN,
        at_once: AtOnce | None = None,
    ) -> None:
        self.handler = handler
        self.at_once = at_once
        self.clock = clock
        self.drain_time = drain_time
        self.streams: dict[Any, asyncio.Task[Any] | None] = {}
        self.draining = False
        self.turns = Turns()
        self.heard: dict[bytes, Again] = {}
        self.heads = Heads()
        self._manager: _Server | None = None
        self._entrance: Entrance | None = None
        self._date = b""
        self._date_second = -1

    def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Accept connections; the port. OSError when the address cannot be had."""
        self._manager = _Server(
            self,
            self.respond,
            access_log=None,
            keepalive_timeout=Limits.IDLE,
            max_line_size=Limits.HEADER_LINE,
            max_field_size=Limits.HEADER_LINE,
            max_headers=Limits.HEADERS,
            lingering_time=Limits.LINGER,
            auto_decompress=False,
        )
        self._entrance = Entrance(cast("Any", self._manager), context, self.clock)
        return self._entrance.open(host, port)

    def exchange(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
        protocol.own()
        return AioExchange(self, message, payload, protocol, writer, task)

    def answer_at_once(self, connection: Connection, message: Any, payload: Any, data: bytes | None) -> bool:
        """Answer a request without a body by a client that keeps up; whether that was done. ``data`` is the
        request as it came, where it came in one piece of its own."""
        if (
            self.at_once is None
            or payload is not EMPTY_PAYLOAD
            or getattr(message, "method", "") != "GET"
            or message.should_close
            or message.upgrade
            or self.draining
            or connection.writing_paused
        ):
            return False
        memo = self._answer(connection, message, None)
        if memo is None:
            return False
        if data is not None and len(data) <= Again.LARGEST:
            if len(self.heard) >= Again.MOST:
                self.heard.clear()
            self.heard[data] = Again(message, memo)
        return True

    def answer_again(self, connection: Connection, heard: Again) -> bool:
        """``answer_at_once`` for what was heard before."""
        if self.draining or connection.writing_paused:
            return False
        memo = self._answer(connection, heard.message, heard.memo)
        if memo is None:
            return False
        heard.memo = memo
        return True

    def _answer(self, connection: Connection, message: Any, memo: Any) -> Any:
        """The new memo of a request that was answered; None for one that was not."""
        assert self.at_once is not None  # noqa: S101 - who calls has looked
        exchange = AioExchange(self, message, EMPTY_PAYLOAD, connection, None, None)
        exchange.memo = memo
        reply = self.at_once(cast("Exchange", exchange))
        if reply is None or reply.close:
            return None
        try:
            exchange.send(reply, True)
        except ConnectionResetError:
            return None
        return exchange.memo

    async def respond(self, exchange: Any) -> Response:
        try:
            reply = await self.handler(exchange)
        finally:
            if exchange._streaming is not None:
                self.streams.pop(exchange, None)
        if reply is None:
            return Response(None, False if exchange._message.upgrade else exchange.keep_alive)
        return Response(reply, exchange.keep_alive and not reply.close and not self.draining)

    def date_line(self) -> bytes:
        second = int(self.clock.time())
        if second != self._date_second:
            self._date_second = second
            self._date = time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime(second)).encode()
        return self._date

    async def sweep(self) -> None:
        """Close connections that never sent a whole request; runs until cancelled."""
        while True:
            await self.clock.sleep(5.0)
            now = self.clock.monotonic()
            for connection in self._manager.connections if self._manager is not None else ():
                if (
                    isinstance(connection, Connection)
                    and connection.untouched
                    and now - connection.opened > Limits.HEADER_TIME
                ):
                    connection.force_close()

    async def close(self, grace: float) -> None:
        """Stop accepting, end streams, let running requests finish for ``grace`` seconds, close all."""
        self.draining = True
        if self._entrance is not None:
            self._entrance.close()
            self._entrance = None
        for task in list(self.streams.values()):
            if task is not None:
                task.cancel()
        if self._manager is not None:
            self._manager.pre_shutdown()
            await self._manager.shutdown(grace)
