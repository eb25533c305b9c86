"""The index of current objects, in memory: by key, and in order for lists.

An insertion or removal costs a binary search and a shift of pointers within one namespace of
one resource. Lists are tuples that nobody changes: the one of a whole resource is kept until
the resource's next change, so that many lists between two changes share it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import overload

from kubernel.store.records import Key, Record

__all__ = ["Index", "Listing"]


class Listing(Sequence[Record]):
    """Records in (namespace, name) order as they were at ``revision``; never changes."""

    __slots__ = ("records", "revision")

    def __init__(self, revision: int, records: Sequence[Record]) -> None:
        self.revision = revision
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        return self.records[index]

    def __repr__(self) -> str:
        return f"Listing(@{self.revision}, {len(self.records)} records)"


_name = attrgetter("key.name")


class _Space:
    """The objects of one resource in one namespace. Unsorted until somebody needs the order:
    loading a large database must not sort what nobody lists."""

    __slots__ = ("names", "ready", "records")

    def __init__(self) -> None:
        self.names: list[str] = []
        self.records: list[Record] = []
        self.ready = True

    def order(self) -> None:
        if not self.ready:
            self.records.sort(key=_name)
            self.names = [record.key.name for record in self.records]
            self.ready = True

    def put(self, record: Record, *, new: bool) -> None:
        self.order()
        at = bisect_left(self.names, record.key.name)
        if new:
            self.names.insert(at, record.key.name)
            self.records.insert(at, record)
        else:
            self.records[at] = record

    def remove(self, name: str) -> None:
        self.order()
        at = bisect_left(self.names, name)
        del self.names[at]
        del self.records[at]


class _Table:
    """The objects of one resource."""

    __slots__ = ("all", "spaces")

    def __init__(self) -> None:
        self.spaces: dict[str, _Space] = {}
        self.all: tuple[Record, ...] | None = None

    def records(self) -> tuple[Record, ...]:
        if self.all is None:
            joined: list[Record] = []
            for namespace in sorted(self.spaces):
                space = self.spaces[namespace]
                space.order()
                joined += space.records
            self.all = tuple(joined)
        return self.all


class Index:
    """Current objects by key and in order."""

    __slots__ = ("_records", "_tables", "get")

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._tables: dict[str, _Table] = {}
        self.get = self._records.get

    def __len__(self) -> int:
        return len(self._records)

    def load(self, records: dict[Key, Record]) -> None:
        """Fill an empty index."""
        self._records.update(records)
        groups: dict[tuple[str, ...], list[Record]] = {}
        for key, record in records.items():
            try:
                groups[key[:2]].append(record)
            except KeyError:
                groups[key[:2]] = [record]
        for (resource, namespace), group in groups.items():
            table = self._tables.setdefault(resource, _Table())
            space = table.spaces[namespace] = _Space()
            space.records = group
            space.ready = False

    def put(self, record: Record) -> Record | None:
        """Set an object's record; returns the one it replaces."""
        key = record.key
        previous = self._records.get(key)
        self._records[key] = record
        table = self._tables.get(key.resource)
        if table is None:
            table = self._tables[key.resource] = _Table()
        space = table.spaces.get(key.namespace)
        if space is None:
            space = table.spaces[key.namespace] = _Space()
        space.put(record, new=previous is None)
        table.all = None
        return previous

    def remove(self, key: Key) -> Record | None:
        """Take an object out; returns its record."""
        record = self._records.pop(key, None)
        if record is not None:
            table = self._tables[key.resource]
            space = table.spaces[key.namespace]
            space.remove(key.name)
            table.all = None
            if not space.names:
                del table.spaces[key.namespace]
                if not table.spaces:
                    del self._tables[key.resource]
        return record

    def list(self, resource: str, namespace: str | None) -> Sequence[Record]:
        """A tuple in (namespace, name) order; None is all namespaces."""
        table = self._tables.get(resource)
        if table is None:
            return ()
        if namespace is None:
            return table.records()
        space = table.spaces.get(namespace)
        if space is None:
            return ()
        space.order()
        return tuple(space.records)

    def count(self, resource: str, namespace: str | None) -> int:
        table = self._tables.get(resource)
        if table is None:
            return 0
        if namespace is None:
            return sum(len(space.records) for space in table.spaces.values())
        space = table.spaces.get(namespace)
        return 0 if space is None else len(space.records)

    def resources(self) -> Iterable[str]:
        return sorted(self._tables)
