"""Running in the background: fork, and wait until the child says that it is ready.

The child is a fork and not a new interpreter: what was imported so far need not be imported again.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from kubernel.cli.main import complain
from kubernel.datadir import DataDir
from kubernel.errors import KubernelError

if TYPE_CHECKING:
    from kubernel.config import Configuration

__all__ = ["LogFile", "detach"]


class LogFile:
    """The file that a daemon's standard output and error go to. When a message takes it beyond ``limit`` bytes, or
    it is found so at the start, it becomes ``<name>.1``; that and ``<name>.2`` are kept."""

    def __init__(self, path: Path, limit: int = 10_000_000) -> None:
        self.path = path
        self.limit = limit

    def attach(self) -> None:
        """Let descriptors 1 and 2 be the file."""
        with contextlib.suppress(FileNotFoundError):
            if self.path.stat().st_size >= self.limit:
                self._shift()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def write(self, message: str) -> None:
        """For a log sink. What others write to the descriptors counts as well."""
        sys.stderr.write(message)
        sys.stderr.flush()
        if os.fstat(2).st_size >= self.limit:
            with contextlib.suppress(OSError):  # a full disk: better a long log than none
                self.attach()

    def _shift(self) -> None:
        first, second = (self.path.with_name(f"{self.path.name}.{number}") for number in (1, 2))
        if first.exists():
            first.replace(second)
        self.path.replace(first)


def detach(config: Configuration, serve: Callable[[TextIO, LogFile], int]) -> int:
    """Run ``serve`` in a daemon; returns when it is ready. KubernelError with its words when it failed."""
    directory = config.cluster.data_dir
    # Taken and given back: what is wrong with the directory is told here, before there is a log in it.
    probe = DataDir(directory)
    probe.acquire()
    probe.release()
    log = directory / "logs" / "kubernel.log"
    log.parent.mkdir(mode=0o700, exist_ok=True)
    before = log.stat().st_size if log.exists() else 0
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _become_daemon()
        file = LogFile(log)
        file.attach()
        _serve(lambda report: serve(report, file), writer)
    os.close(writer)
    with os.fdopen(reader) as answers:
        answer = answers.readline()
    if not answer:
        os.waitpid(child, 0)
        raise KubernelError(f"the cluster died while starting; {log} says:\n{_tail(log, before)}")
    message: dict[str, Any] = json.loads(answer)
    if "error" in message:
        os.waitpid(child, 0)
        raise KubernelError(message["error"])
    print(message["usage"])
    print(f"It runs in the background (pid {message['pid']}), log in {log}; `kubernel down` stops it.")
    if message["timings"]:
        print(f"\n{message['timings']}")
    return 0


def _become_daemon() -> None:
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _serve(serve: Callable[[TextIO], int], writer: int) -> None:
    """The child's whole life; never returns."""
    code = 1
    try:
        code = serve(os.fdopen(writer, "w"))
    except KubernelError as error:
        complain(str(error))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        if file.seek(0, os.SEEK_END) >= start:  # else it is a new one
            file.seek(start)
        else:
            file.seek(0)
        lines = file.read()[-8192:].decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-20:]) or "  nothing"
