"""Where connections come in, a few in each step of the loop.

A TLS handshake takes a millisecond or two of the loop, most of it for signatures. A crowd that comes at once waits in
the system's queue instead of holding up who is in already.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING, Any

from .limits import Limits

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from kubernel.clock import Clock

__all__ = ["Entrance"]

_FULL = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Entrance:
    """A listening socket. Each connection becomes what ``make`` gives, over TLS where there is a ``context``."""

    def __init__(
        self, make: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None, clock: Clock
    ) -> None:
        self._make = make
        self._clock = clock
        self._socket: socket.socket | None = None
        self._entering: set[asyncio.Task[Any]] = set()
        self._extra: dict[str, Any] = {}
        if context is not None:
            self._extra = {
                "ssl": context,
                "ssl_handshake_timeout": Limits.HANDSHAKE,
                "ssl_shutdown_timeout": 1.0,
            }

    def open(self, host: str, port: int) -> int:
        """Listen; the port. OSError when the address cannot be had."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, Limits.RECEIVED)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind((host, port))
            opened.listen(Limits.BACKLOG)
        except OSError:
            opened.close()
            raise
        opened.setblocking(False)
        self._socket = opened
        self._listen()
        return int(opened.getsockname()[1])

    def close(self) -> None:
        """Nobody comes in any more; who has not finished the handshake is sent away."""
        opened, self._socket = self._socket, None
        if opened is not None:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        for task in list(self._entering):
            task.cancel()

    def _listen(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)

    def _accept(self, opened: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(Limits.ENTERING):
            try:
                accepted, _ = opened.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _FULL or self._socket is None:
                    raise
                # Until somebody leaves there is no room for more.
                loop.remove_reader(opened)
                self._clock.call_later(Limits.FULL, self._listen)
                return
            accepted.setblocking(False)
            task = loop.create_task(self._enter(accepted))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)

    async def _enter(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._make, accepted, **self._extra)
        except OSError:  # an SSLError is one
            accepted.close()
        except BaseException:
            accepted.close()
            raise
