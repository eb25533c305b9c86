"""Connections and requests behind ``transport``: aiohttp's protocol and parser, replies written by ourselves.

aiohttp's parser refuses conflicting Content-Length and Transfer-Encoding headers, oversized lines
and malformed chunks. What its high-level responses cost is saved: a reply is one write.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from kubernel.errors import BadRequest, Forbidden, InternalError, RequestEntityTooLarge

from .aio_streams import COPIED, ChunkStream, MaskedFrames, RawTunnel, WebSocket
from .heads import is_whole
from .limits import Limits
from .responses import error_reply
from .transport import Reply, Stream

if TYPE_CHECKING:
    from kubernel.registry.request import UserInfo

    from .aio_server import HttpServer
    from .audit import Trail
    from .heads import Heard
    from .transport import Headers, SocketChannel, Tunnel

__all__ = ["PIECE", "AioExchange", "Connection", "Response"]

PIECE = 256 * 1024
"""Bytes that are sent of a reply in one step of the loop."""
_STATUS_LINES: dict[int, bytes] = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


class Connection(RequestHandler):
    """A connection: aiohttp's protocol plus what the API server remembers about the client."""

    __slots__ = (
        "_between", "_certificate", "_deaf", "_disowned", "_running", "_unwanted", "opened", "server", "user",
    )  # fmt: skip

    def __init__(self, manager: Any, server: HttpServer, opened: float, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.server = server
        self.user: UserInfo | None = None
        self.opened = opened
        self._certificate: bytes | None = None
        self._between = True
        """The parser stands between two messages; False when that is not known."""
        self._running: asyncio.Task[None] | None = None
        """Answers a request that the parser has not seen."""
        self._unwanted: int | None = None
        """Bytes that are still read of a body that nobody wants; None while it is wanted."""
        self._disowned: StreamReader | None = None
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
        if self._between:
            if (known := server.heard.get(data)) is not None:
                if server.answer_again(self, known):
                    self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                    return
            elif (
                not self.writing_paused
                and not server.draining
                and (heard := server.heads.hear(data)) is not None
            ):
                self._begin(heard, waiter)
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

    def _begin(self, heard: Heard, waiter: asyncio.Future[None]) -> None:
        """Answer a request in a task of its own, beside the one of aiohttp, which waits as if nothing had come. What
        the client sends meanwhile is parsed and left to that one."""
        exchange = AioExchange(self.server, heard.manner, EMPTY_PAYLOAD, self, None, None, heard)
        self._waiter = None
        self.own()
        self._request_count += 1
        self._current_request = cast("Any", exchange)
        self._request_in_progress = True
        self._running = self._loop.create_task(self._run(exchange, waiter))

    async def _run(self, exchange: AioExchange, waiter: asyncio.Future[None]) -> None:
        keep = False
        try:
            response = await self.server.respond(exchange)
            await response.prepare(exchange)
            keep = response.keep_alive
        except ConnectionError:
            pass  # the client has gone
        except Exception as error:
            with contextlib.suppress(ConnectionError):
                await self.handle_error(exchange, 500, error).prepare(exchange)
        finally:
            self._running = None
            self._request_in_progress = False
            self._current_request = None
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
            self._waiter = waiter
            if keep and not self._close and not self._force_close:
                self._go_on(waiter)
            else:
                self.force_close()

    def _go_on(self, waiter: asyncio.Future[None]) -> None:
        """Wait for the next request, which may be there."""
        at = self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)
        if self._messages and not waiter.done():
            waiter.set_result(None)

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        await super().shutdown(timeout)
        if self._running is not None:
            self._running.cancel()

    def set_parser(self, parser: Any, data_received_cb: Any = None) -> None:
        if not isinstance(parser, RawTunnel):
            parser = cast("Any", MaskedFrames(parser, self))
        super().set_parser(parser, data_received_cb)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """aiohttp calls it whenever a body is taken, and parses nothing and resumes what was never paused."""
        if self._reading_paused and not self._deaf:
            super().resume_reading(resume_parser)

    def own(self) -> None:
        """The body that comes is wanted."""
        self._unwanted = self._disowned = None

    def disown(self, payload: StreamReader) -> None:
        """Nobody wants what still comes of the body. It is read for the sake of what follows it, but not for long: who
        sends more than that is left to find out that it was answered."""
        self._unwanted = Limits.UNWANTED
        self._disowned = payload

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        if self._disowned is not None:
            # aiohttp's task would wait for what cannot come any more, and keep all that belongs to the connection.
            self._disowned.feed_eof()
            self._disowned = None

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
            self._between = len(self._messages) == before + 1 and is_whole(data, self._messages[-1][1])
            if self._between:
                self.server.heads.learn(data, self._messages[-1][0])
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
        return Response(reply)


class Response:
    """What aiohttp's protocol expects of a response, reduced to one write, or to one a piece."""

    __slots__ = ("keep_alive", "reply")

    def __init__(self, reply: Reply | None, keep_alive: bool = False) -> None:
        self.reply = reply
        self.keep_alive = keep_alive

    async def prepare(self, request: AioExchange) -> None:
        if self.reply is None:
            return
        request.send(self.reply, self.keep_alive, PIECE)
        if len(self.reply.body) > PIECE:
            await request.send_rest(self.reply.body)
        if not request.whole:
            request.protocol.disown(request._payload)
        if request.protocol.writing_paused:
            await request.drain()

    async def write_eof(self) -> None:
        return


class AioExchange:
    """``transport.Exchange`` on aiohttp; it takes the place of aiohttp's request object."""

    __slots__ = (
        "_given_up", "_message", "_payload", "_streaming", "_task", "_whole", "headers", "manner", "memo", "method",
        "original", "path", "protocol", "query", "server", "trail", "writer",
    )  # fmt: skip

    def __init__(
        self,
        server: HttpServer,
        message: Any,
        payload: Any,
        protocol: Connection,
        writer: Any,
        task: Any,
        heard: Heard | None = None,
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
        self.headers: Headers = message.headers
        self.manner: dict[Any, Any] | None = None
        self._whole: bytes | None = None
        self.method: str
        if heard is None:
            self.method, path = message.method, message.path
        else:
            self.method, path, self._whole, manner = heard
            self.manner = manner.memo
        self.path, _, self.query = path.partition("?")

    @property
    def connection(self) -> Connection:
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
        if self._whole is not None:
            if len(self._whole) > limit:
                raise _too_large(limit)
            return self._whole
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
                        raise _too_large(limit)
                    chunks.append(chunk)
                    await self.turn(len(chunk))
            whole = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:
            raise BadRequest("the request body did not arrive in time") from None
        except RequestPayloadError as broken:
            raise BadRequest(f"the request body is broken: {broken}") from None
        finally:
            # An exception's frames may live until the next collection of cycles: the body shall not.
            chunks.clear()
        return whole

    def send(self, reply: Reply, keep_alive: bool, most: int | None = None) -> None:
        """``most``: so many bytes of the body, ``send_rest`` sends the others."""
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
            transport.write(body[:most])

    async def send_rest(self, body: bytes) -> None:
        """Of a long body: to encrypt it takes a hundredth of a second, for which nobody else shall wait."""
        if self.method == "HEAD":
            return
        view = memoryview(body)
        for start in range(PIECE, len(body), PIECE):
            if self.protocol.writing_paused:
                await self.drain()
            await self.turn(PIECE)
            self._transport().write(view[start : start + PIECE])

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
