"""The scheduler: one pod after the other, all nodes at once for each policy.

``scheduler`` is the loop, ``queue`` which pod is next, ``table`` what nodes offer and carry, ``cycle`` what
the policies of a ``profile`` say about a pod.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.client.leader import LeaderElector
from kubernel.client.series import SeriesRecorder
from kubernel.errors import PluginError
from kubernel.plugin import Plugin as Base
from kubernel.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubernel.plugin.explaining import Explanation
    from kubernel.store.records import EventType, Obj
    from kubernel_plugins.scheduler.default.scheduler import Scheduler

__all__ = ["Plugin", "Settings"]

_USER = "system:kube-scheduler"


@dataclass(frozen=True, slots=True)
class Settings:
    """``scheduler_name``: which pods are ours when no profile says so. ``configuration``: a
    KubeSchedulerConfiguration, ``configuration_file``: where one is (YAML). ``parallel_binds``: most bindings under way
    at once. ``ask_extenders``: whether the configuration's extenders are asked."""

    scheduler_name: str = "default-scheduler"
    configuration: Mapping[str, Any] = field(default_factory=dict)
    configuration_file: Path = Path()
    parallel_binds: int = 64
    ask_extenders: bool = True

    def __post_init__(self) -> None:
        if self.configuration and self.configuration_file != Path():
            raise ValueError("configurationFile: not together with configuration")


class Plugin(Base):
    """The ``default`` scheduler."""

    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.scheduler: Scheduler | None = None
        self._unlisten: list[Callable[[], None]] = []
        self._recorders: list[SeriesRecorder] = []

    async def start(self) -> None:
        self._needed = asyncio.Event()
        if self.settings.configuration or self.settings.configuration_file != Path():
            # What is wrong with it is to be known at once.
            await self._make()
        self._client = self.handle.client(_USER)
        self.handle.spawn(self._run(), "scheduler")

    async def stop(self) -> None:
        for remove in self._unlisten:
            remove()
        self._unlisten.clear()
        scheduler, self.scheduler = self.scheduler, None
        if scheduler is not None:
            await scheduler.stop()
        recorders, self._recorders = self._recorders, []
        for recorder in recorders:
            await recorder.close()

    @hookimpl
    def kubernel_metrics(self) -> str | None:
        return None if self.scheduler is None else self.scheduler.render_metrics()

    async def explain(self, namespace: str, name: str) -> Explanation:
        """As ``kubernel.plugin.explaining.Explainer``; a scheduler that does not lead can tell, too."""
        from kubernel_plugins.scheduler.default.explaining import explain

        scheduler = await self._make()
        await scheduler.follow()
        return explain(scheduler, namespace, name)

    async def _run(self) -> None:
        pods = self._client.informer("pods")
        await pods.synced()
        self._unlisten.append(pods.add_listener(self._look))
        if not getattr(self.handle.cluster, "leader_election", False):
            await self._work()
            return
        await self._elector().run(self._work)

    def _elector(self) -> LeaderElector:
        """The lease and times of the configuration where there is one: then the scheduler is there already."""
        handle, scheduler = self.handle, self.scheduler
        if scheduler is None:
            return LeaderElector(self._client, handle.clock, handle.rng, "kube-scheduler")
        election = scheduler.election
        return LeaderElector(
            self._client,
            handle.clock,
            handle.rng,
            election.name,
            namespace=election.namespace,
            lease_duration=election.lease_duration,
            renew_deadline=election.renew_deadline,
            retry_period=election.retry_period,
        )

    async def _work(self) -> None:
        # A cluster without pods does without the arrays and the policies.
        await self._needed.wait()
        scheduler = await self._make()
        await scheduler.follow()
        await scheduler.work()

    def _look(self, type: EventType, pod: Obj, old: Obj | None) -> None:
        if type != "DELETED" and not pod["spec"].get("nodeName"):
            self._needed.set()

    async def _make(self) -> Scheduler:
        """The scheduler, made when first asked for; PluginError when its configuration is wrong."""
        if self.scheduler is None:
            from kubernel_plugins.scheduler.default.making import make

            try:
                self.scheduler = make(self.settings, self.handle, self.handle.client(_USER), self._recorder)
            except ValueError as error:
                raise PluginError(f"scheduler default: {error}") from error
        return self.scheduler

    def _recorder(self, scheduler_name: str) -> SeriesRecorder:
        recorder = SeriesRecorder(
            self.handle.client(_USER),
            self.handle.clock,
            scheduler_name,
            host=socket.gethostname(),
            log=self.handle.log,
        )
        self._recorders.append(recorder)
        return recorder
