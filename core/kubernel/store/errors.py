"""What the store refuses. None of these changes anything.

    StoreRefusal
    ├── AlreadyExistsInStore      create of a key that has an object
    ├── MissingKey                update or delete of a key that has none
    ├── StaleRevision             the object's revision is not the expected one
    ├── Compacted                 that part of the past is gone
    └── FutureRevision            that revision has not come yet

Failures of the storage itself are ``kubernel.errors.StoreError`` and its subclasses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubernel.errors import KubernelError

if TYPE_CHECKING:
    from kubernel.store.records import Key

__all__ = [
    "AlreadyExistsInStore",
    "Compacted",
    "FutureRevision",
    "MissingKey",
    "StaleRevision",
    "StoreRefusal",
]


class StoreRefusal(KubernelError):
    """Base of the refusals."""


class AlreadyExistsInStore(StoreRefusal):
    """``current`` is the revision of the object that is there."""

    def __init__(self, key: Key, current: int) -> None:
        super().__init__(f"{'/'.join(key)} already exists at revision {current}")
        self.key = key
        self.current = current


class MissingKey(StoreRefusal):
    """There is no object at ``key``."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"{'/'.join(key)} does not exist")
        self.key = key


class StaleRevision(StoreRefusal):
    """``current`` is the object's revision, ``expected`` what the writer had seen."""

    def __init__(self, key: Key, current: int, expected: int) -> None:
        super().__init__(f"{'/'.join(key)} is at revision {current}, not {expected}")
        self.key = key
        self.current = current
        self.expected = expected


class Compacted(StoreRefusal):
    """``oldest`` is the oldest revision that can still be read."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted, the oldest is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevision(StoreRefusal):
    """``latest`` is the revision the store has reached."""

    def __init__(self, revision: int, latest: int) -> None:
        super().__init__(f"revision {revision} is in the future, the latest is {latest}")
        self.revision = revision
        self.latest = latest
