"""Between the version an object is kept in and the one a client speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj, Record

__all__ = ["encode", "from_storage", "is_storage", "to_storage"]


def is_storage(type: ResourceType) -> bool:
    """Whether ``type`` is the version its objects are kept in."""
    return type.version == type.storage_version and type.storage_group is None and type.from_storage is None


def from_storage(type: ResourceType, obj: Obj) -> Obj:
    """The stored object as ``type``; the same object where it is kept in that version."""
    if is_storage(type):
        return obj
    if type.from_storage is not None:
        return type.from_storage(obj)
    return {**obj, "apiVersion": type.api_version}


def to_storage(type: ResourceType, obj: Obj) -> Obj:
    if is_storage(type):
        return obj
    if type.to_storage is not None:
        return type.to_storage(obj)
    group = type.group if type.storage_group is None else type.storage_group
    version = f"{group}/{type.storage_version}" if group else type.storage_version
    return {**obj, "apiVersion": version}


def encode(record: Record, type: ResourceType) -> bytes:
    """The object's JSON in ``type``'s version: the stored bytes where that is the stored one."""
    if is_storage(type):
        return record.data
    return orjson.dumps(from_storage(type, record.obj))
