"""Who manages which field: ``metadata.managedFields`` of every write, and server-side apply.

The rules are KEP-555's as k8s.io/apimachinery/pkg/util/managedfields and structured-merge-diff implement
them. All entries of an object are taken to mean the version that is being written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from kubernel.errors import BadRequest, Cause, Conflict
from kubernel.registry.fields import (
    NOTHING,
    Tree,
    compare,
    created,
    decoded,
    difference,
    drop,
    intersection,
    owned,
    paths,
    union,
)
from kubernel.registry.merging import check_applied, merge, prune

if TYPE_CHECKING:
    from kubernel.registry.schema import Node
    from kubernel.store.records import Obj

__all__ = [
    "LAST_APPLIED",
    "MAX_UPDATERS",
    "apply_object",
    "entries_of_object",
    "entries_of_view",
    "same_but_for_times",
    "track_update",
]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_UPDATERS = 10
"""More managers than this that update are merged, the oldest first."""

_ANCIENT = "ancient-changes"
_BEFORE = "before-first-apply"
_NOTHING: Tree = {}
_MAX_ANNOTATIONS = 256 * 1024

Entry = dict[str, Any]


def track_update(
    node: Node | None,
    old: Obj | None,
    new: Obj,
    *,
    manager: str,
    api_version: str,
    subresource: str,
    now: str,
    reset: Collection[str] = (),
    known: Mapping[str, Tree | None] = NOTHING,
    versions: Collection[str] = (),
) -> list[Entry]:
    """The managedFields of ``new`` after an ordinary write: create, update or patch.

    ``old`` is what it replaces, None for a creation; ``now`` RFC 3339. ``reset`` names fields that this
    endpoint cannot write (``status``, ``metadata.labels``). What ``new`` brings as managedFields is the
    base when it is well-formed, so that clients can edit them: ``[{}]`` and ``[]`` end the tracking until the next
    apply. When the write changes no field, the list is the base itself. ``known`` are the fields of some of the
    members of a new object. Entries of an apiVersion that is none of ``versions`` are dropped, if any are told.
    """
    entries = _base(old, new, subresource)
    if old is not None and not entries:
        return []
    if any(entry.get("apiVersion", "").count("/") > 1 for entry in entries):
        # Upstream fails to track such a write, and keeps what was there.
        return (old["metadata"].get("managedFields") or []) if old is not None else []
    entries = _current(entries, versions)
    if old is None:
        changed, removed = created(node, new, reset, known), _NOTHING
    else:
        changed, removed = compare(node, old, new, reset)
    if not changed and not removed:
        return entries
    identity = _identity(manager or "unknown", "Update", api_version, subresource)
    if not entries:
        return [_entry(identity, changed, now)] if changed else []
    mine: Entry | None = None
    result: list[Entry] = []
    for entry in entries:
        fields = entry["fieldsV1"]
        is_mine = mine is None and _identity_of(entry) == identity
        left = drop(fields, removed) if removed else fields
        if is_mine:
            mine = entry if left is fields else entry | {"fieldsV1": left}
            continue
        if changed and left:
            left = difference(left, changed)
        if left is fields:
            result.append(entry)
        elif left:
            result.append(entry | {"fieldsV1": left})
    if changed:
        before = mine["fieldsV1"] if mine is not None else {}
        result.append(_entry(identity, union(before, changed), now))
    elif mine is not None and mine["fieldsV1"]:
        result.append(mine)
    return sorted(_capped(result), key=_order)


def apply_object(
    node: Node | None,
    live: Obj | None,
    applied: Obj,
    *,
    manager: str,
    api_version: str,
    subresource: str,
    now: str,
    force: bool,
    reset: Collection[str] = (),
    versions: Collection[str] = (),
) -> Obj:
    """``applied`` merged into ``live`` (None: it is created), with its managedFields.

    Fields that ``manager`` applied before and no longer does are removed unless somebody else manages
    them. Raises Conflict with one cause for each field that another manager has set differently, unless
    ``force`` takes them over; BadRequest for what the schema does not know. Returns ``live`` itself when
    nothing changes. Nothing given is changed.
    """
    if (applied.get("metadata") or {}).get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    config = _without(applied, reset)
    check_applied(node, config, api_version)
    base = live if live is not None else {}
    stored = (base.get("metadata") or {}).get("managedFields") or []
    entries = _current(stored, versions)
    if live is not None and not entries:
        fields = created(node, live, reset)
        if fields:
            entries = [_entry(_identity(_BEFORE, "Update", api_version, subresource), fields, now)]
    identity = _identity(manager, "Apply", api_version, subresource)
    last = next((each for each in entries if _identity_of(each) == identity), None)
    others = [each for each in entries if each is not last]
    mine = owned(node, config, reset)
    # What an endpoint takes back of a change may well come with a creation: a CertificateSigningRequest's spec.
    merged = merge(node, base, config if live is not None else applied)
    if last is not None and last["fieldsV1"] != mine:
        managed = mine
        for entry in others:
            managed = union(managed, entry["fieldsV1"])
        merged = prune(node, merged, last["fieldsV1"], managed)
    changed, removed = compare(node, base, merged, reset)
    if changed and not force:
        conflicts = [
            (entry, found) for entry in others if (found := intersection(entry["fieldsV1"], changed))
        ]
        if conflicts and manager == "kubectl":
            conflicts = _without_last_applied(node, base, conflicts)
        if conflicts:
            raise _conflict(conflicts)
    result: list[Entry] = []
    for entry in others:
        left = difference(drop(entry["fieldsV1"], removed), changed)
        if left is entry["fieldsV1"]:
            result.append(entry)
        elif left:
            result.append(entry | {"fieldsV1": left})
    # Whoever applies what is there already has not changed the object at any time. What cannot be written through
    # this endpoint counts: it is taken back later.
    unchanged = merged is live and (config is applied or merge(node, base, applied) is base)
    when = (last or {}).get("time", "") if unchanged else now
    if manager == "kubectl" and not subresource:
        merged = _with_last_applied(merged, applied)
    same = merged is live
    if last is not None and last["fieldsV1"] == mine and last["apiVersion"] == api_version:
        result.append(last if same else _entry(identity, mine, when, api_version))
        if same and len(result) == len(stored) and all(any(a is b for b in stored) for a in result):
            return base
    elif mine:
        result.append(_entry(identity, mine, when, api_version))
    metadata = dict(merged.get("metadata") or {})
    metadata["managedFields"] = sorted(result, key=_order)
    return {**merged, "metadata": metadata}


def same_but_for_times(old: Obj, new: Obj) -> bool:
    """Whether ``new`` is ``old`` but for the times of its managers and a resourceVersion that it demands."""
    before, after = old["metadata"].get("managedFields") or (), new["metadata"].get("managedFields") or ()
    if len(before) != len(after) or any(
        {**one, "time": ""} != {**other, "time": ""} for one, other in zip(before, after, strict=True)
    ):
        return False
    meta = {**old["metadata"], "managedFields": None, "resourceVersion": None}
    return {**old, "metadata": meta} == {
        **new,
        "metadata": {**new["metadata"], "managedFields": None, "resourceVersion": None},
    }


# --- a view of the object --------------------------------------------------------------------------


def entries_of_view(entries: Sequence[Entry], field: Tree, seen: Tree, api_version: str) -> list[Entry]:
    """Who manages ``seen``, the one field of a view (a Scale) that is ``field`` of the object."""
    return [
        {**entry, "apiVersion": api_version, "fieldsV1": seen}
        for entry in entries
        if intersection(entry["fieldsV1"], field)
    ]


def entries_of_object(
    entries: Sequence[Entry], field: Tree, view: Sequence[Entry], seen: Tree, api_version: str
) -> list[Entry]:
    """The managedFields of the object after a write of the view: ``view`` are the view's.

    Source: ``ToParent`` of k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go: an entry keeps the time that
    the object knows of it.
    """
    left = {_bare(entry): entry for entry in view}
    result = []
    for entry in entries:
        if not intersection(entry["fieldsV1"], field) or left.pop(_bare(entry), None) is not None:
            result.append(entry)
        elif rest := difference(entry["fieldsV1"], field):
            result.append({**entry, "fieldsV1": rest})
    times = {_identity_of(entry): entry.get("time", "") for entry in entries}
    for entry in left.values():
        if intersection(entry["fieldsV1"], seen):
            identity = _identity(
                entry.get("manager", ""), entry["operation"], api_version, entry.get("subresource", "")
            )
            made = _entry(identity, field, times.get(_identity_of(entry), ""), api_version)
            result = [other for other in result if _identity_of(other) != identity]
            result.append(made)
    return sorted(result, key=_order)


def _bare(entry: Entry) -> tuple[str, str, str]:
    return entry.get("manager", ""), entry["operation"], entry.get("subresource", "")


# --- entries -------------------------------------------------------------------------------------

Identity = tuple[str, str, str, str]
"""(manager, operation, apiVersion, subresource); appliers are the same in every version."""


def _identity(manager: str, operation: str, api_version: str, subresource: str) -> Identity:
    return manager, operation, api_version if operation == "Update" else "", subresource


def _identity_of(entry: Entry) -> Identity:
    return _identity(
        entry.get("manager", ""),
        entry["operation"],
        entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )


def _entry(identity: Identity, fields: Tree, time: str, api_version: str = "") -> Entry:
    """``time`` is left out when empty."""
    manager, operation, version, subresource = identity
    entry: Entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": version or api_version,
        **({"time": time} if time else {}),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    return entry


def _order(entry: Entry) -> tuple[str, ...]:
    """Upstream's order; RFC 3339 texts in UTC sort as times do."""
    return (
        entry["operation"],
        entry.get("time") or "",
        entry.get("manager", ""),
        entry.get("apiVersion", ""),
        entry.get("subresource", ""),
    )


