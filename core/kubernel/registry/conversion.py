"""Between the version an object is kept in and the one a client speaks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from kubernel.registry.unreadable import Unreadable
from kubernel.store.records import Key, Record

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Obj

__all__ = [
    "convert",
    "encode",
    "from_storage",
    "is_storage",
    "is_stored",
    "read_one",
    "read_record",
    "read_records",
    "store_form",
    "to_storage",
]


def is_storage(type: ResourceType) -> bool:
    """Whether records that readers hand out for ``type`` are in its version as they are."""
    if type.converter is not None:
        return True
    return type.version == type.storage_version and type.storage_group is None and type.from_storage is None


def from_storage(type: ResourceType, obj: Obj) -> Obj:
    """The stored object as ``type``; the same object where it is kept, or was read, in that version."""
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


async def read_record(type: ResourceType, record: Record) -> Record:
    """A record of the store as readers hand it out. Raises Unreadable."""
    if type.converter is None:
        return record
    return (await type.converter.read((record,)))[0]


async def read_one(type: ResourceType, record: Record) -> Record:
    """``read_record`` for who asked for that object, and is told so when it cannot be read."""
    try:
        return await read_record(type, record)
    except Unreadable as error:
        raise error.of_get() from None


async def read_records(type: ResourceType, records: Sequence[Record]) -> Sequence[Record]:
    """``read_record`` for who asked for a list."""
    if type.converter is None or not records:
        return records
    try:
        return await type.converter.read(records)
    except Unreadable as error:
        raise error.of_list(type) from None


async def store_form(type: ResourceType, obj: Obj) -> Obj:
    """An object of ``type`` as it is stored."""
    if type.converter is None:
        return to_storage(type, obj)
    return await type.converter.store(obj)


async def convert(source: ResourceType, target: ResourceType, obj: Obj) -> Obj:
    """An object of ``source`` as ``target``, another version of the same type."""
    if source is target:
        return obj
    stored = await store_form(source, obj)
    if target.converter is None:
        return from_storage(target, stored)
    meta = obj.get("metadata") or {}
    key = Key(target.resource, meta.get("namespace", ""), meta.get("name", ""))
    # No object of the store has revision 0: what is made of it is not kept for any.
    record = Record(key, 0, 0, orjson.dumps(stored), stored)
    return (await target.converter.read((record,)))[0].obj


async def is_stored(type: ResourceType, obj: Obj, current: Record) -> bool:
    """Whether storing the unchanged ``obj`` would change nothing; otherwise it is stored in another version, or
    without today's defaults, and writing it is how objects are brought up to date."""
    return type.converter is None or await store_form(type, obj) == current.obj


def encode(record: Record, type: ResourceType) -> bytes:
    """The object's JSON in ``type``'s version: the stored bytes where that is the stored one."""
    if is_storage(type):
        return record.data
    return orjson.dumps(from_storage(type, record.obj))
