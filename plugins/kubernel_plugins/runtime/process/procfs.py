"""What ``/proc`` says about processes: identity, kinship and consumption (proc(5))."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ProcessInfo", "boot_id", "consumption", "environment", "kin", "processes", "stat"]

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process. ``start`` is in clock ticks since boot: with the pid it names a process for good."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    start: int
    cpu: float
    resident: int

    @property
    def dead(self) -> bool:
        return self.state in "ZX"


def boot_id() -> str:
    """Changes with every boot of the machine, so pids of an earlier one are not mistaken for ours."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def stat(pid: int) -> ProcessInfo | None:
    """None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    if b")" not in text:
        return None
    # The command name is in parentheses and may itself hold parentheses and spaces.
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessInfo(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        start=int(fields[19]),
        cpu=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident=int(fields[21]) * _PAGE,
    )


def processes() -> Iterator[ProcessInfo]:
    """All processes of the machine, in no order."""
    try:
        names = os.listdir(_PROC)
    except OSError:
        return
    for name in names:
        if name.isdigit() and (info := stat(int(name))) is not None:
            yield info


def environment(pid: int) -> bytes:
    """The environment a process was started with, NUL-separated; empty when it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def kin(
    sessions: Collection[int], markers: Collection[bytes], spare: Collection[int] = ()
) -> list[ProcessInfo]:
    """Live processes that belong to one of ``sessions`` or its process groups, descend from such a process,
    or carry one of ``markers`` (``NAME=value``) in their environment: also those that daemonized.
    ``spare`` are pids never to be named; the calling process is always spared.
    """
    everything = {info.pid: info for info in processes()}
    ours: dict[int, bool] = {os.getpid(): False, 0: False, 1: False}
    ours.update(dict.fromkeys(spare, False))

    def belongs(info: ProcessInfo) -> bool:
        known = ours.get(info.pid)
        if known is not None:
            return known
        ours[info.pid] = False  # a cycle cannot happen, a pid reused while we read can
        answer = info.session in sessions or info.group in sessions
        if not answer and not info.dead and markers:
            variables = environment(info.pid).split(b"\0")
            answer = any(marker in variables for marker in markers)
        if not answer and (parent := everything.get(info.parent)) is not None:
            answer = belongs(parent)
        ours[info.pid] = answer
        return answer

    return [info for info in everything.values() if not info.dead and belongs(info)]


def consumption(sessions: Collection[int]) -> dict[int, tuple[float, int]]:
    """Session id -> (CPU seconds, resident bytes) of its live processes, in one pass."""
    total: dict[int, tuple[float, int]] = {}
    for info in processes():
        if info.session in sessions:
            cpu, resident = total.get(info.session, (0.0, 0))
            total[info.session] = (cpu + info.cpu, resident + info.resident)
    return total