def _current(entries: list[Entry], versions: Collection[str]) -> list[Entry]:
    """Without those that say nothing or are of a version that there is not."""
    if not versions:
        return entries
    kept = [entry for entry in entries if entry["fieldsV1"] and entry.get("apiVersion") in versions]
    return entries if len(kept) == len(entries) else kept


def _base(old: Obj | None, new: Obj, subresource: str) -> list[Entry]:
    stored = (old.get("metadata") or {}).get("managedFields") if old is not None else None
    # Clients may edit managedFields, but not through a subresource.
    if not subresource:
        given = (new.get("metadata") or {}).get("managedFields")
        if given in ([], [{}]):
            return []
        if given and given != stored and (entries := _decoded(given)):
            return entries
    # What is stored went through here before: it is well-formed.
    return stored or []


def _decoded(value: Any) -> list[Entry] | None:
    """The entries that a client sends, None if one of them is malformed; of two of one identity the last."""
    found: dict[Identity, Entry] = {}
    for entry in value if isinstance(value, list) else ():
        if (
            not isinstance(entry, dict)
            or entry.get("operation") not in ("Apply", "Update")
            or entry.get("fieldsType") != "FieldsV1"
            or not entry.get("apiVersion")
            or not all(isinstance(entry.get(key, ""), str) for key in _TEXTS)
        ):
            return None
        try:
            fields = decoded(entry.get("fieldsV1") or {})
        except ValueError:
            return None
        found[_identity_of(entry)] = {**entry, "fieldsV1": fields}
    return list(found.values())


