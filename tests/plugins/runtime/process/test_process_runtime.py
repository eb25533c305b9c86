"""The process runtime: real processes, real signals, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from kubernel.clock import RealClock
from kubernel.plugin.contract import ContainerSpec, ContainerState, RuntimeRefusal
from kubernel_plugins.runtime.process import Plugin, Settings, procfs


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *args: Any) -> None:
        self.lines.append(text.format(*args))

    info = debug = error = exception = warning


class Handle:
    def __init__(self, data_dir: Path, seed: int = 1) -> None:
        self.data_dir = data_dir
        self.clock = RealClock()
        self.rng = random.Random(seed)
        self.log = Log()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


POD = {"metadata": {"name": "web", "namespace": "default", "uid": "u1"}, "spec": {}}


@contextlib.asynccontextmanager
async def runtime(path: Path, **settings: Any) -> AsyncIterator[Plugin]:
    plugin = Plugin(Settings(**settings), Handle(path))
    await plugin.start()
    await plugin.create_pod(POD, path / "pods" / "u1")
    try:
        yield plugin
    finally:
        await plugin.stop()


def container(path: Path, *command: str, **changes: Any) -> ContainerSpec:
    fields: dict[str, Any] = {
        "pod_uid": "u1",
        "pod_name": "web",
        "pod_namespace": "default",
        "name": "main",
        "attempt": 0,
        "image": "nginx",
        "command": command,
        "args": (),
        "env": {},
        "working_dir": "",
        "mounts": (),
        "log_path": str(path / "logs" / "main" / "0.log"),
        "tty": False,
        "stdin": False,
        "spec": {"name": "main"},
        "pod": POD,
    }
    return ContainerSpec(**{**fields, **changes})


async def finished(plugin: Plugin, container_id: str) -> ContainerState:
    changed = asyncio.Event()
    plugin.on_change = lambda uid: changed.set()
    while True:
        state = next(s for s in await plugin.list_containers() if s.id == container_id)
        if state.phase == "exited":
            return state
        changed.clear()
        await changed.wait()


async def until(path: Path, text: str) -> str:
    """The container's log once it holds ``text``."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            if text in (read := path.read_text()):
                return read
        await asyncio.sleep(0.005)


def alive(pid: int) -> bool:
    info = procfs.stat(pid)
    return info is not None and not info.dead


def lines(path: Path) -> list[list[str]]:
    return [line.split(" ", 3) for line in path.read_text().splitlines()]


def test_output_is_kept_in_the_cri_format_with_both_streams(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "sh", "-c", "echo out; echo err >&2; printf tail")
            state = await finished(plugin, (await plugin.start_container(spec)).id)
            assert (state.exit_code, state.reason) == (0, "Completed")
            told = sorted(line[1:] for line in lines(Path(spec.log_path)))
            assert told == [["stderr", "F", "err"], ["stdout", "F", "out"], ["stdout", "P", "tail"]]
            assert lines(Path(spec.log_path))[0][0].endswith("Z")
            assert len(lines(Path(spec.log_path))[0][0]) == len("2026-01-02T03:04:05.000000006Z")

    run(work())


@pytest.mark.parametrize(
    ("script", "code", "number"),
    [
        pytest.param("exit 3", 3, 0, id="its own code"),
        pytest.param("kill -KILL $$", 137, 9, id="killed"),
        pytest.param("kill -TERM $$", 143, 15, id="terminated"),
    ],
)
def test_exit_codes_and_signals_are_real(tmp_path: Path, script: str, code: int, number: int) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sh", "-c", script))
            state = await finished(plugin, started.id)
            assert (state.exit_code, state.signal) == (code, number)
            assert state.finished >= state.started > 0

    run(work())


def test_environment_and_directory_are_the_pods_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "sh", "-c", "pwd; echo $COLOR $HOSTNAME", env={"COLOR": "blue"})
            await finished(plugin, (await plugin.start_container(spec)).id)
            said = [line[3] for line in lines(Path(spec.log_path))]
            assert said == [str(tmp_path / "pods" / "u1" / "work"), "blue web"]

    run(work())


