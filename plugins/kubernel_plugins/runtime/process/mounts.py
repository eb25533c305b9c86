"""Volumes at their paths: symlinks on the host's own file system.

A process has no file system of its own, so a mount is a symlink from the path in the container to the
volume's directory, made only where nothing exists and our user may create it. Links are counted by the
containers that use them and go with the last one, together with the directories made for them. Nothing
that exists is ever replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from kubernel.plugin.contract import RuntimeRefusal

__all__ = ["MESSAGE_PATH", "MESSAGE_VARIABLE", "TOKEN_PATH", "Mounts"]

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
"""Where every pod expects its own token. A host path is one for all pods, so the second would speak as
the first: it is never linked. The token is below ``$KUBERNEL_POD_DIR/volumes`` instead."""

MESSAGE_PATH = "/dev/termination-log"
"""The default ``terminationMessagePath``, the same for all containers: never linked either."""

MESSAGE_VARIABLE = "KUBERNEL_TERMINATION_LOG"
"""Environment variable with the path of the file that stands for ``MESSAGE_PATH``."""


@dataclass(slots=True)
class _Link:
    target: str
    pod: str
    made: list[str] = field(default_factory=list)
    users: set[str] = field(default_factory=set)


class Mounts:
    """The links of all containers, remembered in one file so that a crash leaves none behind."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._links: dict[str, _Link] = {}

    def recover(self) -> None:
        """Remove the links that an earlier run left."""
        try:
            entries = json.loads(self._journal.read_bytes())
        except (OSError, ValueError):
            return
        for path, entry in entries.items():
            _remove(path, _Link(entry["target"], "", entry["made"]))
        self._save()

    def add(self, container_id: str, pod: str, mounts: tuple[tuple[str, str, bool], ...]) -> list[str]:
        """Link every mount of a container; ``pod`` is ``namespace/name``. Returns the paths linked.

        Raises RuntimeRefusal, with nothing left of this container's links, when one cannot be.
        """
        done: list[str] = []
        try:
            for source, path, _read_only in mounts:
                if self._add(container_id, pod, source, os.path.normpath(path)):
                    done.append(path)
        except RuntimeRefusal:
            self.release(container_id)
            raise
        return done

    def release(self, container_id: str) -> None:
        """The container is gone: remove the links that no other container uses."""
        for path, link in list(self._links.items()):
            link.users.discard(container_id)
            if not link.users:
                del self._links[path]
                _remove(path, link)
                self._save()

    def _add(self, container_id: str, pod: str, source: str, path: str) -> bool:
        if path in (TOKEN_PATH, MESSAGE_PATH) or os.path.realpath(source) == os.path.realpath(path):
            return False
        link = self._links.get(path)
        if link is not None:
            if link.target != source:
                raise _refusal(
                    f'mount path "{path}" is taken by pod "{link.pod}": pods of the process runtime '
                    "share the host's file system, give this pod another mountPath"
                )
            link.users.add(container_id)
            return True
        if os.path.lexists(path):
            raise _refusal(
                f'mount path "{path}" exists on the host and is not replaced: choose a mountPath that does '
                "not exist"
            )
        missing = []
        parent = os.path.dirname(path)
        while not os.path.lexists(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        # Directories made for other links count for this one too: the last link takes them away.
        ours = {directory for other in self._links.values() for directory in other.made}
        shared = [str(directory) for directory in Path(path).parents if str(directory) in ours]
        fresh = _Link(source, pod, users={container_id})
        # Noted before it is made: a crash in between leaves an entry without a link, not the reverse.
        fresh.made = missing + shared
        self._links[path] = fresh
        self._save()
        try:
            for directory in reversed(missing):
                os.mkdir(directory)
            os.symlink(source, path)
        except OSError as error:
            del self._links[path]
            _remove(path, fresh)
            self._save()
            raise _refusal(
                f'mount path "{path}" cannot be created ({error.strerror}): choose a mountPath below a '
                f"directory that user {os.geteuid()} may write to"
            ) from error
        return True

    def _save(self) -> None:
        entries = {path: {"target": link.target, "made": link.made} for path, link in self._links.items()}
        if not entries:
            self._journal.unlink(missing_ok=True)
            return
        temporary = self._journal.with_suffix(".new")
        temporary.write_text(json.dumps(entries))
        os.replace(temporary, self._journal)


def _refusal(message: str) -> RuntimeRefusal:
    return RuntimeRefusal("CreateContainerError", message)


def _remove(path: str, link: _Link) -> None:
    with contextlib.suppress(OSError):
        if os.readlink(path) == link.target:
            os.unlink(path)
    for directory in link.made:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
