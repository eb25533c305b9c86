"""What a crash leaves in the log, and what damage to it, is told apart at the next start."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from kubernel.clock import VirtualClock
from kubernel.errors import StoreCorrupt, StoreError, StoreFull
from kubernel.store import Key, ObjectStore
from kubernel_plugins.store.sqlite import SqliteBackend


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def pod(size: int = 1000) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "data": os.urandom(size // 2).hex()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "kubernel.db"


async def opened(path: Path, **options: Any) -> ObjectStore:
    options.setdefault("clock", VirtualClock())
    store = ObjectStore(SqliteBackend(path, retention=0, **options), VirtualClock(), retention=0)
    await store.start()
    return store


async def names(path: Path) -> list[str]:
    """What a start finds, in the order of their creation; it can be written to as well."""
    store = await opened(path)
    found = sorted(store.list("pods"), key=lambda record: record.revision)
    assert [record.revision for record in found] == list(range(1, len(found) + 1))
    made = await store.create(Key("others", "", "x"), pod())
    assert made.revision == len(found) + 1
    await store.stop()
    return [record.key.name for record in found]


def crashed(path: Path) -> Path:
    """The files as a crash at this moment would leave them."""
    place = path.parent.with_name("crashed")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in path.parent.iterdir():
        if not file.name.endswith((".lock", "-shm")):
            shutil.copy(file, place)
    return place / path.name


def log(path: Path, number: int = 1) -> Path:
    return path.with_name(f"{path.name}-log{number}")


async def five(path: Path) -> tuple[Path, list[int]]:
    """A crash after five writes, and where in the log each of them began and the next one would."""
    store = await opened(path)
    starts = []
    for at in range(5):
        await store.create(Key("pods", "ns", f"p{at}"), pod(300 + 200 * at))
    data = log(path).read_bytes()
    at = 0
    while (at := data.find(b"knl1", at)) >= 0:
        starts.append(at)
        at += 512
    left = crashed(path)
    await store.stop()
    assert len(starts) == 5
    return left, starts


def test_what_was_only_in_the_log_is_there_after_a_crash(path: Path) -> None:
    async def work() -> None:
        left, _ = await five(path)
        with sqlite3.connect(left) as connection:
            assert connection.execute("SELECT count(*) FROM revisions").fetchone()[0] == 0
        connection.close()
        assert await names(left) == [f"p{at}" for at in range(5)]

    run(work())


@pytest.mark.parametrize("torn", ["cut", "zeros", "noise"])
def test_a_write_that_was_torn_is_not_there_and_all_before_it_are(path: Path, torn: str) -> None:
    async def work() -> None:
        left, starts = await five(path)
        whole = log(left).read_bytes()
        trial = left.parent.with_name("trial")
        rest = {"cut": b"", "zeros": bytes(4096), "noise": os.urandom(4096)}[torn]
        for number in (0, 2, 4):
            for length in (0, 1, 4, 31, 33, 120, 250):
                shutil.rmtree(trial, ignore_errors=True)
                shutil.copytree(left.parent, trial)
                log(trial / left.name).write_bytes(whole[: starts[number] + length] + rest)
                assert await names(trial / left.name) == [f"p{at}" for at in range(number)], length

    run(work())


def test_damage_before_a_later_write_is_refused(path: Path) -> None:
    async def work() -> None:
        left, starts = await five(path)
        whole = log(left).read_bytes()
        for at in (starts[1], starts[1] + 20, starts[1] + 50, starts[2] - 400):
            data = bytearray(whole)
            data[at] ^= 0x40
            log(left).write_bytes(data)
            with pytest.raises(StoreCorrupt, match="revisions 2 to 2 are missing from its log"):
                await opened(left)
        log(left).write_bytes(whole)
        assert len(await names(left)) == 5

    run(work())


def test_the_log_of_another_database_is_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    async def work() -> None:
        left, _ = await five(path)
        left.unlink()
        left.with_name(left.name + "-wal").unlink()
        before = log(left).read_bytes()
        with pytest.raises(StoreError, match=r"kubernel\.db-log1 belongs to another database: move it away"):
            await opened(left)
        assert log(left).read_bytes() == before

    run(work())


def test_a_backup_does_not_take_the_log_of_the_database_that_it_was_made_of(
    path: Path, tmp_path: Path
) -> None:
    async def work() -> None:
        store = await opened(path)
        await store.create(Key("pods", "ns", "a"), pod())
        await store.backup(tmp_path / "copy.db")
        await store.create(Key("pods", "ns", "b"), pod())
        left = crashed(path)
        await store.stop()
        left.with_name(left.name + "-wal").unlink()
        shutil.copy(tmp_path / "copy.db", left)
        with pytest.raises(StoreError, match="another database"):
            await opened(left)
        log(left).unlink()
        assert await names(left) == ["a"]

    run(work())


@pytest.mark.parametrize("written", ["nothing", "a part", "everything"])
def test_a_write_that_was_refused_for_lack_of_room_is_not_found_after_a_crash(
    path: Path, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev

    def full(descriptor: int, parts: list[bytes], at: int) -> int:
        data = b"".join(parts)
        real(descriptor, [data[: {"nothing": 0, "a part": 600, "everything": len(data)}[written]]], at)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def work() -> None:
        store = await opened(path)
        await store.create(Key("pods", "ns", "a"), pod())
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", full)
            with pytest.raises(StoreFull, match="nothing of this write was kept"):
                await store.create(Key("pods", "ns", "b"), pod())
        assert await names(crashed(path)) == ["a"]
        await store.create(Key("pods", "ns", "c"), pod())
        assert await names(crashed(path)) == ["a", "c"]
        await store.stop()

    run(work())


def test_a_write_that_the_system_takes_in_pieces_is_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev

    def some(descriptor: int, parts: list[bytes], at: int) -> int:
        return real(descriptor, [b"".join(parts)[:100]], at)

    async def work() -> None:
        store = await opened(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", some)
            await store.create(Key("pods", "ns", "a"), pod())
        assert await names(crashed(path)) == ["a"]
        await store.stop()

    run(work())


def test_crashes_at_any_time_lose_nothing_while_the_files_of_the_log_take_turns(path: Path) -> None:
    async def work() -> None:
        store = await opened(path, log_size=5000)
        for at in range(60):
            await store.create(Key("pods", "ns", f"p{at}"), pod(100 + 97 * at % 1500))
            if at % 7 == 0:
                assert len(await names(crashed(path))) == at + 1
        assert log(path, 2).stat().st_size > 0
        await store.stop()
        assert len(await names(path)) == 60

    run(work())


def test_another_program_sees_a_write_in_the_database_five_seconds_later(path: Path) -> None:
    async def work() -> None:
        clock = VirtualClock()
        store = await opened(path, clock=clock)

        async def turn() -> None:
            await asyncio.sleep(0)

        def seen() -> int:
            with sqlite3.connect(path) as connection:
                count: int = connection.execute("SELECT count(*) FROM revisions").fetchone()[0]
            connection.close()
            return count

        await store.create(Key("pods", "ns", "a"), pod())
        await clock.advance(4, turn)
        assert seen() == 0
        await clock.advance(2, turn)
        backend: Any = store._backend
        await backend._writer.settle()
        assert seen() == 1
        await store.stop()

    run(work())


def test_a_database_without_a_log_is_taken_over(path: Path) -> None:
    def first_layout() -> None:
        path.parent.mkdir()
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            """
            CREATE TABLE revisions (revision INTEGER PRIMARY KEY, key TEXT NOT NULL, created INTEGER NOT NULL,
                checksum INTEGER NOT NULL, value BLOB NOT NULL);
            CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
            INSERT INTO state VALUES ('compacted', 1);
            PRAGMA application_id = 0x6B75626E; PRAGMA user_version = 1;
            """
        )
        value = b'{"metadata":{"name":"x","resourceVersion":""}}'
        for revision, name, created in ((1, "a", 1), (2, "b", 2), (3, "a", 1), (4, "b", -2)):
            key = f"pods/ns/{name}"
            checksum = crc32(value, crc32(key.encode()))
            connection.execute(
                "INSERT INTO revisions VALUES (?, ?, ?, ?, ?)", (revision, key, created, checksum, value)
            )
        connection.close()

    async def work() -> None:
        first_layout()
        store = await opened(path)
        assert [(record.key.name, record.revision) for record in store.list("pods")] == [("a", 3)]
        past = await store.list_at("pods", None, 2)
        assert [(record.key.name, record.revision) for record in past] == [("a", 1), ("b", 2)]
        await store.create(Key("pods", "ns", "c"), pod())
        assert store.revision == 5
        await store.compact(5)
        await store.stop()
        store = await opened(path)
        assert [record.key.name for record in store.list("pods")] == ["a", "c"]
        await store.stop()

    run(work())
