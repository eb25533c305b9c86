"""Reads the past of a cluster through its API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kubernel.clock import rfc3339
from kubernel.config import parse_duration
from kubernel.errors import Expired, KubernelError, NotFound
from kubernel.objects import times

if TYPE_CHECKING:
    from kubernel.client import Client
    from kubernel.clock import Clock
    from kubernel.store.records import Obj
    from kubernel_plugins.cli.kinds import Kind

__all__ = ["Past", "last_of_deleted", "parse_since", "revision_at", "versions"]

LEASES = "leases.v1.coordination.k8s.io"
_SETTLED = 0.5
"""Seconds after which a watch of what is long past has said it all."""


@dataclass(frozen=True, slots=True)
class Past:
    """``versions`` newest first. ``complete``: the last one is the creation; else older ones are forgotten."""

    versions: list[Obj]
    complete: bool


async def versions(client: Client, kind: Kind, namespace: str, newest: Obj, limit: int) -> Past:
    """``newest`` and what it was before, at most ``limit`` in all."""
    found = [newest]
    while len(found) < limit:
        before = int(found[-1]["metadata"]["resourceVersion"]) - 1
        if before <= 0:
            return Past(found, True)
        name = newest["metadata"]["name"]
        try:
            found.append(await client.get(kind.resource, name, namespace, at=str(before)))
        except NotFound:
            return Past(found, True)
        except Expired:
            return Past(found, False)
    return Past(found, False)


async def last_of_deleted(
    client: Client, clock: Clock, kind: Kind, name: str, namespace: str
) -> tuple[int, Obj]:
    """The revision that deleted the object and what it was before. NotFound when nobody remembers it."""
    oldest = await _oldest(client, kind)
    gone: Obj | None = None
    try:
        async with clock.timeout(_SETTLED):
            changes = client.watch(
                kind.resource, namespace, fields=f"metadata.name={name}", resource_version=str(oldest)
            )
            async for event, obj in changes:
                if event == "DELETED":
                    gone = obj
    except (TimeoutError, Expired):
        pass
    if gone is None:
        raise NotFound.for_object(kind.plural, kind.group, name)
    revision = int(gone["metadata"]["resourceVersion"])
    return revision, await client.get(kind.resource, name, namespace, at=str(revision - 1))


async def _oldest(client: Client, kind: Kind) -> int:
    """The oldest revision that can still be read."""
    high = int((await client.list(kind.resource, limit=1)).resource_version)
    low = 1
    while low < high:
        middle = (low + high) // 2
        try:
            await client.list(kind.resource, limit=1, at=str(middle))
        except Expired:
            low = middle + 1
        else:
            high = middle
    return high


def parse_since(text: str) -> tuple[int, float]:
    """(revision, 0.0) or (0, seconds ago)."""
    if text.isascii() and text.isdigit() and int(text):
        return int(text), 0.0
    try:
        return 0, parse_duration(text)
    except ValueError:
        raise KubernelError(
            f'--since: "{text}" is neither a time such as 10m or 1h30m nor a resourceVersion'
        ) from None


async def revision_at(client: Client, when: float) -> int:
    """The latest revision that is not later than ``when`` (seconds since the epoch).

    Nodes renew their leases every few seconds: what the leases say at a revision dates it.
    """
    newest = await client.list(LEASES)
    earliest = _latest(newest.items)
    if earliest is None:
        raise KubernelError("no lease tells the time in this cluster; name a resourceVersion instead")
    # ``high`` is later than ``when``; ``low`` is not, or is forgotten.
    low, high, remembered = 0, int(newest.resource_version), True
    if earliest <= when:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        try:
            told = _latest((await client.list(LEASES, at=str(middle))).items)
        except Expired:
            low, remembered = middle, False
            continue
        if told is not None and told > when:
            high, earliest = middle, told
        else:
            low, remembered = middle, True
    if not remembered:
        raise Expired(
            f"nothing from before {rfc3339(earliest)} is remembered; a longer `retention` of the store keeps more"
        )
    return max(low, 1)


def _latest(leases: list[Obj]) -> float | None:
    renewed = [(lease.get("spec") or {}).get("renewTime") for lease in leases]
    return max((times.parse(text) for text in renewed if text), default=None)
