"""What the store keeps and what it tells: keys, records, events.

A stored object is immutable. ``Record.obj`` is shared by everyone who reads it; nobody may
change it (the test kit hands out deep-frozen ones that raise on the attempt).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import orjson

__all__ = ["ADDED", "DELETED", "MODIFIED", "Event", "EventType", "Key", "Obj", "Record"]

Obj = dict[str, Any]
"""A Kubernetes object: a plain dict of JSON values."""

EventType = Literal["ADDED", "MODIFIED", "DELETED"]
ADDED: EventType = "ADDED"
MODIFIED: EventType = "MODIFIED"
DELETED: EventType = "DELETED"


class Key(NamedTuple):
    """Where an object lives. ``resource`` is ``plural.group`` (``pods``, ``deployments.apps``),
    ``namespace`` is empty for cluster-scoped objects. Tuples compare in list order."""

    resource: str
    namespace: str
    name: str


class Record:
    """One stored version of one object.

    ``data`` is the object's JSON with its resourceVersion in place, ready to send; ``obj`` is
    decoded from it when first asked for. ``revision`` is the object's resourceVersion,
    ``created`` the revision that created it. ``forms`` is for whoever makes something of the object that is
    worth keeping as long as the record: by a name of theirs, such as a version and a media type.
    """

    __slots__ = ("_data", "_obj", "created", "forms", "key", "revision")

    _data: bytes | None
    _obj: Obj | None

    def __init__(self, key: Key, revision: int, created: int, data: bytes, obj: Obj | None = None) -> None:
        self.key = key
        self.revision = revision
        self.created = created
        self._data = data
        self._obj = obj
        self.forms: dict[str, bytes] | None = None

    @property
    def data(self) -> bytes:
        assert self._data is not None  # noqa: S101 - only a subclass that overrides this has None
        return self._data

    @property
    def obj(self) -> Obj:
        if self._obj is None:
            self._obj = orjson.loads(self.data)
        return self._obj

    def read(self) -> Obj:
        """``obj`` for one look: it is not kept if nobody has asked for it before."""
        if self._obj is not None:
            return self._obj
        obj: Obj = orjson.loads(self.data)
        return obj

    def __repr__(self) -> str:
        return f"Record({'/'.join(self.key)} @{self.revision})"


class Event:
    """One committed change. ``record`` is the new state (for DELETED the final one, carrying the
    revision of the deletion), ``previous`` what it replaced: None for ADDED."""

    __slots__ = ("_frames", "previous", "record", "type")

    def __init__(self, type: EventType, record: Record, previous: Record | None) -> None:
        self.type = type
        self.record = record
        self.previous = previous
        self._frames: dict[str, bytes] | None = None

    @property
    def revision(self) -> int:
        return self.record.revision

    def frame(self, type: EventType) -> bytes:
        """``{"type":"ADDED","object":…}\\n``, encoded once however many watch.

        ``type`` may differ from the event's own: an object that enters a watcher's selection is
        ADDED to it. For one that leaves, the watcher is sent ``leaving_frame``.
        """
        frames = self._frames
        if frames is None:
            frames = self._frames = {}
        frame = frames.get(type)
        if frame is None:
            frame = frames[type] = b'{"type":"%b","object":%b}\n' % (type.encode(), self.record.data)
        return frame

    def __repr__(self) -> str:
        return f"Event({self.type} {self.record!r})"
