"""Documents about the registry itself: encoded once, with the ETag that clients cache by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType

__all__ = ["Document", "TypeSource", "encode"]


@dataclass(frozen=True, slots=True)
class Document:
    """``etag`` is the bare hash: the header has it in double quotes."""

    body: bytes
    etag: str


class TypeSource(Protocol):
    """What of the registry is published: its types, and a number that grows whenever they change."""

    def types(self) -> Iterable[ResourceType]: ...

    @property
    def generation(self) -> int: ...


def encode(document: Any) -> Document:
    body = orjson.dumps(document)
    return Document(body, hashlib.sha512(body).hexdigest().upper())
