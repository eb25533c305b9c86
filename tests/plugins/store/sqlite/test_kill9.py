"""A process that writes under load is killed: every acknowledged write is there, in order, once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from kubernel.clock import RealClock, VirtualClock
from kubernel.store import Key, ObjectStore
from kubernel_plugins.store.sqlite import SqliteBackend

ROUNDS = 10

CHILD = """
import asyncio, os, sys
from pathlib import Path
from kubernel.clock import RealClock
from kubernel.store import Key, ObjectStore
from kubernel_plugins.store.sqlite import SqliteBackend

async def main(path, run):
    store = ObjectStore(SqliteBackend(Path(path), log_size=200_000), RealClock(), retention=0)
    await store.start()

    async def write(task):
        number = 0
        counter = Key("counters", "", f"{run}-{task}")
        await store.create(counter, {"metadata": {}, "n": 0})
        while True:
            number += 1
            key = Key("pods", f"{run}-{task}", f"{number}")
            made = await store.create(key, {"metadata": {}, "pad": "x" * (37 * number % 3000)})
            os.write(1, f"{made.revision} create {key.namespace} {number}\\n".encode())
            counted = await store.update(counter, {"metadata": {}, "n": number})
            os.write(1, f"{counted.revision} count {key.namespace} {number}\\n".encode())
            if number % 5 == 0:
                gone = Key("pods", f"{run}-{task}", f"{number - 3}")
                final = await store.delete(gone, {"metadata": {}})
                os.write(1, f"{final.revision} delete {key.namespace} {number - 3}\\n".encode())

    async def compact():
        while True:
            await asyncio.sleep(0.05)
            await store.compact(max(store.revision - 200, 0))

    await asyncio.gather(compact(), *(write(task) for task in range(16)))

asyncio.run(main(*sys.argv[1:]))
"""


def acknowledged(path: Path, run: int, seconds: float) -> list[tuple[int, str, str, int]]:
    """What a child that was killed after about ``seconds`` of writing had acknowledged."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(run)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    read = [child.stdout.readline()]
    killer = asyncio.new_event_loop()
    try:
        killer.run_until_complete(RealClock().sleep(seconds))
    finally:
        killer.close()
    os.kill(child.pid, signal.SIGKILL)
    read += child.stdout.readlines()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    lines = [line.split() for line in read if line.endswith(b"\n")]
    return [(int(rev), what.decode(), space.decode(), int(number)) for rev, what, space, number in lines]


async def check(path: Path, acks: list[tuple[int, str, str, int]], floor: int) -> int:
    store = ObjectStore(SqliteBackend(path), VirtualClock(), retention=0)
    await store.start()
    revisions = [ack[0] for ack in acks]
    assert len(set(revisions)) == len(revisions), "one revision was acknowledged twice"
    assert min(revisions) > floor, "a revision was given out again after a restart"
    assert store.revision >= max(revisions), "an acknowledged write is gone"
    deleted = {(space, number) for _, what, space, number in acks if what == "delete"}
    counted: dict[str, int] = {}
    for revision, what, space, number in acks:
        if what == "create":
            record = store.get(Key("pods", space, f"{number}"))
            if (space, number) in deleted:
                assert record is None, "an acknowledged deletion is gone"
            elif record is not None:
                assert record.revision == revision
            else:
                # Deleted, but killed before that was acknowledged: only the very next candidate can be.
                assert number % 5 == 2
        elif what == "count":
            counted[space] = number
    for space, number in counted.items():
        record = store.get(Key("counters", "", space))
        assert record is not None
        # At most one write of a task was under way.
        assert record.obj["n"] in (number, number + 1)
    history = [event.revision for event in store.history(store.oldest)]
    assert history == list(range(store.oldest + 1, store.revision + 1))
    told = {event.revision: event.record.key for event in store.history(store.oldest)}
    for revision, what, space, number in acks:
        if revision in told:
            wanted = Key("counters", "", space) if what == "count" else Key("pods", space, f"{number}")
            assert told[revision] == wanted
    revision = store.revision
    await store.stop()
    return revision


def test_every_acknowledged_write_survives_kill_9_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "kubernel.db"
    rng = random.Random(20)
    revision = total = 0
    for run in range(ROUNDS):
        acks = acknowledged(path, run, rng.uniform(0.02, 0.8))
        total += len(acks)
        revision = asyncio.run(check(path, acks, revision))
    assert total > 100 * ROUNDS / 2
