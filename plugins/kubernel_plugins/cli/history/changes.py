"""What differs between two revisions of an object, who did it, and when."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubernel.registry.fields import difference
from kubernel.store.records import Obj

__all__ = ["Change", "changed_paths", "describe", "text_difference"]

_BOOKKEEPING = ("managedFields", "resourceVersion")
_LIST_KEYS = ("name", "type", "containerPort", "port", "key", "ip", "uid", "mountPath", "topologyKey")


@dataclass(frozen=True, slots=True)
class Change:
    """One revision. ``what`` is created, changed or deleted; ``time`` RFC 3339, "" if nothing tells it; ``who``
    the managers that wrote, with their subresources; ``paths`` the fields that became others."""

    revision: int
    what: str
    time: str
    who: tuple[str, ...]
    paths: tuple[str, ...]


def describe(older: Obj | None, newer: Obj, *, first: bool = False) -> Change:
    """What made ``older`` into ``newer``; None is no object, or with ``first`` an older one that is forgotten."""
    meta = newer["metadata"]
    known = {
        _identity(entry): entry for entry in (older or {}).get("metadata", {}).get("managedFields") or ()
    }
    written = [
        entry for entry in meta.get("managedFields") or () if _wrote(entry, known.get(_identity(entry)))
    ]
    paths = () if older is None else tuple(changed_paths(older, newer))
    if first:
        written = written[-1:]
    times = [entry.get("time") or "" for entry in written]
    time = max(times, default="")
    if not time and older is None and not first:
        time = meta.get("creationTimestamp") or ""
    if not time and "metadata.deletionTimestamp" in paths:
        time = meta["deletionTimestamp"]
    who = tuple(dict.fromkeys(_manager(entry) for entry in written))
    what = "created" if older is None and not first else "changed"
    return Change(int(meta["resourceVersion"]), what, time, who, paths)


def _identity(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in ("manager", "operation", "apiVersion", "subresource"))


def _wrote(entry: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Not merely lost fields to somebody else."""
    return (
        before is None
        or entry.get("time") != before.get("time")
        or bool(difference(entry.get("fieldsV1") or {}, before.get("fieldsV1") or {}))
    )


def _manager(entry: dict[str, Any]) -> str:
    manager, subresource = entry.get("manager") or "unknown", entry.get("subresource")
    return f"{manager} ({subresource})" if subresource else str(manager)


def changed_paths(older: Any, newer: Any) -> Iterator[str]:
    """Paths of what differs, the shortest that say it, without the server's bookkeeping."""
    return _differences(_plain(older), _plain(newer), "")


def _differences(older: Any, newer: Any, path: str) -> Iterator[str]:
    if older == newer:
        return
    if isinstance(older, dict) and isinstance(newer, dict):
        for key in dict.fromkeys((*older, *newer)):
            below = f"{path}.{key}" if "." not in key and "/" not in key else f"{path}[{key}]"
            if key in older and key in newer:
                yield from _differences(older[key], newer[key], below)
            else:
                yield below.removeprefix(".")
        return
    if isinstance(older, list) and isinstance(newer, list) and (key := _key_of(older, newer)):
        before = {item[key]: item for item in older}
        after = {item[key]: item for item in newer}
        if list(before) == list(after) or before.keys() != after.keys():
            for each in dict.fromkeys((*before, *after)):
                below = f"{path}[{key}={each}]"
                if each in before and each in after:
                    yield from _differences(before[each], after[each], below)
                else:
                    yield below.removeprefix(".")
            return
    yield path.removeprefix(".")


def _key_of(*lists: list[Any]) -> str:
    """A field that tells the elements of each list apart."""
    for key in _LIST_KEYS:
        if all(
            len({item[key] for item in items}) == len(items)
            if all(isinstance(item, dict) and isinstance(item.get(key), str | int) for item in items)
            else False
            for items in lists
        ):
            return key
    return ""


def _plain(obj: Obj) -> Obj:
    meta = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _BOOKKEEPING}
    return {**obj, "metadata": meta}


def text_difference(label: str, older: Obj | None, newer: Obj | None) -> str:
    """A unified diff of the YAML of both, "" when they are the same; None is no object."""
    return "".join(
        difflib.unified_diff(
            _lines(older),
            _lines(newer),
            _label(label, older),
            _label(label, newer),
        )
    )


def _label(label: str, obj: Obj | None) -> str:
    return "/dev/null" if obj is None else f"{label}\t{obj['metadata'].get('resourceVersion', '')}"


def _lines(obj: Obj | None) -> list[str]:
    if obj is None:
        return []
    import yaml

    text: str = yaml.safe_dump(_plain(obj), sort_keys=True, allow_unicode=True, width=1000)
    return text.splitlines(keepends=True)
