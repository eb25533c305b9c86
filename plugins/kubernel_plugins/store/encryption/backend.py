"""A backend in front of another: some resources are encrypted on their way down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from kubernel.errors import StoreCorrupt, StoreError
from kubernel.store import Backend, Change, Feed, Key, Snapshot, Write
from kubernel_plugins.store.encryption.ciphers import Identity
from kubernel_plugins.store.encryption.configuration import Encryption, Providers

__all__ = ["EncryptedBackend"]

_OPEN = Providers((Identity(),))
"""What resources without an entry have."""


class _Sealed(Write):
    """A write as the backend below gets it."""

    __slots__ = ("plain",)

    def __init__(self, plain: Write, value: bytes) -> None:
        super().__init__(plain.key, value, plain.expect, plain.deleted)
        self.plain = plain


class EncryptedBackend:
    """Resources without an entry cost one look into a dictionary for each write and each change.

    What the first key of its entry has not encrypted is written again after the open and after a reload, so that a
    new key comes into use, and an old one out of it. ``encryption`` is asked for at both.
    """

    def __init__(self, inner: Backend, encryption: Callable[[], Encryption]) -> None:
        self.inner = inner
        self._load = encryption
        self._encryption = Encryption(())
        self._stale: dict[Key, tuple[int, bytes]] = {}
        self._rewriting: asyncio.Task[None] | None = None
        self._resources: set[str] = set()
        self._revision = 0

    @property
    def retention(self) -> float:
        return self.inner.retention

    async def open(self, feed: Feed) -> Snapshot:
        self._encryption = self._load()

        def forward(changes: Sequence[Change]) -> None:
            of = self._encryption.of
            self._revision = changes[-1].revision
            if any(of(change.key.resource) is not None for change in changes):
                changes = [self._plain(change) for change in changes]
            feed(changes)

        snapshot = await self.inner.open(forward)
        self._revision = snapshot.revision
        self._resources = {change.key.resource for change in snapshot.changes}
        try:
            snapshot = self._loaded(snapshot)
        except StoreError:
            await self.inner.close()
            raise
        if self._stale:
            self._rewriting = asyncio.get_running_loop().create_task(
                self._rewrite(), name="encryption of what was stored otherwise"
            )
        return snapshot

    async def close(self) -> None:
        if self._rewriting is not None:
            self._rewriting.cancel()
            await asyncio.gather(self._rewriting, return_exceptions=True)
            self._rewriting = None
        self._stale.clear()
        await self.inner.close()

    async def reload(self) -> int:
        """Take the configuration anew while the store is open; how many values were written again. What raises
        leaves the one before in use: PluginError and ConfigError for one that cannot be used, StoreCorrupt for one
        without the key of something that is stored."""
        wanted = self._load()
        await self._stored_otherwise(wanted)
        self._encryption = wanted
        self._stale = await self._stored_otherwise(wanted)
        count = len(self._stale)
        await self._rewrite()
        return count

    async def _stored_otherwise(self, encryption: Encryption) -> dict[Key, tuple[int, bytes]]:
        """The values that another key than the first has encrypted, or none. Raises StoreCorrupt."""
        found: dict[Key, tuple[int, bytes]] = {}
        for resource in sorted(self._resources):
            providers = encryption.of(resource) or _OPEN
            for change in await self.inner.list_at(resource, None, self._revision):
                value, stale = self._opened(providers, change)
                if stale:
                    found[change.key] = (change.revision, value)
        return found

    def commit(self, write: Write) -> Awaitable[int]:
        self._resources.add(write.key.resource)
        providers = self._encryption.of(write.key.resource)
        if providers is None:
            return self.inner.commit(write)
        return self.inner.commit(_Sealed(write, providers.seal(write.value, _place(write.key))))

    async def _rewrite(self) -> None:
        stale, self._stale = self._stale, {}
        for key, (revision, value) in stale.items():
            try:
                await self.commit(Write(key, value, revision))
            except StoreError:
                continue  # somebody else has written it, or nobody can write

    def _plain(self, change: Change) -> Change:
        providers = self._encryption.of(change.key.resource)
        if providers is None:
            return change
        origin = change.origin
        if isinstance(origin, _Sealed):
            return change._replace(value=origin.plain.value, origin=origin.plain)
        return change._replace(value=self._opened(providers, change)[0])

    def _loaded(self, snapshot: Snapshot) -> Snapshot:
        """Everything decrypted, from the newest change to the oldest. A past whose key is gone is left out: it is
        then not told, as if it had been compacted. Raises StoreCorrupt for what is there now."""
        of = self._encryption.of
        changes: list[Change] = []
        oldest = snapshot.oldest
        following: dict[Key, int] = {}
        forgotten: set[Key] = set()
        for change in reversed(snapshot.changes):
            key, revision = change.key, change.revision
            providers = of(key.resource)
            if providers is None:
                changes.append(change)
                continue
            later = following.get(key)
            following[key] = revision
            if key in forgotten:
                continue
            try:
                value, stale = self._opened(providers, change)
            except StoreCorrupt:
                if later is None and not change.deleted:
                    raise
                forgotten.add(key)
                oldest = max(oldest, revision if later is None else later)
                continue
            if stale and later is None and not change.deleted:
                self._stale[key] = (revision, value)
            changes.append(change._replace(value=value))
        changes.reverse()
        return Snapshot(snapshot.revision, oldest, changes)

    @staticmethod
    def _opened(providers: Providers, change: Change) -> tuple[bytes, bool]:
        value = change.value
        stored = value if isinstance(value, bytes) else value(change.revision)
        try:
            return providers.open(stored, _place(change.key))
        except ValueError as error:
            name = "/".join(change.key)
            raise StoreCorrupt(f"{name} at revision {change.revision} cannot be decrypted: {error}") from None

    async def get_at(self, key: Key, revision: int) -> Change | None:
        change = await self.inner.get_at(key, revision)
        return None if change is None else self._plain(change)

    async def list_at(self, resource: str, namespace: str | None, revision: int) -> Sequence[Change]:
        changes = await self.inner.list_at(resource, namespace, revision)
        return (
            changes if self._encryption.of(resource) is None else [self._plain(change) for change in changes]
        )

    async def compact(self, revision: int) -> None:
        await self.inner.compact(revision)

    async def backup(self, path: Path) -> None:
        """What is encrypted is so in the copy too, and the keys are not in it."""
        await self.inner.backup(path)


def _place(key: Key) -> bytes:
    """An encrypted value is good at its own place only."""
    return f"/registry/{'/'.join(key)}".encode()
