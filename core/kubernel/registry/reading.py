"""Get, list and watch: chunks, continue tokens, resource versions, selections.

Source of the rules: https://kubernetes.io/docs/reference/using-api/api-concepts/ (resource
versions, chunking, watch) and KEP-3157 (streaming lists).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from kubernel.errors import BadRequest, Cause, Expired, NotFound, ServerTimeout
from kubernel.registry.continuation import LATEST, decode_token, encode_token
from kubernel.registry.conversion import read_one, read_records
from kubernel.registry.operations import ListOptions, Page, WatchItem, WatchOptions
from kubernel.registry.selection import Selection
from kubernel.store import Compacted
from kubernel.store.records import ADDED, DELETED, MODIFIED, Event, Key, Record
from kubernel.watch import TooNew, TooOld

if TYPE_CHECKING:
    from kubernel.registry.types import ResourceType
    from kubernel.store import ObjectStore
    from kubernel.watch import Cursor, WatchBus

__all__ = ["Reader", "Watch", "parse_resource_version", "version_problem"]


def version_problem(text: str) -> str:
    """What is wrong with a resourceVersion that is no base-10 unsigned integer of 64 bits; empty for others."""
    if not text.isascii() or not text.isdigit():
        problem = "invalid syntax"
    elif int(text) > 0xFFFFFFFFFFFFFFFF:
        problem = "value out of range"
    else:
        return ""
    return f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {problem}'


def parse_resource_version(text: str) -> int:
    """The revision a client names. BadRequest when ``version_problem`` has something to say."""
    problem = version_problem(text)
    if problem:
        raise BadRequest(f"invalid resource version: {problem}")
    return int(text)


def _too_large(wanted: int, current: int) -> ServerTimeout:
    return ServerTimeout(
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        causes=(Cause("ResourceVersionTooLarge", "Too large resource version"),),
        retry_after=1,
    )


class Reader:
    """Reads from the store and the bus for the registry."""

    def __init__(self, store: ObjectStore, bus: WatchBus) -> None:
        self.store = store
        self.bus = bus
        self._batch = _Batch()

    def get(self, type: ResourceType, namespace: str, name: str) -> Record:
        if type.source is not None:
            record = next(iter(_made(type, namespace, name)), None)
        else:
            record = self.store.get(Key(type.resource, namespace, name))
        if record is None:
            raise NotFound.for_object(type.plural, type.group, name)
        return record

    async def get_at(
        self, type: ResourceType, namespace: str, name: str, revision: str, *, exact: bool
    ) -> Record:
        """The object as it was at ``revision``, or when not ``exact`` as it is, once there was that revision."""
        wanted = parse_resource_version(revision)
        if wanted > self.store.revision:
            raise _too_large(wanted, self.store.revision)
        if not exact:
            return await read_one(type, self.get(type, namespace, name))
        try:
            record = await self.store.get_at(Key(type.resource, namespace, name), wanted)
        except Compacted:
            raise Expired("The resourceVersion for the provided get is too old.") from None
        if record is None:
            raise NotFound.for_object(type.plural, type.group, name)
        return await read_one(type, record)

    async def list(self, type: ResourceType, namespace: str, options: ListOptions) -> Page:
        selection = Selection(type, options.labels, options.fields)
        if options.limit < 0:
            raise BadRequest(f"limit: Invalid value: {options.limit}: must be greater than or equal to 0")
        # Upstream's cache, which answers for any version, does not know chunks.
        limit = 0 if options.resource_version == "0" else options.limit
        start: tuple[str, str] | None = None
        if options.continue_token:
            revision, start = decode_token(options.continue_token)
            if options.resource_version not in ("", "0"):
                raise BadRequest("specifying resource version is not allowed when using continue")
            records, revision = await self._page_source(type, namespace, revision, start)
        else:
            records, revision = await self._first_source(type, namespace, options)
        records = _narrow(records, selection, namespace)
        if not selection.everything:
            # Objects are selected by what they are in the version that is asked for.
            records = await read_records(type, records)
        position = 0
        if start is not None:
            position = bisect_right(records, start, key=_place)
        if selection.everything and not limit:
            rest = records[position:] if position else records
            return Page(await read_records(type, rest), revision)
        if selection.everything:
            page = _cut(records, position, limit, revision)
            return (
                page
                if type.converter is None
                else replace(page, records=await read_records(type, page.records))
            )
        return _select(records, position, limit, revision, selection)

    async def _first_source(
        self, type: ResourceType, namespace: str, options: ListOptions
    ) -> tuple[Sequence[Record], int]:
        if type.source is not None:
            return _made(type, namespace), self.store.revision
        listing_namespace = namespace or None
        if options.resource_version not in ("", "0"):
            wanted = parse_resource_version(options.resource_version)
            if wanted > self.store.revision:
                raise _too_large(wanted, self.store.revision)
            exact = options.match == "Exact" or (options.match == "" and options.limit > 0)
            if exact and wanted != self.store.revision:
                try:
                    past = await self.store.list_at(type.resource, listing_namespace, wanted)
                except Compacted:
                    raise Expired("The resourceVersion for the provided list is too old.") from None
                return past.records, wanted
        elif options.match == "Exact":
            raise BadRequest(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless "
                "resourceVersion is provided"
                if not options.resource_version
                else 'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for '
                'resourceVersion "0"'
            )
        listing = self.store.list(type.resource, listing_namespace)
        return listing.records, listing.revision

    async def _page_source(
        self, type: ResourceType, namespace: str, revision: int, start: tuple[str, str]
    ) -> tuple[Sequence[Record], int]:
        if type.source is not None:
            return _made(type, namespace), self.store.revision
        listing_namespace = namespace or None
        if revision > self.store.revision:
            raise _too_large(revision, self.store.revision)
        if revision in (self.store.revision, LATEST):
            listing = self.store.list(type.resource, listing_namespace)
            return listing.records, listing.revision
        try:
            past = await self.store.list_at(type.resource, listing_namespace, revision)
        except Compacted:
            # The token in the error lets the client go on with an inconsistent list (KEP-365).
            raise Expired(
                "The provided continue parameter is too old to display a consistent list result. You can "
                "start a new list without the continue parameter, or use the continue token in this "
                "response to retrieve the remainder of the results. Continuing with the provided token "
                "results in an inconsistent list - objects that were created, modified, or deleted between "
                "the time the first chunk was returned and now may show up in the list.",
                metadata={"continue": encode_token(LATEST, start)},
            ) from None
        return past.records, revision

    async def watch(self, type: ResourceType, namespace: str, options: WatchOptions) -> Watch:
        selection = Selection(type, options.labels, options.fields)
        initial: Sequence[Record] = ()
        version = options.resource_version
        since = 0 if version in ("", "0") else parse_resource_version(version)
        sends = not since if options.initial_events is None else options.initial_events
        if sends:
            if since > self.store.revision:
                raise _too_large(since, self.store.revision)
            listing = self.store.list(type.resource, namespace or None)
            initial = await read_records(type, _narrow(listing.records, selection, namespace))
            if not selection.everything:
                initial = [record for record in initial if selection.matches(record.obj)]
            since = listing.revision
        elif not since:
            since = self.store.revision
        indexed = (type.indexed_field, selection.indexed) if selection.indexed else None
        try:
            cursor = self.bus.watch(
                type.resource,
                namespace or selection.namespace or None,
                name=selection.name or None,
                field=indexed,
                since=since,
            )
        except TooOld:
            raise _watch_expired(since, self.store.oldest) from None
        except TooNew:
            raise _too_large(since, self.store.revision) from None
        return Watch(cursor, type, selection, initial, self.store, self._batch)


def _made(type: ResourceType, namespace: str, name: str = "") -> list[Record]:
    """The objects of a virtual type, in list order."""
    if type.source is None:
        return []
    found = []
    for obj in type.source(namespace, name):
        metadata = obj["metadata"]
        key = Key(type.resource, metadata.get("namespace", ""), metadata["name"])
        found.append(Record(key, 0, 0, orjson.dumps(obj), obj))
    found.sort(key=lambda record: record.key)
    return found


def _watch_expired(since: int, oldest: int) -> Expired:
    return Expired(f"too old resource version: {since} ({oldest})")


class _Batch:
    """What was last made of a slice of the history, for all watchers that come to the same slice."""

    __slots__ = ("events", "items")

    def __init__(self) -> None:
        self.events: Sequence[Event] = ()
        self.items: list[WatchItem] = []

    def of(self, events: Sequence[Event]) -> list[WatchItem]:
        if events is not self.events:
            self.items = [WatchItem(event.type, event.record, event) for event in events]
            self.events = events
        return self.items


class Watch:
    """A selected watch. ``initial`` comes first; then ``next`` gives at least one item a call.

    What ``next`` gives is shared and must not be changed: watchers that select everything and are equally
    far get the same list. ``next`` raises Expired when this watcher was too slow; the server going away ends it with
    ``kubernel.watch.Closed``.
    """

    __slots__ = ("_batch", "_cursor", "_selection", "_store", "_type", "initial")

    def __init__(
        self,
        cursor: Cursor,
        type: ResourceType,
        selection: Selection,
        initial: Sequence[Record],
        store: ObjectStore,
        batch: _Batch,
    ) -> None:
        self._cursor = cursor
        self._type = type
        self._selection = selection
        self._store = store
        self._batch = batch
        self.initial = initial

    @property
    def revision(self) -> int:
        """What a bookmark may say now."""
        return self._cursor.revision

    def poll(self) -> list[WatchItem]:
        """What is ready now, possibly nothing. Raises as ``next``."""
        try:
            return self._select(self._cursor.poll())
        except TooOld:
            raise _watch_expired(self._cursor.revision, self._store.oldest) from None

    async def next(self) -> list[WatchItem]:
        while True:
            try:
                events = await self._cursor.next()
            except TooOld:
                raise _watch_expired(self._cursor.revision, self._store.oldest) from None
            items = self._select(await self._converted(events))
            if items:
                return items

    async def _converted(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events in the version that is watched; the very events where nothing is to do."""
        if self._type.converter is None:
            return events
        needs_old = not self._selection.everything
        stored = [event.record for event in events]
        stored += [event.previous for event in events if needs_old and event.previous is not None]
        read = await self._type.converter.read(stored)
        if all(one is other for one, other in zip(stored, read, strict=True)):
            return events
        olds = iter(read[len(events) :])
        return [
            Event(
                event.type, record, next(olds) if needs_old and event.previous is not None else event.previous
            )
            for event, record in zip(events, read, strict=False)
        ]

    def _select(self, events: Sequence[Event]) -> list[WatchItem]:
        if self._selection.everything:
            return self._batch.of(events)
        matches = self._selection.matches
        items = []
        for event in events:
            previous = event.previous
            was = previous is not None and matches(previous.obj)
            if event.type is DELETED:
                if was:
                    items.append(WatchItem(DELETED, event.record, event))
                continue
            now = matches(event.record.obj)
            if now:
                items.append(WatchItem(MODIFIED if was else ADDED, event.record, event))
            elif was and previous is not None:
                items.append(WatchItem(DELETED, _as_left(previous, event.record)))
        return items

    def close(self) -> None:
        self._cursor.close()


