"""Running in the background: fork, and wait until the child says that it is ready.

The child is a fork and not a new interpreter: what was imported so far need not be imported again.
"""

from __future__ import annotations

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

__all__ = ["detach"]


def detach(config: Configuration, serve: Callable[[TextIO], int]) -> int:
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
        _become_daemon(log)
        _serve(serve, writer)
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


def _become_daemon(log: Path) -> None:
    os.setsid()
    os.chdir("/")
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(null)
    os.close(descriptor)


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
        file.seek(start)
        lines = file.read()[-8192:].decode(errors="replace").splitlines()
    return "\n".join(f"  {line}" for line in lines[-20:]) or "  nothing"
