"""The web server behind ``transport``: aiohttp's protocol and parser, replies written by ourselves.

aiohttp's parser refuses conflicting Content-Length and Transfer-Encoding headers, oversized lines
and malformed chunks. What its high-level responses cost is saved: a reply is one write.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, RequestPayloadError
from aiohttp.web_server import Server

from kubernel.errors import BadRequest, Forbidden, InternalError, RequestEntityTooLarge

from .aio_streams import COPIED, ChunkStream, MaskedFrames, RawTunnel, Turns, WebSocket
from .responses import error_reply
from .transport import AtOnce, Handler, Reply, Stream

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.registry.request import UserInfo

    from .audit import Trail
    from .transport import Exchange, Headers, SocketChannel, Tunnel

__all__ = ["HttpServer", "Limits"]

_HEARD, _HEARD_BYTES = 512, 2048
"""Requests that are kept to be heard again, and how large they may be."""
_STATUS_LINES: dict[int, bytes] = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


class Limits:
    """Times in seconds, sizes in bytes."""

    HEADER_LINE = 32 * 1024
    HEADERS = 128
    HEADER_TIME = 30.0
    IDLE = 90.0
    HANDSHAKE = 10.0
    BODY_TIME = 60.0
    DRAIN = 30.0
    """A client that takes nothing for so long is cut off."""
    RECEIVED = 256 * 1024
    """What the system keeps of a connection that is not read. It would take megabytes, and clients that have sent all
    they wanted come again before the server has looked at it."""
    LINGER = 2.0
    """So long a body is still read that nobody wants, and so much of it."""
    UNWANTED = 256 * 1024
    PARTING = 0.5
    """A client whose body is not read on has so long to read why."""


class _Request(RequestHandler):
    """A connection: aiohttp's protocol plus what the API server remembers about the client."""

    __slots__ = ("_between", "_certificate", "_deaf", "_unwanted", "opened", "server", "user")

    def __init__(self, manager: Any, server: HttpServer, opened: float, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.server = server
        self.user: UserInfo | None = None
        self.opened = opened
        self._certificate: bytes | None = None
        self._between = True
        """The parser stands between two messages; False when that is not known."""
        self._unwanted: int | None = None
        """Bytes that are still read of a body that nobody wants; None while it is wanted."""
        self._deaf = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._certificate = cast("ssl.SSLObject", tls).getpeercert(True)

    def data_received(self, data: bytes) -> None:
        """aiohttp wakes its task, which makes another one for the request. What can be answered at once does
        not need them; the connection's first request always takes that way, which starts the idle timer."""
        waiter = self._waiter
        if (
            waiter is None
            or waiter.done()
            or self._messages
            or self._payload_parser is not None
            or self._keepalive_handle is None
            or self._force_close
            or self._close
        ):
            self._feed(data)
            return
        server = self.server
        if (
            self._between
            and (heard := server.heard.get(data)) is not None
            and server.answer_again(self, heard)
        ):
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
            return
        self._waiter = None
        try:
            self._feed(data)
        finally:
            self._waiter = waiter
        if not self._messages:
            return
        if len(self._messages) == 1 and server.answer_at_once(
            self, *self._messages[0], data if self._between else None
        ):
            self._messages.popleft()
            if (consumed := getattr(self._parser, "message_consumed", None)) is not None:
                consumed()
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        elif not waiter.done():
            waiter.set_result(None)

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        if not isinstance(parser, RawTunnel):
            parser = cast("Any", MaskedFrames(parser, self))
        super().set_parser(parser, data_received_cb)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls it whenever a body is taken, and parses nothing and resumes what was never paused."""
        if self._reading_paused and not self._deaf:
            super().resume_reading(resume_parser)

    def want(self, wanted: bool) -> None:
        """Whether anybody wants what comes of the body. What nobody wants is read for the sake of what follows it, but
        not for long: who sends more than that is left to find out that it was answered."""
        self._unwanted = None if wanted else Limits.UNWANTED

    def _turn_deaf(self) -> None:
        if not self._deaf:
            self._deaf = True
            self.pause_reading()
            self.server.clock.call_later(Limits.PARTING, self.force_close)

    def _feed(self, data: bytes) -> None:
        if self._unwanted is not None:
            self._unwanted -= len(data)
            if self._unwanted < 0:
                self._turn_deaf()
                return
        before = len(self._messages)
        super().data_received(data)
        if self._between and data:
            self._between = len(self._messages) == before + 1 and _is_whole(data, self._messages[-1][1])
        # What follows a whole request for another protocol is kept until that is granted or refused. aiohttp does
        # so for WebSocket alone, and would read the rest as requests.
        if len(self._messages) > before and not self._upgraded:
            message, payload = self._messages[-1]
            self._upgraded = bool(getattr(message, "upgrade", False)) and payload.is_eof()

    @property
    def certificate(self) -> bytes | None:
        return self._certificate

    @property
    def remote(self) -> str:
        peer = self.peername
        return str(peer[0]) if peer else ""

    @property
    def untouched(self) -> bool:
        return self._request_count == 0

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        """A request the parser refused, or a handler that failed: a Status instead of a text."""
        if exc is not None and status >= 500:
            self.logger.error("request failed: %r", exc)
        what = (message or "Bad Request").split("\n", 1)[0]
        reply = error_reply(BadRequest(what) if status < 500 else InternalError("Internal error occurred"))
        reply.close = True
        return _Response(reply)


def _is_whole(data: bytes, payload: Any) -> bool:
    """Whether ``data``, of which the parser made one message, ends where that does."""
    body = len(data) - data.find(b"\r\n\r\n") - 4
    if payload is EMPTY_PAYLOAD:
        return not body
    return bool(payload.is_eof() and payload.total_bytes == body)


class _Heard:
    """A request that was answered at once, as the parser told it. It is kept by its bytes: parsing them again gives
    the same. Those that show credentials are never answered at once, so none are kept here."""

    __slots__ = ("memo", "message")

    def __init__(self, message: Any, memo: Any) -> None:
        self.message = message
        self.memo = memo


class _Response:
    """What aiohttp's protocol expects of a response, reduced to one write."""

    __slots__ = ("keep_alive", "reply")

    def __init__(self, reply: Reply | None, keep_alive: bool = False) -> None:
        self.reply = reply
        self.keep_alive = keep_alive

    async def prepare(self, request: AioExchange) -> None:
        if self.reply is None:
            return
        request.send(self.reply, self.keep_alive)
        if not request.whole:
            request.protocol.want(False)
        if request.protocol.writing_paused:
            await request.drain()

    async def write_eof(self) -> None:
        return


class AioExchange:
    """``transport.Exchange`` on aiohttp; it takes the place of aiohttp's request object."""

    __slots__ = (
        "_given_up", "_message", "_payload", "_streaming", "_task", "headers", "memo", "method", "original", "path",
        "protocol", "query", "server", "trail", "writer",
    )  # fmt: skip

    def __init__(
        self, server: HttpServer, message: Any, payload: Any, protocol: _Request, writer: Any, task: Any
    ) -> None:
        self.server = server
        self._message = message
        self._payload = payload
        self.protocol = protocol
        self.writer = writer
        self._task = task
        self._streaming: asyncio.Task[Any] | None = None
        self._given_up = False
        self.original: UserInfo | None = None
        self.trail: Trail | None = None
        self.memo: Any = None
        self.method: str = message.method
        self.path, _, self.query = message.path.partition("?")
        self.headers: Headers = message.headers

    @property
    def connection(self) -> _Request:
        return self.protocol

    @property
    def keep_alive(self) -> bool:
        return not self._message.should_close

    @property
    def remote(self) -> str:
        return self.protocol.remote

    @property
    def whole(self) -> bool:
        """All of the body has come."""
        return bool(self._payload.is_eof())

    async def body(self, limit: int) -> bytes:
        payload = self._payload
        length = self.headers.get("Content-Length")
        if length and int(length) > limit:
            raise _too_large(limit)
        if payload.is_eof() and payload.exception() is None:
            # It came with the headers: no waiting, no timer.
            whole: bytes = payload.read_nowait()
            if len(whole) > limit:
                raise _too_large(limit)
            return whole
        chunks: list[bytes] = []
        size = 0
        try:
            async with self.server.clock.timeout(Limits.BODY_TIME):
                while chunk := await payload.readany():
                    size += len(chunk)
                    if size > limit:
                        chunks.clear()
                        raise _too_large(limit)
                    chunks.append(chunk)
                    await self.turn(len(chunk))
        except TimeoutError:
            raise BadRequest("the request body did not arrive in time") from None
        except RequestPayloadError as broken:
            raise BadRequest(f"the request body is broken: {broken}") from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def send(self, reply: Reply, keep_alive: bool) -> None:
        transport = self._transport()
        body = reply.body
        head = b"%b%b%bContent-Length: %d\r\n%b\r\n" % (
            _status_line(reply.status),
            self.server.date_line(),
            reply.head,
            len(body),
            b"" if keep_alive else b"Connection: close\r\n",
        )
        if self.method == "HEAD":
            body = b""
        if len(body) < COPIED:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)

    def _transport(self) -> Any:
        transport = self.protocol.transport
        if transport is None or self._given_up:
            raise ConnectionResetError("client is gone")
        return transport

    def give_up(self, reply: Reply) -> None:
        transport = self.protocol.transport
        if transport is None or self._streaming is not None:
            return
        self.send(reply, False)
        self._given_up = True
        transport.close()

    async def turn(self, size: int) -> None:
        turns = self.server.turns
        if not turns.take(size):
            await turns.wait(size)

    async def stream(self, status: int, head: bytes) -> Stream:
        transport = self._transport()
        if self.trail is not None:
            await self.trail.tell("ResponseStarted", None, status)
        chunked = self._message.version >= (1, 1)
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Connection: close\r\n"
        transport.write(b"%b%b%b%b\r\n" % (_status_line(status), self.server.date_line(), head, framing))
        self._streaming = asyncio.current_task()
        stream = ChunkStream(self, chunked, silent=self.method == "HEAD")
        self.server.streams[self] = self._streaming
        return stream

    def heed_leaving(self, heed: bool) -> None:
        self._streaming = asyncio.current_task() if heed else None

    @property
    def wants_upgrade(self) -> bool:
        return bool(self.headers.get("Upgrade")) and any(
            "upgrade" in value.lower() for value in self.headers.getall("Connection", ())
        )

    @property
    def wants_socket(self) -> bool:
        return self.wants_upgrade and self.headers.get("Upgrade").lower() == "websocket"

    async def upgrade(self, protocols: Sequence[str]) -> SocketChannel:
        from aiohttp.web_exceptions import HTTPException
        from aiohttp.web_request import BaseRequest
        from aiohttp.web_ws import WebSocketResponse

        wanted = [
            one.strip()
            for value in self.headers.getall("Sec-WebSocket-Protocol", ())
            for one in value.split(",")
        ]
        if wanted and not set(wanted).intersection(protocols):
            told = (
                f"requested protocol(s) are not supported: {' '.join(wanted)}; supports {' '.join(protocols)}"
            )
            raise Forbidden(told)
        request = BaseRequest(
            self._message, self._payload, self.protocol, self.writer, self._task, asyncio.get_running_loop()
        )
        socket = WebSocketResponse(
            protocols=tuple(protocols), compress=False, max_msg_size=1024 * 1024, autoclose=True, timeout=2.0
        )
        try:
            await socket.prepare(request)
        except HTTPException as refused:
            raise BadRequest(f"unable to upgrade: {refused.text or refused.reason}") from None
        if self.trail is not None:
            await self.trail.tell("ResponseStarted", None, 101)
        self._streaming = asyncio.current_task()
        channel = WebSocket(socket)
        self.server.streams[self] = self._streaming
        return channel

    async def tunnel(self, head: bytes) -> Tunnel:
        transport = self.protocol.transport
        if transport is None:
            raise ConnectionResetError("client is gone")
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n%b\r\n" % head)
        self._streaming = asyncio.current_task()
        self.server.streams[self] = self._streaming
        tunnel = RawTunnel(self)
        self.protocol.set_parser(cast("Any", tunnel))
        return tunnel

    async def drain(self) -> None:
        """Wait until the client has taken enough; cut it off when it does not."""
        protocol = self.protocol
        try:
            async with self.server.clock.timeout(self.server.drain_time):
                await protocol._drain_helper()
        except TimeoutError:
            if protocol.transport is not None:
                protocol.transport.abort()
            raise ConnectionResetError("client is too slow") from None

    # aiohttp's protocol calls these two.
    def _finish(self) -> None:
        return

    def _cancel(self, exc: BaseException) -> None:
        self._payload.set_exception(exc)
        if self._streaming is not None:
            self._streaming.cancel()