def _as_left(previous: Record, current: Record) -> Record:
    """What a watcher is sent for an object that leaves its selection: as it was, at the new revision."""
    obj = previous.obj
    left = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(current.revision)}}
    return Record(current.key, current.revision, current.created, orjson.dumps(left), left)


def _place(record: Record) -> tuple[str, str]:
    return record.key[1:]


def _narrow(records: Sequence[Record], selection: Selection, namespace: str) -> Sequence[Record]:
    """Only the records that a demanded name or namespace can be among."""
    if not namespace and selection.namespace:
        low = bisect_right(records, (selection.namespace, ""), key=_place)
        high = bisect_right(records, (selection.namespace + "\0", ""), key=_place)
        records = records[low:high]
        namespace = selection.namespace
    if selection.name and (namespace or (records and not records[0].key.namespace)):
        low = bisect_right(records, (namespace, selection.name), key=_place) - 1
        if low >= 0 and records[low].key[1:] == (namespace, selection.name):
            return [records[low]]
        return []
    return records


def _cut(records: Sequence[Record], position: int, limit: int, revision: int) -> Page:
    page = records[position : position + limit]
    remaining = len(records) - position - len(page)
    if remaining <= 0:
        return Page(page, revision)
    return Page(page, revision, encode_token(revision, _place(page[-1])), remaining)


def _select(
    records: Sequence[Record], position: int, limit: int, revision: int, selection: Selection
) -> Page:
    matches = selection.matches
    if not limit:
        rest = records[position:] if position else records
        return Page([record for record in rest if matches(record.obj)], revision)
    chosen: list[Record] = []
    for index in range(position, len(records)):
        record = records[index]
        if matches(record.obj):
            if len(chosen) == limit:
                return Page(chosen, revision, encode_token(revision, _place(chosen[-1])))
            chosen.append(record)
    return Page(chosen, revision)
