"""The composition root: a configuration becomes a running cluster.

configuration -> plugin classes -> instances -> hooks -> store -> bus -> registry -> started plugins
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel import __version__
from kubernel.clock import Clock, RealClock
from kubernel.config import Choice, Configuration, settings
from kubernel.datadir import DataDir
from kubernel.errors import KubernelError, PluginError
from kubernel.plugin.catalogue import Catalogue, Found
from kubernel.plugin.contract import ROLES, Plugin
from kubernel.plugin.lifecycle import Lifecycle, PluginState, Unit
from kubernel.plugin.logs import Logs
from kubernel.plugin.manager import Hooks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from kubernel.client.informer import InformerFactory
    from kubernel.client.interface import Client
    from kubernel.config import ClusterSettings
    from kubernel.registry.registry import Registry
    from kubernel.store import ObjectStore
    from kubernel.watch import WatchBus

__all__ = ["SERVER_USER", "Kernel"]

SERVER_USER = "system:apiserver"
"""As whom the server itself acts: a member of system:masters."""


class Kernel:
    """One cluster. Many may live in a process; each has its own clock, randomness, store and tasks.

    ``config`` None is the embedded defaults. ``rng_seed`` makes every random choice repeatable. ``freeze``
    makes stored objects raise when they are changed: for tests. ``catalogue`` is what is installed.
    """

    def __init__(
        self,
        config: Configuration | None = None,
        *,
        clock: Clock | None = None,
        rng_seed: int | None = None,
        freeze: bool = False,
        catalogue: Catalogue | None = None,
        logs: Logs | None = None,
    ) -> None:
        self.config = config or Configuration()
        self.clock: Clock = clock or RealClock()
        # Seeds names and jitter, no secrets: those come from the secrets module.
        self.rng = random.Random(rng_seed)  # noqa: S311
        self.logs = logs or Logs()
        self.timings: dict[str, float] = {}
        """Milliseconds by phase of the start; a started plugin's is named ``start role/name``."""
        self._freeze = freeze
        self._catalogue = catalogue or Catalogue()
        self._data = DataDir(self.config.cluster.data_dir)
        self._lifecycle = Lifecycle(self.clock, self._state_changed, self._measured)
        self._log = self.logs.bind(plugin="kernel")
        self.hooks = Hooks(self._hook_failed)
        self._units: dict[str, Unit] = {}
        self._clients: dict[tuple[str, tuple[str, ...]], Client] = {}
        self._informers: InformerFactory | None = None
        self._registry: Registry | None = None
        self._started = 0.0
        self._running = False

    # --- what it is made of

    @property
    def cluster(self) -> ClusterSettings:
        """As configured; once the API is served on "any free port", with the port it got."""
        cluster = self.config.cluster
        port = self.url.rpartition(":")[2] if cluster.port == 0 else ""
        return replace(cluster, port=int(port)) if port.isdigit() else cluster

    @property
    def registry(self) -> Registry:
        if self._registry is None:
            raise PluginError("the cluster has not been started")
        return self._registry

    @property
    def plugins(self) -> Sequence[PluginState]:
        """Every configured plugin's state, in start order."""
        return [unit.state for unit in self._units.values()]

    @property
    def ready(self) -> Mapping[str, bool]:
        """``role/name`` -> whether that plugin runs."""
        return {label: unit.state.phase == "running" for label, unit in self._units.items()}

    @property
    def url(self) -> str:
        """Where the API is served: ``url`` of the first ``api`` plugin that has one, or ""."""
        for unit in self._units.values():
            if unit.state.role == "api" and (url := getattr(unit.plugin, "url", "")):
                return str(url)
        return ""

    def plugin(self, role: str, name: str) -> Plugin:
        """An instance; PluginError when the configuration does not name it."""
        unit = self._units.get(f"{role}/{name}")
        if unit is None:
            raise PluginError(f'the plugin "{name}" of role {role} is not part of this cluster')
        return unit.plugin

    def driver(self, role: str) -> Any:
        """The running plugin of a driver role; PluginError when there is none."""
        if ROLES.get(role) != "driver":
            raise PluginError(f'"{role}" is not a driver role')
        for unit in self._units.values():
            if unit.state.role == role:
                if unit.state.phase != "running":
                    why = unit.state.error or unit.state.phase
                    raise PluginError(f"the {role} driver {unit.state.name} is not running: {why}")
                return unit.plugin.driver if isinstance(unit.plugin, _StoreUnit) else unit.plugin
        raise PluginError(f"no plugin of role {role} is configured")

    def client(self, user: str = SERVER_USER, groups: Sequence[str] = ()) -> Client:
        """The API in this process as ``user``, with the rights its authorizers give it. Where no plugin
        authorizes, components of this process may do everything."""
        from kubernel.client.local import LocalClient
        from kubernel.registry.request import UserInfo

        who = UserInfo(user, _groups(user, groups))
        key = (who.name, who.groups)
        client = self._clients.get(key)
        if client is None:
            authorize = self.hooks.authorize if self.hooks.authorizes else None
            client = LocalClient(self.registry, who, self.clock, authorize, informers=self._informers)
            self._clients[key] = client
        return client

    # --- its life

    async def start(self) -> None:
        """Bring the cluster up; returns when every plugin started. When that fails everything is
        released again and one KubernelError, or an ExceptionGroup of what failed, is raised."""
        if self._running:
            raise PluginError("the cluster is already running")
        begun = time.perf_counter()
        self._data.acquire()
        try:
            self._build()
            mark = time.perf_counter()
            await self._lifecycle.start(self._units.values())
            self.timings["start plugins"] = (time.perf_counter() - mark) * 1000
        except BaseException:
            await self._release()
            raise
        self._started = self.clock.time()
        self._running = True
        self._state_changed()
        self.timings["start"] = (time.perf_counter() - begun) * 1000

    async def stop(self) -> None:
        """Stop everything in reverse order; raises what failed together, after all has been released."""
        self._running = False
        try:
            await self._lifecycle.stop()
        finally:
            await self._release()

    async def start_plugin(self, role: str, name: str) -> None:
        """Start one plugin again after ``stop_plugin``."""
        await self._lifecycle.start_plugin(f"{role}/{name}")

    async def stop_plugin(self, role: str, name: str) -> None:
        """Stop one plugin and leave the others running: an outage of that part."""
        await self._lifecycle.stop_plugin(f"{role}/{name}")

    async def _release(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()
        if self._informers is not None:
            await self._informers.close()
            self._informers = None
        if self._registry is not None:
            self._registry.beside.close()
        self._data.release()

    def _build(self) -> None:
        mark = time.perf_counter()
        chosen = [
            (choice, self._catalogue.select_choice(role, choice))
            for role, choices in self.config.plugins.items()
            if role != "cli"
            for choice in choices
        ]
        mark = self._phase("find plugins", mark)
        classes = [(choice, found, self._catalogue.load_choice(found, choice)) for choice, found in chosen]
        mark = self._phase("import plugins", mark)
        self._units = {}
        # The store comes first, and the registry on it: plugins may look at both from their beginning.
        instances: list[tuple[str, object]] = []
        for choice, found, cls in classes:
            unit = self._construct(choice, found, cls)
            self._units[unit.state.label] = unit
            instances.append((unit.state.label, unit.plugin))
            if found.role == "store":
                self._compose(unit)
        mark = self._phase("construct plugins", mark)
        self.hooks.register(instances)
        mark = self._phase("register hooks", mark)
        self.hooks.register_types(self.registry)
        self._phase("register types", mark)

    def _phase(self, name: str, since: float) -> float:
        now = time.perf_counter()
        self.timings[name] = (now - since) * 1000
        return now

    def _construct(self, choice: Choice, found: Found, cls: type[Plugin]) -> Unit:
        state = PluginState(found.role, found.name, found.distribution, found.version)
        checked = settings(cls.Settings, choice)
        handle = _Handle(self, state)
        try:
            plugin = cls(checked, handle)
        except Exception as error:
            why = str(error) if isinstance(error, KubernelError) else f"{type(error).__name__}: {error}"
            raise PluginError(f"{found} cannot be constructed: {why}") from error
        unit = handle.unit = Unit(plugin, state, handle.log)
        return unit

    def _compose(self, unit: Unit) -> None:
        """Store, bus and registry around the store driver, whose life then includes the store's."""
        from kubernel.client.informer import InformerFactory
        from kubernel.client.local import LocalClient
        from kubernel.registry.registry import Registry
        from kubernel.registry.request import UserInfo
        from kubernel.store import ObjectStore
        from kubernel.watch import WatchBus

        backend = getattr(unit.plugin, "backend", None)
        if backend is None:
            raise PluginError(
                f"plugin {unit.state.label} has no attribute `backend`: a store driver needs one"
            )
        store = ObjectStore(backend, self.clock, freeze=self._freeze)
        bus = WatchBus(store)
        unit.plugin = _StoreUnit(unit.plugin, store, bus)
        self._registry = Registry(store, bus, self.clock, self.rng, self.hooks)
        server = LocalClient(self._registry, UserInfo(SERVER_USER, _groups(SERVER_USER, ())), self.clock)
        self._informers = InformerFactory(server, self.clock, self._log)

    # --- what happens on the way

    def _measured(self, label: str, seconds: float) -> None:
        self.timings[f"start {label}"] = seconds * 1000

    def _hook_failed(self, label: str, error: BaseException) -> None:
        self._lifecycle.complained(self._units[label], "a hook", error)

    def _state_changed(self) -> None:
        """Keep the state file true for the command line, which reads it once the cluster runs."""
        if self._running:
            self._data.write_state(
                {
                    "pid": os.getpid(),
                    "version": __version__,
                    "name": self.cluster.name,
                    "url": self.url,
                    "started": self._started,
                    "plugins": [state.as_dict() for state in self.plugins],
                }
            )


class _StoreUnit(Plugin):
    """The store driver with the object store and the bus on top: one life."""

    def __init__(self, driver: Plugin, store: ObjectStore, bus: WatchBus) -> None:
        super().__init__(driver.settings, driver.handle)
        self.driver = driver
        self.store = store
        self.bus = bus

    async def start(self) -> None:
        await self.driver.start()
        await self.store.start()

    async def stop(self) -> None:
        try:
            self.bus.close()
            await self.store.stop()
        finally:
            await self.driver.stop()


class _Handle:
    """``kubernel.plugin.Handle`` of one plugin."""

    unit: Unit

    def __init__(self, kernel: Kernel, state: PluginState) -> None:
        self._kernel = kernel
        self.role = state.role
        self.name = state.name
        self.log: Any = kernel.logs.bind(plugin=state.label)

    @property
    def clock(self) -> Clock:
        return self._kernel.clock

    @property
    def rng(self) -> random.Random:
        return self._kernel.rng

    @property
    def hooks(self) -> Hooks:
        return self._kernel.hooks

    @property
    def registry(self) -> Registry:
        return self._kernel.registry

    @property
    def data_dir(self) -> Path:
        return self._kernel.cluster.data_dir

    @property
    def cluster(self) -> ClusterSettings:
        return self._kernel.cluster

    def client(self, user: str, groups: Sequence[str] = ()) -> Client:
        return self._kernel.client(user, groups)

    def driver(self, role: str) -> Any:
        return self._kernel.driver(role)

    def plugins(self) -> Sequence[PluginState]:
        return self._kernel.plugins

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._kernel._lifecycle.spawn(self.unit, work, name)


def _groups(user: str, given: Sequence[str]) -> tuple[str, ...]:
    """The groups that authentication gives such a user (authentication, Kubernetes v1.37)."""
    groups = list(given)
    parts = user.split(":")
    if user == SERVER_USER:
        groups.append("system:masters")
    elif user.startswith("system:serviceaccount:") and len(parts) == 4:
        groups += ["system:serviceaccounts", f"system:serviceaccounts:{parts[2]}"]
    elif user.startswith("system:node:"):
        groups.append("system:nodes")
    groups.append("system:authenticated")
    return tuple(dict.fromkeys(groups))
