"""The shapes an object can be answered in: itself, its metadata only, or a row of a Table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from kubernel.errors import BadRequest, NotAcceptable
from kubernel.registry.conversion import from_storage, is_storage
from kubernel.registry.types import Column

from . import query as q
from .responses import JSON_HEAD

if TYPE_CHECKING:
    from kubernel.errors import ApiError
    from kubernel.registry.registry import Page, Registry, WatchItem
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import EventType, Obj, Record

    from .negotiate import Form

__all__ = ["BATCH", "BATCH_BYTES", "Shape", "joined", "list_meta", "metadata_of", "shape_for"]

BATCH = 128
"""Items joined into one write: large enough to be cheap, small enough to cost no memory."""
BATCH_BYTES = 1 << 18
"""The same in bytes, for large items: a client that does not read must not cost a copy of the list."""
_INCLUDE = ("", "Metadata", "None", "Object")


class _Meta(msgspec.Struct):
    metadata: msgspec.Raw = msgspec.Raw(b"{}")


_decode_meta = msgspec.json.Decoder(_Meta).decode


def metadata_of(record: Record) -> bytes:
    """The JSON of the object's metadata; nothing else is decoded."""
    return bytes(_decode_meta(record.data).metadata)


class Shape:
    """Objects as they are stored."""

    head: bytes = JSON_HEAD
    stream_head: bytes = JSON_HEAD
    media = "json"
    lasting = True
    """Whether it serves one request as well as another, whenever that comes."""

    def __init__(self, registry: Registry, type: ResourceType) -> None:
        self.registry = registry
        self.type = type
        self.stored = is_storage(type)

    @property
    def shares_frames(self) -> bool:
        """Whether a watch event is the same for every watcher of this shape."""
        return self.stored

    def one(self, record: Record) -> bytes:
        return record.data if self.stored else self.registry.encode(record, self.type)

    def document(self, obj: Obj) -> bytes:
        """What is answered in place of an object: a Status, a review."""
        return orjson.dumps(obj)

    def view(self, view: Obj, columns: Sequence[Column]) -> bytes:
        """What a subresource gives in place of the object: a Scale."""
        return self.document(view)

    # --- lists

    def pieces(self, page: Page) -> Iterator[bytes]:
        """A list document, in pieces worth a write each; an empty one is a pause for others to run."""
        pieces = joined(self._items(page.records), b",")
        piece = self._start(page) + next(pieces, b"")
        for following in pieces:
            yield piece
            piece = b"," + following
        yield piece + b"]}"

    def _start(self, page: Page) -> bytes:
        meta = list_meta(page)
        if self.type.custom:
            # Upstream's lists of custom resources have the field set whatever it says.
            meta.setdefault("continue", "")
        return b'{"kind":%b,"apiVersion":%b,"metadata":%b,"items":[' % (
            orjson.dumps(self.type.list_kind),
            orjson.dumps(self.type.api_version),
            orjson.dumps(meta),
        )

    def _items(self, records: Sequence[Record]) -> Iterator[bytes]:
        one, type = self.one, self.type
        if type.custom:
            return map(one, records)
        version, kind = orjson.dumps(type.api_version), orjson.dumps(type.kind)
        heads = (
            b'{"apiVersion":%b,"kind":%b,' % (version, kind),
            b'{"kind":%b,"apiVersion":%b,' % (kind, version),
        )
        return (_untyped(one(record), heads) for record in records)

    # --- watches

    def frame(self, type: EventType, record: Record, first: bool) -> bytes:
        """A watch event; ``first`` is the first of its watch."""
        return b'{"type":"%b","object":%b}\n' % (type.encode(), self._event(record, first))

    def shared_frame(self, item: WatchItem) -> bytes:
        """``frame``, where frames are shared."""
        if item.event is not None:
            return item.event.frame(item.type)
        return self.frame(item.type, item.record, False)

    def bookmark_frame(self, meta: dict[str, Any], first: bool) -> bytes:
        return b'{"type":"BOOKMARK","object":%b}\n' % self._bookmark(meta, first)

    def error_frame(self, error: ApiError) -> bytes:
        return b'{"type":"ERROR","object":%b}\n' % orjson.dumps(error.to_status())

    def _event(self, record: Record, first: bool) -> bytes:
        return self.one(record)

    def _bookmark(self, meta: dict[str, Any], first: bool) -> bytes:
        return orjson.dumps({"kind": self.type.kind, "apiVersion": self.type.api_version, "metadata": meta})


