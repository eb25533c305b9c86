"""What the API server needs of a web server: requests, replies, streams and upgrades.

Nothing outside ``aio`` knows which library speaks HTTP, so the library stays replaceable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from kubernel.registry.request import UserInfo

    from .audit import Trail

__all__ = [
    "AtOnce",
    "Connection",
    "Exchange",
    "Handler",
    "Headers",
    "Reply",
    "Shared",
    "SocketChannel",
    "Stream",
    "Tunnel",
    "header_block",
]


class Headers(Protocol):
    """Request headers; names are case-insensitive."""

    def get(self, name: str, default: str = "", /) -> str: ...

    def getall(self, name: str, default: Sequence[str] = (), /) -> Sequence[str]: ...

    def keys(self) -> Any: ...


class Connection(Protocol):
    """One client connection. ``user`` is scratch space for who its certificate belongs to."""

    user: UserInfo | None

    @property
    def certificate(self) -> bytes | None:
        """The verified client certificate, DER."""
        ...

    @property
    def remote(self) -> str: ...


class Shared:
    """Bytes that go to many streams. ``framed`` is for the streams: the bytes as their protocol sends them."""

    __slots__ = ("data", "framed")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.framed: bytes | None = None


class Stream(Protocol):
    """An open-ended response body. The task that opened it is cancelled when the client leaves."""

    async def write(self, data: bytes) -> None:
        """Send; returns when the client keeps up. ConnectionError once the client is gone or was cut
        off for being too slow."""
        ...

    async def share(self, piece: Shared) -> None:
        """``write`` for what many streams are sent."""
        ...

    def push(self, data: bytes) -> None:
        """Send without waiting: for small things, when not ``congested``."""
        ...

    @property
    def congested(self) -> bool:
        """Something is still to be sent: the client does not keep up, or others have their turn."""
        ...

    async def close(self) -> None:
        """End the body properly."""
        ...


class SocketChannel(Protocol):
    """An accepted WebSocket. ``protocol`` is the subprotocol agreed on."""

    protocol: str

    async def send(self, data: bytes) -> None: ...

    async def send_text(self, text: str) -> None: ...

    def messages(self) -> AsyncIterator[bytes]:
        """Binary (and, encoded, text) messages until the client closes."""
        ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class Tunnel(Protocol):
    """A connection that has left HTTP: bytes, both ways. The task that opened it is cancelled when the client
    leaves."""

    async def read(self) -> bytes:
        """What came; empty at the end."""
        ...

    async def write(self, data: bytes) -> None: ...


class Reply:
    """A complete answer. ``head`` is a header block from ``header_block``, without Content-Length.

    ``body`` is sent as it is. ``close`` ends the connection after it.
    """

    __slots__ = ("body", "close", "head", "status")

    def __init__(self, status: int, body: bytes, head: bytes = b"", close: bool = False) -> None:
        self.status = status
        self.body = body
        self.head = head
        self.close = close


class Exchange(Protocol):
    """One request and the means to answer it."""

    method: str
    path: str
    """As sent, percent-encoded, without the query."""
    query: str
    headers: Headers
    connection: Connection
    original: UserInfo | None
    """Who asked, where that user acts as another."""
    trail: Trail | None
    """What is told of it to the audit plugins."""
    manner: dict[Any, Any] | None
    """Scratch space that requests with the same header lines have in common, whatever their method and path; None for
    one whose header lines came for the first time."""
    memo: Any
    """Scratch space of an ``AtOnce``: of what it answers, the next request of the very same bytes comes with what it
    left here. None at first."""

    async def body(self, limit: int) -> bytes:
        """The whole body; RequestEntityTooLarge beyond ``limit`` bytes, BadRequest when broken off."""
        ...

    async def turn(self, size: int) -> None:
        """Wait until it is this request's turn to make and send ``size`` bytes, so that those who want much do not
        keep others waiting."""
        ...

    async def stream(self, status: int, head: bytes) -> Stream: ...

    def give_up(self, reply: Reply) -> None:
        """Answer now, whatever the handler is at, and close the connection: what it answers later goes nowhere.
        Nothing happens once a stream was begun."""
        ...

    def heed_leaving(self, heed: bool) -> None:
        """Whether this task is cancelled when the client leaves. It is not unless it streams: what is being
        written is written."""
        ...

    @property
    def wants_upgrade(self) -> bool:
        """The client asks for another protocol."""
        ...

    @property
    def wants_socket(self) -> bool:
        """That protocol is WebSocket."""
        ...

    async def upgrade(self, protocols: Sequence[str]) -> SocketChannel:
        """Accept a WebSocket with the first of the client's subprotocols that is in ``protocols``."""
        ...

    async def tunnel(self, head: bytes) -> Tunnel:
        """Switch protocols as the header lines ``head`` say, to whatever somebody else speaks."""
        ...


Handler = Callable[[Exchange], Awaitable["Reply | None"]]
"""Answers a request: with a Reply, or with None after it has streamed or upgraded by itself."""

AtOnce = Callable[[Exchange], "Reply | None"]
"""Answers a GET that needs no waiting, and leaves a memo; None, with nothing done, leaves it to the Handler. Never
raises."""

_FORBIDDEN = str.maketrans({"\r": " ", "\n": " ", "\0": " "})


def header_block(headers: Sequence[tuple[str, str]]) -> bytes:
    """``Name: value\\r\\n`` lines. Line breaks in values become spaces: nobody can smuggle a header."""
    return "".join(f"{name}: {value.translate(_FORBIDDEN)}\r\n" for name, value in headers).encode(
        "utf-8", "replace"
    )
