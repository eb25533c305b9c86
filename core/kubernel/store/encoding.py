"""How an object becomes bytes before its revision is known.

An object is encoded once, with ``metadata.resourceVersion`` as an empty string at a place that can
be found again: the first member of ``metadata``, and nothing but plain strings before
``metadata``. Backends keep these bytes. Once the revision is known, and again after a restart,
it is put between the quotes, which costs a copy of the bytes instead of an encoding.
"""

from __future__ import annotations

from typing import Any

import orjson

from kubernel.store.backend import Load
from kubernel.store.freeze import freeze
from kubernel.store.records import Key, Obj, Record

__all__ = ["FrozenRecord", "StoredRecord", "encode", "splice"]

# Inside a JSON string a quote is always escaped, so the strings before ``metadata`` cannot contain this.
_MARK = b'"metadata":{"resourceVersion":"'


def encode(obj: Obj) -> tuple[Obj, dict[str, Any], bytes]:
    """A copy of ``obj`` along ``metadata`` with an empty resourceVersion, that new ``metadata``, and
    the copy's JSON. TypeError (orjson.JSONEncodeError) when it is not JSON."""
    meta: dict[str, Any] = {"resourceVersion": ""}
    given = obj.get("metadata")
    if given:
        meta.update(given)
        meta["resourceVersion"] = ""
    for name, value in obj.items():
        if name == "metadata":
            stored = {**obj, "metadata": meta}
            return stored, meta, orjson.dumps(stored)
        if type(value) is not str:
            break
    stored = {name: obj[name] for name in ("kind", "apiVersion") if type(obj.get(name)) is str}
    stored["metadata"] = meta
    for name, value in obj.items():
        if name not in stored:
            stored[name] = value
    return stored, meta, orjson.dumps(stored)


def splice(value: bytes, revision: int) -> bytes:
    """The JSON of ``encode`` with the revision in its place. ValueError when it has none."""
    at = value.index(_MARK) + len(_MARK)
    return b"%b%d%b" % (value[:at], revision, value[at:])


class StoredRecord(Record):
    """A record made from a backend's bytes; the revision is put in when someone asks for them."""

    __slots__ = ("_value",)

    def __init__(
        self, key: Key, revision: int, created: int, value: bytes | Load, obj: Obj | None = None
    ) -> None:
        self.key = key
        self.revision = revision
        self.created = created
        self._data = None
        self._obj = obj
        self.forms = None
        self._value = value

    @property
    def data(self) -> bytes:
        data = self._data
        if data is None:
            value = self._value
            if not isinstance(value, bytes):
                value = value(self.revision)
            data = self._data = splice(value, self.revision)
            self._value = b""
        return data


class FrozenRecord(StoredRecord):
    """A stored record whose object raises on the attempt to change it."""

    __slots__ = ()

    def __init__(
        self, key: Key, revision: int, created: int, value: bytes | Load, obj: Obj | None = None
    ) -> None:
        super().__init__(key, revision, created, value, None if obj is None else freeze(obj))

    @property
    def obj(self) -> Obj:
        if self._obj is None:
            self._obj = freeze(orjson.loads(self.data))
        return self._obj
