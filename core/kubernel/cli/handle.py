"""What plugins of role ``cli`` may reach: the same handle, in a process without a cluster."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kubernel.clock import RealClock
from kubernel.errors import PluginError
from kubernel.plugin.logs import Logs
from kubernel.plugin.manager import Hooks

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from kubernel.client.interface import Client
    from kubernel.config import ClusterSettings
    from kubernel.plugin.lifecycle import PluginState
    from kubernel.registry.registry import Registry

__all__ = ["CommandHandle", "run"]

T = TypeVar("T")


class CommandHandle:
    """``kubernel.plugin.Handle`` on the command line. ``client`` speaks HTTPS to the running cluster, with
    the admin's kubeconfig, whoever is named; ``registry``, ``driver`` and ``spawn`` are PluginErrors."""

    role = "cli"

    def __init__(self, name: str, cluster: ClusterSettings) -> None:
        self.name = name
        self.cluster = cluster
        self.clock = RealClock()
        self.rng = random.Random()  # noqa: S311 - jitter, no secrets
        self.log: Any = Logs().bind(plugin=f"cli/{name}")
        self.hooks = Hooks()

    @property
    def data_dir(self) -> Path:
        return self.cluster.data_dir

    @property
    def registry(self) -> Registry:
        raise self._refusal("registry")

    def client(self, user: str, groups: Sequence[str] = ()) -> Client:
        from kubernel.client.http import HttpClient
        from kubernel.datadir import running_pid

        path = self.data_dir / "kubeconfig"
        if running_pid(self.data_dir) is None or not path.is_file():
            raise PluginError(f'the cluster "{self.cluster.name}" does not run; start it with `kubernel up`')
        return HttpClient.from_kubeconfig(path, field_manager=f"kubernel-{self.name}")

    def driver(self, role: str) -> Any:
        raise self._refusal("driver")

    def plugins(self) -> Sequence[PluginState]:
        return ()

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        work.close()
        raise self._refusal("spawn")

    def _refusal(self, what: str) -> PluginError:
        return PluginError(f"plugin cli/{self.name}: there is no `{what}` on the command line; use `client`")


def run(name: str, cluster: ClusterSettings, work: Callable[[Client], Awaitable[T]]) -> T:
    """What ``work`` makes of the admin's client of ``cluster``, closed after it. PluginError: it does not run."""
    import asyncio

    async def attended() -> T:
        client = CommandHandle(name, cluster).client("kubernetes-admin")
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(attended())
