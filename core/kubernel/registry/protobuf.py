"""Protobuf bodies: the envelope, and the built-in types' messages in it.

The wire format of a type is a table of field numbers (see ``FieldTable``), since they cannot be derived
from its schema. Source: k8s.io/apimachinery/pkg/runtime/serializer/protobuf and the published
``generated.proto`` files.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from kubernel.errors import BadRequest
from kubernel.registry.protobuf_decoding import MessageDecoder, read_fields
from kubernel.registry.protobuf_encoding import MessageEncoder
from kubernel.registry.protobuf_table import FieldTable
from kubernel.registry.wire import DELIMITED, delimited, tag, varint

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["MEDIA_TYPE", "Codec", "ProtobufCodec"]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\x00"
_TAIL = b"\x1a\x00\x22\x00"
"""contentEncoding and contentType: always there, always empty."""


class Codec(Protocol):
    """What a types plugin gives the registry for protobuf bodies.

    A *message* is an object's fields alone, as they stand in a list; an *envelope* says of which kind they are.
    """

    def decode(self, body: bytes) -> Obj:
        """The object in an enveloped body; BadRequest for what is none."""
        ...

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the kind has a message."""
        ...

    def message(self, api_version: str, kind: str, obj: Obj) -> bytes:
        """``obj`` as its kind's message. KeyError for a kind that has none."""
        ...

    def envelope(self, api_version: str, kind: str, message: bytes) -> bytes: ...

    def collection(self, api_version: str, kind: str, meta: Obj, items: Sequence[bytes]) -> Iterator[bytes]:
        """The parts of an enveloped list of the messages ``items``."""
        ...


class ProtobufCodec:
    """Works by ``table``; ``definition(group, version, kind)`` names a kind's message, None for an
    unknown one."""

    def __init__(
        self, table: Callable[[], FieldTable], definition: Callable[[str, str, str], str | None]
    ) -> None:
        self._load = table
        self._encoder: MessageEncoder | None = None
        self._decoder: MessageDecoder | None = None
        self._definition = definition
        self._names: dict[tuple[str, str], str | None] = {}
        self._heads: dict[tuple[str, str], bytes] = {}

    @property
    def encoder(self) -> MessageEncoder:
        if self._encoder is None:
            self._encoder = MessageEncoder(self._load())
        return self._encoder

    def _name(self, api_version: str, kind: str) -> str | None:
        group, _, version = api_version.rpartition("/")
        name = self._definition(group, version, kind)
        return name if name is not None and name in self.encoder.table else None

    def decode(self, body: bytes) -> Obj:
        if not body.startswith(_MAGIC):
            raise BadRequest(
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
            )
        try:
            return self._unwrap(body)
        except (IndexError, struct.error, ValueError) as error:
            raise BadRequest(f"proto: illegal wireType or truncated message: {error}") from None

    def _unwrap(self, body: bytes) -> Obj:
        api_version = kind = ""
        raw = b""
        for number, value in read_fields(body, len(_MAGIC), len(body)):
            if number == 1:
                texts: dict[int, Any] = dict(read_fields(_bytes(value), 0, len(value)))
                api_version, kind = _bytes(texts.get(1, b"")).decode(), _bytes(texts.get(2, b"")).decode()
            elif number == 2:
                raw = _bytes(value)
            elif number == 3 and value:
                raise BadRequest("unsupported content encoding in a protobuf body")
        name = self._name(api_version, kind)
        if name is None:
            raise BadRequest(f'no kind "{kind}" is registered for version "{api_version}" in protobuf')
        if self._decoder is None:
            self._decoder = MessageDecoder(self.encoder.table)
        content = self._decoder.decode(name, raw)
        if not isinstance(content, dict):
            raise BadRequest(f"{kind} is no object")
        return {"apiVersion": api_version, "kind": kind, **content}

    def _known(self, api_version: str, kind: str) -> str | None:
        """``_name``, remembered: only for what the server's own types say, which are few."""
        key = (api_version, kind)
        if key not in self._names:
            self._names[key] = self._name(api_version, kind)
        return self._names[key]

    def serves(self, api_version: str, kind: str) -> bool:
        return self._known(api_version, kind) is not None

    def message(self, api_version: str, kind: str, obj: Obj) -> bytes:
        name = self._known(api_version, kind)
        if name is None:
            raise KeyError(f"{api_version} {kind}")
        return self.encoder.encode(name, obj)

    def _head(self, api_version: str, kind: str) -> bytes:
        key = (api_version, kind)
        head = self._heads.get(key)
        if head is None:
            type_meta = delimited(1, api_version.encode()) + delimited(2, kind.encode())
            head = self._heads[key] = _MAGIC + delimited(1, type_meta) + tag(2, DELIMITED)
        return head

    def envelope(self, api_version: str, kind: str, message: bytes) -> bytes:
        return b"%b%b%b%b" % (self._head(api_version, kind), varint(len(message)), message, _TAIL)

    def collection(self, api_version: str, kind: str, meta: Obj, items: Sequence[bytes]) -> Iterator[bytes]:
        # meta.k8s.io/v1beta1 numbers its two fields the other way round.
        empty = self.message(api_version, kind, {})
        item_tag = tag(2 if empty[0] == tag(1, DELIMITED)[0] else 1, DELIMITED)
        head = self.message(api_version, kind, {"metadata": meta})
        sizes = [varint(len(item)) for item in items]
        total = len(head) + sum(map(len, items)) + sum(map(len, sizes)) + len(items) * len(item_tag)
        yield self._head(api_version, kind) + varint(total) + head
        for size, item in zip(sizes, items, strict=True):
            yield item_tag + size + item
        yield _TAIL


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("wrong wireType, a message or string was expected")
    return value
