"""Damage, full disks, failing disks, rivals: what the sqlite backend does then."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sqlite3
import stat
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubernel.clock import VirtualClock
from kubernel.errors import StoreCorrupt, StoreError, StoreFull
from kubernel.store import Key, ObjectStore, Write
from kubernel_plugins.store.sqlite import SqliteBackend, loading, schema


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def pod(size: int = 2000) -> dict[str, Any]:
    return {"metadata": {"name": "x"}, "data": os.urandom(size // 2).hex()}


async def opened(path: Path, **options: Any) -> ObjectStore:
    options.setdefault("clock", VirtualClock())
    store = ObjectStore(SqliteBackend(path, retention=0, **options), VirtualClock())
    await store.start()
    return store


async def fill(path: Path, count: int) -> None:
    store = await opened(path)
    for at in range(count):
        await store.create(Key("pods", "ns", f"p{at}"), pod())
    await store.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store" / "kubernel.db"


def test_files_are_private(path: Path) -> None:
    async def work() -> None:
        store = await opened(path)
        await store.create(Key("pods", "ns", "a"), pod())
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        await store.stop()

    run(work())


def test_a_second_opener_is_refused_and_the_first_works_on(path: Path) -> None:
    async def work() -> None:
        store = await opened(path)
        with pytest.raises(StoreError, match=f"{path} is in use by process {os.getpid()}"):
            await opened(path)
        await store.create(Key("pods", "ns", "a"), pod())
        await store.stop()
        await (await opened(path)).stop()

    run(work())


def _flip(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 100)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _scramble_page(path: Path) -> None:
    with open(path, "r+b") as file:
        file.seek(65536 * 2)
        file.write(os.urandom(65536))


def _replace(path: Path) -> None:
    path.write_bytes(b"this is not a database, however long one looks at it\n" * 100)


def _lose_a_row(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM revisions WHERE revision = 50")
    connection.close()


def _break_a_key(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE revisions SET key = 'nonsense' WHERE revision = 50")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_flip, id="flipped bytes"),
        pytest.param(_truncate, id="truncated"),
        pytest.param(_scramble_page, id="a page of noise"),
        pytest.param(_replace, id="not a database"),
        pytest.param(_lose_a_row, id="a revision missing"),
        pytest.param(_break_a_key, id="a key without parts"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_the_way_out(
    path: Path, damage: Callable[[Path], None]
) -> None:
    async def work() -> None:
        await fill(path, 200)
        damage(path)
        before = path.read_bytes()
        with pytest.raises(StoreCorrupt) as caught:
            await opened(path)
        assert str(path) in str(caught.value)
        assert "backup" in str(caught.value)
        assert path.read_bytes() == before
        with pytest.raises(StoreCorrupt):
            await opened(path)

    run(work())


def test_damage_in_the_old_part_of_a_large_file_is_found_after_opening(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "EAGER", 100_000)

    async def work() -> None:
        await fill(path, 600)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE revisions SET value = zeroblob(10) WHERE revision = 3")
        connection.close()
        store = await opened(path)
        damaged = store.get(Key("pods", "ns", "p2"))
        healthy = store.get(Key("pods", "ns", "p500"))
        assert damaged is not None
        assert healthy is not None
        with pytest.raises(StoreCorrupt, match="pods/ns/p2 at revision 3"):
            _ = damaged.data
        assert healthy.obj["metadata"]["resourceVersion"] == "501"

        async def write_until_refused() -> None:
            while True:
                await store.create(Key("pods", "ns", f"q{store.revision}"), pod())

        with pytest.raises(StoreCorrupt, match="checksum"):
            await write_until_refused()
        await store.stop()

    run(work())


def test_the_old_part_of_a_large_file_is_read_when_wanted_and_survives_compaction(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "EAGER", 50_000)

    async def work() -> None:
        store = await opened(path)
        for at in range(900):
            await store.create(Key("pods", "ns", f"p{at}"), {"metadata": {}, "n": at, "pad": "x" * 500})
        for at in range(0, 900, 3):
            await store.delete(Key("pods", "ns", f"p{at}"), {"metadata": {}, "n": at})
        await store.stop()
        store = await opened(path)
        assert store.list("pods")[7].obj["metadata"]["resourceVersion"] != ""
        await store.compact(store.revision)
        for record in store.list("pods"):
            assert record.key.name == f"p{record.obj['n']}"
            assert int(record.obj["metadata"]["resourceVersion"]) == record.revision
        await store.stop()

    run(work())


def test_a_file_of_a_newer_version_is_refused_untouched(path: Path) -> None:
    async def work() -> None:
        await fill(path, 3)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StoreError, match="layout 99, written by a newer kubernel"):
            await opened(path)

    run(work())


def test_a_database_of_another_program_is_refused_untouched(path: Path) -> None:
    async def work() -> None:
        path.parent.mkdir()
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        with pytest.raises(StoreError, match="another program"):
            await opened(path)

    run(work())


async def _survives_fullness(path: Path, make_room: Callable[[], None], **options: Any) -> None:
    store = await opened(path, **options)
    kept: dict[Key, int] = {}

    async def write_until_refused() -> None:
        while True:
            key = Key("pods", "ns", f"p{len(kept)}")
            kept[key] = (await store.create(key, pod(20_000))).revision

    with pytest.raises(StoreFull, match="no space left"):
        await write_until_refused()
    assert store.revision == len(kept)
    assert store.get(Key("pods", "ns", f"p{len(kept)}")) is None
    together = await asyncio.gather(
        *(store.create(Key("pods", "ns", f"big{at}"), pod(2_000_000)) for at in range(4)),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, StoreFull) for outcome in together)
    make_room()
    after = await store.create(Key("pods", "ns", "after"), pod(100))
    assert after.revision == len(kept) + 1
    await store.stop()
    store = await opened(path)
    assert {record.key: record.revision for record in store.list("pods")} == {
        **kept,
        after.key: after.revision,
    }
    await store.stop()


def test_a_full_database_refuses_and_keeps_nothing_and_goes_on_later(path: Path) -> None:
    pages = 15
    limited: list[sqlite3.Connection] = []
    real = schema.prepare

    def prepare(at: Path) -> sqlite3.Connection:
        connection = real(at)
        connection.execute(f"PRAGMA max_page_count = {pages if not limited else 1 << 30}")
        limited.append(connection)
        return connection

    def make_room() -> None:
        limited[0].execute(f"PRAGMA max_page_count = {1 << 30}")

    patch = pytest.MonkeyPatch()
    patch.setattr(schema, "prepare", prepare)
    try:
        run(_survives_fullness(path, make_room, log_size=300_000))
    finally:
        patch.undo()


def test_forgetting_makes_room_in_a_full_database(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = schema.prepare

    def prepare(at: Path) -> sqlite3.Connection:
        connection = real(at)
        connection.execute("PRAGMA max_page_count = 15")
        return connection

    async def work() -> None:
        key = Key("pods", "ns", "a")
        with monkeypatch.context() as patch:
            patch.setattr(schema, "prepare", prepare)
            store = await opened(path, log_size=200_000)
        await store.create(key, pod())

        async def write_until_refused() -> None:
            while True:
                await store.update(key, pod(20_000))

        with pytest.raises(StoreFull):
            await write_until_refused()
        latest = store.revision
        await store.compact(latest)
        for _ in range(20):
            await store.update(key, pod(20_000))
        await store.stop()
        store = await opened(path)
        assert store.revision == latest + 20
        await store.stop()

    run(work())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"mount: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.root
def test_a_full_file_system_refuses_and_keeps_nothing_and_goes_on_later(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    run(_survives_fullness(small_disk / "kubernel.db", ballast.unlink))


def test_after_a_failed_fsync_nothing_is_acknowledged_until_a_restart(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int, parts: list[bytes], at: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def work() -> None:
        store = await opened(path)
        await store.create(Key("pods", "ns", "a"), pod())
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwritev", failing)
            with pytest.raises(StoreError, match=r"Input/output error; nothing is written"):
                await store.create(Key("pods", "ns", "b"), pod())
        with pytest.raises(StoreError, match="restarted"):
            await store.create(Key("pods", "ns", "c"), pod())
        assert store.revision == 1
        assert [record.key.name for record in store.list("pods")] == ["a"]
        await store.stop()
        store = await opened(path)
        assert store.get(Key("pods", "ns", "a")) is not None
        assert store.get(Key("pods", "ns", "c")) is None
        await store.create(Key("pods", "ns", "d"), pod())
        await store.stop()

    run(work())


class _FailingDatabase(sqlite3.Connection):
    """Statements with the text ``when`` fail, the log does not."""

    code = 0
    when = "wal_checkpoint"

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        if self.code and self.when in sql:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = self.code
            raise error
        return super().execute(sql, *arguments)


async def _write_past_a_failing_database(
    path: Path, when: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[set[str], StoreError | None]:
    """What was acknowledged of 400 writes of which the database takes none, and what refused the others."""
    real = sqlite3.connect
    failing = type("_Failing", (_FailingDatabase,), {"code": 0, "when": when})
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **options: real(*given, factory=failing, **options))
        store = await opened(path, log_size=200_000)
        failing.code = code
        kept: set[str] = set()
        refusal = None
        for at in range(400):
            try:
                await store.create(Key("pods", "ns", f"p{at}"), pod())
            except StoreError as error:
                refusal = error
            else:
                kept.add(f"p{at}")
        await store.stop()
    store = await opened(path)
    assert {record.key.name for record in store.list("pods")} == kept
    await store.create(Key("pods", "ns", "later"), pod())
    await store.stop()
    return kept, refusal


@pytest.mark.parametrize("when", ["COMMIT", "wal_checkpoint"])
def test_after_a_failed_fsync_of_the_database_nothing_is_acknowledged_until_a_restart(
    path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, refusal = run(_write_past_a_failing_database(path, when, sqlite3.SQLITE_IOERR_FSYNC, monkeypatch))
    assert len(kept) < 400
    assert re.search(r"disk I/O error; nothing is written .* restarted", str(refusal))


def test_what_has_no_room_to_be_copied_into_the_database_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, refusal = run(
        _write_past_a_failing_database(path, "wal_checkpoint", sqlite3.SQLITE_FULL, monkeypatch)
    )
    assert len(kept) == 400
    assert refusal is None


def test_a_database_without_room_refuses_when_the_log_is_full_and_takes_it_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, refusal = run(_write_past_a_failing_database(path, "COMMIT", sqlite3.SQLITE_FULL, monkeypatch))
    assert 150 < len(kept) < 400
    assert isinstance(refusal, StoreFull)


def test_the_logs_stay_bounded_while_everybody_writes_and_the_database_gets_them(path: Path) -> None:
    size = 300_000

    async def work() -> None:
        store = await opened(path, log_size=size)

        async def write(which: int) -> None:
            for number in range(100):
                await store.create(Key("pods", f"w{which}", f"{number}"), pod())

        await asyncio.gather(*(write(which) for which in range(16)))
        for number in (1, 2):
            # They grow by a megabyte at a time.
            assert path.with_name(f"{path.name}-log{number}").stat().st_size <= size + (1 << 20)
        assert path.with_name(path.name + "-wal").stat().st_size < 10 * size
        assert path.stat().st_size > 1600 * 2000 - 3 * size
        await store.stop()
        assert not any(path.with_name(f"{path.name}-log{number}").stat().st_size for number in (1, 2))

    run(work())


class _QuickThread:
    """A lock whose release returns only when the thread that it woke has done all there was."""

    def __init__(self, lock: Any) -> None:
        self.acquire, self.locked, self._release = lock.acquire, lock.locked, lock.release

    def release(self) -> None:
        self._release()
        time.sleep(0.1)


def test_closing_ends_however_quick_the_writer_is(path: Path) -> None:
    async def work() -> None:
        backend = SqliteBackend(path)
        await backend.open(lambda changes: None)
        writer: Any = backend._writer
        writer._signal = _QuickThread(writer._signal)
        await backend.commit(Write(Key("pods", "", "a"), b'{"metadata":{}}', 0))
        await backend.close()

    run(work())


def test_a_key_that_is_not_unicode_is_refused_alone(path: Path) -> None:
    async def work() -> None:
        store = await opened(path)
        good, bad = await asyncio.gather(
            store.create(Key("pods", "ns", "good"), pod()),
            store.create(Key("pods", "ns", "\ud800"), pod()),
            return_exceptions=True,
        )
        assert isinstance(bad, UnicodeError)
        assert not isinstance(good, BaseException)
        await store.stop()

    run(work())


def test_a_backup_made_under_load_is_a_database_of_one_moment(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"

    async def work() -> None:
        store = await opened(path)
        stop = False

        async def write(which: int) -> None:
            number = 0
            while not stop:
                number += 1
                await store.create(Key("pods", f"w{which}", f"{number:06}"), pod(200))

        writers = [asyncio.create_task(write(which)) for which in range(8)]
        while store.revision < 300:
            await asyncio.sleep(0)
        before = store.revision
        await store.backup(target)
        stop = True
        await asyncio.gather(*writers)
        latest = store.revision
        await store.stop()
        copy = await opened(target)
        assert before <= copy.revision <= latest
        assert copy.count("pods") == copy.revision
        await copy.create(Key("pods", "ns", "later"), pod())
        await copy.stop()

    run(work())


def test_the_full_check_finds_what_is_damaged(path: Path) -> None:
    async def work() -> None:
        backend = SqliteBackend(path)
        await backend.open(lambda changes: None)
        for number in range(5):
            await backend.commit(Write(Key("pods", "", f"{number}"), b'{"metadata":{}}', 0))
        await backend.check()
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE revisions SET value = '{}' WHERE revision = 3")
        connection.close()
        with pytest.raises(StoreCorrupt, match="revision 3"):
            await backend.check()
        await backend.close()

    run(work())


def test_space_of_forgotten_versions_is_used_again(path: Path) -> None:
    async def work() -> None:
        store = await opened(path, log_size=100_000)
        key = Key("pods", "ns", "a")
        await store.create(key, pod())
        sizes = []
        for _ in range(6):
            for _ in range(150):
                await store.update(key, pod())
            gone = Key("pods", "ns", "gone")
            await store.delete(gone, (await store.create(gone, pod())).obj)
            await store.compact(store.revision)
            sizes.append(path.stat().st_size)
        assert sizes[-1] <= sizes[1] * 1.5
        await store.stop()
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT count(*) FROM revisions").fetchone()[0]
        connection.close()
        assert rows == 1

    run(work())