_TEXTS = ("manager", "apiVersion", "subresource", "time")


def _capped(entries: list[Entry]) -> list[Entry]:
    """At most ``MAX_UPDATERS`` updaters: the oldest of each version become ``ancient-changes``."""
    updaters = [entry for entry in entries if entry["operation"] == "Update"]
    if len(updaters) <= MAX_UPDATERS:
        return entries
    updaters.sort(key=lambda entry: (entry.get("time") or "", _identity_of(entry)))
    kept = {id(entry): entry for entry in entries}
    buckets: dict[str, Entry] = {}
    count = len(updaters)
    for entry in updaters:
        if count <= MAX_UPDATERS:
            break
        version = entry.get("apiVersion", "")
        first = buckets.get(version)
        if first is None:
            buckets[version] = entry
            continue
        fields = union(entry["fieldsV1"], first["fieldsV1"])
        bucket = _entry((_ANCIENT, "Update", version, ""), fields, entry.get("time") or "")
        del kept[id(entry)], kept[id(first)]
        kept[id(bucket)] = buckets[version] = bucket
        count -= 1
    return list(kept.values())


# --- conflicts -----------------------------------------------------------------------------------


def _conflict(conflicts: Sequence[tuple[Entry, Tree]]) -> Conflict:
    causes, told = [], []
    for entry, fields in sorted(conflicts, key=lambda pair: _identity_of(pair[0])):
        with_whom = _manager(entry)
        told.append(f"conflicts with {with_whom}:")
        for path in paths(fields):
            causes.append(Cause("FieldManagerConflict", f"conflict with {with_whom}", path))
            told.append(f"- {path}")
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        lines = "\n".join(told)
        message = f"Apply failed with {len(causes)} conflicts: {lines}"
    return Conflict(message, causes=tuple(causes))


