"""What strategies may reach beyond the object at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.store.records import Key

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from kubernel.client.interface import Client
    from kubernel.clock import Clock
    from kubernel.plugin import Handle
    from kubernel.registry.registry import Registry
    from kubernel.store.records import Obj

__all__ = ["Context"]


class Context:
    """The plugin's handle as strategies see it; nothing is looked up before it is needed."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    @property
    def clock(self) -> Clock:
        return self._handle.clock

    @property
    def rng(self) -> random.Random:
        return self._handle.rng

    @property
    def registry(self) -> Registry:
        return self._handle.registry

    @property
    def cluster(self) -> Any:
        return self._handle.cluster

    @property
    def server(self) -> Client:
        """The API as the server itself uses it."""
        return self._handle.client("system:apiserver", ("system:masters",))

    def find(self, resource: str, name: str, namespace: str = "") -> Obj | None:
        """A stored object, as it is kept."""
        record = self.registry.store.get(Key(resource, namespace, name))
        return None if record is None else record.obj

    def stored(self, resource: str, namespace: str | None = None) -> Iterator[Obj]:
        """All stored objects of a resource (``services``), as they are kept."""
        return (record.obj for record in self.registry.store.list(resource, namespace).records)
