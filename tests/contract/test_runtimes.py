"""What every runtime driver must do, whatever its containers are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from kubernel.clock import RealClock
from kubernel.plugin.contract import ContainerSpec, ContainerState, RuntimeRefusal
from kubernel.plugin.logs import Logs
from kubernel_plugins.runtime import process, simulated


class Handle:
    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.clock = RealClock()
        self.rng = random.Random(7)
        self.log = Logs("ERROR").bind(plugin="runtime")


@pytest.fixture(params=["process", "simulated"])
def driver(request: pytest.FixtureRequest) -> Any:
    return {"process": process, "simulated": simulated}[request.param]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def pod(uid: str, **annotations: str) -> dict[str, Any]:
    prefixed = {
        f"simulated.kubernel.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    return {"metadata": {"name": uid, "namespace": "ns", "uid": uid, "annotations": prefixed}, "spec": {}}


FOREVER = pod("u1")
SHORT = pod("u2", run_for="0.05", exit_code="4")
COMMANDS = {"u1": ("sleep", "1000"), "u2": ("sh", "-c", "sleep 0.05; exit 4")}


def spec(path: Path, owner: dict[str, Any], name: str = "main", attempt: int = 0) -> ContainerSpec:
    metadata = owner["metadata"]
    return ContainerSpec(
        pod_uid=metadata["uid"],
        pod_name=metadata["name"],
        pod_namespace=metadata["namespace"],
        name=name,
        attempt=attempt,
        image="image:1",
        command=COMMANDS[metadata["uid"]],
        args=(),
        env={},
        working_dir="",
        mounts=(),
        log_path=str(path / "logs" / metadata["uid"] / name / f"{attempt}.log"),
        tty=False,
        stdin=False,
        spec={"name": name},
        pod=owner,
    )


@contextlib.asynccontextmanager
async def started(driver: Any, path: Path) -> AsyncIterator[Any]:
    runtime = driver.Plugin(driver.Settings(), Handle(path))
    await runtime.start()
    for owner in (FOREVER, SHORT):
        await runtime.create_pod(owner, path / "pods" / owner["metadata"]["uid"])
    try:
        yield runtime
    finally:
        await runtime.stop()


async def until_exited(runtime: Any, container_id: str) -> ContainerState:
    changed = asyncio.Event()
    runtime.on_change = lambda uid: changed.set()
    while True:
        (state,) = [s for s in await runtime.list_containers() if s.id == container_id]
        if state.phase == "exited":
            return state
        changed.clear()
        await changed.wait()


def test_a_started_container_is_listed_as_running(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            state = await runtime.start_container(spec(tmp_path, FOREVER, attempt=3))
            assert (state.phase, state.pod_uid, state.name, state.attempt) == ("running", "u1", "main", 3)
            assert (state.image, state.image_id) == ("image:1", "image:1")
            (listed,) = await runtime.list_containers("u1")
            assert (listed.id, listed.phase) == (state.id, "running")
            assert listed.started > 0
            assert await runtime.list_containers("u2") == []
            assert set(runtime.usage()["u1"]) == {"main"}

    run(work())


def test_its_end_is_announced_with_code_and_time(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            state = await runtime.start_container(spec(tmp_path, SHORT))
            ended = await until_exited(runtime, state.id)
            assert (ended.exit_code, ended.signal, ended.reason) == (4, 0, "Error")
            assert ended.finished >= ended.started

    run(work())


def test_stop_returns_when_the_container_is_dead(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            state = await runtime.start_container(spec(tmp_path, FOREVER))
            await asyncio.gather(runtime.stop_container(state.id, 20), runtime.stop_container(state.id, 10))
            (listed,) = await runtime.list_containers("u1")
            assert (listed.phase, listed.exit_code, listed.signal) == ("exited", 143, 15)
            await runtime.stop_container(state.id, 0)
            await runtime.stop_container("unknown", 0)

    run(work())


def test_containers_of_a_name_differ_by_attempt(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            first = await runtime.start_container(spec(tmp_path, SHORT))
            await until_exited(runtime, first.id)
            second = await runtime.start_container(spec(tmp_path, SHORT, attempt=1))
            assert first.id != second.id
            assert sorted(s.attempt for s in await runtime.list_containers("u2")) == [0, 1]
            await runtime.remove_container(first.id)
            await runtime.remove_container(first.id)
            assert [s.attempt for s in await runtime.list_containers("u2")] == [1]

    run(work())


def test_removing_a_pod_ends_and_forgets_its_containers_only(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            await runtime.start_container(spec(tmp_path, FOREVER, "one"))
            await runtime.start_container(spec(tmp_path, FOREVER, "two"))
            kept = await runtime.start_container(spec(tmp_path, SHORT))
            await runtime.remove_pod("u1")
            await runtime.remove_pod("u1")
            assert await runtime.list_containers("u1") == []
            assert [s.id for s in await runtime.list_containers()] == [kept.id]

    run(work())


def test_exec_in_a_container_that_does_not_run_is_refused(driver: Any, tmp_path: Path) -> None:
    async def work() -> None:
        async with started(driver, tmp_path) as runtime:
            for call in (
                runtime.exec("unknown", ["true"], stdin=False, tty=False),
                runtime.attach("unknown", stdin=False, tty=False),
            ):
                with pytest.raises(RuntimeRefusal):
                    await call

    run(work())


def test_version_names_the_runtime(driver: Any, tmp_path: Path) -> None:
    runtime = driver.Plugin(driver.Settings(), Handle(tmp_path))
    assert runtime.version.split("://")[0] in ("process", "simulated")
