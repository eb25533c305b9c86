"""get, list and watch: stored bytes on their way out."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kubernel.errors import ApiError, ServerTimeout
from kubernel.store.records import ADDED
from kubernel.watch import Closed

from . import query as q
from .shapes import BATCH, BATCH_BYTES, Shape, joined
from .transport import Reply, Shared

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock, Timer
    from kubernel.registry.registry import Page, Registry, Watch, WatchItem, WatchOptions
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Record

    from .transport import Exchange, Stream

__all__ = ["ListWriter", "Watcher"]

BOOKMARK_EVERY = 60.0
_LAST_BOOKMARK = 2.0
"""Seconds before a watch ends that the last bookmark is sent."""
_MIN_WATCH = 1800.0
_LONG = 64 * 1024
"""Bytes of a list that are worth waiting for one's turn."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class ListWriter:
    """Answers lists: short ones at once, long ones batch by batch as the client takes them."""

    async def reply(
        self, exchange: Exchange, shape: Shape, page: Page, *, gzip: bool, head: bytes, stamp: bytes
    ) -> Reply | None:
        """``stamp`` is the audit id's line. A reply that comes back whole gets it, and is compressed, with
        all others."""
        size = sum(len(record.data) for record in page.records[:BATCH])
        if size > _LONG:
            await exchange.turn(min(size, 2 * BATCH_BYTES))
        pieces = shape.pieces(page)
        piece = await _substance(pieces)
        more = await _substance(pieces)
        if not more:
            return Reply(200, piece, shape.head + head)
        if gzip:
            head += b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
        stream = await exchange.stream(200, shape.head + head + stamp)
        pack = zlib.compressobj(1, zlib.DEFLATED, 31) if gzip else None
        while piece:
            await stream.write(pack.compress(piece) if pack is not None else piece)
            # One piece ahead is enough: a client that takes nothing keeps all of them in memory.
            piece, more = more or await _substance(pieces), b""
            # A client that takes everything at once must not keep others waiting.
            await asyncio.sleep(0)
        if pack is not None:
            await stream.write(pack.flush())
        await stream.close()
        return None


async def _substance(pieces: Iterator[bytes]) -> bytes:
    """The next piece that is one; empty at the end."""
    for piece in pieces:
        if piece:
            return piece
        await asyncio.sleep(0)
    return b""


class _Joined:
    """The last batch of events as bytes, shared by all watchers that see the same ones."""

    __slots__ = ("items", "payload")

    def __init__(self) -> None:
        self.items: Sequence[WatchItem] = ()
        self.payload: Shared | None = None


class Watcher:
    """Serves watches."""

    def __init__(self, registry: Registry, clock: Clock, rng: random.Random) -> None:
        self.registry = registry
        self.clock = clock
        self.rng = rng
        self._joined: dict[tuple[str, str], _Joined] = {}

    async def serve(
        self,
        exchange: Exchange,
        type: ResourceType,
        namespace: str,
        query: q.Query,
        shape: Shape,
        head: bytes,
        begun: Callable[[], None] | None = None,
    ) -> None:
        """``begun`` is called when the client has been sent what was there."""
        options = q.watch_options(query)
        seconds = q.integer(query, "timeoutSeconds") or 0
        lasting = float(seconds) if seconds > 0 else _MIN_WATCH * (1.0 + self.rng.random())
        try:
            watch = await self.registry.watch(type, namespace, options)
        except ApiError as error:
            if error.status_code != 410 and not (options.initial_events and isinstance(error, ServerTimeout)):
                raise
            stream = await exchange.stream(200, shape.stream_head + head)
            await stream.write(shape.error_frame(error))
            await stream.close()
            return
        try:
            stream = await exchange.stream(200, shape.stream_head + head)
            try:
                async with self.clock.timeout(lasting):
                    await self._run(stream, watch, type, shape, options, lasting, begun)
            except TimeoutError:
                pass
            except ApiError as error:
                await stream.write(shape.error_frame(error))
            finally:
                await stream.close()
        finally:
            watch.close()

    async def _run(
        self,
        stream: Stream,
        watch: Watch,
        type: ResourceType,
        shape: Shape,
        options: WatchOptions,
        lasting: float,
        begun: Callable[[], None] | None,
    ) -> None:
        unfiltered = not (options.labels or options.fields)
        first = True
        for piece in joined(_initial(watch.initial, shape), b""):
            await stream.write(piece)
            first = False
            await asyncio.sleep(0)
        if begun is not None:
            begun()
        state = _Bookmarks(self.clock, stream, watch, shape, first, lasting)
        if options.bookmarks:
            if options.initial_events or (
                options.initial_events is None and options.resource_version in ("", "0")
            ):
                await stream.write(state.frame({INITIAL_EVENTS_END: "true"}))
            state.arm()
        try:
            while True:
                items = await watch.next()
                if unfiltered and shape.shares_frames and (shared := self._joint(items, type, shape)):
                    state.first = False
                    await stream.share(shared)
                    continue
                # Who lags is handed much at once; it is made and sent piece by piece.
                for piece in joined(_frames(items, shape, state), b""):
                    await stream.write(piece)
        except Closed:
            return
        finally:
            state.cancel()

    def _joint(self, items: Sequence[WatchItem], type: ResourceType, shape: Shape) -> Shared | None:
        """Watchers that select everything and are equally far are handed the very same list. None for what is too
        much for one piece."""
        key = (type.resource, shape.media)
        last = self._joined.get(key)
        if last is None:
            last = self._joined[key] = _Joined()
        if last.items is not items:
            last.payload = _together(items, shape)
            last.items = items
        return last.payload


def _together(items: Sequence[WatchItem], shape: Shape) -> Shared | None:
    if len(items) == 1:
        return Shared(shape.shared_frame(items[0]))
    frames, size = [], 0
    for item in items:
        frames.append(frame := shape.shared_frame(item))
        size += len(frame)
        if size > BATCH_BYTES:
            return None
    return Shared(b"".join(frames))


def _frames(items: Sequence[WatchItem], shape: Shape, state: _Bookmarks) -> Iterator[bytes]:
    for item in items:
        if shape.shares_frames:
            yield shape.shared_frame(item)
        else:
            yield shape.frame(item.type, item.record, state.first)
        state.first = False


def _initial(records: Iterable[Record], shape: Shape) -> Iterator[bytes]:
    first = True
    for record in records:
        yield shape.frame(ADDED, record, first)
        first = False


class _Bookmarks:
    """Tells a quiet watcher how far it has seen everything, about once a minute and before the watch ends."""

    __slots__ = ("clock", "end", "first", "shape", "stream", "timer", "watch")

    def __init__(
        self, clock: Clock, stream: Stream, watch: Watch, shape: Shape, first: bool, lasting: float
    ) -> None:
        self.clock = clock
        self.stream = stream
        self.watch = watch
        self.shape = shape
        self.first = first
        self.timer: Timer | None = None
        self.end = clock.monotonic() + lasting - _LAST_BOOKMARK

    def frame(self, annotations: dict[str, str] | None = None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(self.watch.revision)}
        if annotations:
            meta["annotations"] = annotations
        frame = self.shape.bookmark_frame(meta, self.first)
        self.first = False
        return frame

    def arm(self) -> None:
        left = self.end - self.clock.monotonic()
        self.timer = self.clock.call_later(min(left, BOOKMARK_EVERY), self._send) if left > 0 else None

    def _send(self) -> None:
        # Everything up to ``watch.revision`` has been pushed: handing out and pushing are one step of the task.
        if not self.stream.congested:
            try:
                self.stream.push(self.frame())
            except ConnectionError:
                return
        self.arm()

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
