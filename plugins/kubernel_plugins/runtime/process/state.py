"""What is known of each container, on disk: one small JSON file a container.

The files let the next start of the node find what this one left, also after ``kill -9``: a pid with its
start time and the machine's boot id names a process that cannot be mistaken for another.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from kubernel.plugin.contract import ContainerState

__all__ = ["ContainerFile", "StateDirectory"]


@dataclass(slots=True)
class ContainerFile:
    """A container's file: its state and how to find its processes again."""

    state: ContainerState
    pid: int = 0
    start: int = 0
    boot: str = ""
    pod: str = ""
    """``namespace/name`` of its pod, for messages."""
    links: list[str] = field(default_factory=list)
    """Symlinks made for its mounts."""


class StateDirectory:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def save(self, file: ContainerFile) -> None:
        path = self.directory / f"{file.state.id}.json"
        temporary = path.with_suffix(".new")
        data = json.dumps(asdict(file)).encode()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)

    def forget(self, container_id: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.directory / f"{container_id}.json").unlink()

    def load(self) -> list[ContainerFile]:
        """All files; one that a crash left unreadable is removed: its processes are found by their
        marker."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            try:
                found.append(_decode(json.loads(path.read_bytes())))
            except (OSError, ValueError, TypeError, KeyError):
                path.unlink(missing_ok=True)
        for path in self.directory.glob("*.new"):
            path.unlink(missing_ok=True)
        return found


def _decode(raw: dict[str, Any]) -> ContainerFile:
    known = {f.name for f in fields(ContainerState)}
    state = ContainerState(**{key: value for key, value in raw["state"].items() if key in known})
    return ContainerFile(
        state=state,
        pid=int(raw["pid"]),
        start=int(raw["start"]),
        boot=str(raw["boot"]),
        pod=str(raw["pod"]),
        links=[str(link) for link in raw["links"]],
    )
