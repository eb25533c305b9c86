"""The runtime driver whose containers are only records, moved by the clock."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.clock import rfc3339
from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin.contract import ContainerSpec, ContainerState, Execution, RuntimeRefusal
from kubernel_plugins.simulation import Consumption, Script, script_of

if TYPE_CHECKING:
    from kubernel.clock import Timer
    from kubernel.store.records import Obj

__all__ = ["Plugin", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds, for containers whose pod says nothing else: from asked to running, from stop to dead."""

    start_delay: float = 0.0
    stop_delay: float = 0.0


@dataclass(slots=True)
class _Container:
    state: ContainerState
    script: Script
    consumption: Consumption
    timer: Timer | None = None
    dead: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)
    dies_at: float = 0.0


class Plugin(BasePlugin):
    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.on_change: Any = None
        self._containers: dict[str, _Container] = {}
        self._of_pod: dict[str, dict[str, _Container]] = {}

    @property
    def version(self) -> str:
        return "simulated://1.0.0"

    async def stop(self) -> None:
        for container in self._containers.values():
            if container.timer is not None:
                container.timer.cancel()

    async def create_pod(self, pod: Obj, directory: Path) -> None:
        return

    async def remove_pod(self, pod_uid: str) -> None:
        for container in list(self._of_pod.get(pod_uid, {}).values()):
            self._exit(container, 137, signal.SIGKILL, quiet=True)
            await self.remove_container(container.state.id)

    async def start_container(self, container: ContainerSpec) -> ContainerState:
        script = script_of(container.pod, container.name, self.handle.log)
        if script.refusal:
            raise RuntimeRefusal(script.refusal, f"simulated refusal of container {container.name}")
        clock = self.handle.clock
        delay = self.settings.start_delay if script.start_delay is None else script.start_delay
        if delay > 0:
            await clock.sleep(delay)
        while (container_id := f"{self.handle.rng.getrandbits(256):064x}") in self._containers:
            pass
        state = ContainerState(
            id=container_id,
            pod_uid=container.pod_uid,
            name=container.name,
            attempt=container.attempt,
            phase="running",
            image=container.image,
            image_id=container.image,
            started=clock.time(),
        )
        entry = _Container(state, script, Consumption(state.started))
        self._containers[container_id] = entry
        self._of_pod.setdefault(container.pod_uid, {})[container_id] = entry
        if script.logs:
            self._write(Path(container.log_path), script.logs)
        if script.run is not None:
            entry.timer = clock.call_later(script.run, self._exit, entry, script.exit_code, 0)
        return state

    async def stop_container(self, container_id: str, grace: float) -> None:
        """Takes the stop delay, but no longer than the grace; a second call may shorten it."""
        container = self._containers.get(container_id)
        if container is None or container.dead.is_set():
            return
        script, clock = container.script, self.handle.clock
        wanted = self.settings.stop_delay if script.stop_delay is None else script.stop_delay
        delay = min(wanted, max(grace, 0.0))
        at = clock.monotonic() + delay
        if not container.dies_at or at < container.dies_at:
            container.dies_at = at
            code, number = (143, signal.SIGTERM) if wanted <= grace else (137, signal.SIGKILL)
            if container.timer is not None:
                container.timer.cancel()
            if delay <= 0:
                self._exit(container, code, number)
            else:
                container.timer = clock.call_later(delay, self._exit, container, code, number)
        await container.dead.wait()

    async def remove_container(self, container_id: str) -> None:
        container = self._containers.pop(container_id, None)
        if container is None:
            return
        siblings = self._of_pod[container.state.pod_uid]
        del siblings[container_id]
        if not siblings:
            del self._of_pod[container.state.pod_uid]

    async def list_containers(self, pod_uid: str = "") -> list[ContainerState]:
        found = self._of_pod.get(pod_uid, {}) if pod_uid else self._containers
        return [container.state for container in found.values()]

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Execution:
        raise RuntimeRefusal(
            "Simulated", "the container is simulated: there is nothing to execute a command in"
        )

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Execution:
        raise RuntimeRefusal("Simulated", "the container is simulated: there is nothing to attach to")

    async def probe(
        self, container_id: str, pod: Obj, probe: Mapping[str, Any], timeout: float
    ) -> bool | None:
        """By annotation: nobody listens where a simulated pod's probes point to."""
        container = self._containers.get(container_id)
        if container is None:
            return False
        # The pod's newest annotations count: a test may change its mind.
        script = script_of(pod, container.state.name)
        if probe.get("kind") == "liveness":
            return script.live
        up = self.handle.clock.time() - container.state.started
        return script.ready and up >= script.ready_after

    def usage(self) -> Mapping[str, Mapping[str, tuple[float, int]]]:
        now = self.handle.clock.time()
        found: dict[str, dict[str, tuple[float, int]]] = {}
        for uid, containers in self._of_pod.items():
            for container in containers.values():
                if container.state.phase == "running":
                    used = container.consumption.at(now, container.script)
                    found.setdefault(uid, {})[container.state.name] = used
        return found

    def _exit(self, container: _Container, code: int, number: int, quiet: bool = False) -> None:
        if container.dead.is_set():
            return
        if container.timer is not None:
            container.timer.cancel()
        container.state = dataclasses.replace(
            container.state,
            phase="exited",
            exit_code=code,
            signal=number,
            finished=self.handle.clock.time(),
            reason="Completed" if code == 0 else "Error",
        )
        container.dead.set()
        if self.on_change is not None and not quiet:
            self.on_change(container.state.pod_uid)

    def _write(self, path: Path, text: str) -> None:
        stamp = rfc3339(self.handle.clock.time()).replace("Z", ".000000000Z")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_text("".join(f"{stamp} stdout F {line}\n" for line in text.splitlines()))
