"""Faults on demand: what goes wrong in real clusters, when a test wants it to.

They work on one cluster, at the seams that every component shares: the registry's operations, its
watches, the store's writes, the life of plugins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kubernel.client.naming import parse_resource
from kubernel.errors import ApiError, ServiceUnavailable, StoreFull

if TYPE_CHECKING:
    from kubernel.kernel import Kernel
    from kubernel.registry.types import ResourceType
    from kubernel.store.records import Record
    from kubernel.testing.driving import Driver

__all__ = ["Faults"]

_VERBS = ("create", "update", "patch", "delete", "delete_collection")


class _OpenWatch:
    """A watch that can be cut off from outside."""

    __slots__ = ("_inner", "_open", "initial", "next", "poll")

    def __init__(self, inner: Any, open: dict[_OpenWatch, None]) -> None:
        self._inner = inner
        self._open = open
        self.initial: Sequence[Record] = inner.initial
        self.next: Callable[[], Any] = inner.next
        self.poll: Callable[[], Any] = inner.poll
        open[self] = None

    @property
    def revision(self) -> int:
        revision: int = self._inner.revision
        return revision

    def close(self) -> None:
        self._open.pop(self, None)
        self._inner.close()


class _Failure:
    def __init__(self, resource: str, error: ApiError, times: int, verbs: Iterable[str]) -> None:
        self.plural, self.version, self.group = parse_resource(resource)
        self.error = error
        self.left = times
        self.verbs = frozenset(verbs)

    def strikes(self, verb: str, type: ResourceType) -> bool:
        if self.left <= 0 or verb not in self.verbs:
            return False
        return type.plural == self.plural and (not self.group or type.group == self.group)


class Faults:
    """``cluster.faults``; ``clear`` ends slowness, a full store and failures that are still to come."""

    def __init__(self, kernel: Kernel, driver: Driver) -> None:
        self._kernel = kernel
        self._driver = driver
        self._open: dict[_OpenWatch, None] = {}
        self._failures: list[_Failure] = []
        self._delay = 0.0
        self._full = False
        self.writing = 0
        """Writes that the backend has been given and has not answered yet."""

    def install(self) -> None:
        """Called once the registry is there and nothing has started yet."""
        registry: Any = self._kernel.registry
        registry.watch = self._tracked(registry.watch)
        for verb in _VERBS:
            setattr(registry, verb, self._failing(verb, getattr(registry, verb)))
        store: Any = registry.store
        for operation in ("create", "update", "delete"):
            setattr(store, operation, self._hindered(getattr(store, operation)))

    def drop_watches(self, *, forget: bool = False) -> int:
        """Break every open watch, as a lost connection would; how many there were. With ``forget`` the
        history is compacted too, so that nobody can resume and everybody has to list again."""
        dropped = list(self._open)

        async def drop() -> None:
            if forget:
                store = self._kernel.registry.store
                await store.compact(store.revision)
            for watch in dropped:
                watch.close()

        self._driver.run(drop())
        return len(dropped)

    def slow_store(self, seconds: float) -> None:
        """Every write takes so long, on the cluster's clock, before it reaches the backend; 0 ends it."""
        self._delay = seconds

    def fill_store(self) -> None:
        """Every write is refused as on a disk without room, until ``clear``; nothing is stored."""
        self._full = True

    def fail_writes(
        self,
        resource: str,
        error: ApiError | None = None,
        times: int = 1,
        *,
        verbs: Iterable[str] = _VERBS,
    ) -> None:
        """Refuse the next ``times`` writes of a resource with ``error`` (default: 503); nothing is stored."""
        refusal = error or ServiceUnavailable(
            "injected: the server is currently unable to handle the request"
        )
        self._failures.append(_Failure(resource, refusal, times, verbs))

    def crash(self, role: str, name: str) -> None:
        """End a plugin's tasks as they are; ``restart`` brings it back."""
        self._driver.run(self._kernel.stop_plugin(role, name))

    def restart(self, role: str, name: str) -> None:
        """Start a plugin that crashed."""
        self._driver.run(self._kernel.start_plugin(role, name))

    @contextmanager
    def outage(self, role: str, name: str) -> Iterator[None]:
        """A plugin is away for the duration of the ``with`` block."""
        self.crash(role, name)
        yield
        self.restart(role, name)

    def clear(self) -> None:
        self._delay = 0.0
        self._full = False
        self._failures.clear()

    def _tracked(self, watch: Callable[..., Any]) -> Callable[..., Any]:
        async def tracked(*args: Any, **options: Any) -> _OpenWatch:
            return _OpenWatch(await watch(*args, **options), self._open)

        return tracked

    def _failing(self, verb: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        async def failing(user: Any, type: ResourceType, *args: Any, **options: Any) -> Any:
            for failure in self._failures:
                if failure.strikes(verb, type):
                    failure.left -= 1
                    raise failure.error
            return await operation(user, type, *args, **options)

        return failing

    def _hindered(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        async def hindered(*args: Any, **options: Any) -> Any:
            if self._delay > 0:
                await self._driver.clock.sleep(self._delay)
            if self._full:
                raise StoreFull("injected: no space left on the device")
            self.writing += 1
            try:
                return await operation(*args, **options)
            finally:
                self.writing -= 1

        return hindered
