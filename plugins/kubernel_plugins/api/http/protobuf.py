"""Objects, lists and watch events as protobuf.

Each object is encoded once and kept with its record; lists and events are put together from those bytes. Source:
k8s.io/apimachinery/pkg/runtime/serializer/protobuf (envelope, length-delimited frames, raw WatchEvents).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.registry.protobuf import MEDIA_TYPE
from kubernel.registry.wire import delimited

from .responses import as_media, content_head, yaml_reply
from .shapes import BATCH, Shape, joined, list_meta, metadata_of

if TYPE_CHECKING:
    from kubernel.errors import ApiError
    from kubernel.registry.protobuf import Codec
    from kubernel.registry.registry import Page, Registry, WatchItem
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import EventType, Obj, Record

    from .negotiate import Form
    from .transport import Reply

__all__ = ["PROTOBUF_HEAD", "MessageShape", "PartialMessageShape", "encode", "in_media"]

PROTOBUF_HEAD = content_head(MEDIA_TYPE)
_STREAM_HEAD = content_head(f"{MEDIA_TYPE};stream=watch")


def encode(codec: Codec, obj: Obj) -> bytes:
    """Any document of a kind that has a message."""
    # ``/api`` names no version, for the sake of old clients.
    api_version, kind = obj.get("apiVersion", ""), obj["kind"]
    return codec.envelope(api_version, kind, codec.message(api_version or "v1", kind, obj))


def in_media(reply: Reply, form: Form, codec: Codec | None) -> Reply:
    """``reply``, which is JSON, as ``form`` wants it: for what is small and rare."""
    if form.media == "yaml":
        return yaml_reply(reply)
    if form.media == "protobuf" and codec is not None:
        return as_media(reply, encode(codec, orjson.loads(reply.body)), MEDIA_TYPE)
    return reply


class MessageShape(Shape):
    """Objects as their kind's message."""

    head = PROTOBUF_HEAD
    stream_head = _STREAM_HEAD
    media = "protobuf"

    def __init__(self, registry: Registry, type: ResourceType) -> None:
        super().__init__(registry, type)
        assert registry.protobuf is not None  # noqa: S101 - negotiated only where there is one
        self.codec: Codec = registry.protobuf

    def one(self, record: Record) -> bytes:
        type = self.type
        return self.codec.envelope(type.api_version, type.kind, self.registry.message(record, type))

    def document(self, obj: Obj) -> bytes:
        return encode(self.codec, obj)

    def pieces(self, page: Page) -> Iterator[bytes]:
        # An envelope begins with its length, so every object's length is needed before the first byte.
        messages: list[bytes] = []
        for record in page.records:
            messages.append(self._message(record))
            if not len(messages) % BATCH and len(messages) < len(page.records):
                yield b""
        yield from joined(self._collection(list_meta(page), messages), b"")

    def _message(self, record: Record) -> bytes:
        return self.registry.message(record, self.type)

    def _collection(self, meta: Obj, messages: Sequence[bytes]) -> Iterator[bytes]:
        return self.codec.collection(self.type.api_version, self.type.list_kind, meta, messages)

    def frame(self, type: EventType, record: Record, first: bool) -> bytes:
        return _frame(type, self.one(record))

    def shared_frame(self, item: WatchItem) -> bytes:
        return _frame(item.type, self.one(item.record))

    def bookmark_frame(self, meta: dict[str, Any], first: bool) -> bytes:
        obj = {"apiVersion": self.type.api_version, "kind": self.type.kind, "metadata": meta}
        return _frame("BOOKMARK", encode(self.codec, obj))

    def error_frame(self, error: ApiError) -> bytes:
        return _frame("ERROR", encode(self.codec, error.to_status()))


class PartialMessageShape(MessageShape):
    """PartialObjectMetadata: nothing but metadata is decoded."""

    def __init__(self, registry: Registry, type: ResourceType, version: str) -> None:
        super().__init__(registry, type)
        self.api_version = f"meta.k8s.io/{version}"

    @property
    def shares_frames(self) -> bool:
        return False

    def one(self, record: Record) -> bytes:
        return self.codec.envelope(self.api_version, "PartialObjectMetadata", self._message(record))

    def view(self, view: Obj, columns: Sequence[Any]) -> bytes:
        return self.document(
            {
                "apiVersion": self.api_version,
                "kind": "PartialObjectMetadata",
                "metadata": view["metadata"],
            }
        )

    def _message(self, record: Record) -> bytes:
        obj = {"metadata": orjson.loads(metadata_of(record))}
        return self.codec.message(self.api_version, "PartialObjectMetadata", obj)

    def _collection(self, meta: Obj, messages: Sequence[bytes]) -> Iterator[bytes]:
        return self.codec.collection(self.api_version, "PartialObjectMetadataList", meta, messages)

    def bookmark_frame(self, meta: dict[str, Any], first: bool) -> bytes:
        obj = {"apiVersion": self.api_version, "kind": "PartialObjectMetadata", "metadata": meta}
        return _frame("BOOKMARK", encode(self.codec, obj))


def _frame(type: str, document: bytes) -> bytes:
    """A WatchEvent, which has no envelope of its own, after its length in four bytes."""
    event = delimited(1, type.encode()) + delimited(2, delimited(1, document))
    return len(event).to_bytes(4, "big") + event