class Partial(Shape):
    """PartialObjectMetadata: spliced out of the stored bytes, nothing else is decoded. ``refused``: why what was asked
    for is NotAcceptable, told once there is something to answer with."""

    def __init__(self, registry: Registry, type: ResourceType, version: str, refused: str = "") -> None:
        super().__init__(registry, type)
        self.version = version
        self.refused = refused

    @property
    def shares_frames(self) -> bool:
        return False

    def one(self, record: Record) -> bytes:
        if self.refused:
            raise NotAcceptable(self.refused)
        return _partial(record, self.version)

    def view(self, view: Obj, columns: Sequence[Column]) -> bytes:
        if self.refused:
            raise NotAcceptable(self.refused)
        return orjson.dumps(_partial_view(view, self.version))

    def pieces(self, page: Page) -> Iterator[bytes]:
        if self.refused:
            raise NotAcceptable(self.refused)
        if page.records:
            return super().pieces(page)
        # Upstream makes the list anew, from nothing.
        return iter((self._start(page).removesuffix(b"[") + b"null}",))

    def _items(self, records: Sequence[Record]) -> Iterator[bytes]:
        return map(self.one, records)

    def _start(self, page: Page) -> bytes:
        return (
            b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/%b","metadata":%b,"items":['
            % (
                self.version.encode(),
                orjson.dumps(list_meta(page)),
            )
        )

    def _bookmark(self, meta: dict[str, Any], first: bool) -> bytes:
        return orjson.dumps(
            {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{self.version}", "metadata": meta}
        )


class Table(Shape):
    """Rows of cells. In a watch each event is a table of one row, the first with its columns."""

    lasting = False

    def __init__(self, registry: Registry, type: ResourceType, version: str, include: str) -> None:
        super().__init__(registry, type)
        self.version = version
        self.include = include or "Metadata"
        self.now = registry.clock.time()
        self.columns = type.columns or _DEFAULT_COLUMNS

    @property
    def shares_frames(self) -> bool:
        return False

    def _definitions(self) -> bytes:
        return orjson.dumps(
            [
                {
                    "name": column.name,
                    "type": column.type,
                    "format": column.format,
                    "description": column.description,
                    "priority": column.priority,
                }
                for column in self.columns
            ]
        )

    def _row(self, record: Record) -> bytes:
        obj, now = from_storage(self.type, record.obj), self.now
        cells = orjson.dumps([column.value(obj, now) for column in self.columns])
        if self.include == "None":
            return b'{"cells":%b,"object":null}' % cells
        if self.include == "Object":
            return b'{"cells":%b,"object":%b}' % (cells, super().one(record))
        return b'{"cells":%b,"object":%b}' % (cells, _partial(record, self.version))

    def _document(self, meta: bytes, definitions: bytes, rows: bytes) -> bytes:
        return (
            b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":%b,"columnDefinitions":%b,"rows":[%b]}'
            % (
                self.version.encode(),
                meta,
                definitions,
                rows,
            )
        )

    def one(self, record: Record) -> bytes:
        # What was only tried has no revision.
        meta = b'{"resourceVersion":"%d"}' % record.revision if record.revision else b"{}"
        return self._document(meta, self._definitions(), self._row(record))

    def view(self, view: Obj, columns: Sequence[Column]) -> bytes:
        self.columns = columns or _DEFAULT_COLUMNS
        shown: Any = None if self.include == "None" else view
        if self.include == "Metadata":
            shown = _partial_view(view, self.version)
        row = {"cells": [column.value(view, self.now) for column in self.columns], "object": shown}
        meta = {"resourceVersion": view["metadata"].get("resourceVersion", "")}
        return self._document(orjson.dumps(meta), self._definitions(), orjson.dumps(row))

    def _event(self, record: Record, first: bool) -> bytes:
        self.now = self.registry.clock.time()
        meta = b'{"resourceVersion":"%d"}' % record.revision
        return self._document(meta, self._definitions() if first else b"null", self._row(record))

    def _start(self, page: Page) -> bytes:
        return (
            b'{"kind":"Table","apiVersion":"meta.k8s.io/%b","metadata":%b,"columnDefinitions":%b,"rows":['
            % (
                self.version.encode(),
                orjson.dumps(list_meta(page)),
                self._definitions(),
            )
        )

    def _items(self, records: Sequence[Record]) -> Iterator[bytes]:
        return (self._row(record) for record in records)

    def _bookmark(self, meta: dict[str, Any], first: bool) -> bytes:
        partial = super()._bookmark(meta, first)
        if self.include != "Object":
            partial = orjson.dumps(
                {
                    "kind": "PartialObjectMetadata",
                    "apiVersion": f"meta.k8s.io/{self.version}",
                    "metadata": meta,
                }
            )
        nothing: Obj = {"kind": self.type.kind, "apiVersion": self.type.api_version, "metadata": meta}
        cells = orjson.dumps([column.value(nothing, self.now) for column in self.columns])
        return self._document(
            orjson.dumps({"resourceVersion": meta["resourceVersion"]}),
            self._definitions() if first else b"null",
            b'{"cells":%b,"object":%b}' % (cells, partial),
        )


_DEFAULT_COLUMNS = (
    Column(
        "Name",
        lambda obj, now: obj["metadata"].get("name", ""),
        format="name",
        description="Name of the object.",
    ),
    Column(
        "Created At",
        lambda obj, now: obj["metadata"].get("creationTimestamp"),
        type="date",
        description="Creation time, UTC.",
    ),
)


def _partial(record: Record, version: str) -> bytes:
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":%b}' % (
        version.encode(),
        metadata_of(record),
    )


