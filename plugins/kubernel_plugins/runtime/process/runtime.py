"""The runtime driver: real processes, no images, no root."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import secrets
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubernel.plugin import Plugin as BasePlugin
from kubernel.plugin.contract import ContainerSpec, ContainerState, Execution, RuntimeRefusal
from kubernel_plugins.runtime.process import procfs
from kubernel_plugins.runtime.process.container import Attachment, ProcessExecution, RunningContainer
from kubernel_plugins.runtime.process.guard import Guard
from kubernel_plugins.runtime.process.launch import Identity, identity, launch
from kubernel_plugins.runtime.process.logfile import LogFile
from kubernel_plugins.runtime.process.mounts import MESSAGE_PATH, MESSAGE_VARIABLE, Mounts
from kubernel_plugins.runtime.process.state import ContainerFile, StateDirectory
from kubernel_plugins.runtime.process.sweep import Sweeper

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from kubernel.store.records import Obj

__all__ = ["Plugin", "Settings"]

_CONTAINER = "KUBERNEL_CONTAINER_ID"
_RUNTIME = "KUBERNEL_RUNTIME_DIR"
_RUN = "KUBERNEL_RUN_ID"


@dataclass(frozen=True, slots=True)
class Settings:
    """``stop_grace``: seconds that containers get between SIGTERM and SIGKILL when kubernel stops."""

    log_max_bytes: int = 10 * 1024 * 1024
    log_max_files: int = 5
    stop_grace: float = 5.0


@dataclass(slots=True)
class _Entry:
    file: ContainerFile
    running: RunningContainer | None = None
    task: asyncio.Task[None] | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: str = "/"
    who: Identity = dataclasses.field(default_factory=Identity)
    stop_signal: int = signal.SIGTERM
    stdin_once: bool = False

    @property
    def state(self) -> ContainerState:
        return self.file.state


class Plugin(BasePlugin):
    Settings = Settings

    def __init__(self, settings: Any, handle: Any) -> None:
        super().__init__(settings, handle)
        self.on_change: Any = None
        self._directory: Path = Path(handle.data_dir) / "run" / "process"
        self._states = StateDirectory(self._directory)
        self._mounts = Mounts(Path(handle.data_dir) / "run" / "process-mounts.json")
        self._entries: dict[str, _Entry] = {}
        self._of_pod: dict[str, dict[str, _Entry]] = {}
        self._pods: dict[str, Path] = {}
        self._told: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper = Sweeper(handle.clock, handle.log)
        # Not from the injected generator: it must differ between runs with the same seed.
        self._run_id = secrets.token_hex(16)
        self._guard = Guard(self._run_id)

    @property
    def version(self) -> str:
        return "process://1.0.0"

    async def start(self) -> None:
        """Find what an earlier run left: its processes are killed (their output has nowhere to go any
        more), their containers are told as exited with 137, and the kubelet starts them anew."""
        self._states.prepare()
        files = self._states.load()
        boot = procfs.boot_id()
        sessions = set()
        for file in files:
            leader = procfs.stat(file.pid) if file.pid and file.boot == boot else None
            if file.state.phase != "exited" and leader is not None and leader.start == file.start:
                sessions.add(file.pid)
        marker = f"{_RUNTIME}={self._directory}".encode()
        await asyncio.gather(*(self._sweeper.clear(session, marker) for session in sessions or {0}))
        self._mounts.recover()
        for file in files:
            if file.state.phase != "exited":
                file.state = dataclasses.replace(
                    file.state,
                    phase="exited",
                    exit_code=137,
                    signal=signal.SIGKILL,
                    finished=self.handle.clock.time(),
                    reason="Error",
                    message="kubernel was stopped while the container ran",
                )
                self._states.save(file)
            self._add(_Entry(file))

    async def stop(self) -> None:
        """Containers end with kubernel: SIGTERM, then SIGKILL after ``stopGrace``."""
        running = [entry for entry in self._entries.values() if entry.running is not None]
        await asyncio.gather(*(self._stop(entry, self.settings.stop_grace) for entry in running))
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._guard.end()

    async def create_pod(self, pod: Obj, directory: Path) -> None:
        work = directory / "work"
        work.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._pods[pod["metadata"]["uid"]] = directory

    async def remove_pod(self, pod_uid: str) -> None:
        mine = list(self._of_pod.get(pod_uid, {}).values())
        await asyncio.gather(*(self._stop(entry, 0) for entry in mine))
        for entry in mine:
            await self.remove_container(entry.state.id)
        self._pods.pop(pod_uid, None)
        self._told.discard(pod_uid)

    async def start_container(self, container: ContainerSpec) -> ContainerState:
        command = [*container.command, *container.args]
        if not command:
            raise RuntimeRefusal(
                "CreateContainerConfigError",
                f'image "{container.image}" is recorded but not run by the process runtime: add a command to '
                f'container "{container.name}" (spec.containers[].command), which runs on the host\'s files',
            )
        directory = self._pods.get(container.pod_uid)
        if directory is None:
            raise RuntimeRefusal("CreateContainerError", "the pod has no sandbox")
        who = identity(container.spec, container.pod)
        work = directory / "work"
        if who.user is not None:
            os.chown(work, who.user, -1)
        container_id = self._new_id()
        env = self._environment(container, container_id, directory)
        pod = f"{container.pod_namespace}/{container.pod_name}"
        links = self._mounts.add(container_id, pod, container.mounts)
        state = ContainerState(
            id=container_id,
            pod_uid=container.pod_uid,
            name=container.name,
            attempt=container.attempt,
            phase="running",
            image=container.image,
            image_id=container.image,
            started=self.handle.clock.time(),
        )
        entry = _Entry(
            ContainerFile(state, boot=procfs.boot_id(), pod=pod, links=links),
            env=env,
            directory=container.working_dir or str(work),
            who=who,
            stop_signal=_stop_signal(container.spec),
            stdin_once=bool(container.spec.get("stdinOnce")),
        )
        self._add(entry)
        log = LogFile(
            Path(container.log_path),
            self.handle.clock.time,
            self.settings.log_max_bytes,
            self.settings.log_max_files,
        )
        try:
            self._guard.begin()
            launched = launch(
                command, env, entry.directory, stdin=container.stdin, tty=container.tty, who=who
            )
        except (OSError, ValueError) as error:
            log.close()
            self._mounts.release(container_id)
            return self._not_started(entry, command[0], error)
        marker = f"{_CONTAINER}={container_id}".encode()
        entry.running = RunningContainer(
            launched, log, self._sweeper, marker, self.handle.clock, container.tty
        )
        entry.task = self._spawn(self._watch(entry, entry.running))
        info = procfs.stat(launched.process.pid)
        entry.file.pid = launched.process.pid
        entry.file.start = info.start if info else 0
        self._states.save(entry.file)
        note = self._note(container)
        return dataclasses.replace(state, reason="ImageNotUsed", message=note) if note else state

    async def stop_container(self, container_id: str, grace: float) -> None:
        entry = self._entries.get(container_id)
        if entry is not None:
            await self._stop(entry, grace)

    async def remove_container(self, container_id: str) -> None:
        entry = self._entries.get(container_id)
        if entry is None:
            return
        if entry.running is not None:
            await self._stop(entry, 0)
        del self._entries[container_id]
        siblings = self._of_pod[entry.state.pod_uid]
        del siblings[container_id]
        if not siblings:
            del self._of_pod[entry.state.pod_uid]
        self._states.forget(container_id)

    async def list_containers(self, pod_uid: str = "") -> list[ContainerState]:
        if not pod_uid:
            return [entry.state for entry in self._entries.values()]
        return [entry.state for entry in self._of_pod.get(pod_uid, {}).values()]

    async def exec(self, container_id: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Execution:
        """RuntimeRefusal when the container does not run or the command cannot be executed."""
        entry, running = self._running(container_id)
        if not command:
            raise RuntimeRefusal("BadRequest", "you must specify at least one command for the container")
        try:
            launched = launch(command, entry.env, entry.directory, stdin=stdin, tty=tty, who=entry.who)
        except (OSError, ValueError) as error:
            raise RuntimeRefusal("ExecFailed", _why(command[0], error)) from error
        execution = ProcessExecution(launched, tty, running.executions.discard)
        running.executions.add(execution)
        return execution

    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Execution:
        entry, running = self._running(container_id)
        return Attachment(running, stdin=stdin, once=entry.stdin_once)

    async def probe(
        self, container_id: str, pod: Obj, probe: Mapping[str, Any], timeout: float
    ) -> bool | None:
        return None

    def usage(self) -> Mapping[str, Mapping[str, tuple[float, int]]]:
        running = {entry.file.pid: entry for entry in self._entries.values() if entry.running is not None}
        used = procfs.consumption(running) if running else {}
        found: dict[str, dict[str, tuple[float, int]]] = {}
        for pid, entry in running.items():
            found.setdefault(entry.state.pod_uid, {})[entry.state.name] = used.get(pid, (0.0, 0))
        return found

    # --- inside ---------------------------------------------------------------------------

    def _add(self, entry: _Entry) -> None:
        self._entries[entry.state.id] = entry
        self._of_pod.setdefault(entry.state.pod_uid, {})[entry.state.id] = entry

    def _new_id(self) -> str:
        while (container_id := f"{self.handle.rng.getrandbits(256):064x}") in self._entries:
            pass
        return container_id

    def _environment(self, container: ContainerSpec, container_id: str, directory: Path) -> dict[str, str]:
        message = next((source for source, path, _ in container.mounts if path == MESSAGE_PATH), "")
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOSTNAME": container.pod_name,
            "HOME": str(directory / "work"),
            **({"TERM": "xterm"} if container.tty else {}),
            **container.env,
            **({MESSAGE_VARIABLE: message} if message else {}),
            "KUBERNEL_POD_DIR": str(directory),
            _CONTAINER: container_id,
            _RUNTIME: str(self._directory),
            _RUN: self._run_id,
        }

    def _note(self, container: ContainerSpec) -> str:
        """Once a pod: what the user may not expect. The kubelet makes it an Event."""
        if container.pod_uid in self._told or not container.image:
            return ""
        self._told.add(container.pod_uid)
        message = (
            f'image "{container.image}" is recorded but not used: the process runtime runs the command on '
            "the host's file system"
        )
        self.handle.log.warning("pod {}/{}: {}", container.pod_namespace, container.pod_name, message)
        return message

    def _not_started(self, entry: _Entry, program: str, error: Exception) -> ContainerState:
        now = self.handle.clock.time()
        entry.file.state = dataclasses.replace(
            entry.state,
            phase="exited",
            exit_code=128,
            finished=now,
            reason="StartError",
            message=_why(program, error, entry.directory),
        )
        self._states.save(entry.file)
        return entry.state

    def _running(self, container_id: str) -> tuple[_Entry, RunningContainer]:
        entry = self._entries.get(container_id)
        if entry is None or entry.running is None:
            raise RuntimeRefusal("NotRunning", f"container {container_id} is not running")
        return entry, entry.running

    async def _stop(self, entry: _Entry, grace: float) -> None:
        if entry.running is not None and entry.task is not None:
            await entry.running.stop(grace, entry.stop_signal)
            await asyncio.shield(entry.task)

    async def _watch(self, entry: _Entry, running: RunningContainer) -> None:
        ended = await running.watch()
        for execution in list(running.executions):
            await execution.close()
        self._mounts.release(entry.state.id)
        entry.running = None
        entry.file.links = []
        entry.file.state = dataclasses.replace(
            entry.state,
            phase="exited",
            exit_code=ended.code,
            signal=ended.signal,
            finished=self.handle.clock.time(),
            reason="Completed" if ended.code == 0 else "Error",
        )
        with contextlib.suppress(OSError):
            self._states.save(entry.file)
        if self.on_change is not None:
            self.on_change(entry.state.pod_uid)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _stop_signal(spec: Mapping[str, Any]) -> int:
    name = (spec.get("lifecycle") or {}).get("stopSignal", "SIGTERM")
    return signal.Signals.__members__.get(name, signal.SIGTERM)


def _why(program: str, error: Exception, directory: str = "") -> str:
    if isinstance(error, FileNotFoundError) and directory and error.filename == directory:
        return f'exec: "{program}": working directory "{directory}" does not exist on the host'
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f'exec: "{program}": executable file not found in $PATH'
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f'exec: "{program}": {text.lower()}'
