"""``kubernel status``, ``down`` and ``reset``."""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path

from kubernel.cli import options
from kubernel.datadir import MARKER, DataDir, DataDirError, running_pid
from kubernel.errors import KubernelError

__all__ = ["down", "reset", "status"]

NOT_RUNNING = 3


def status(args: argparse.Namespace) -> int:
    cluster = options.configuration(args).cluster
    pid = running_pid(cluster.data_dir)
    state = (DataDir(cluster.data_dir).read_state() or {}) if pid is not None else {}
    plugins = state.get("plugins", [])
    failed = [plugin for plugin in plugins if plugin["phase"] == "failed"]
    if args.output == "json":
        answer = {"name": cluster.name, "running": pid is not None, "dataDir": str(cluster.data_dir)}
        print(json.dumps({**answer, **state}, indent=2))
    elif pid is None:
        print(f'The cluster "{cluster.name}" does not run; `kubernel up` starts it ({cluster.data_dir})')
    elif not state:
        print(f'The cluster "{cluster.name}" is starting (pid {pid})')
    else:
        print(f'The cluster "{cluster.name}" runs at {state["url"]} (pid {pid}, {cluster.data_dir})')
        print(f"{len(plugins) - len(failed)} of {len(plugins)} plugins run")
        for plugin in failed:
            print(f"  {plugin['role']}/{plugin['name']}: {plugin['error']}")
    return NOT_RUNNING if pid is None else 0


def down(args: argparse.Namespace) -> int:
    cluster = options.configuration(args).cluster
    pid = running_pid(cluster.data_dir)
    if pid is None:
        print(f'The cluster "{cluster.name}" does not run')
        return 0
    try:
        process = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        process = -1
    if process < 0 or running_pid(cluster.data_dir) != pid:
        # It ended between the two looks, or has not said its pid yet.
        raise KubernelError("the cluster is just starting or stopping; try again")
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(max(args.timeout, 0.0) * 1000):
            raise KubernelError(f"the cluster (pid {pid}) has not stopped after {args.timeout:g} seconds")
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise KubernelError(f"the cluster (pid {pid}) belongs to another user") from error
    finally:
        os.close(process)
    print(f'The cluster "{cluster.name}" has stopped; its state is kept in {cluster.data_dir}')
    return 0


def reset(args: argparse.Namespace) -> int:
    cluster = options.configuration(args).cluster
    directory = cluster.data_dir
    if not os.path.lexists(directory):
        print(f"There is nothing to remove: {directory} does not exist")
        return 0
    if directory.is_symlink() or not directory.is_dir() or not (directory / MARKER).is_file():
        raise DataDirError(f"{directory} is not a data directory of kubernel; nothing has been removed")
    if running_pid(directory) is not None:
        raise KubernelError(f'the cluster "{cluster.name}" is running; stop it first with `kubernel down`')
    if not args.yes and not _confirmed(
        f'Remove the cluster "{cluster.name}" with all its objects in {directory}?'
    ):
        print("Nothing has been removed")
        return 1
    data = DataDir(directory)
    data.acquire()
    try:
        _remove(directory)
    finally:
        data.release()
    print(f"Removed {directory}")
    return 0


def _confirmed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise KubernelError("there is nobody to ask; say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def _remove(directory: Path) -> None:
    """Everything below, and the directory. Links are removed, never followed; the marker goes last, so
    that what was interrupted can be finished."""
    for entry in list(os.scandir(directory)):
        if entry.name == MARKER:
            continue
        if entry.is_dir(follow_symlinks=False):
            _writable(Path(entry.path))
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    os.unlink(directory / MARKER)
    directory.rmdir()


def _writable(directory: Path) -> None:
    """Pods may have left directories that even their owner may not write to."""
    for parent, names, _ in os.walk(directory):
        os.chmod(parent, 0o700)
        for name in names:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
