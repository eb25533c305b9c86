"""Starting processes: as session leaders, with exactly the given environment and descriptors."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernel.plugin.contract import RuntimeRefusal

__all__ = ["Identity", "Launched", "identity", "launch"]

_TERMINAL = (
    "import fcntl,os,sys,termios\n"
    "fcntl.ioctl(0,termios.TIOCSCTTY,0)\n"
    "try: os.execvp(sys.argv[1],sys.argv[1:])\n"
    "except OSError as e: print(f'exec: \"{sys.argv[1]}\": {e.strerror}');sys.exit(127)\n"
)
"""Making a terminal the controlling one must happen in the child, between setsid and exec."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a container runs as; None is our own user or group."""

    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()


@dataclass(slots=True)
class Launched:
    """A started process and our ends of its streams; -1 where there is none. With a terminal, ``stdin``
    and ``stdout`` are two descriptors of its master."""

    process: subprocess.Popen[bytes]
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


def identity(spec: Mapping[str, Any], pod: Mapping[str, Any]) -> Identity:
    """What the security contexts ask for, as far as we may grant it.

    Only root can become someone else: another user's request is refused when it differs from what we
    are, as is ``runAsNonRoot`` when the container would run as root.
    """
    of_pod = pod.get("spec", {}).get("securityContext") or {}
    context = {**of_pod, **(spec.get("securityContext") or {})}
    user, group = context.get("runAsUser"), context.get("runAsGroup")
    ours = os.geteuid()
    if context.get("runAsNonRoot") and (user == 0 or (user is None and ours == 0)):
        name = pod.get("metadata", {}).get("name", "")
        what = (
            "container's runAsUser breaks non-root policy"
            if user == 0
            else "container has runAsNonRoot and image will run as root"
        )
        raise RuntimeRefusal(
            "CreateContainerConfigError", f'{what} (pod: "{name}", container: {spec.get("name", "")})'
        )
    if ours != 0:
        if user is not None and user != ours:
            raise RuntimeRefusal(
                "CreateContainerConfigError",
                f"securityContext.runAsUser {user} needs root: kubernel runs as user {ours}, and so do the "
                "containers of its process runtime",
            )
        return Identity()
    if user is not None and group is None:
        try:
            group = pwd.getpwuid(user).pw_gid
        except KeyError:
            group = 0
    extra = tuple(of_pod.get("supplementalGroups") or ())
    if of_pod.get("fsGroup") is not None:
        extra += (int(of_pod["fsGroup"]),)
    return Identity(user, group, extra)


def launch(
    command: Sequence[str],
    env: Mapping[str, str],
    directory: str,
    *,
    stdin: bool,
    tty: bool,
    who: Identity,
) -> Launched:
    """Start ``command`` as leader of a new session. OSError when it cannot be executed."""
    ours: list[int] = []
    theirs: list[int] = []
    try:
        if tty:
            master, slave = os.openpty()
            ours.append(master)
            theirs.append(slave)
            ours.append(os.dup(master))
            child = (slave, slave, slave)
            command = [sys.executable, "-I", "-S", "-c", _TERMINAL, *command]
            mine = (ours[1], master, -1)
        else:
            source = -1
            if stdin:
                read_end, source = os.pipe()
                theirs.append(read_end)
                ours.append(source)
            else:
                read_end = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                theirs.append(read_end)
            out, out_write = os.pipe()
            err, err_write = os.pipe()
            ours += (out, err)
            theirs += (out_write, err_write)
            child = (read_end, out_write, err_write)
            mine = (source, out, err)
        privileges: dict[str, Any] = {}
        # Given even as None these would make CPython fork the whole process instead of vfork.
        if who.user is not None:
            privileges["user"] = who.user
        if who.group is not None:
            privileges["group"] = who.group
        if who.user is not None or who.groups:
            privileges["extra_groups"] = who.groups
        process = subprocess.Popen(  # noqa: S603 - running what the pod says is the purpose
            list(command),
            stdin=child[0],
            stdout=child[1],
            stderr=child[2],
            env=dict(env),
            cwd=directory,
            start_new_session=True,
            close_fds=True,
            **privileges,
        )
    except BaseException:
        for descriptor in ours:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return Launched(process, os.pidfd_open(process.pid), *mine)