def _too_large(limit: int) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"limit is {limit}")


class _Server(Server):
    """Makes connections of our own class."""

    def __init__(self, owner: HttpServer, handler: Any, **kwargs: Any) -> None:
        super().__init__(handler, request_factory=owner.exchange, **kwargs)
        self.owner = owner

    def __call__(self) -> RequestHandler:
        return _Request(self, self.owner, self.owner.clock.monotonic(), loop=self._loop, **self._kwargs)


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
        self.heard: dict[bytes, _Heard] = {}
        self._manager: _Server | None = None
        self._listeners: list[asyncio.Server] = []
        self._date = b""
        self._date_second = -1

    async def listen(self, host: str, port: int, context: ssl.SSLContext | None) -> int:
        """Accept connections; the port. OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._manager = _Server(
            self,
            self._handle,
            access_log=None,
            keepalive_timeout=Limits.IDLE,
            max_line_size=Limits.HEADER_LINE,
            max_field_size=Limits.HEADER_LINE,
            max_headers=Limits.HEADERS,
            lingering_time=Limits.LINGER,
            auto_decompress=False,
        )
        extra: dict[str, Any] = {}
        if context is not None:
            extra = {"ssl": context, "ssl_handshake_timeout": Limits.HANDSHAKE, "ssl_shutdown_timeout": 1.0}
        server = await loop.create_server(
            cast("Any", self._manager), host, port, backlog=1024, reuse_address=True, **extra
        )
        for listener in server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, Limits.RECEIVED)
        self._listeners.append(server)
        return int(server.sockets[0].getsockname()[1])

    def exchange(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> Any:
        protocol.want(True)
        return AioExchange(self, message, payload, protocol, writer, task)

    def answer_at_once(self, connection: _Request, message: Any, payload: Any, data: bytes | None) -> bool:
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
        if data is not None and len(data) <= _HEARD_BYTES:
            if len(self.heard) >= _HEARD:
                self.heard.clear()
            self.heard[data] = _Heard(message, memo)
        return True

    def answer_again(self, connection: _Request, heard: _Heard) -> bool:
        """``answer_at_once`` for what was heard before."""
        if self.draining or connection.writing_paused:
            return False
        memo = self._answer(connection, heard.message, heard.memo)
        if memo is None:
            return False
        heard.memo = memo
        return True

    def _answer(self, connection: _Request, message: Any, memo: Any) -> Any:
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

    async def _handle(self, exchange: Any) -> Any:
        try:
            reply = await self.handler(exchange)
        finally:
            if exchange._streaming is not None:
                self.streams.pop(exchange, None)
        if reply is None:
            return _Response(None, False if exchange._message.upgrade else exchange.keep_alive)
        return _Response(reply, exchange.keep_alive and not reply.close and not self.draining)

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
                    isinstance(connection, _Request)
                    and connection.untouched
                    and now - connection.opened > Limits.HEADER_TIME
                ):
                    connection.force_close()

    async def close(self, grace: float) -> None:
        """Stop accepting, end streams, let running requests finish for ``grace`` seconds, close all."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for task in list(self.streams.values()):
            if task is not None:
                task.cancel()
        if self._manager is not None:
            self._manager.pre_shutdown()
            await self._manager.shutdown(grace)
        self._listeners.clear()
