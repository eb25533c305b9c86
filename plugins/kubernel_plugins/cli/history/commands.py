"""What the subcommands do; each gives the exit code."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from kubernel.errors import KubernelError, NotFound, qualified_resource
from kubernel_plugins.cli.kinds import Kind, kinds, resolve

from .blame import annotate
from .changes import Change, describe, text_difference
from .past import last_of_deleted, parse_since, revision_at, versions

if TYPE_CHECKING:
    import argparse

    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj

__all__ = ["blame", "diff", "history"]

_PATHS_SHOWN = 3


async def history(client: Client, clock: Clock, args: argparse.Namespace) -> int:
    if args.limit < 1:
        raise KubernelError("--limit: at least 1")
    kind = await resolve(client, args.kind)
    namespace = args.namespace if kind.namespaced else ""
    changes: list[Change] = []
    try:
        newest = await client.get(kind.resource, args.object, namespace)
    except NotFound:
        revision, newest = await last_of_deleted(client, clock, kind, args.object, namespace)
        changes.append(Change(revision, "deleted", newest["metadata"].get("deletionTimestamp") or "", (), ()))
    past = await versions(client, kind, namespace, newest, args.limit + 1)
    found = past.versions
    for newer, older in zip(found, [*found[1:], None], strict=True):
        changes.append(describe(older, newer, first=older is None and not past.complete))
    forgotten = not past.complete and len(found) <= args.limit
    changes = changes[: args.limit]
    if args.output == "json":
        sys.stdout.write(json.dumps([dataclasses.asdict(change) for change in changes], indent=2) + "\n")
        return 0
    rows = [("REVISION", "TIME", "WHO", "CHANGE"), *(_row(change) for change in changes)]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    if forgotten:
        sys.stdout.write("Older revisions are forgotten.\n")
    return 0


def _row(change: Change) -> tuple[str, str, str, str]:
    told = change.what
    if change.paths:
        told = ", ".join(change.paths[:_PATHS_SHOWN])
        if len(change.paths) > _PATHS_SHOWN:
            told += f" and {len(change.paths) - _PATHS_SHOWN} more"
    return str(change.revision), change.time or "-", ", ".join(change.who) or "-", told


async def diff(client: Client, clock: Clock, args: argparse.Namespace) -> int:
    revision, ago = parse_since(args.since)
    if not revision:
        revision = await revision_at(client, clock.time() - ago)
    if args.kind:
        chosen = [await resolve(client, args.kind)]
    else:
        # Events are about changes; to see them as changes hides the others.
        chosen = [
            kind
            for kind, _ in await kinds(client)
            if kind.namespaced and {"list", "watch"} <= kind.verbs and kind.kind != "Event"
        ]
    texts = []
    for kind in chosen:
        texts += await _differences(
            client, kind, args.namespace if kind.namespaced else "", args.object, revision
        )
    sys.stdout.write("".join(texts))
    return 1 if texts else 0


async def _differences(client: Client, kind: Kind, namespace: str, name: str, revision: int) -> list[str]:
    fields = f"metadata.name={name}" if name else ""
    before = await client.list(kind.resource, namespace, fields=fields, at=str(revision))
    after = await client.list(kind.resource, namespace, fields=fields)
    older = {_place(obj): obj for obj in before.items}
    newer = {_place(obj): obj for obj in after.items}
    if name and not older and not newer:
        raise NotFound.for_object(kind.plural, kind.group, name)
    texts = []
    for place in sorted({*older, *newer}):
        was, now = older.get(place), newer.get(place)
        if was is not now:
            label = "/".join(part for part in (qualified_resource(kind.plural, kind.group), *place) if part)
            texts.append(text_difference(label, was, now))
    return [text for text in texts if text]


def _place(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


async def blame(client: Client, clock: Clock, args: argparse.Namespace) -> int:
    kind = await resolve(client, args.kind)
    obj = await client.get(kind.resource, args.object, args.namespace if kind.namespaced else "")
    sys.stdout.write(annotate(obj))
    return 0
