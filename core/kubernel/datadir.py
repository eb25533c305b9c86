"""The cluster's data directory: created private, held by one process at a time.

DIR/            0700
  .kubernel     marks the directory as kubernel's own: ``reset`` removes nothing without it
  run/lock      flock'ed while a cluster runs; holds its pid
  run/kubernel.json   where it is and how its plugins are
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from kubernel.errors import KubernelError

__all__ = ["DataDir", "DataDirError", "running_pid"]

MARKER = ".kubernel"


class DataDirError(KubernelError):
    """The data directory cannot be used. The message says what to do."""


class DataDir:
    """One data directory. ``acquire`` creates and locks it, ``release`` lets it go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def lock_path(self) -> Path:
        return self.path / "run" / "lock"

    @property
    def state_path(self) -> Path:
        return self.path / "run" / "kubernel.json"

    def acquire(self) -> None:
        """Create what is missing, close what others could read, take the lock. DataDirError when that
        cannot be, or another process has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.path.stat().st_uid != os.geteuid():
                raise DataDirError(f"the data directory {self.path} belongs to another user")
            self._claim()
            self.path.chmod(0o700)
            (self.path / "run").mkdir(exist_ok=True, mode=0o700)
            self._lock = self._take_lock()
        except OSError as error:
            raise DataDirError(
                f"cannot use the data directory {self.path}: {error.strerror or error}; "
                "choose another with --data-dir or cluster.dataDir"
            ) from error

    def _claim(self) -> None:
        """Mark an empty directory as ours; one with a stranger's files in it is left alone."""
        marker = self.path / MARKER
        if marker.exists():
            return
        if any(self.path.iterdir()):
            raise DataDirError(
                f"the directory {self.path} is not empty and not a data directory of kubernel; "
                "choose an empty or a new one with --data-dir or cluster.dataDir"
            )
        marker.touch(mode=0o600)

    def _take_lock(self) -> int:
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            if not isinstance(error, BlockingIOError):
                raise
            url = (self.read_state() or {}).get("url", "")
            where = f", {url}" if url else ""
            raise DataDirError(
                f"a cluster is already running on {self.path} (pid {holder or 'unknown'}{where}); "
                "stop it with `kubernel down` or choose another --data-dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def write_state(self, state: dict[str, Any]) -> None:
        """Replace ``run/kubernel.json`` in one step."""
        part = self.state_path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(state))  # in one piece it is encoded in C
        part.replace(self.state_path)

    def read_state(self) -> dict[str, Any] | None:
        """What the running (or last) cluster wrote, None when there is nothing readable."""
        try:
            state = json.loads(self.state_path.read_bytes())
        except (OSError, ValueError):
            return None
        return state if isinstance(state, dict) else None

    def release(self) -> None:
        """Give the directory up. The lock file stays: removing it would let two hold different ones."""
        if self._lock is None:
            return
        with contextlib.suppress(OSError):
            self.state_path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
        os.close(self._lock)
        self._lock = None


def running_pid(path: Path) -> int | None:
    """The process that runs a cluster on ``path``, None when the lock is free. A pid of 0 is one that
    has the lock and has not yet said who it is."""
    try:
        descriptor = os.open(path / "run" / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(descriptor, 32).decode(errors="replace").strip()
            return int(text) if text.isdigit() else 0
        return None
    finally:
        os.close(descriptor)
