"""The object store: one global revision, immutable records, a bounded history.

    write -> ObjectStore.create/update/delete
               precondition -> Backend.commit (durable) -> Backend.feed
             -> index updated, Event appended to the history -> listeners (the watch bus)

The index of current objects lives in memory and is only ever driven by the backend's feed, in
revision order, so an exclusive backend and one shared by several servers run the same code. A
write returns after its own change has come back through the feed: read-your-writes holds.

Public surface (``kubernel.store``):

``ObjectStore(backend, clock, *, history=…, retention=…, freeze=False)``
    ``await start()`` / ``await stop()``
    ``revision``            latest revision in the index
    ``oldest``              the oldest revision a reader may resume after; older ones are compacted
    ``get(key)``            ``Record | None``
    ``list(resource, namespace=None)``  ``Listing(revision, records)``: a sequence sorted by
                            (namespace, name), safe to iterate while others write, without a copy
                            of the objects
    ``count(resource, namespace=None)``
    ``resources()``         names of resources that have objects
    ``await create(key, obj)``                  ``Record``; AlreadyExistsInStore
    ``await update(key, obj, expect=None)``     ``Record``; ``expect`` is the revision the object must
                            have (StaleRevision otherwise); MissingKey when absent
    ``await delete(key, obj, expect=None)``     ``Record``: ``obj`` is the object's final state,
                            its resourceVersion becomes the deletion's revision
    ``await get_at(key, revision)``, ``await list_at(resource, namespace, revision)``
                            the past, within the retention; ``Compacted`` beyond it
    ``subscribe(listener)`` called synchronously with ``list[Event]``, in revision order
    ``history(after)``      the retained events with a revision greater than ``after``; ``Compacted``
    ``await compact(revision)``, ``await backup(path)``

The store sets ``metadata.resourceVersion`` of what it is given (without mutating the argument:
copy on write along that path) and encodes once. ``obj`` must not be changed after the call.
"""

from kubernel.store.backend import Backend, Change, Feed, Load, Snapshot, Write
from kubernel.store.encoding import FrozenRecord, StoredRecord
from kubernel.store.errors import (
    AlreadyExistsInStore,
    Compacted,
    FutureRevision,
    MissingKey,
    StaleRevision,
    StoreRefusal,
)
from kubernel.store.freeze import FrozenDict, FrozenList, freeze
from kubernel.store.index import Listing
from kubernel.store.records import ADDED, DELETED, MODIFIED, Event, EventType, Key, Obj, Record
from kubernel.store.store import ObjectStore

__all__ = [
    "ADDED",
    "DELETED",
    "MODIFIED",
    "AlreadyExistsInStore",
    "Backend",
    "Change",
    "Compacted",
    "Event",
    "EventType",
    "Feed",
    "FrozenDict",
    "FrozenList",
    "FrozenRecord",
    "FutureRevision",
    "Key",
    "Listing",
    "Load",
    "MissingKey",
    "Obj",
    "ObjectStore",
    "Record",
    "Snapshot",
    "StaleRevision",
    "StoreRefusal",
    "StoredRecord",
    "Write",
    "freeze",
]
