"""get, list and watch: stored bytes on their way out."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import ApiError
from kubernel.watch import Closed

from . import query as q
from .responses import JSON_HEAD, json_stream_head
from .shapes import Shape
from .transport import Reply, Shared

if TYPE_CHECKING:
    import random

    from kubernel.clock import Clock, Timer
    from kubernel.registry.registry import Page, Registry, Watch, WatchItem, WatchOptions
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Record

    from .transport import Exchange, Stream

__all__ = ["ListWriter", "Watcher"]

BATCH = 128
"""Items joined into one write: large enough to be cheap, small enough to cost no memory."""
BATCH_BYTES = 1 << 20
"""The same in bytes, for large items: a client that does not read must not cost a copy of the list."""
BOOKMARK_EVERY = 60.0
_WATCH_HEAD = json_stream_head()
_MIN_WATCH = 1800.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


class ListWriter:
    """Answers lists: short ones at once, long ones batch by batch as the client takes them."""

    async def reply(
        self, exchange: Exchange, shape: Shape, page: Page, *, gzip: bool, head: bytes, stamp: bytes
    ) -> Reply | None:
        """``stamp`` is the audit id's line. A reply that comes back whole gets it, and is compressed, with
        all others."""
        records = page.records
        start = shape.head(page)
        pieces = _joined(shape.items(records), b",")
        piece = next(pieces, b"")
        more = next(pieces, b"")
        if not more:
            return Reply(200, b"%b%b]}" % (start, piece), JSON_HEAD + head)
        if gzip:
            head += b"Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n"
        stream = await exchange.stream(200, JSON_HEAD + head + stamp)
        pack = zlib.compressobj(1, zlib.DEFLATED, 31) if gzip else None
        piece = start + piece
        while True:
            await stream.write(pack.compress(piece) if pack is not None else piece)
            if not more:
                break
            piece, more = b"," + more, next(pieces, b"")
            # A client that takes everything at once must not keep others waiting.
            await asyncio.sleep(0)
        await stream.write(pack.compress(b"]}") + pack.flush() if pack is not None else b"]}")
        await stream.close()
        return None


def _joined(items: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """``items`` in pieces of BATCH items, or fewer when those are more than BATCH_BYTES."""
    while batch := list(islice(items, BATCH)):
        if sum(map(len, batch)) <= BATCH_BYTES:
            yield separator.join(batch)
            continue
        start = size = 0
        for position, item in enumerate(batch):
            if size and size + len(item) > BATCH_BYTES:
                yield separator.join(batch[start:position])
                start, size = position, 0
            size += len(item)
        yield separator.join(batch[start:])


class _Joined:
    """The last batch of events as bytes, shared by all watchers that see the same ones."""

    __slots__ = ("items", "payload")

    def __init__(self) -> None:
        self.items: Sequence[WatchItem] = ()
        self.payload = Shared(b"")


class Watcher:
    """Serves watches."""

    def __init__(self, registry: Registry, clock: Clock, rng: random.Random) -> None:
        self.registry = registry
        self.clock = clock
        self.rng = rng
        self._joined: dict[str, _Joined] = {}

    async def serve(
        self,
        exchange: Exchange,
        type: ResourceType,
        namespace: str,
        query: q.Query,
        shape: Shape,
        head: bytes,
    ) -> None:
        options = q.watch_options(query)
        seconds = q.integer(query, "timeoutSeconds") or 0
        lasting = float(seconds) if seconds > 0 else _MIN_WATCH * (1.0 + self.rng.random())
        try:
            watch = await self.registry.watch(type, namespace, options)
        except ApiError as error:
            if error.status_code != 410:
                raise
            stream = await exchange.stream(200, _WATCH_HEAD + head)
            await stream.write(_error_frame(error))
            await stream.close()
            return
        unfiltered = not (options.labels or options.fields)
        try:
            stream = await exchange.stream(200, _WATCH_HEAD + head)
            try:
                async with self.clock.timeout(lasting):
                    await self._run(stream, watch, type, shape, options, unfiltered)
            except TimeoutError:
                pass
            except ApiError as error:
                await stream.write(_error_frame(error))
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
        unfiltered: bool,
    ) -> None:
        first = True
        for piece in _joined(_initial(watch.initial, shape), b""):
            await stream.write(piece)
            first = False
        state = _Bookmarks(self.clock, stream, watch, shape, first)
        if options.bookmarks:
            if options.initial_events:
                await stream.write(state.frame({INITIAL_EVENTS_END: "true"}))
            state.arm()
        try:
            while True:
                items = await watch.next()
                if unfiltered and shape.shares_frames:
                    state.first = False
                    await stream.share(self._joint(items, type))
                else:
                    await stream.write(_payload(items, shape, state))
        except Closed:
            return
        finally:
            state.cancel()

    def _joint(self, items: Sequence[WatchItem], type: ResourceType) -> Shared:
        """Watchers that select everything and are equally far are handed the very same list."""
        joined = self._joined.get(type.resource)
        if joined is None:
            joined = self._joined[type.resource] = _Joined()
        if joined.items is not items:
            joined.payload = Shared(b"".join([_frame(item) for item in items]))
            joined.items = items
        return joined.payload


def _payload(items: Sequence[WatchItem], shape: Shape, state: _Bookmarks) -> bytes:
    if shape.shares_frames:
        state.first = False
        return b"".join([_frame(item) for item in items])
    frames = []
    for item in items:
        frames.append(
            b'{"type":"%b","object":%b}\n' % (item.type.encode(), shape.event(item.record, state.first))
        )
        state.first = False
    return b"".join(frames)


def _initial(records: Iterable[Record], shape: Shape) -> Iterator[bytes]:
    first = True
    for record in records:
        yield b'{"type":"ADDED","object":%b}\n' % shape.event(record, first)
        first = False


class _Bookmarks:
    """Tells a quiet watcher how far it has seen everything, about once a minute."""

    __slots__ = ("clock", "first", "shape", "stream", "timer", "watch")

    def __init__(self, clock: Clock, stream: Stream, watch: Watch, shape: Shape, first: bool) -> None:
        self.clock = clock
        self.stream = stream
        self.watch = watch
        self.shape = shape
        self.first = first
        self.timer: Timer | None = None

    def frame(self, annotations: dict[str, str] | None = None) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(self.watch.revision), "creationTimestamp": None}
        if annotations:
            meta["annotations"] = annotations
        frame = b'{"type":"BOOKMARK","object":%b}\n' % self.shape.bookmark(meta, self.first)
        self.first = False
        return frame

    def arm(self) -> None:
        self.timer = self.clock.call_later(BOOKMARK_EVERY, self._send)

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


def _frame(item: WatchItem) -> bytes:
    if item.event is not None:
        return item.event.frame(item.type)
    return b'{"type":"%b","object":%b}\n' % (item.type.encode(), item.record.data)


def _error_frame(error: ApiError) -> bytes:
    return b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.to_status())