def _partial_view(view: Obj, version: str) -> Obj:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": view["metadata"],
    }


def _untyped(data: bytes, heads: tuple[bytes, bytes]) -> bytes:
    """An item of a built-in type's list: Go leaves kind and apiVersion, which the list tells, out of those."""
    if data.startswith(heads):
        return b"{" + data[len(heads[0]) :]
    obj = orjson.loads(data)
    obj.pop("kind", None)
    obj.pop("apiVersion", None)
    return orjson.dumps(obj)


def list_meta(page: Page) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        meta["continue"] = page.continue_token
    if page.remaining:
        meta["remainingItemCount"] = page.remaining
    return meta


def joined(items: Iterator[bytes], separator: bytes) -> Iterator[bytes]:
    """``items`` in pieces of BATCH items, or fewer when those are more than BATCH_BYTES. No more of them are taken than
    the piece that is being made and one: what nobody waits for is not in memory."""
    batch: list[bytes] = []
    size = 0
    for item in items:
        if batch and (size + len(item) > BATCH_BYTES or len(batch) == BATCH):
            yield separator.join(batch)
            batch, size = [], 0
        batch.append(item)
        size += len(item)
    if batch:
        yield separator.join(batch)


_ANSWERED = frozenset({"create", "get", "list", "patch", "update"})


def _no_such_metadata(type: ResourceType, listing: bool) -> str:
    """Upstream names the Go type of what it has."""
    package, kind = (
        ("unstructured", "Unstructured") if type.custom else (type.group.partition(".")[0], type.kind)
    )
    if package in ("", "events"):
        package = "core"
    if listing:
        return (
            f"you requested PartialObjectMetadata, but the requested object is a list (*{package}.{kind}List)"
        )
    return (
        f"you requested PartialObjectMetadataList, but the requested object is not a list (*{package}.{kind})"
    )


def shape_for(form: Form, registry: Registry, type: ResourceType, query: q.Query, verb: str = "get") -> Shape:
    """BadRequest for an unknown ``includeObject``."""
    if form.media == "protobuf":
        from .protobuf import MessageShape, PartialMessageShape

        if form.shape == "partial":
            return PartialMessageShape(registry, type, form.version)
        return MessageShape(registry, type)
    if form.shape == "partial":
        other = verb in _ANSWERED and form.many != (verb == "list")
        return Partial(registry, type, form.version, _no_such_metadata(type, verb == "list") if other else "")
    if form.shape == "table":
        include = q.one(query, "includeObject")
        if include not in _INCLUDE:
            raise BadRequest(
                f'Unable to convert to Table as requested: includeObject: Invalid value: "{include}": must be '
                "'Metadata', 'Object', 'None', or empty"
            )
        return Table(registry, type, form.version, include)
    return Shape(registry, type)