def test_container_without_a_command_says_what_to_add(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            with pytest.raises(
                RuntimeRefusal, match=r'image "nginx" is recorded but not run .* add a command'
            ) as e:
                await plugin.start_container(container(tmp_path))
            assert e.value.reason == "CreateContainerConfigError"
            assert await plugin.list_containers() == []

    run(work())


def test_image_is_noted_once_a_pod(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            first = await plugin.start_container(container(tmp_path, "true"))
            second = await plugin.start_container(container(tmp_path, "true", attempt=1))
            assert first.reason == "ImageNotUsed"
            assert second.reason == ""
            assert len(plugin.handle.log.lines) == 1

    run(work())


def test_unknown_program_is_a_start_error(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            state = await plugin.start_container(container(tmp_path, "no-such-program"))
            assert (state.phase, state.exit_code, state.reason) == ("exited", 128, "StartError")
            assert state.message == 'exec: "no-such-program": executable file not found in $PATH'

    run(work())


def test_stop_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            polite = container(
                tmp_path, "sh", "-c", "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done"
            )
            started = await plugin.start_container(polite)
            await until(Path(polite.log_path), "up")
            await plugin.stop_container(started.id, 30)
            assert (await finished(plugin, started.id)).exit_code == 7
            deaf = container(
                tmp_path,
                "sh",
                "-c",
                "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
                log_path=str(tmp_path / "deaf.log"),
            )
            started = await plugin.start_container(deaf)
            await until(Path(deaf.log_path), "deaf")
            await plugin.stop_container(started.id, 0.05)
            assert (await finished(plugin, started.id)).exit_code == 137

    run(work())


@pytest.mark.parametrize(
    "escape",
    [
        pytest.param("sleep 1000 &", id="child in the group"),
        pytest.param("setsid sleep 1000 &", id="own session"),
        pytest.param("(setsid sh -c 'sleep 1000 & exec sleep 1000' &)", id="orphan of a session"),
    ],
)
def test_nothing_survives_the_container(tmp_path: Path, escape: str) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "sh", "-c", f"{escape}\nsleep 0.2; exit 0")
            started = await plugin.start_container(spec)
            await finished(plugin, started.id)
            marker = f"KUBERNEL_CONTAINER_ID={started.id}".encode()
            assert procfs.kin({plugin._entries[started.id].file.pid}, {marker}) == []

    run(work())


def test_long_lines_are_split_and_the_log_rotates(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path, log_max_bytes=200_000, log_max_files=3) as plugin:
            spec = container(
                tmp_path, sys.executable, "-c", "print('x' * 20000)\nfor i in range(20000): print(i)"
            )
            await finished(plugin, (await plugin.start_container(spec)).id)
            log = Path(spec.log_path)
            files = list(log.parent.iterdir())
            assert len(files) == 3
            assert log.read_text().endswith(" stdout F 19999\n")
            assert all(file.stat().st_size <= 1_000_000 for file in files)

    run(work())


async def collect(execution: Any) -> tuple[bytes, bytes, int]:
    out: dict[int, bytes] = {1: b"", 2: b""}
    async for stream, data in execution.output():
        out[stream] += data
    return out[1], out[2], await execution.wait()


def test_exec_has_streams_stdin_and_an_exit_code(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sleep", "1000", env={"COLOR": "red"}))
            execution = await plugin.exec(
                started.id, ["sh", "-c", "cat; echo $COLOR; echo bad >&2; exit 5"], stdin=True, tty=False
            )
            await execution.write(b"hello ")
            await execution.close_stdin()
            assert await collect(execution) == (b"hello red\n", b"bad\n", 5)
            with pytest.raises(RuntimeRefusal, match="executable file not found"):
                await plugin.exec(started.id, ["no-such-program"], stdin=False, tty=False)

    run(work())


def test_exec_passes_much_output_to_a_slow_reader(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sleep", "1000"))
            execution = await plugin.exec(
                started.id, ["head", "-c", "8000000", "/dev/zero"], stdin=False, tty=False
            )
            size = 0
            async for _stream, data in execution.output():
                size += len(data)
                await asyncio.sleep(0)
            assert size == 8_000_000

    run(work())


def test_exec_with_a_terminal_has_its_size(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sleep", "1000"))
            execution = await plugin.exec(
                started.id, ["sh", "-c", "read x; stty size; tty; exit 4"], stdin=True, tty=True
            )
            await execution.resize(100, 40)
            await execution.write(b"go\n")
            out, err, code = await collect(execution)
            assert b"40 100\r\n" in out
            assert b"/dev/pts/" in out
            assert (err, code) == (b"", 4)

    run(work())


def test_attach_reaches_stdin_and_output(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "cat", stdin=True, spec={"name": "main", "stdinOnce": True})
            started = await plugin.start_container(spec)
            attached = await plugin.attach(started.id, stdin=True, tty=False)
            await attached.write(b"echoed\n")
            await attached.close_stdin()
            assert await collect(attached) == (b"echoed\n", b"", 0)

    run(work())


def test_exec_dies_with_its_container(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sleep", "1000"))
            execution = await plugin.exec(started.id, ["sleep", "1000"], stdin=False, tty=False)
            await plugin.stop_container(started.id, 0)
            assert await execution.wait() == 137

    run(work())


def test_stopping_kubernel_stops_its_containers(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            started = await plugin.start_container(container(tmp_path, "sleep", "1000"))
            pid = plugin._entries[started.id].file.pid
            assert alive(pid)
        assert not alive(pid)
        again = Plugin(Settings(), Handle(tmp_path))
        await again.start()
        assert [(s.phase, s.exit_code) for s in await again.list_containers()] == [("exited", 143)]
        await again.remove_pod("u1")
        assert await again.list_containers() == []
        assert list((tmp_path / "run" / "process").iterdir()) == []

    run(work())


CRASH = """
import asyncio, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_process_runtime import container, runtime
async def main():
    path = Path(sys.argv[1])
    async with runtime(path) as plugin:
        script = "setsid sleep 1000 & echo $!; exec sleep 1000"
        await plugin.start_container(container(path, "sh", "-c", script,
            mounts=((str(path / "volume"), str(path / "made" / "mount"), False),)))
        while not (path / "logs/main/0.log").exists() or not (path / "logs/main/0.log").read_text():
            await asyncio.sleep(0.01)
        print([e.file.pid for e in plugin._entries.values()][0], flush=True)
        if sys.argv[2] == "unguarded":
            plugin._guard.process.kill()
            plugin._guard.process.wait()
        os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def killed(path: Path, mode: str) -> tuple[int, int]:
    """Pids of a container and of a process that left its session, when kubernel was killed."""
    (path / "volume").mkdir()
    script = CRASH.format(tests=str(Path(__file__).parent))
    died = subprocess.run(
        [sys.executable, "-c", script, str(path), mode], stdout=subprocess.PIPE, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    return int(died.stdout), int(lines(path / "logs/main/0.log")[0][3])


def test_containers_die_with_a_killed_kubernel(tmp_path: Path) -> None:
    async def work() -> None:
        pids = killed(tmp_path, "guarded")
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.01)

    run(work())


def test_what_a_killed_kubernel_left_is_cleaned_at_the_next_start(tmp_path: Path) -> None:
    async def work() -> None:
        leader, escaped = killed(tmp_path, "unguarded")
        assert alive(leader)
        assert alive(escaped)
        assert (tmp_path / "made" / "mount").is_symlink()
        plugin = Plugin(Settings(), Handle(tmp_path, seed=2))
        await plugin.start()
        assert not alive(leader)
        assert not alive(escaped)
        assert not (tmp_path / "made").exists()
        (state,) = await plugin.list_containers()
        assert (state.phase, state.exit_code, state.pod_uid) == ("exited", 137, "u1")
        assert state.message == "kubernel was stopped while the container ran"

    run(work())


def test_volume_appears_at_its_path_and_goes_with_the_container(tmp_path: Path) -> None:
    async def work() -> None:
        volume, path = tmp_path / "volume", tmp_path / "deep" / "er" / "data"
        volume.mkdir()
        (volume / "file").write_text("content")
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "cat", str(path / "file"), mounts=((str(volume), str(path), False),))
            await finished(plugin, (await plugin.start_container(spec)).id)
            assert lines(Path(spec.log_path))[0][3] == "content"
            assert not (tmp_path / "deep").exists()

    run(work())


def test_a_path_taken_by_another_pod_is_refused_by_name(tmp_path: Path) -> None:
    async def work() -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        path = str(tmp_path / "data")
        async with runtime(tmp_path) as plugin:
            first = container(tmp_path, "sleep", "1000", mounts=((str(tmp_path / "one"), path, False),))
            await plugin.start_container(first)
            second = container(
                tmp_path,
                "true",
                name="other",
                mounts=(
                    (str(tmp_path / "one"), str(tmp_path / "x"), False),
                    (str(tmp_path / "two"), path, False),
                ),
            )
            with pytest.raises(RuntimeRefusal, match='is taken by pod "default/web"'):
                await plugin.start_container(second)
            assert not os.path.lexists(tmp_path / "x")
            assert os.readlink(path) == str(tmp_path / "one")

    run(work())


def test_what_exists_is_never_replaced(tmp_path: Path) -> None:
    async def work() -> None:
        existing = tmp_path / "existing"
        existing.write_text("mine")
        (tmp_path / "volume").mkdir()
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "true", mounts=((str(tmp_path / "volume"), str(existing), False),))
            with pytest.raises(RuntimeRefusal, match="exists on the host and is not replaced"):
                await plugin.start_container(spec)
        assert existing.read_text() == "mine"

    run(work())


def test_usage_counts_the_whole_session(tmp_path: Path) -> None:
    async def work() -> None:
        async with runtime(tmp_path) as plugin:
            spec = container(tmp_path, "sh", "-c", "sleep 1000 & echo up; wait")
            await plugin.start_container(spec)
            await until(Path(spec.log_path), "up")
            cpu, resident = plugin.usage()["u1"]["main"]
            assert cpu >= 0
            assert resident > 0

    run(work())


def as_nobody(check: Callable[[], None]) -> None:
    """Run ``check`` in a child as uid 65534 when we are root."""
    if os.geteuid() != 0:
        check()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            check()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_no_root_is_needed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    for parent in tmp_path.parents:
        if parent == Path("/tmp"):
            break
        parent.chmod(0o755)
    tmp_path.chmod(0o755)

    async def work() -> None:
        async with runtime(home / "data") as plugin:
            spec = container(home, "sh", "-c", "id -u")
            state = await finished(plugin, (await plugin.start_container(spec)).id)
            assert state.exit_code == 0
            volume = home / "volume"
            volume.mkdir()
            denied = container(home, "true", mounts=((str(volume), "/etc/denied/here", False),))
            with pytest.raises(RuntimeRefusal, match="cannot be created"):
                await plugin.start_container(denied)
            other = container(home, "true", spec={"name": "main", "securityContext": {"runAsUser": 1}})
            with pytest.raises(RuntimeRefusal, match="needs root"):
                await plugin.start_container(other)

    as_nobody(lambda: run(work()))
