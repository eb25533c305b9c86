"""What came before: whole requests, and header lines. A client says the same of itself in each request but for
Content-Length.

The HTTP library's parser reads them once. After that a request that comes in one piece is known by its request line
and by the bytes of its other header lines: parsing them again would give the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from aiohttp.http_writer import HttpVersion11
from aiohttp.streams import EMPTY_PAYLOAD
from multidict import CIMultiDict

if TYPE_CHECKING:
    from .transport import Headers

__all__ = ["Again", "Heads", "Heard", "Manner", "is_whole"]

_MOST, _LARGEST = 512, 8192
"""Blocks of header lines that are kept, and the bytes that one of them may have."""
_LINE = re.compile(rb"(POST|PUT|PATCH|DELETE) (/[A-Za-z0-9/._~:@!$&'()*+,;=%?-]*) HTTP/1\.1\r\n")
"""No more than what every parser reads the same way."""
_LENGTH = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,9})(?=\r\n)")


class Again:
    """A request that was answered at once, as the parser told it. It is kept by its bytes: parsing them again gives
    the same. Those that show credentials are never answered at once, so none are kept here."""

    __slots__ = ("memo", "message")

    MOST, LARGEST = 512, 2048
    """How many are kept, and the bytes that one of them may have."""

    def __init__(self, message: Any, memo: Any) -> None:
        self.message = message
        self.memo = memo


class Manner:
    """How a client asks: its header lines without Content-Length. ``memo`` is for what follows from them. It stands for
    the parser's message of such a request, of which it has what is the same for all."""

    __slots__ = ("headers", "memo")

    should_close = False
    upgrade = False
    version = HttpVersion11

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.memo: dict[Any, Any] = {}


class Heard(NamedTuple):
    """A whole request. ``path`` has the query."""

    method: str
    path: str
    body: bytes
    manner: Manner


class Heads:
    """The manners of one server's clients."""

    def __init__(self) -> None:
        self._known: dict[bytes, Manner] = {}

    def hear(self, data: bytes) -> Heard | None:
        """``data`` as a request; None for what has to be parsed."""
        line = _LINE.match(data)
        if line is None:
            return None
        start = line.end() - 2
        end = data.find(b"\r\n\r\n", start)
        manner = self._known.get(_block(data, start, end))
        if manner is None:
            return None
        method, path = line.groups()
        return Heard(method.decode(), path.decode(), data[end + 4 :], manner)

    def learn(self, data: bytes, message: Any) -> None:
        """``data`` is nothing but the request that the parser told as ``message``."""
        line = _LINE.match(data)
        headers = getattr(message, "headers", None)
        if line is None or headers is None:
            return
        if message.should_close or message.upgrade or message.chunked or message.compression:
            return
        if "Transfer-Encoding" in headers or "Expect" in headers:
            return
        block = _block(data, line.end() - 2, data.find(b"\r\n\r\n", line.end() - 2))
        if not block or len(block) > _LARGEST or block in self._known:
            return
        kept = CIMultiDict(headers)
        kept.popall("Content-Length", None)
        if len(headers) - len(kept) != (len(block) < data.find(b"\r\n\r\n") - line.end() + 2):
            return  # told in a way that is not recognized, or more than once
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[block] = Manner(cast("Headers", kept))


def _block(data: bytes, start: int, end: int) -> bytes:
    """The header lines but Content-Length, which says how long the rest of ``data`` is; else nothing."""
    length = _LENGTH.search(data, start, end + 2)
    if length is None:
        return data[start:end] if end + 4 == len(data) else b""
    if end < 0 or int(length[1]) != len(data) - end - 4:
        return b""
    return data[start : length.start()] + data[length.end() : end]


def is_whole(data: bytes, payload: Any) -> bool:
    """Whether ``data``, of which the parser made one message, ends where that does."""
    body = len(data) - data.find(b"\r\n\r\n") - 4
    if payload is EMPTY_PAYLOAD:
        return not body
    return bool(payload.is_eof() and payload.total_bytes == body)