def _manager(entry: Entry) -> str:
    told = f'"{entry.get("manager", "")}"'
    if entry.get("subresource"):
        told += f' with subresource "{entry["subresource"]}"'
    if entry["operation"] == "Update":
        told += f" using {entry.get('apiVersion', '')}"
    return told


# --- the way from kubectl's client-side apply to the server's --------------------------------------


def _without_last_applied(
    node: Node | None, live: Obj, conflicts: list[tuple[Entry, Tree]]
) -> list[tuple[Entry, Tree]]:
    """The conflicts that are not with kubectl's own earlier client-side apply: if the live value
    still is what the annotation says was applied last, kubectl may change it."""
    text = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return conflicts
    if not isinstance(last, dict):
        return conflicts
    changed, removed = compare(node, last, live)
    allowed = drop(difference(owned(node, last), changed), removed)
    left = []
    for entry, fields in conflicts:
        remaining = difference(fields, allowed)
        if any(True for _ in paths(remaining)):
            left.append((entry, remaining))
    return left


def _with_last_applied(merged: Obj, applied: Obj) -> Obj:
    """kubectl's annotation, where there is one, kept true for those who go on with client-side apply."""
    metadata = merged.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if LAST_APPLIED not in annotations:
        return merged
    config = applied
    given = (applied.get("metadata") or {}).get("annotations") or {}
    if LAST_APPLIED in given:
        rest = {key: value for key, value in given.items() if key != LAST_APPLIED}
        config = {**applied, "metadata": {**applied["metadata"], "annotations": rest}}
    text = orjson.dumps(config, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    if annotations[LAST_APPLIED] == text:
        return merged
    changed = {**annotations, LAST_APPLIED: text}
    if sum(len(key) + len(value) for key, value in changed.items()) > _MAX_ANNOTATIONS:
        del changed[LAST_APPLIED]
    return {**merged, "metadata": {**metadata, "annotations": changed}}


def _without(obj: Obj, reset: Collection[str]) -> Obj:
    result = obj
    for path in reset:
        head, _, rest = path.partition(".")
        if head not in result:
            continue
        result = dict(result)
        if not rest:
            del result[head]
        elif isinstance(result[head], dict):
            result[head] = {key: value for key, value in result[head].items() if key != rest}
    return result
