"""The books of an exclusive backend: who is at which revision, and what may be thrown away.

Preconditions are decided here for writes in their order, each seeing those staged before it, and
the whole group is kept or undone together: what a transaction needs. ``garbage`` and ``restore`` may be called
in another thread than the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from kubernel.store.backend import Change, Write
from kubernel.store.errors import AlreadyExistsInStore, MissingKey, StaleRevision
from kubernel.store.records import Key

__all__ = ["Ledger"]

_Head = tuple[int, int] | Change  # either begins with the revision and the revision of creation


class Ledger:
    """``revision`` is the latest given out, staged ones included; ``compacted`` how far the past is gone."""

    __slots__ = ("_garbage", "_heads", "_staged", "compacted", "revision")

    def __init__(self, revision: int = 0, compacted: int = 0) -> None:
        self.revision = revision
        self.compacted = compacted
        self._heads: dict[Key, _Head] = {}
        self._garbage: deque[tuple[int, int]] = deque()
        self._staged: list[tuple[Change, _Head | None]] = []

    def replay(self, changes: Sequence[Change]) -> None:
        """Take stored changes, in revision order, into the books of a new ledger."""
        heads: dict[Key, _Head] = {change.key: change for change in changes}
        if len(heads) == len(changes) and not any(change.deleted for change in changes):
            self._heads = heads
            return
        heads.clear()
        self._heads = heads
        garbage = self._garbage
        for change in changes:
            key = change.key
            revision = change.revision
            head = heads.get(key)
            if head is not None:
                garbage.append((revision, head[0]))
            if change.deleted:
                heads.pop(key, None)
                garbage.append((revision, revision))
            else:
                heads[key] = change

    def stage(self, write: Write) -> Change:
        """The change that ``write`` makes, with the next revision. Raises AlreadyExistsInStore,
        MissingKey or StaleRevision."""
        key = write.key
        head = self._heads.get(key)
        expect = write.expect
        if head is None:
            if expect != 0:
                raise MissingKey(key)
            created = self.revision + 1
        else:
            if expect == 0:
                raise AlreadyExistsInStore(key, head[0])
            if expect is not None and expect != head[0]:
                raise StaleRevision(key, head[0], expect)
            created = head[1]
        self.revision = revision = self.revision + 1
        change = tuple.__new__(Change, (revision, created, key, write.value, write.deleted, write))
        self._staged.append((change, head))
        if write.deleted:
            self._heads.pop(key, None)
        else:
            self._heads[key] = (revision, created)
        return change

    def keep(self) -> None:
        """What is staged has become durable."""
        garbage = self._garbage
        for change, head in self._staged:
            if head is not None:
                garbage.append((change.revision, head[0]))
            if change.deleted:
                garbage.append((change.revision, change.revision))
        self._staged.clear()

    def undo(self) -> None:
        """What is staged has not happened; its revisions are given out again."""
        for change, head in reversed(self._staged):
            if head is None:
                self._heads.pop(change.key, None)
            else:
                self._heads[change.key] = head
            self.revision = change.revision - 1
        self._staged.clear()

    def garbage(self, limit: int) -> list[int]:
        """Up to ``limit`` revisions that nothing after ``compacted`` needs; they are struck off."""
        garbage = self._garbage
        found: list[int] = []
        while garbage and garbage[0][0] <= self.compacted and len(found) < limit:
            found.append(garbage.popleft()[1])
        return found

    def restore(self, revisions: Iterable[int]) -> None:
        """The revisions that ``garbage`` gave could not be removed: they are garbage still."""
        self._garbage.extendleft((0, revision) for revision in revisions)
