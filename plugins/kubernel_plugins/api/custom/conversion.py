"""Between the versions of a custom resource, and from what was stored under an older schema to today's.

What comes out of the store is pruned and defaulted by the schema of the version that it is stored in, converted,
and pruned by the schema of the version that is asked for. Nearly always that changes nothing, which is found out
once for each object. Source: crdConversionRESTOptionsGetter and unstructuredSchemaCoercer in
k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import orjson

from kubernel.errors import ApiError, UnnamedError
from kubernel.registry.defaulting import any_default_below, apply_defaults
from kubernel.registry.pruning import decode_check
from kubernel.registry.unreadable import Unreadable
from kubernel.store.records import Record

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel.store.records import Key

__all__ = ["Conversion", "Strategy", "Unanswered", "VersionConverter", "none"]

Obj = dict[str, Any]

_MOST_KNOWN = 100_000
"""Objects of which is remembered that nothing is to do, by version."""
_MOST_MADE = 4096
"""Converted objects that are kept, by version."""


class _Head(msgspec.Struct):
    apiVersion: str = ""  # noqa: N815 - the field's name in the API


_head = msgspec.json.Decoder(_Head).decode


class Unanswered(UnnamedError):
    """Nobody converts now, whichever objects."""


class Strategy(Protocol):
    """How objects get from one version to another."""

    async def __call__(self, objects: Sequence[Obj], api_version: str) -> Sequence[Obj]:
        """Converted objects in their order. May take over what it is given. Raises ApiError, Unanswered where that is
        not about the objects."""
        ...


async def none(objects: Sequence[Obj], api_version: str) -> Sequence[Obj]:
    """The strategy ``None``: only the version is rewritten."""
    return [{**obj, "apiVersion": api_version} for obj in objects]


class Conversion:
    """All versions of one definition. ``nodes`` has the schema of each version, served or not; objects stored
    after revision ``since`` have been written under these schemas."""

    def __init__(
        self, group: str, nodes: Mapping[str, Node], storage: str, strategy: Strategy, *, since: int
    ) -> None:
        self.nodes = {f"{group}/{version}": node for version, node in nodes.items()}
        self.storage = f"{group}/{storage}"
        self.strategy = strategy
        self.since = since
        stored = self.nodes.get(self.storage)
        self.defaults = stored is not None and any_default_below(stored)

    def converter(self, api_version: str) -> VersionConverter:
        return VersionConverter(self, api_version)

    def from_store(self, record: Record) -> Obj:
        """The stored object as today's schema of its version has it; the record's own where that is the same."""
        obj: Obj = orjson.loads(record.data)
        self.prune(obj)
        node = self.nodes.get(obj.get("apiVersion", ""))
        if node is not None:
            apply_defaults(node, obj)
        return record.obj if obj == record.obj else obj

    def prune(self, obj: Obj) -> None:
        """In place, by the schema of the version that the object says it is of."""
        version = obj.get("apiVersion", "")
        node = self.nodes.get(version)
        if node is None:
            raise UnnamedError(f"request to convert CR from an invalid group/version: {version}")
        decode_check(node, obj)


class VersionConverter:
    """``kernel.registry.types.Converter`` of one version."""

    def __init__(self, conversion: Conversion, api_version: str) -> None:
        self._conversion = conversion
        self._version = api_version
        self._only = len(conversion.nodes) == 1
        self._clean: set[int] = set()
        """Revisions whose objects can be handed out as they are: no two objects share one."""
        self._made: dict[Key, tuple[int, Record]] = {}

    async def read(self, records: Sequence[Record]) -> Sequence[Record]:
        if self._clean.issuperset([record.revision for record in records]):
            return records
        found: list[Record] | None = None
        waiting: list[tuple[int, Obj]] = []
        for index, record in enumerate(records):
            if self._is_clean(record):
                continue
            if found is None:
                found = list(records)
            made = self._made.get(record.key)
            if made is not None and made[0] == record.revision:
                found[index] = made[1]
                continue
            obj = self._conversion.from_store(record)
            if obj.get("apiVersion") == self._version:
                found[index] = self._keep(record, obj)
            else:
                waiting.append((index, obj))
        if found is None:
            return records
        if waiting:
            converted = await self._read(records, waiting)
            for (index, _), obj in zip(waiting, converted, strict=True):
                found[index] = self._keep(records[index], obj)
        return found

    async def _read(self, records: Sequence[Record], waiting: Sequence[tuple[int, Obj]]) -> list[Obj]:
        """What is ``waiting`` in this version. Raises Unreadable."""
        try:
            return await self._convert([obj for _, obj in waiting], self._version)
        except Unanswered as error:
            raise Unreadable([(records[index], error.message) for index, _ in waiting]) from None
        except ApiError as error:
            if len(waiting) == 1:
                raise Unreadable([(records[waiting[0][0]], error.message)]) from None
        # Which of them it is about only each for itself can tell.
        made: list[Obj] = []
        wrong: list[tuple[Record, str]] = []
        for one in waiting:
            try:
                made += await self._read(records, [one])
            except Unreadable as error:
                wrong += error.found
        if wrong:
            raise Unreadable(wrong)
        return made

    async def store(self, obj: Obj) -> Obj:
        if self._version == self._conversion.storage:
            return obj
        return (await self._convert([obj], self._conversion.storage))[0]

    async def _convert(self, objects: Sequence[Obj], api_version: str) -> list[Obj]:
        made: list[Obj] = []
        for obj in await self._conversion.strategy(objects, api_version):
            # Pruning works in place, on what nobody else has.
            own: Obj = orjson.loads(orjson.dumps(obj))
            self._conversion.prune(own)
            made.append(own)
        return made

    def _is_clean(self, record: Record) -> bool:
        """Whether the record can be handed out as it is."""
        if record.revision in self._clean:
            return True
        if record.revision <= self._conversion.since or (self._conversion.defaults and not self._only):
            # Written through another version, an object has had that one's defaults only.
            return False
        clean = self._only or _head(record.data).apiVersion == self._version
        if clean:
            self._remember(record.revision)
        return clean

    def _remember(self, revision: int) -> None:
        if not revision:
            return
        if len(self._clean) >= _MOST_KNOWN:
            self._clean.clear()
        self._clean.add(revision)

    def _keep(self, record: Record, obj: Obj) -> Record:
        if obj is record.obj:
            self._remember(record.revision)
            return record
        made = Record(record.key, record.revision, record.created, orjson.dumps(obj), obj)
        if not record.revision:
            return made
        if len(self._made) >= _MOST_MADE:
            self._made.clear()
        self._made[record.key] = (record.revision, made)
        return made
