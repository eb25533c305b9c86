"""The life of plugins: started in order, stopped in reverse, always cleaned up, failing alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from kubernel.errors import KubernelError, PluginError

if TYPE_CHECKING:
    from kubernel.clock import Clock
    from kubernel.plugin.contract import Plugin

__all__ = ["ESSENTIAL_ROLES", "Lifecycle", "PluginState", "Unit"]

ESSENTIAL_ROLES = frozenset({"store", "types", "auth", "admission", "api"})
"""Roles without whose plugins a cluster must not run: it could not serve, or would let through what it
was configured to refuse. What fails to start in other roles is reported and tried again."""

START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
_BACKOFF_FIRST, _BACKOFF_LAST = 1.0, 60.0


@dataclass(slots=True)
class PluginState:
    """How one plugin is. ``since`` is when its phase began (epoch seconds), ``error`` why it failed."""

    role: str
    name: str
    distribution: str = ""
    version: str = ""
    phase: Literal["waiting", "starting", "running", "failed", "stopped"] = "waiting"
    error: str = ""
    failures: int = 0
    since: float = 0.0

    @property
    def label(self) -> str:
        return f"{self.role}/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "phase": self.phase,
            "error": self.error,
            "failures": self.failures,
            "since": self.since,
        }


class Unit:
    """A plugin, its state and its tasks."""

    def __init__(self, plugin: Plugin, state: PluginState, log: Any) -> None:
        self.plugin = plugin
        self.state = state
        self.log = log
        self.tasks: set[asyncio.Task[Any]] = set()
        self.retry: asyncio.Task[None] | None = None

    @property
    def essential(self) -> bool:
        return self.state.role in ESSENTIAL_ROLES


class Lifecycle:
    """Starts and stops units. ``changed`` is called after any state changed; ``measured(label, seconds)``
    after a plugin started."""

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[], None] | None = None,
        measured: Callable[[str, float], None] | None = None,
    ) -> None:
        self._clock = clock
        self._changed = changed or (lambda: None)
        self._measured = measured or (lambda label, seconds: None)
        self._units: list[Unit] = []

    @property
    def units(self) -> Sequence[Unit]:
        return self._units

    def unit(self, label: str) -> Unit:
        for unit in self._units:
            if unit.state.label == label:
                return unit
        raise PluginError(f"the plugin {label} is not part of this cluster")

    async def start(self, units: Iterable[Unit]) -> None:
        """Start ``units`` in their order.

        When an essential one fails, everything is stopped again and its error raised: alone, or in
        an ExceptionGroup with what went wrong while stopping.
        """
        self._units = list(units)
        try:
            for unit in self._units:
                error = await self._start_one(unit)
                if error is not None and unit.essential:
                    raise error
                if error is not None:
                    self._start_later(unit)
        except BaseException as error:
            failures = await self._stop_all()
            if failures and isinstance(error, Exception):
                raise ExceptionGroup("the cluster could not start", [error, *failures]) from error
            raise

    async def stop(self) -> None:
        """Stop all in reverse order; afterwards raise what failed, together."""
        failures = await self._stop_all()
        if failures:
            raise ExceptionGroup("plugins failed to stop", failures)

    async def start_plugin(self, label: str) -> None:
        """Start one plugin that was stopped; PluginError when it fails."""
        unit = self.unit(label)
        if unit.state.phase in ("running", "starting"):
            return
        await self._cancel_retry(unit)
        error = await self._start_one(unit)
        if error is not None:
            raise error

    async def stop_plugin(self, label: str) -> None:
        """Stop one plugin and leave the others alone."""
        unit = self.unit(label)
        await self._cancel_retry(unit)
        failures = await self._release(unit)
        self._set(unit, "stopped")
        if failures:
            raise ExceptionGroup(f"{label} failed to stop", failures)

    def spawn(self, unit: Unit, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` as a task of ``unit``: see ``Handle.spawn``."""
        task = asyncio.get_running_loop().create_task(work, name=f"{unit.state.label}: {name}")
        unit.tasks.add(task)
        task.add_done_callback(lambda done: self._done(unit, done, name))
        return task

    def failed(self, unit: Unit, what: str, error: BaseException) -> None:
        """Report a failure while running: the plugin's state and the log."""
        text = f"{what}: {_told(error)}"
        if unit.state.phase == "failed" and unit.state.error == text:
            return
        unit.state.failures += 1
        unit.log.opt(exception=error).error("{} failed: {}", unit.state.label, text)
        self._set(unit, "failed", text)

    def complained(self, unit: Unit, what: str, error: BaseException) -> None:
        """Report a failure after which the plugin goes on: one call of one of its hooks. The log is told
        when it is another one than the last."""
        text = f"{what}: {_told(error)}"
        unit.state.failures += 1
        if unit.state.error != text:
            unit.log.opt(exception=error).error("{} failed: {}", unit.state.label, text)
            self._set(unit, unit.state.phase, text)

    def _done(self, unit: Unit, task: asyncio.Task[Any], name: str) -> None:
        unit.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(unit, f'the task "{name}"', error)

    async def _start_one(self, unit: Unit) -> Exception | None:
        """Start one; when that fails it is cleaned up and the error, which names the plugin, returned."""
        self._set(unit, "starting")
        begun = self._clock.monotonic()
        try:
            async with self._clock.timeout(START_TIMEOUT):
                await unit.plugin.start()
        except Exception as error:
            failures = await self._release(unit)
            unit.state.failures += 1
            self._set(unit, "failed", _told(error))
            named = _named(unit.state, error)
            for failure in failures:
                named.add_note(f"cleaning up after it failed too: {_told(failure)}")
            return named
        self._measured(unit.state.label, self._clock.monotonic() - begun)
        self._set(unit, "running")
        return None

    def _start_later(self, unit: Unit) -> None:
        unit.log.error("{}; the other plugins go on, it is tried again", _described(unit.state))
        loop = asyncio.get_running_loop()
        unit.retry = loop.create_task(self._keep_trying(unit), name=f"{unit.state.label}: retry")

    async def _keep_trying(self, unit: Unit) -> None:
        delay = _BACKOFF_FIRST
        told = unit.state.error
        while True:
            await self._clock.sleep(delay)
            if await self._start_one(unit) is None:
                unit.log.warning("{} started after {} failures", unit.state.label, unit.state.failures)
                return
            if unit.state.error != told:
                told = unit.state.error
                unit.log.error("{}", _described(unit.state))
            delay = min(delay * 2, _BACKOFF_LAST)

    async def _stop_all(self) -> list[Exception]:
        failures: list[Exception] = []
        for unit in reversed(self._units):
            await self._cancel_retry(unit)
            if unit.state.phase in ("waiting", "stopped"):
                continue
            failures += [_named(unit.state, failure, "stop") for failure in await self._release(unit)]
            if unit.state.phase != "failed":
                self._set(unit, "stopped")
        return failures

    async def _release(self, unit: Unit) -> list[Exception]:
        """Stop a plugin and end its tasks, whatever happens on the way."""
        failures: list[Exception] = []
        try:
            async with self._clock.timeout(STOP_TIMEOUT):
                await unit.plugin.stop()
        except Exception as error:
            failures.append(error)
        finally:
            tasks = list(unit.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return failures

    async def _cancel_retry(self, unit: Unit) -> None:
        task, unit.retry = unit.retry, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _set(self, unit: Unit, phase: Any, error: str = "") -> None:
        unit.state.phase = phase
        unit.state.error = error
        unit.state.since = self._clock.time()
        self._changed()


def _told(error: BaseException) -> str:
    """An error in words: kubernel's own speak for themselves, of others the type matters."""
    if isinstance(error, TimeoutError) and not str(error):
        return "it did not finish in time"
    text = str(error)
    if isinstance(error, KubernelError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _described(state: PluginState) -> str:
    return f"plugin {state.label} ({state.distribution} {state.version}) failed to start: {state.error}"


def _named(state: PluginState, error: Exception, what: str = "start") -> Exception:
    origin = f" ({state.distribution} {state.version})" if state.distribution else ""
    named = PluginError(f"plugin {state.label}{origin} failed to {what}: {_told(error)}")
    named.__cause__ = error
    return named
