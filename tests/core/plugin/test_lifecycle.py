"""The life of plugins: order, cleaning up, failing alone, trying again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from kubernel.clock import VirtualClock
from kubernel.errors import PluginError
from kubernel.plugin import Plugin
from kubernel.plugin.lifecycle import Lifecycle, PluginState, Unit


class Recorded(Plugin):
    """Notes what happens to it in ``diary``; ``fails`` and ``stop_fails`` say what goes wrong."""

    def __init__(
        self, name: str, diary: list[str], fails: list[Exception | None], stop_fails: Exception | None = None
    ) -> None:
        super().__init__(None, None)  # type: ignore[arg-type]
        self.name = name
        self.diary = diary
        self.fails = fails
        self.stop_fails = stop_fails

    async def start(self) -> None:
        self.diary.append(f"start {self.name}")
        if self.fails and (error := self.fails.pop(0)) is not None:
            raise error

    async def stop(self) -> None:
        self.diary.append(f"stop {self.name}")
        if self.stop_fails is not None:
            raise self.stop_fails


class Stage:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.lifecycle = Lifecycle(self.clock)
        self.diary: list[str] = []
        self.units: list[Unit] = []

    def add(
        self,
        role: str,
        *fails: Exception | None,
        stop_fails: Exception | None = None,
        plugin: Plugin | None = None,
    ) -> Unit:
        name = f"p{len(self.units)}"
        made = plugin or Recorded(name, self.diary, list(fails), stop_fails)
        unit = Unit(made, PluginState(role, name, "acme", "1.0"), Quiet())
        self.units.append(unit)
        return unit

    async def start(self) -> None:
        await self.lifecycle.start(self.units)

    async def advance(self, seconds: float) -> None:
        async def settle() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        await self.clock.advance(seconds, settle)


class Quiet:
    """A logger that says nothing."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **values: self


