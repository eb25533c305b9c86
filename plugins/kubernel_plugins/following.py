"""Configuration files of upstream's kinds are taken anew when they change, as a kube-apiserver does once a minute."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kubernel.errors import KubernelError

if TYPE_CHECKING:
    from kubernel.plugin import Handle

__all__ = ["follow"]

_LOOK = 60.0


async def follow(handle: Handle, path: Path, take: Callable[[], Awaitable[str]]) -> None:
    """Call ``take`` whenever the file has changed, for ever; it answers what to tell in the log. A KubernelError of it
    is told there: what was taken before is then still in use. A file that is not there for a moment has not changed."""
    known = _contents(path)
    while True:
        await handle.clock.sleep(_LOOK)
        found = _contents(path)
        if found is None or found == known:
            continue
        known = found
        try:
            told = await take()
        except KubernelError as error:
            handle.log.error("{} was changed and is not used, what it was stays: {}", path, error)
        else:
            handle.log.info("{} was changed and is used{}", path, told)


def _contents(path: Path) -> bytes | None:
    """None when it cannot be read. A few kilobytes: not worth a thread."""
    try:
        return path.read_bytes()
    except OSError:
        return None