def on_stage(play: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        await play(Stage())

    asyncio.run(run())


def test_plugins_start_in_order_and_stop_in_reverse() -> None:
    async def play(stage: Stage) -> None:
        units = [stage.add("store"), stage.add("api"), stage.add("controller")]
        await stage.start()
        assert [unit.state.phase for unit in units] == ["running"] * 3
        await stage.lifecycle.stop()
        assert stage.diary == ["start p0", "start p1", "start p2", "stop p2", "stop p1", "stop p0"]
        assert [unit.state.phase for unit in units] == ["stopped"] * 3

    on_stage(play)


def test_an_essential_plugin_that_fails_takes_the_start_back() -> None:
    async def play(stage: Stage) -> None:
        stage.add("store")
        stage.add("api", OSError("no socket"))
        stage.add("controller")
        with pytest.raises(PluginError) as refusal:
            await stage.start()
        assert str(refusal.value) == "plugin api/p1 (acme 1.0) failed to start: OSError: no socket"
        assert stage.diary[:3] == ["start p0", "start p1", "stop p1"]
        assert stage.diary[-1] == "stop p0"
        assert "start p2" not in stage.diary

    on_stage(play)


def test_what_fails_while_taking_back_is_raised_together() -> None:
    async def play(stage: Stage) -> None:
        stage.add("store", stop_fails=RuntimeError("stuck"))
        stage.add("api", OSError("no socket"))
        with pytest.raises(ExceptionGroup) as refusal:
            await stage.start()
        told = [str(error) for error in refusal.value.exceptions]
        assert told == [
            "plugin api/p1 (acme 1.0) failed to start: OSError: no socket",
            "plugin store/p0 (acme 1.0) failed to stop: RuntimeError: stuck",
        ]

    on_stage(play)


def test_one_that_fails_to_stop_does_not_keep_the_others_running() -> None:
    async def play(stage: Stage) -> None:
        stage.add("store")
        stage.add("controller", stop_fails=RuntimeError("stuck"))
        stage.add("controller", stop_fails=RuntimeError("dead"))
        await stage.start()
        with pytest.raises(ExceptionGroup) as refusal:
            await stage.lifecycle.stop()
        assert len(refusal.value.exceptions) == 2
        assert stage.diary[-3:] == ["stop p2", "stop p1", "stop p0"]

    on_stage(play)


def test_another_plugin_that_fails_is_reported_and_the_rest_goes_on() -> None:
    async def play(stage: Stage) -> None:
        broken = stage.add("controller", ValueError("bad luck"))
        other = stage.add("controller")
        await stage.start()
        assert (broken.state.phase, broken.state.error) == ("failed", "ValueError: bad luck")
        assert other.state.phase == "running"
        await stage.lifecycle.stop()

    on_stage(play)


def test_a_failed_plugin_is_tried_again_with_growing_pauses() -> None:
    async def play(stage: Stage) -> None:
        unit = stage.add("controller", *[ValueError("no")] * 3)
        await stage.start()
        for pause, attempts in ((1.1, 2), (1.0, 2), (1.0, 3), (3.8, 3)):
            await stage.advance(pause)
            assert stage.diary.count("start p0") == attempts
        await stage.advance(0.3)
        assert unit.state.phase == "running"
        assert unit.state.failures == 3
        await stage.lifecycle.stop()
        assert stage.diary[-1] == "stop p0"

    on_stage(play)


def test_stopping_ends_the_attempts() -> None:
    async def play(stage: Stage) -> None:
        stage.add("controller", *[ValueError("no")] * 9)
        await stage.start()
        await stage.lifecycle.stop()
        begun = stage.diary.count("start p0")
        await stage.advance(600)
        assert stage.diary.count("start p0") == begun

    on_stage(play)


def test_a_start_that_never_ends_is_given_up() -> None:
    class Hanging(Plugin):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async def play(stage: Stage) -> None:
        unit = stage.add("controller", plugin=Hanging(None, None))  # type: ignore[arg-type]
        starting = asyncio.create_task(stage.start())
        await stage.advance(60.5)
        await starting
        assert (unit.state.phase, unit.state.error) == ("failed", "it did not finish in time")
        await stage.lifecycle.stop()

    on_stage(play)


def test_a_start_that_is_interrupted_is_cleaned_up() -> None:
    class Hanging(Recorded):
        async def start(self) -> None:
            await asyncio.Event().wait()

    async def play(stage: Stage) -> None:
        stage.add("store")
        stage.add("controller", plugin=Hanging("hanging", stage.diary, []))
        starting = asyncio.create_task(stage.start())
        await stage.advance(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert stage.diary == ["start p0", "stop hanging", "stop p0"]

    on_stage(play)


def test_tasks_are_cancelled_and_awaited_after_stop() -> None:
    async def play(stage: Stage) -> None:
        unit = stage.add("controller")
        await stage.start()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stage.diary.append("task ended")

        stage.lifecycle.spawn(unit, work(), "work")
        await stage.advance(0)
        await stage.lifecycle.stop()
        assert stage.diary[-2:] == ["stop p0", "task ended"]

    on_stage(play)


def test_a_task_that_fails_is_the_state_of_its_plugin_only() -> None:
    async def play(stage: Stage) -> None:
        unit, other = stage.add("controller"), stage.add("controller")
        await stage.start()

        async def work() -> None:
            raise KeyError("gone")

        stage.lifecycle.spawn(unit, work(), "work")
        await stage.advance(0)
        assert (unit.state.phase, unit.state.error) == ("failed", "the task \"work\": KeyError: 'gone'")
        assert other.state.phase == "running"
        await stage.lifecycle.stop()
        assert "stop p0" in stage.diary

    on_stage(play)


def test_one_plugin_can_be_stopped_and_started_alone() -> None:
    async def play(stage: Stage) -> None:
        unit = stage.add("controller")
        stage.add("controller")
        await stage.start()
        await stage.lifecycle.stop_plugin("controller/p0")
        assert unit.state.phase == "stopped"
        await stage.lifecycle.start_plugin("controller/p0")
        assert unit.state.phase == "running"
        await stage.lifecycle.stop()
        assert stage.diary == ["start p0", "start p1", "stop p0", "start p0", "stop p1", "stop p0"]

    on_stage(play)
